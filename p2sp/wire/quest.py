"""Who tells us which leaf hashes a piece that failed should have had (BEP 52)? Pure."""

from collections.abc import Sequence
from typing import Final

import attrs

from p2sp.resource.descriptor import Descriptor
from p2sp.wire.hashes import leaf_request, leaves_of
from p2sp.wire.messages import HashRequest
from p2sp.wire.session import Session

PATIENCE: Final = 2.0
"""Seconds to wait for an answer before one more is asked."""

AT_ONCE: Final = 2
"""Sides asked for the same leaves at a time: one of them may be the liar."""

TRIES: Final = 6
"""Sides asked for the leaves of one piece altogether."""

MAX_PIECES: Final = 64
"""Pieces whose leaves are sought at the same time."""


@attrs.define
class _Sought:
    """A piece whose leaves are sought: the request, who owes an answer since when, and who was asked at all."""

    request: HashRequest
    owing: dict[Session, float] = attrs.field(factory=dict)
    asked: set[Session] = attrs.field(factory=set)


class LeafQuest:
    """Asks the other sides of a resource's links for leaf hashes, until one gives those that make the piece's hash.

    An answer needs no trust: it is right, or its teller breaks a rule. `now` is any steady count of seconds.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._sought: dict[int, _Sought] = {}

    def seek(self, piece: int) -> bool:
        """Begin to ask for the leaves of a piece; False when that is not possible."""
        if piece in self._sought:
            return True
        request = leaf_request(self._descriptor, piece)
        if request is None or len(self._sought) >= MAX_PIECES:
            return False
        self._sought[piece] = _Sought(request)
        return True

    def ask(self, sessions: Sequence[Session], now: float) -> list[int]:
        """Ask whoever can be asked now, the first first. Returns the pieces for which there is nobody (left)."""
        given_up = []
        for piece, sought in self._sought.items():
            for session in [session for session, since in sought.owing.items() if now - since >= PATIENCE]:
                del sought.owing[session]
            able = [s for s in sessions if s not in sought.asked and piece in s.pieces]
            while able and len(sought.owing) < AT_ONCE and len(sought.asked) < TRIES:
                session = able.pop(0)
                sought.asked.add(session)
                if sought.request not in session.hashes_asked:
                    session.ask_hashes(sought.request)
                    sought.owing[session] = now
            if not sought.owing:
                given_up.append(piece)
        for piece in given_up:
            del self._sought[piece]
        return given_up

    def take(self, request: HashRequest, hashes: bytes) -> tuple[int, tuple[bytes, ...]] | None:
        """Take an answer: the piece and its leaves; None when nobody seeks them any more.

        Raises RemoteProtocolError when it is wrong.
        """
        for piece, sought in self._sought.items():
            if sought.request == request:
                leaves = leaves_of(self._descriptor, piece, hashes)
                del self._sought[piece]
                return piece, leaves
        return None

    def refused(self, session: Session, request: HashRequest) -> None:
        """A side will not tell."""
        for sought in self._sought.values():
            if sought.request == request:
                sought.owing.pop(session, None)

    def gone(self, session: Session) -> None:
        """A link ended."""
        for sought in self._sought.values():
            sought.owing.pop(session, None)
