"""What does a transfer tell its trackers, and through whom?"""

from collections.abc import Sequence
from secrets import token_hex
from typing import TYPE_CHECKING

import attrs

from p2sp.download.finder import TrackerFinder
from p2sp.schedule.spans import Kind
from p2sp.tracker.schema import AnnounceRequest, Counters, Event

if TYPE_CHECKING:
    from p2sp.download.transfer import Transfer

WANTED = 50


def finder_of(transfer: "Transfer", trackers: Sequence[str]) -> TrackerFinder:
    """Asks these trackers for nodes, and reports to them."""
    node = transfer.node
    return TrackerFinder(node.reactor, list(trackers), node.api, Account(transfer), node.rng)


@attrs.frozen
class Account:
    """The state of a transfer as trackers hear it (a `Describe`): cumulative counters of one session."""

    transfer: "Transfer"
    session: str = attrs.field(factory=lambda: token_hex(16))

    def __call__(self, event: Event, *, home: bool) -> AnnounceRequest:
        transfer = self.transfer
        report, store, content = transfer.report, transfer.store, transfer.content
        kinds = report.by_kind()
        length = content.length if content is not None else 0
        # Who does not know the length yet lacks at least something.
        left = max(length, 1)
        if store is not None:
            left = 0 if store.complete else max(length - store.bytes_verified, 1)
        return AnnounceRequest(
            resource=transfer.resource_id.hex(),
            session=self.session,
            event=event,
            port=transfer.node.port,
            length=length,
            left=left,
            counters=Counters(
                server=kinds[Kind.SERVER.value],
                supernode=kinds[Kind.SUPERNODE.value],
                peer_local=report.peer_bytes(local=True),
                peer_remote=report.peer_bytes(local=False),
                up=report.uploaded,
            ),
            rate=int(report.rate.rate(transfer.node.reactor.seconds())),
            stalled_ms=int(report.stalled_seconds * 1000),
            home=home,
            wanted=WANTED if left else 0,
        )
