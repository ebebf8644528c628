"""What stands for the far, slow web server in the demonstration? One file over plain HTTP, at a limited rate.

Run as `python -m p2sp.cli.demo_origin FILE HOST RATE`; prints the file's URL when it is ready.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from p2sp.download.node import bucket
from p2sp.resource.verification import undescribed
from p2sp.storage.disk import DiskStore, open_complete
from p2sp.storage.pool import DiskPool
from p2sp.supernode.interfaces import ICacheView, Served
from p2sp.supernode.stream import Pace
from p2sp.supernode.web import CacheResource

ANY_ID = "0" * 64


@implementer(ICacheView)
class _OneFile:
    def __init__(self, store: DiskStore) -> None:
        self._served = Served(store.content, store)

    def lookup(self, resource_id: str) -> Served | None:
        return self._served

    def missed(self, resource_id: str) -> "Deferred[Served | None]":
        return succeed(None)

    def reading(self, resource_id: str, via: Iterable[str] = ()) -> Callable[[], None]:
        return lambda: None

    def wanted(self, resource_id: str, piece: int) -> None:
        """It is all there."""

    def served(self, resource_id: str, count: int) -> None:
        """Nobody keeps accounts here."""


async def _serve(reactor: Any, file: str, host: str, rate: str) -> None:
    path = Path(file)
    pool = DiskPool(reactor)
    pool.start()
    content = undescribed(file, path.name, path.stat().st_size)
    store = await open_complete(path, content, pool, reactor, trust=True)
    root = Resource()
    root.putChild(b"r", CacheResource(_OneFile(store), reactor, pace=Pace(bucket=bucket(float(rate)))))
    port = reactor.listenTCP(0, Site(root), interface=host)
    print(f"http://{host}:{port.getHost().port}/r/{ANY_ID}/{path.name}", flush=True)
    reactor.addSystemEventTrigger("after", "shutdown", pool.stop)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, *args: Deferred.fromCoroutine(_serve(reactor, *args)), sys.argv[1:])
