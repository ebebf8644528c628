"""Whose fault is a bad piece, and what follows from it?"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import attrs

from p2sp.schedule.spans import Kind

SERVER_CHANCES = 2
"""Bad pieces after which a resource server is dropped for this resource;

a peer is banned for one that is surely its own.
"""

HOPELESS = 10
"""Failures of one piece after which the download is given up: the description itself must be wrong."""


class Judged(Protocol):
    """What the store says of a piece: see `p2sp.storage.interfaces.Verdict`."""

    @property
    def piece(self) -> int: ...

    @property
    def good(self) -> bool: ...

    @property
    def suspects(self) -> frozenset[str]: ...


@attrs.frozen
class Fault:
    """A source is surely to blame for a piece: why, in words, and whether it is never asked again (`banned`)."""

    label: str
    reason: str
    banned: bool


class Reputation:
    """Keeps the score. Only what is certain counts: a bad piece from one source alone, or a block shown to differ."""

    def __init__(self) -> None:
        self._faults: dict[str, int] = {}
        self._failures: dict[int, int] = {}
        self._charged: dict[int, set[str]] = {}
        self._banned: set[str] = set()

    def is_banned(self, label: str) -> bool:
        """Whether that source is never asked again for this resource."""
        return label in self._banned

    def is_at_fault(self, label: str) -> bool:
        """Whether anything was ever proved against that source."""
        return label in self._faults

    def hopeless(self, verdict: Judged) -> bool:
        """Whether that piece failed so often that no source can be to blame."""
        return self._failures.get(verdict.piece, 0) >= HOPELESS

    def judge(self, verdict: Judged, kinds: Mapping[str, Kind], *, proven: bool = False) -> Iterator[Fault]:
        """Take a verdict into account; yields what it proves against sources that are not banned already.

        `proven` says that each suspect of a bad piece is known to have given a bad block of it.
        """
        if not verdict.good:
            self._failures[verdict.piece] = self._failures.get(verdict.piece, 0) + 1
            if len(verdict.suspects) > 1 and not proven:
                return
            guilty = verdict.suspects
            self._charged.setdefault(verdict.piece, set()).update(guilty)
        else:
            # What was charged when the piece failed is not a second fault when the good bytes prove it.
            guilty = verdict.suspects - self._charged.pop(verdict.piece, set())
        for label in sorted(guilty - self._banned):
            self._faults[label] = self._faults.get(label, 0) + 1
            chances = SERVER_CHANCES if kinds.get(label) is Kind.SERVER else 1
            reason = f"{label}: sent bad data for piece {verdict.piece}"
            if self._faults[label] >= chances:
                self._banned.add(label)
                yield Fault(label, f"{reason}; not asked again", banned=True)
            else:
                yield Fault(label, reason, banned=False)
