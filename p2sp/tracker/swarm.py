"""How are the nodes of a swarm divided, so that some of each kind are drawn at random in constant time?"""

from math import ceil, gcd
from typing import TYPE_CHECKING, Final

from p2sp.tracker.entry import Entry, Part, Speech, Viewpoint, part_of

if TYPE_CHECKING:
    from random import Random

# A draw from everybody hits enough of those outside an ISP unless they are rarer than this.
_RARE: Final = 0.25


def some(entries: list[Entry], count: int, rng: "Random") -> list[Entry]:
    """At most `count` different entries, each as likely as any other.

    Every n-th from a place on, both at random: any two are named together about as often as any other two, which
    keeps the graph of a swarm as well connected as independent draws do, at a fraction of their cost.
    """
    size = len(entries)
    place = int(rng.random() * size)
    if count >= size:
        # Whoever takes fewer after all must not always leave out the same ones.
        return entries[place:] + entries[:place]
    stride = 1 + int(rng.random() * (size - 1))
    while gcd(stride, size) != 1:
        stride = stride + 1 if stride < size - 1 else 1
    return [entries[(place + step * stride) % size] for step in range(count)]


class Division:
    """Nodes of one kind: all of them and by ISP. Each knows its places, so that taking it out is quick."""

    def __init__(self) -> None:
        self._all: list[Entry] = []
        self._by_isp: dict[str | None, list[Entry]] = {}

    def put(self, entry: Entry) -> None:
        group = self._by_isp.setdefault(entry.isp, [])
        entry.place, entry.place_in_isp = len(self._all), len(group)
        self._all.append(entry)
        group.append(entry)

    def take(self, entry: Entry) -> None:
        last = self._all.pop()
        if last is not entry:
            last.place = entry.place
            self._all[entry.place] = last
        group = self._by_isp[entry.isp]
        last = group.pop()
        if last is not entry:
            last.place_in_isp = entry.place_in_isp
            group[entry.place_in_isp] = last
        if not group:
            del self._by_isp[entry.isp]

    def __len__(self) -> int:
        return len(self._all)

    def draw_local(self, isp: str | None, count: int, rng: "Random") -> list[Entry]:
        """At most `count` nodes of an ISP; none for an unknown one."""
        group = None if isp is None else self._by_isp.get(isp)
        return [] if group is None else some(group, count, rng)

    def draw_remote(self, isp: str | None, count: int, rng: "Random") -> list[Entry]:
        """At most `count` nodes outside an ISP, in work that grows with `count` and the number of ISPs alone."""
        everybody = len(self._all)
        outside = everybody - (0 if isp is None else len(self._by_isp.get(isp, ())))
        if outside == everybody:
            return some(self._all, count, rng)
        if outside >= _RARE * everybody:
            drawn = some(self._all, ceil(1.3 * count * everybody / outside) + 2, rng)
            found = [entry for entry in drawn if entry.isp != isp][:count]
            if len(found) >= min(count, outside):
                return found
        return self._draw_rare(isp, count, rng)

    def _draw_rare(self, isp: str | None, count: int, rng: "Random") -> list[Entry]:
        # Each ISP gives by its size, else the lone node of a small one would be named to everybody.
        others = [group for other, group in self._by_isp.items() if other != isp]
        sizes = [len(group) for group in others]
        shares = [0] * len(others)
        left = min(count, sum(sizes))
        while left:
            free = [size - share for size, share in zip(sizes, shares, strict=True)]
            for which in rng.choices(range(len(others)), weights=free, k=left):
                if shares[which] < sizes[which]:
                    shares[which] += 1
                    left -= 1
        return [
            entry for group, share in zip(others, shares, strict=True) if share for entry in some(group, share, rng)
        ]


class Swarm:
    """Everybody the store knows for one resource, and how many completed it."""

    __slots__ = ("_divisions", "completions", "key", "leeches", "ordinary", "seeds")

    def __init__(self, key: str) -> None:
        self.key = key
        self._divisions: dict[tuple[Speech, Part], Division] = {}
        self.ordinary = 0
        self.seeds = 0
        self.leeches = 0
        self.completions = 0

    def __len__(self) -> int:
        return self.seeds + self.leeches

    def put(self, entry: Entry) -> None:
        """Put a node in that is not in yet."""
        self._count(entry, 1)
        if entry.port:
            kind = (entry.speech, part_of(entry))
            division = self._divisions.get(kind)
            if division is None:
                division = self._divisions[kind] = Division()
            division.put(entry)

    def take(self, entry: Entry) -> None:
        """Take out an entry that was put in and has not changed since."""
        self._count(entry, -1)
        if entry.port:
            kind = (entry.speech, part_of(entry))
            division = self._divisions[kind]
            division.take(entry)
            if not len(division):
                del self._divisions[kind]

    def draw(self, viewpoint: Viewpoint, inside: int, outside: int, rng: "Random") -> list[Entry]:
        """At most as many of each kind inside the asker's ISP and outside, without the asker."""
        drawn: list[Entry] = []
        asker = viewpoint.node_id
        for (speech, part), division in self._divisions.items():
            if not viewpoint.speech.understands(speech) or (viewpoint.seed and part is Part.SEEDS):
                continue
            # One more, in case the asker is among them.
            near = division.draw_local(viewpoint.isp, inside + 1, rng) if inside else []
            far = division.draw_remote(viewpoint.isp, outside + 1, rng) if outside else []
            for found, count in ((near, inside), (far, outside)):
                drawn += [entry for entry in found if entry.node_id != asker][:count]
        return drawn

    def _count(self, entry: Entry, by: int) -> None:
        self.ordinary += 0 if entry.supernode else by
        if entry.seed:
            self.seeds += by
        else:
            self.leeches += by


def concerns(entry: Entry, viewpoint: Viewpoint) -> bool:
    """Whether an entry that was found otherwise than by drawing may be named to the asker."""
    return (
        entry.port > 0
        and entry.node_id != viewpoint.node_id
        and not (viewpoint.seed and part_of(entry) is Part.SEEDS)
        and viewpoint.speech.understands(entry.speech)
    )
