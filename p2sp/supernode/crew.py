"""How do several processes of one super node work together: one that owns the cache, others that serve from it?"""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from p2sp.download.node import bucket
from p2sp.net.calls import Call
from p2sp.net.errors import CannotListen
from p2sp.net.identity import Identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.ratelimit import RateTable
from p2sp.net.trust import Trust, server_context
from p2sp.ops.service import RoleService
from p2sp.ops.workers import Workers, watch_parent, worker_number
from p2sp.storage.pool import DiskPool
from p2sp.supernode.config import SuperNodeConfig
from p2sp.supernode.interfaces import ICacheView
from p2sp.supernode.keeper import Keeper
from p2sp.supernode.relay import Relay
from p2sp.supernode.stream import Pace
from p2sp.supernode.tally import Account, Tally
from p2sp.supernode.via import name_of
from p2sp.supernode.web import CacheResource
from p2sp.supernode.window import Window

SOCKET: Final = "owner.sock"
"""Where the owner answers the others, in the state folder: nobody else may open it."""

PARENT_LOOK: Final = 2.0
ACCOUNT: Final = 1.0
LAST: Final = 6.0
"""Seconds for the other processes to end when they have drained."""

DRAIN: Final = 2.0
"""Seconds that answers to the other processes may still take when all of them have ended."""


def add_workers(
    role: RoleService,
    config: SuperNodeConfig,
    config_path: Path,
    state: Path,
    keeper: Keeper,
    behind: CacheResource,
    tally: Tally,
    reactor: Any,
) -> None:
    """To the process that owns the cache: start the others, and answer what they cannot."""

    async def count(call: Call) -> dict[str, object]:
        for resource, given in call.body.given.items():
            keeper.served(resource, given)
        tally.heard(call.body)
        return {}

    inner = Api(None, reactor, role="supernode", rate_limit=None)
    inner.mount("/r", behind)
    inner.route("POST", "/v1/served", count, body=Account)
    site = make_site(inner)
    socket = state / SOCKET
    ports: list[IListeningPort] = []

    def listen() -> None:
        socket.unlink(missing_ok=True)
        try:
            ports.append(reactor.listenUNIX(str(socket), site, mode=0o600))
        except (CannotListenError, OSError) as error:
            raise CannotListen(str(socket), str(error)) from error

    async def end() -> None:
        for port in ports:
            await maybeDeferred(port.stopListening)
        ports.clear()
        await site.drain(DRAIN)

    others = Workers(reactor, "supernode", config_path, config.workers - 1, config.drain_seconds + LAST)
    role.on_start("listening for the other processes", listen)
    role.on_start("starting the other processes", others.start)
    # They serve to the end while we do.
    role.on_leaving("telling the other processes", others.dismiss)
    role.on_stop("closing what the other processes ask", end)
    # These first: what they still give comes through here.
    role.on_stop("ending the other processes", others.stop, deadline=config.drain_seconds + 2 * LAST)


def make_worker(
    config: SuperNodeConfig, state: Path, identity: Identity, trust: Trust, reactor: Any, rng: Random
) -> RoleService:
    """A process that serves by HTTPS what is whole, and has the owner answer the rest."""
    role = RoleService("supernode", reactor, rng=rng, drain=config.drain_seconds)
    pool = DiskPool(reactor)
    window = Window(reactor, pool, state / "cache")
    relay = Relay(reactor, state / SOCKET)

    front = shop_window(config, window, identity, reactor, elsewhere=relay.answer)
    told: Counter[str] = Counter()

    async def account() -> None:
        given, answers = window.take_account(), Counter(front.answers)
        said = Account(worker_number(), given, answers - told, len(site.channels))
        if await relay.tell("/v1/served", msgspec.json.encode(said)):
            told.update(said.answers)
        else:
            window.give_back(given)

    api = Api(trust, reactor, role="supernode", node_id=identity.node_id)
    api.mount("/r", front)
    site = make_site(api)
    role.on_start("starting the disk", pool.start)
    role.every(PARENT_LOOK, watch_parent(reactor), "looking whether the first process lives")
    role.every(ACCOUNT, account, "telling what was given")
    role.every(PARENT_LOOK, window.tidy, "closing what was evicted")
    role.on_stop("stopping the disk", pool.stop)
    role.on_stop("closing the cache", window.close)
    role.on_stop("telling what was given", account)
    role.on_leaving("closing connections after their answers", site.wind_down)
    role.listen(config.listen, site, server_context(identity), shared=True)
    return role


def shop_window(
    config: SuperNodeConfig,
    cache: ICacheView,
    identity: Identity,
    reactor: Any,
    *,
    elsewhere: Callable[[Any], Awaitable[None]] | None = None,
) -> CacheResource:
    """The cache as HTTPS clients see it; what may be given away a second is divided among the processes."""
    rate = config.upload_rate
    pace = Pace(bucket=bucket(None if rate is None else max(rate // config.workers, 1)))
    rates = RateTable(config.requests_limit)
    name = name_of(identity.node_id)
    return CacheResource(cache, reactor, pace=pace, name=name, rates=rates, elsewhere=elsewhere)
