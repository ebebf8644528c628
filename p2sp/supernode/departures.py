"""What becomes of what is evicted while somebody reads it?"""

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.storage.interfaces import StorageError
from p2sp.supernode.shelf import Shelf
from p2sp.supernode.window import is_read_elsewhere

PATIENCE: Final = 3600.0
"""Seconds that the readers of what is evicted may still take; then they are cut, and go on elsewhere."""


@attrs.define(eq=False)
class _Departure:
    shelf: Shelf
    until: float
    hidden: bool = False
    removing: "Deferred[None] | None" = None


class Departures:
    """Shelves that are evicted: nobody new gets them, and their bytes go when the last reader has.

    `gone` is called when the space of one is free.
    """

    log = Logger()

    def __init__(self, seconds: Callable[[], float], gone: Callable[[Shelf], None]) -> None:
        self._seconds = seconds
        self._gone = gone
        self._leaving: dict[str, _Departure] = {}

    @property
    def shelves(self) -> list[Shelf]:
        """Those whose bytes are still there."""
        return [each.shelf for each in self._leaving.values()]

    def get(self, resource: str) -> Shelf | None:
        """The shelf of a resource, if it is leaving."""
        departure = self._leaving.get(resource)
        return None if departure is None else departure.shelf

    async def see_off(self, shelf: Shelf) -> None:
        """Evict a shelf: out of sight at once, and gone at once too if nobody reads it."""
        departure = _Departure(shelf, self._seconds() + PATIENCE)
        self._leaving[shelf.resource] = departure
        try:
            await shelf.hide()
        except (OSError, StorageError) as error:
            self.log.error("{resource} cannot be hidden: {reason}", resource=shelf.resource, reason=str(error))
        departure.hidden = True
        if _is_read(shelf):
            self.log.info("{name} is evicted; its bytes go when its readers have", name=shelf.content.name)
        else:
            await self._remove(departure)

    def may_stay(self, resource: str) -> bool:
        """Whether it can still be taken back."""
        departure = self._leaving.get(resource)
        return departure is not None and departure.removing is None

    async def take_back(self, resource: str) -> Shelf:
        """A shelf that `may_stay`, for it is wanted again. Raises OSError; then it leaves all the same."""
        departure = self._leaving[resource]
        departure.hidden = False
        try:
            await departure.shelf.show()
        except OSError:
            departure.hidden = True
            raise
        del self._leaving[resource]
        return departure.shelf

    def look(self) -> None:
        """Let those go that nobody reads any more, or for too long; to be called now and then."""
        for each in list(self._leaving.values()):
            if each.hidden and each.removing is None and (self._seconds() >= each.until or not _is_read(each.shelf)):
                self._remove(each)

    def _remove(self, departure: _Departure) -> "Deferred[None]":
        shelf = departure.shelf
        departure.removing = Deferred.fromCoroutine(shelf.remove())

        def ended(result: object) -> None:
            del self._leaving[shelf.resource]
            self._gone(shelf)

        def failed(failure: Failure) -> None:
            reason = failure.getErrorMessage()
            self.log.error("{resource} cannot be removed: {reason}", resource=shelf.resource, reason=reason)

        return departure.removing.addErrback(failed).addCallback(ended)

    async def close(self) -> None:
        """Let all of them go now."""
        for each in list(self._leaving.values()):
            if each.removing is None:
                self._remove(each)
        await gatherResults([each.removing for each in self._leaving.values() if each.removing is not None])


def _is_read(shelf: Shelf) -> bool:
    return shelf.readers > 0 or is_read_elsewhere(shelf.folder)
