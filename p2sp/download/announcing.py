"""What does a transfer tell its trackers, those of our network and foreign ones, and through whom?"""

from collections.abc import Callable, Sequence
from secrets import randbits, token_hex
from typing import TYPE_CHECKING, TypeVar

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from p2sp.download import foreign
from p2sp.download.finder import TrackerFinder
from p2sp.download.foreign import hashes_of
from p2sp.download.foreign_finder import ForeignFinder
from p2sp.download.foreign_http import ask_http
from p2sp.download.foreign_udp import ask_udp
from p2sp.download.report import Report
from p2sp.resource.magnet import V1_ID_SIZE
from p2sp.sources.interfaces import Candidate
from p2sp.tracker.schema import AnnounceRequest, Counters, Event

if TYPE_CHECKING:
    from p2sp.download.node import Node
    from p2sp.download.transfer import Transfer

T = TypeVar("T")

WANTED = 50

LOOK = 1.0
SOON = 1024 * 1024
"""Bytes fetched of which a node that serves an ISP tells its tracker without delay, looked for every LOOK seconds."""


@attrs.frozen
class Finders:
    """Who looks for nodes for one transfer: the trackers of our network, and those that came with the resource."""

    network: TrackerFinder
    foreign: ForeignFinder | None

    def start(self, found: Callable[[Candidate], None], news: Callable[[str], None], told: Callable[[], None]) -> None:
        """See `TrackerFinder.start`."""
        self.network.start(found, news, told)
        if self.foreign is not None:
            self.foreign.start(found, news)

    @property
    def answered(self) -> bool:
        """Whether any tracker answers."""
        return self.network.answered or (self.foreign is not None and self.foreign.answered)

    @property
    def isp(self) -> str | None:
        """Where a tracker of our network sees us."""
        return self.network.isp

    def report(self) -> None:
        """Have the tracker that accounts for us hear what we fetched."""
        self.network.report()

    def ask(self) -> None:
        """Have the trackers of our network name nodes now."""
        self.network.announce(Event.PROGRESS)

    def completed(self) -> None:
        """Tell every tracker that the resource is complete."""
        self.network.completed()
        if self.foreign is not None:
            self.foreign.completed()

    def stop(self) -> "Deferred[None]":
        """See ISourceFinder."""
        leaving = [self.network.stop()] if self.foreign is None else [self.network.stop(), self.foreign.stop()]
        return gatherResults(leaving).addCallback(lambda _: None)


def finder_of(transfer: "Transfer", trackers: Sequence[str]) -> Finders:
    """Asks these trackers of our network for nodes and reports to them; foreign ones where clear text is allowed."""
    node = transfer.node
    # Our network knows resources by their v2 ids.
    ours = list(trackers) if len(transfer.resource_id) != V1_ID_SIZE else []
    network = TrackerFinder(node.reactor, ours, node.api, Account(transfer), node.rng, lambda: node.names)
    if not transfer.asks_foreigners:
        return Finders(network, None)
    described = transfer.descriptor.handshake_hashes if transfer.descriptor is not None else ()
    return Finders(
        network,
        ForeignFinder(
            node.reactor,
            transfer.hints,
            hashes_of(transfer.hints, transfer.resource_id, described),
            lambda url, told, tracker_id: _ask(node, url, told, tracker_id),
            ForeignAccount(transfer),
            node.rng,
        ),
    )


class EarlyReports:
    """Has a fill told as it goes on, not only when the next announce is due.

    A super node that is killed takes along what it has not told; there are few of them, and they fetch a lot.
    """

    def __init__(self, clock: IReactorTime, report: Report, tell: Callable[[], None]) -> None:
        self._report = report
        self._tell = tell
        self._told = 0
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def during(self, filling: "Deferred[None]") -> None:
        """Tell until this fill is over."""
        self._looking.start(LOOK, now=False)

        def over(result: T) -> T:
            self._looking.stop()
            return result

        filling.addBoth(over)

    def _look(self) -> None:
        came = sum(self._report.over_the_wire().values())
        if came - self._told >= SOON:
            self._told = came
            self._tell()


@attrs.frozen
class Account:
    """The state of a transfer as trackers hear it (a `Describe`): cumulative counters of one session."""

    transfer: "Transfer"
    session: str = attrs.field(factory=lambda: token_hex(16))

    def __call__(self, event: Event, *, home: bool) -> AnnounceRequest:
        transfer = self.transfer
        report, content = transfer.report, transfer.content
        length = content.length if content is not None else 0
        left = _left(transfer)
        return AnnounceRequest(
            resource=transfer.resource_id.hex(),
            session=self.session,
            event=event,
            port=transfer.node.port,
            length=length,
            left=left,
            counters=Counters(**report.over_the_wire(), up=report.uploaded),
            rate=int(report.rate.rate(transfer.node.reactor.seconds())),
            stalled_ms=int(report.stalled_seconds * 1000),
            home=home,
            wanted=WANTED if left else 0,
            clear=transfer.speaks_clear_text,
            v1=self._v1_name(),
        )

    def _v1_name(self) -> str | None:
        """The name of a hybrid's other swarm, whose clients may be of use to us, and we to them."""
        descriptor = self.transfer.descriptor
        if descriptor is None or not descriptor.hybrid or not self.transfer.speaks_clear_text:
            return None
        return descriptor.handshake_hashes[1].hex()


async def _ask(node: "Node", url: str, told: foreign.Announce, tracker_id: bytes) -> foreign.Heard:
    """Announce at a foreign tracker. Raises AnnounceFailed."""
    if url.startswith("udp:"):
        return await ask_udp(
            node.reactor, url, told, bind_address=node.connect.bind_address, allowed=node.connect.allowed
        )
    return await ask_http(node.connect, url, told, tracker_id)


def _left(transfer: "Transfer") -> int:
    """Bytes that are lacking; who does not know the length yet lacks at least something."""
    length = transfer.content.length if transfer.content is not None else 0
    if transfer.store is None:
        return max(length, 1)
    return 0 if transfer.store.complete else max(length - transfer.store.bytes_verified, 1)


@attrs.frozen
class ForeignAccount:
    """The same for foreign trackers (BEP 3)."""

    transfer: "Transfer"
    key: int = attrs.field(factory=lambda: randbits(32))

    def __call__(self, info_hash: bytes, event: foreign.Event) -> foreign.Announce:
        transfer = self.transfer
        return foreign.Announce(
            info_hash=info_hash,
            peer_id=transfer.node.wire.peer_id,
            port=transfer.node.port,
            uploaded=transfer.report.uploaded,
            downloaded=transfer.report.received,
            left=_left(transfer),
            event=event,
            key=self.key,
        )
