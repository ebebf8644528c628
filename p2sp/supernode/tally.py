"""What do all processes of a super node together give?"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Final

import attrs
import msgspec
from msgspec import Meta

SILENT: Final = 5.0
"""Seconds after which a process that told nothing counts as gone, with its connections."""

Number = Annotated[int, Meta(ge=0)]


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process that does not own the cache did since its last account: bytes given, by resource id, and answers,
    by status; and how many connections it has.
    """

    process: Annotated[int, Meta(ge=1, le=64)]
    given: Annotated[dict[str, Number], Meta(max_length=10_000)]
    answers: Annotated[dict[str, Number], Meta(max_length=100)]
    connections: Number


@attrs.define
class Tally:
    """Answers and connections of all processes. `seconds` is the time, `own` the owner's answers by status, `connected`
    its connections.
    """

    seconds: Callable[[], float]
    own: Callable[[], Iterable[Counter[str]]]
    connected: Callable[[], int]
    _told: Counter[str] = attrs.field(factory=Counter)
    _seen: dict[int, tuple[float, int]] = attrs.field(factory=dict)

    def heard(self, account: Account) -> None:
        """Another process told what it did."""
        self._told.update(account.answers)
        self._seen[account.process] = self.seconds(), account.connections

    @property
    def answers(self) -> dict[str, float]:
        """How many answers there were, by status."""
        return dict(sum(self.own(), Counter(self._told)))

    @property
    def connections(self) -> dict[str, float]:
        """Connections by process, the owner's first; of those that live."""
        now = self.seconds()
        living = {str(number): many for number, (at, many) in sorted(self._seen.items()) if now - at < SILENT}
        return {"0": self.connected(), **living}
