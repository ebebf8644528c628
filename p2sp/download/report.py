"""Where did the bytes of this download come from, and how did it go? The account that the summary and the tracker
get.
"""

from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from p2sp.schedule.rate import RateEstimate
from p2sp.schedule.spans import Kind

MAX_NOTES = 8
"""Reasons kept of one source."""


class ExitCode:
    """What the command ends with; aria2's numbers where one fits."""

    OK = 0
    ERROR = 1
    TIMEOUT = 2
    NOT_FOUND = 3
    CHANGED = 8
    NO_SPACE = 9
    LOCKED = 11
    EXISTS = 13
    HTTP = 22
    BAD_INPUT = 28
    CHECKSUM = 32
    INTERRUPTED = 7


class SourceSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """One source's part, for the summary."""

    label: str
    kind: str
    bytes: int
    rate: float
    failures: int
    notes: list[str] = msgspec.field(default_factory=list)
    """Why it was left out, parked or dropped, oldest first."""

    wasted: int = 0
    """Bytes that came besides and were of no use: twice, or too late, or of a block that was never whole."""


class Summary(msgspec.Struct, frozen=True):
    """What `--summary` writes when a download is over."""

    ok: bool
    path: str | None
    resource: str | None
    bytes: int
    seconds: float
    sha256: str | None
    verified: str
    bytes_by_kind: dict[str, int]
    uploaded: int
    """Bytes given to others over the wire."""

    sources: list[SourceSummary]
    stalled_seconds: float
    error: str | None


@attrs.define(eq=False)
class SourceAccount:
    """What one source gave, how long it was at it, and how often it failed.

    `bytes` were of use; `wasted` came, too, but twice, or too late, or of a block that was never whole.
    """

    label: str
    kind: Kind
    local: bool = False
    bytes: int = 0
    wasted: int = 0
    near: int = 0
    """Of both, what came while the source was taken to be in our ISP."""

    busy_seconds: float = 0.0
    failures: int = 0
    running: int = 0
    busy_since: float = 0.0
    last_failure: str = ""
    notes: list[str] = attrs.field(factory=list)

    def took(self, count: int) -> None:
        """So many bytes came."""
        self.bytes += count
        self.near += count if self.local else 0

    def waste(self, count: int) -> None:
        """So many bytes came that are of no use."""
        self.wasted += count
        self.near += count if self.local else 0

    def note(self, reason: str) -> None:
        """Keep why something was done about it; the first and the latest reasons stay."""
        if reason in self.notes:
            return
        if len(self.notes) >= MAX_NOTES:
            del self.notes[1]
        self.notes.append(reason)

    def begin(self, now: float) -> None:
        """A fetch starts."""
        if self.running == 0:
            self.busy_since = now
        self.running += 1

    def finish(self, now: float) -> None:
        """A fetch is over."""
        self.running -= 1
        if self.running == 0:
            self.busy_seconds += now - self.busy_since

    def rate(self, now: float) -> float:
        """Mean bytes a second while it was asked."""
        busy = self.busy_seconds + (now - self.busy_since if self.running else 0.0)
        return self.bytes / busy if busy > 0 else 0.0


@attrs.define(eq=False)
class Report:
    """The account of one download session. Times are seconds on the reactor's clock."""

    started: float
    accounts: dict[str, SourceAccount] = attrs.field(factory=dict)
    uploaded: int = 0
    stalled_seconds: float = 0.0
    rate: RateEstimate = attrs.field(factory=RateEstimate)
    listener: Callable[[str], None] | None = None

    def account(self, label: str, kind: Kind, *, local: bool = False) -> SourceAccount:
        """The account of a source; the same one when it comes back."""
        if label not in self.accounts:
            self.accounts[label] = SourceAccount(label, kind, local)
        return self.accounts[label]

    def by_kind(self) -> dict[str, int]:
        """Bytes of use by kind of source."""
        totals = {kind.value: 0 for kind in Kind}
        for account in self.accounts.values():
            totals[account.kind.value] += account.bytes
        return totals

    def over_the_wire(self) -> dict[str, int]:
        """All bytes that came, of use or not: from servers, super nodes, peers of our own ISP and peers of others.

        Each only grows: what came before it turned out where a peer is stays where it was counted.
        """
        totals = {"server": 0, "supernode": 0, "peer_local": 0, "peer_remote": 0}
        for account in self.accounts.values():
            came = account.bytes + account.wasted
            if account.kind is Kind.PEER:
                totals["peer_local"] += account.near
                totals["peer_remote"] += came - account.near
            else:
                totals[account.kind.value] += came
        return totals

    @property
    def received(self) -> int:
        """Bytes of use from all sources."""
        return sum(account.bytes for account in self.accounts.values())

    def sources(self, now: float) -> list[SourceSummary]:
        """Everybody's part, largest first."""
        ranked = sorted(self.accounts.values(), key=lambda account: -account.bytes)
        return [
            SourceSummary(a.label, a.kind.value, a.bytes, round(a.rate(now), 1), a.failures, list(a.notes), a.wasted)
            for a in ranked
        ]

    def tell(self, news: str) -> None:
        """Something a user may want to know at once."""
        if self.listener is not None:
            self.listener(news)


def summarise(
    report: Report,
    now: float,
    *,
    ok: bool,
    path: str | None,
    resource: str | None,
    length: int,
    sha256: str | None,
    verified: str,
    error: str | None,
) -> Summary:
    """The summary of a download that is over."""
    values: dict[str, Any] = {
        "bytes": length,
        "seconds": round(now - report.started, 3),
        "bytes_by_kind": report.by_kind(),
        "uploaded": report.uploaded,
        "sources": report.sources(now),
        "stalled_seconds": round(report.stalled_seconds, 3),
    }
    return Summary(ok=ok, path=path, resource=resource, sha256=sha256, verified=verified, error=error, **values)
