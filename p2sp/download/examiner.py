"""Which blocks of a piece that failed are wrong, and who gave them?"""

from collections.abc import Callable, Collection
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from p2sp.storage.interfaces import Examined, IPieceStore, Verdict

PATIENCE: Final = 4.0
"""Seconds that others have to tell the leaf hashes of a piece, before all of it is had anew."""

AskForLeaves = Callable[[int, Collection[str]], "Deferred[tuple[bytes, ...] | None]"]
"""Gets the leaf hashes that a piece should have; the labels are those not to be asked first."""


class Examiner:
    """Has the leaf hashes of bad pieces told by others, so that only bad blocks are fetched again (BEP 52)."""

    def __init__(self, clock: IReactorTime, store: IPieceStore, ask: AskForLeaves | None) -> None:
        self._clock = clock
        self._store = store
        self._ask = ask

    def examine(self, verdict: Verdict, told: Callable[[Examined | None], None]) -> "Deferred[None] | None":
        """Find out about a bad piece, and tell; None at once when there is no way to.

        Tells None when nobody knows in time, or when the piece was written to meanwhile.
        """
        if self._ask is None or self._store.content.layout.blocks_of(verdict.piece) < 2:
            return None

        def answered(leaves: tuple[bytes, ...] | Failure | None) -> None:
            told(self._store.examine(verdict.piece, leaves) if isinstance(leaves, tuple) else None)

        asked = self._ask(verdict.piece, verdict.suspects)
        asked.addTimeout(PATIENCE, self._clock)
        return asked.addBoth(answered)
