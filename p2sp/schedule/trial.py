"""Which sources have shown that what they give is good? Only of who has is much asked at once."""

from p2sp.resource.layout import Layout


class Trials:
    """Remembers who gave of which piece until that is judged.

    A good piece proves everybody who gave of it. A source is proven until something of it turns out bad: so a source
    that lies about everything is believed for one piece at a time, and costs no more than that.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._givers: dict[int, set[str]] = {}
        self._proven: set[str] = set()

    def is_proven(self, source: str) -> bool:
        """Whether a piece of it was good, and none was bad since."""
        return source in self._proven

    def gave(self, source: str, start: int, stop: int) -> None:
        """Whole blocks came from a source."""
        for piece in self._layout.pieces_in(start, stop):
            self._givers.setdefault(piece, set()).add(source)

    def awaits(self, source: str) -> list[int]:
        """The pieces of which it gave something and of which nobody knows yet what they are worth."""
        return [piece for piece, givers in self._givers.items() if source in givers]

    def judged(self, piece: int, *, good: bool) -> frozenset[str]:
        """A verdict is known; who is proven by it that was not before."""
        givers = self._givers.pop(piece, set())
        passed = frozenset(givers - self._proven) if good else frozenset()
        self._proven |= passed
        return passed

    def disowned(self, source: str) -> None:
        """Nothing that it gave and that is not judged counts any more, and it is on trial again."""
        self._proven.discard(source)
        for piece in self.awaits(source):
            self._givers[piece].discard(source)
            if not self._givers[piece]:
                del self._givers[piece]
