"""How does whoever found a bad piece hear what its leaf hashes should have been?"""

from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import Deferred, succeed

from p2sp.resource.descriptor import Descriptor
from p2sp.wire.link import PeerLink
from p2sp.wire.messages import Hashes, HashReject
from p2sp.wire.quest import LeafQuest
from p2sp.wire.session import Session

Leaves = tuple[bytes, ...] | None
"""Leaf hashes of a piece; None when nobody tells them."""


class Witnesses:
    """Asks the links of a resource for leaf hashes on behalf of whoever waits for them.

    `links` are those that can be asked now, `now` any steady count of seconds.
    """

    def __init__(
        self, descriptor: Descriptor, links: Callable[[], Sequence[PeerLink]], now: Callable[[], float]
    ) -> None:
        self._quest = LeafQuest(descriptor)
        self._links = links
        self._now = now
        self._waiting: dict[int, list[Deferred[Leaves]]] = {}
        self._suspects: set[str] = set()

    def leaves_of(self, piece: int, suspects: Collection[str]) -> "Deferred[Leaves]":
        """The leaf hashes a piece should have; links with the labels `suspects` are asked last."""
        if not self._quest.seek(piece):
            return succeed(None)
        self._suspects.update(suspects)
        told: Deferred[Leaves] = Deferred()
        self._waiting.setdefault(piece, []).append(told)
        self.ask()
        return told

    def ask(self) -> None:
        """Ask what can be asked now, and give up on who is silent: to be called every few seconds."""
        if not self._waiting:
            return
        links = sorted(self._links(), key=lambda link: link.label in self._suspects)
        given_up = self._quest.ask([link.session for link in links], self._now())
        for link in links:
            link.flush()
        for piece in given_up:
            self._tell(piece, None)

    def heard(self, session: Session, event: Hashes | HashReject) -> None:
        """An answer came; one that nobody waits for any more is passed over. Raises RemoteProtocolError."""
        if isinstance(event, HashReject):
            self._quest.refused(session, event.request)
            self.ask()
        elif found := self._quest.take(event.request, event.hashes):
            self._tell(*found)

    def gone(self, session: Session) -> None:
        """A link ended."""
        self._quest.gone(session)
        self.ask()

    def close(self) -> None:
        """Nobody is asked any more."""
        for piece in list(self._waiting):
            self._tell(piece, None)

    def _tell(self, piece: int, leaves: Leaves) -> None:
        waiting = self._waiting.pop(piece, [])
        if not self._waiting:
            self._suspects.clear()
        for each in waiting:
            if not each.called:
                each.callback(leaves)
