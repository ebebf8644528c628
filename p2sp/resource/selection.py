"""Which files of a tree are meant: by number, by range of numbers, or by pattern?"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Self

import attrs

from p2sp.resource.errors import ResourceError
from p2sp.resource.verification import Content

_NUMBERS = re.compile(r"(\d{1,9})(?:-(\d{1,9})?)?")
_MAX_ITEMS = 1000


class SelectionError(ResourceError):
    """A selection that cannot be read, or that no file answers to."""


def numbered(content: Content) -> list[tuple[int, int]]:
    """The number by which people name each file, and its place among all; files that only pad have none."""
    files = [file for file in range(len(content.paths)) if file not in content.pads]
    return list(enumerate(files, start=1))


@attrs.frozen
class Selection:
    """What a user picks: ranges of numbers, the last one None for all that follow, and patterns as shells know them."""

    ranges: tuple[tuple[int, int | None], ...] = ()
    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read lists such as `1,3-5,8-` or `docs/*,*.txt`. Raises SelectionError."""
        ranges: list[tuple[int, int | None]] = []
        patterns: list[str] = []
        items = [item.strip() for text in texts for item in text.split(",")]
        if len(items) > _MAX_ITEMS:
            raise SelectionError(f"more than {_MAX_ITEMS} numbers or patterns")
        for item in items:
            found = _NUMBERS.fullmatch(item)
            if not item:
                raise SelectionError("an empty number or pattern")
            if found is None:
                patterns.append(item)
                continue
            first = int(found[1])
            last = int(found[2]) if found[2] else (None if "-" in item else first)
            if first < 1 or (last is not None and last < first):
                raise SelectionError(f"{item}: files are counted from 1 upwards")
            ranges.append((first, last))
        return cls(tuple(ranges), tuple(patterns))

    def __str__(self) -> str:
        shown = [
            f"{first}-" if last is None else str(first) if last == first else f"{first}-{last}"
            for first, last in self.ranges
        ]
        return ",".join([*shown, *self.patterns])

    def of(self, content: Content) -> Content:
        """The same content, of which only the files meant are wanted.

        A pattern is compared with the whole path and with the last name in it. Raises SelectionError for a number or
        pattern that no file answers to.
        """
        files = dict(numbered(content))
        chosen: set[int] = set()
        for first, last in self.ranges:
            numbers = range(first, min(last or len(files), len(files)) + 1)
            if first > len(files) or (last is not None and last > len(files)):
                raise SelectionError(f"{content.name} has files 1 to {len(files)}, not {last or first}")
            chosen.update(files[number] for number in numbers)
        for pattern in self.patterns:
            matching = {file for file in files.values() if _matches(content, file, pattern)}
            if not matching:
                raise SelectionError(f"{content.name} has no file {pattern!r}")
            chosen |= matching
        return attrs.evolve(content, selected=frozenset(chosen))


def _matches(content: Content, file: int, pattern: str) -> bool:
    path = content.paths[file] or (content.name,)
    return fnmatchcase("/".join(path), pattern) or fnmatchcase(path[-1], pattern)
