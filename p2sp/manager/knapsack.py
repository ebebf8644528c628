"""Which of many things give the most value in a given room?"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import attrs

CORE: Final = 24
"""Items around the break, where greed goes wrong, that are settled by search."""

MAX_STEPS: Final = 20_000
"""Steps of that search; when they are used up the best found so far stands."""


@attrs.frozen
class Item:
    """Something of a size (bytes) and a value; `key` tells equal ones apart."""

    key: str
    size: int
    value: float


class Sized(Protocol):
    """What takes room and is worth something."""

    @property
    def size(self) -> int: ...

    @property
    def value(self) -> float: ...


def bound(ranked: Iterable[Sized], room: int, value: float = 0.0) -> float:
    """The most that things, most dense first, could bring besides `value` if they could be cut."""
    for item in ranked:
        if item.size > room:
            return value + item.value * room / item.size
        room -= item.size
        value += item.value
    return value


def choose(items: Sequence[Item], room: int, *, kept: frozenset[str] = frozenset()) -> list[Item]:
    """Items that together fit into `room`, worth nearly as much as any that do, most dense first.

    Greedy by density, then the places around the break are settled by branch and bound: exact up to CORE items, and
    for more as good as greed or better. `kept` names items that are in the room now: the answer is worth no less than
    all of them and what fits beside. Things without value or larger than the room are left out.
    """
    ranked = sorted(
        (item for item in items if item.value > 0 and item.size <= room),
        key=lambda item: (-_density(item), item.key),
    )
    greedy = _fill(ranked, room)
    if len(greedy) == len(ranked):
        return ranked
    answers = [greedy, _around_break(ranked, room)]
    if kept:
        inside = [item for item in ranked if item.key in kept]
        if sum(item.size for item in inside) <= room:
            answers.append(_fill([*inside, *(item for item in ranked if item.key not in kept)], room))
    # The first of equals wins: on a tie nothing moves that greed would not move.
    best = max(answers, key=_worth)
    chosen = {item.key for item in best}
    return [item for item in ranked if item.key in chosen]


def _density(item: Item) -> float:
    return item.value / max(item.size, 1)


def _worth(items: Sequence[Item]) -> float:
    return sum(item.value for item in items)


def _fill(ranked: Sequence[Item], room: int) -> list[Item]:
    taken = []
    for item in ranked:
        if item.size <= room:
            taken.append(item)
            room -= item.size
    return taken


def _around_break(ranked: Sequence[Item], room: int) -> list[Item]:
    """What is denser than the core goes in, what is less dense fills up what the core leaves."""
    left, at = room, 0
    while at < len(ranked) and ranked[at].size <= left:
        left -= ranked[at].size
        at += 1
    first = max(0, min(at - CORE // 2, len(ranked) - CORE))
    certain, core, rest = ranked[:first], ranked[first : first + CORE], ranked[first + CORE :]
    room -= sum(item.size for item in certain)
    searched = _Search(core, room).best()
    return [*certain, *searched, *_fill(rest, room - sum(item.size for item in searched))]


class _Search:
    """Depth first, taking before leaving, cut off where even a fraction of the next item could not help."""

    def __init__(self, items: Sequence[Item], room: int) -> None:
        self._items = items
        self._room = room
        self._best: list[Item] = []
        self._best_value = 0.0
        self._steps = MAX_STEPS

    def best(self) -> list[Item]:
        self._visit(0, self._room, 0.0, [])
        return self._best

    def _visit(self, at: int, room: int, value: float, taken: list[Item]) -> None:
        self._steps -= 1
        if value > self._best_value:
            self._best, self._best_value = list(taken), value
        if at == len(self._items) or self._steps <= 0 or bound(self._items[at:], room, value) <= self._best_value:
            return
        item = self._items[at]
        if item.size <= room:
            taken.append(item)
            self._visit(at + 1, room - item.size, value + item.value, taken)
            taken.pop()
        self._visit(at + 1, room, value, taken)
