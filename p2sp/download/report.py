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
    sources: list[SourceSummary]
    stalled_seconds: float
    error: str | None


@attrs.define(eq=False)
class SourceAccount:
    """What one source gave, how long it was at it, and how often it failed."""

    label: str
    kind: Kind
    local: bool = False
    bytes: int = 0
    busy_seconds: float = 0.0
    failures: int = 0
    running: int = 0
    busy_since: float = 0.0
    last_failure: str = ""
    notes: list[str] = attrs.field(factory=list)

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
        """Bytes by kind of source."""
        totals = {kind.value: 0 for kind in Kind}
        for account in self.accounts.values():
            totals[account.kind.value] += account.bytes
        return totals

    def peer_bytes(self, *, local: bool) -> int:
        """Bytes from peers inside or outside our ISP."""
        return sum(a.bytes for a in self.accounts.values() if a.kind is Kind.PEER and a.local is local)

    @property
    def received(self) -> int:
        """Bytes from all sources."""
        return sum(account.bytes for account in self.accounts.values())

    def sources(self, now: float) -> list[SourceSummary]:
        """Everybody's part, largest first."""
        ranked = sorted(self.accounts.values(), key=lambda account: -account.bytes)
        return [
            SourceSummary(a.label, a.kind.value, a.bytes, round(a.rate(now), 1), a.failures, list(a.notes))
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
        "sources": report.sources(now),
        "stalled_seconds": round(report.stalled_seconds, 3),
    }
    return Summary(ok=ok, path=path, resource=resource, sha256=sha256, verified=verified, error=error, **values)
