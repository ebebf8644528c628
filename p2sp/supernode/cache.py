"""What of a super node's cache shall be filled, what stays, and what goes?"""

from collections.abc import Iterable, Sequence

import attrs


@attrs.frozen
class Entry:
    """A resource in the cache.

    `size` is the bytes it takes once it is whole, which is what it is counted at: the rest is on its way. `needed` says
    that somebody waits for what is being fetched of it; `pinned` is an operator's wish to keep it. `value` is what it
    was last worth.
    """

    resource: str
    size: int
    idle_seconds: float = 0.0
    value: float = 0.0
    needed: bool = False
    pinned: bool = False

    @property
    def fixed(self) -> bool:
        """Whether it must not go now."""
        return self.pinned or self.needed


@attrs.frozen
class Wish:
    """A resource the manager wants held, and the bytes it will take."""

    resource: str
    size: int


@attrs.frozen
class CachePlan:
    """What to do: `evict` first, in this order, then hold and fill `hold`; `refused` is wanted and does not fit.

    `spare` is what nobody asked for and nothing needs the space of.
    """

    hold: tuple[str, ...]
    spare: tuple[str, ...]
    evict: tuple[str, ...]
    refused: tuple[str, ...]


def plan(capacity: int, entries: Iterable[Entry], wishes: Sequence[Wish]) -> CachePlan:
    """Fit the wishes, most valuable first, into `capacity` bytes.

    What is pinned or needed stays whatever it costs. What nobody wishes for goes only as far as its space is
    needed, the least valuable first and of equals the one idle for longest. A wished resource that is in the cache goes
    only when it does not fit beside more valuable wishes even with all of that gone. Together, what is left and what is
    to be filled never exceed the capacity, unless what must not go exceeds it alone.
    """
    inside = {entry.resource: entry for entry in entries}
    wished = {wish.resource for wish in wishes}
    free = capacity - sum(entry.size for entry in inside.values() if entry.fixed)
    hold: list[str] = []
    refused: list[str] = []
    seen: set[str] = set()
    for wish in wishes:
        if wish.resource in seen:
            continue
        seen.add(wish.resource)
        entry = inside.get(wish.resource)
        if entry is not None and entry.fixed:
            hold.append(wish.resource)
            continue
        size = wish.size if entry is None else max(wish.size, entry.size)
        if size <= free:
            free -= size
            hold.append(wish.resource)
        else:
            refused.append(wish.resource)
    spare, evict = _spare([entry for entry in inside.values() if entry.resource not in wished], free)
    # A wish that cannot be met goes last, the least valuable of them first.
    evict.extend(resource for resource in reversed(refused) if resource in inside)
    return CachePlan(tuple(hold), tuple(spare), tuple(evict), tuple(refused))


def _spare(entries: Iterable[Entry], free: int) -> tuple[list[str], list[str]]:
    """Keep the best of what nobody wishes for, in `free` bytes; what goes comes worst first."""
    keep: list[str] = []
    evict: list[str] = []
    for entry in sorted(entries, key=lambda entry: (-entry.value, entry.idle_seconds, entry.resource)):
        if entry.fixed:
            keep.append(entry.resource)
        elif entry.size <= free:
            free -= entry.size
            keep.append(entry.resource)
        else:
            evict.append(entry.resource)
    return keep, evict[::-1]
