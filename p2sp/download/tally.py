"""How many bytes has a node moved since its start, by kind of source?"""

from collections import Counter

import attrs

from p2sp.download.report import Report


@attrs.define
class Tally:
    """The sum over all transfers of a node, those that have ended included: it only grows."""

    uploaded_before: int = 0
    received_before: Counter[str] = attrs.field(factory=Counter)
    _open: list[Report] = attrs.field(factory=list)

    @property
    def transfers(self) -> int:
        """How many are under way: downloading, seeding, or both."""
        return len(self._open)

    def begin(self, report: Report) -> None:
        """A transfer has begun, and accounts for itself in this report."""
        self._open.append(report)

    def end(self, report: Report) -> None:
        """A transfer is over; saying so again changes nothing."""
        if report in self._open:
            self._open.remove(report)
            self.uploaded_before += report.uploaded
            self.received_before.update(report.over_the_wire())

    @property
    def uploaded(self) -> int:
        """Bytes given to others over the wire."""
        return self.uploaded_before + sum(report.uploaded for report in self._open)

    def received(self) -> dict[str, float]:
        """Bytes over the wire by kind of source; peers of our own ISP and of others are told apart."""
        total = Counter(self.received_before)
        for report in self._open:
            total.update(report.over_the_wire())
        return {**dict.fromkeys(("server", "supernode", "peer_local", "peer_remote"), 0), **total}
