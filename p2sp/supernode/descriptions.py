"""What is the resource with this id, asked of the index once for all who want to know?"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from p2sp.net.errors import NetError, Refused
from p2sp.resource.descriptor import Torrent
from p2sp.supernode.interfaces import Unavailable

T = TypeVar("T")

ASKED_AT_ONCE: Final = 8
"""Questions at a time about what is ordered."""

MAX_KEPT: Final = 1000
MAX_QUESTIONS: Final = 32
"""Questions of readers under way at once; beyond that readers are asked to come back."""

UNKNOWN: Final = 30.0
"""Seconds for which readers are believed to ask in vain for what the index did not know."""


class Index(Protocol):
    """Who knows descriptors by id."""

    async def torrent(self, resource: str) -> Torrent:
        """See IndexClient."""


class Descriptions:
    """Descriptors by resource id: kept, and asked for by one question at a time for each."""

    def __init__(self, index: Index, clock: IReactorTime) -> None:
        self._index = index
        self._clock = clock
        self._kept: OrderedDict[str, Torrent] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, list[Deferred[Torrent]]] = {}

    async def of(self, resource: str, *, anew: bool = False) -> Torrent:
        """The descriptor of a resource, with its mirrors, or those it has now. Raises NetError when the index does not
        tell.
        """
        if resource in self._kept and not anew:
            self._kept.move_to_end(resource)
            return self._kept[resource]
        waiting: Deferred[Torrent] = Deferred(lambda _: None)
        if resource in self._asking:
            self._asking[resource].append(waiting)
        else:
            self._asking[resource] = [waiting]
            # Whoever asked first may leave; the others still want to know.
            Deferred.fromCoroutine(self._index.torrent(resource)).addBoth(self._told, resource)
        return await waiting

    async def of_many(
        self, resources: Iterable[str], anew: Collection[str] = ()
    ) -> tuple[dict[str, Torrent], dict[str, NetError]]:
        """The same for several, a few at a time, those in `anew` as they are now; and why the index did not tell."""
        found: dict[str, Torrent] = {}
        failed: dict[str, NetError] = {}
        few = DeferredSemaphore(ASKED_AT_ONCE)

        async def describe(resource: str) -> None:
            async with few:
                try:
                    found[resource] = await self.of(resource, anew=resource in anew)
                except NetError as error:
                    failed[resource] = error

        await gatherResults([Deferred.fromCoroutine(describe(each)) for each in resources])
        return found, failed

    def _told(self, answer: Torrent | Failure, resource: str) -> None:
        if isinstance(answer, Failure):
            if isinstance(answer.value, Refused) and answer.value.status == 404:
                _keep(self._unknown, resource, self._clock.seconds() + UNKNOWN)
        else:
            _keep(self._kept, resource, answer)
        for waiting in self._asking.pop(resource):
            if not waiting.called:
                waiting.callback(answer)

    async def for_reader(self, resource: str) -> Torrent | None:
        """The same for a reader, who may ask for anything; None when the index does not know it. Raises Unavailable."""
        if self._unknown.get(resource, 0.0) > self._clock.seconds():
            return None
        if resource not in self._kept and resource not in self._asking and len(self._asking) >= MAX_QUESTIONS:
            raise Unavailable("too many questions to the index are under way", 5)
        try:
            return await self.of(resource)
        except Refused as error:
            if error.status == 404:
                return None
            raise Unavailable("the index does not answer well", 10) from error
        except NetError as error:
            raise Unavailable("the index does not answer", 10) from error


def _keep(table: OrderedDict[str, T], resource: str, value: T) -> None:
    table[resource] = value
    table.move_to_end(resource)
    while len(table) > MAX_KEPT:
        table.popitem(last=False)
