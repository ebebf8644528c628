"""Which parts make up a running tracker?"""

import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from p2sp.locality.asn import AsnTable, read_groups
from p2sp.net.addresses import https_url
from p2sp.net.api_client import ApiClient
from p2sp.net.identity import Identity, load_identity
from p2sp.net.jsonapi import Api, RateLimit, make_site
from p2sp.net.ratelimit import RateTable
from p2sp.net.trust import Trust, client_policy, server_context
from p2sp.ops.config import resolve
from p2sp.ops.database import Database
from p2sp.ops.metrics import serve_metrics
from p2sp.ops.service import RoleService
from p2sp.ops.workers import Workers, watch_parent, worker_number
from p2sp.statistics.client import StatisticsClient
from p2sp.tracker.accounting import Accounting
from p2sp.tracker.api import TrackerApi
from p2sp.tracker.client import TrackerClient
from p2sp.tracker.config import TrackerConfig, check_config, load_costs, load_network_map, open_asn_file
from p2sp.tracker.core import Tracker
from p2sp.tracker.foreign import ForeignDesk
from p2sp.tracker.foreign_accounts import ForeignAccounts, KnownResources
from p2sp.tracker.foreign_http import ForeignHttpFactory
from p2sp.tracker.foreign_udp import ForeignUdp
from p2sp.tracker.load import TICK, LoadGauge
from p2sp.tracker.memory import MemorySwarmStore
from p2sp.tracker.metrics import TrackerMetrics
from p2sp.tracker.registrar import Registrar
from p2sp.tracker.registry import LocalTrackers
from p2sp.tracker.schema import MOST_SUMMARIES, Scope, TrackerRef
from p2sp.tracker.selection import make_policy
from p2sp.tracker.spool import Spool, metadata

LAST_REPORT = 5.0
PARENT_LOOK = 2.0
READ_SIZE = 8 * 1024
"""Bytes; an announce has less than one tenth."""

HANDSHAKES = 64
"""Under way at a time: what others wait for at most, as one costs more than a millisecond."""

EXPIRY_INTERVALS = 3.0
"""A foreign client may be silent for so many of its intervals."""


def make_service(
    config: TrackerConfig,
    config_path: Path,
    reactor: IReactorTime,
    *,
    now: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> RoleService:
    """The tracker as a service; relative paths start at the folder of `config_path`.

    `now` counts silence and must not go back, `wall` is seconds since 1970. Raises BadIdentity when a key or
    certificate cannot be used, ConfigError for values that do not fit or maps that cannot be read.
    """
    check_config(config, config_path)
    chance = rng or random.Random()
    identity = load_identity(resolve(config_path, config.identity))
    trust = Trust.from_file(resolve(config_path, config.authority))
    role = RoleService("tracker", reactor, rng=chance)
    asn_file = open_asn_file(config, config_path)
    if asn_file is not None:
        role.on_stop("closing the file of autonomous systems", asn_file.close)
    shared = config.store != "memory"
    if shared:
        # Several processes have one clock in common.
        now = wall
    tracker = Tracker(
        scope=config.scope,
        epoch=secrets.token_hex(8),
        interval=config.interval_seconds,
        store=MemorySwarmStore(config.expiry_seconds, config.limits.store_limits(), foreign=_foreign_expiry(config)),
        policy=make_policy(config.selection, remote_most=config.remote_max, costs=load_costs(config, config_path)),
        now=now,
        wall=wall,
        rng=chance,
        network_map=load_network_map(config, config_path),
        asns=None if asn_file is None else AsnTable(asn_file.find, read_groups(config.asn_groups or {})),
        registry=LocalTrackers(3 * config.interval_seconds) if config.scope is Scope.GLOBAL else None,
    )
    if shared:
        _share(role, tracker, config)
    number = worker_number()
    if config.workers > 1 and number == 0:
        workers = Workers(reactor, "tracker", config_path, config.workers - 1)
        role.on_start("starting workers", workers.start)
        role.on_stop("ending workers", workers.stop)
    if number > 0:
        role.every(PARENT_LOOK, watch_parent(reactor), "looking whether the first process lives")
    _report(role, tracker, config, config_path, identity, trust)
    if number == 0:
        _register(role, tracker, config, identity, trust)
    role.on_stop("closing the swarms", tracker.store.close)
    role.every(config.interval_seconds, lambda: tracker.store.expire(now()), "forgetting silent nodes")
    gauge = LoadGauge()
    role.every(TICK, lambda: gauge.tick(role.reactor.seconds()), "watching the load", jitter=0.0)
    desk = _welcome_foreigners(role, tracker, config, gauge, identity)
    limits = config.limits
    handlers = TrackerApi(tracker, RateLimit(limits.rate_per_node, limits.burst_per_node), gauge)
    api = Api(
        trust,
        reactor,
        role="tracker",
        node_id=identity.node_id,
        rate_limit=RateLimit(limits.rate_per_address, limits.burst_per_address),
        health=handlers.health,
    )
    handlers.add_to(api)
    dials = RateTable(RateLimit(limits.rate_per_address, limits.burst_per_address))

    def admits(host: str) -> bool:
        # A handshake costs more than an announce. At leisure nobody is turned away before it is known who it is.
        if gauge.price == 1.0:
            return True
        return not dials.wait(host, now(), gauge.price_for(dials.limit, config.interval_seconds))

    site = make_site(api, read_size=READ_SIZE, admits=admits, handshakes=HANDSHAKES)
    if number == 0:
        serve_metrics(role, config, TrackerMetrics(tracker, gauge, desk), api, site)
    role.listen(config.listen, site, server_context(identity), shared=config.workers > 1)
    return role


def _foreign_expiry(config: TrackerConfig) -> float:
    return EXPIRY_INTERVALS * config.foreign_seconds


def _share(role: RoleService, tracker: Tracker, config: TrackerConfig) -> None:
    """Keep the swarms in Redis, whose epoch is the tracker's."""
    from p2sp.tracker.redis_store import RedisSwarmStore

    def told(epoch: str) -> None:
        tracker.epoch = epoch

    store = RedisSwarmStore(
        IReactorFromThreads(role.reactor),
        config.store,
        config.expiry_seconds,
        config.limits.store_limits(),
        foreign=_foreign_expiry(config),
        told=told,
    )
    tracker.store = store
    role.on_start("connecting to Redis", store.open)


def _welcome_foreigners(
    role: RoleService, tracker: Tracker, config: TrackerConfig, gauge: LoadGauge, identity: Identity
) -> ForeignDesk | None:
    """Listen for BitTorrent clients that have no key, where the operator wants them."""
    if config.foreign_http is None and config.foreign_udp is None:
        return None
    limits = config.limits
    rates = RateTable(RateLimit(limits.rate_per_address, limits.burst_per_address))
    desk = ForeignDesk(tracker, config.foreign_seconds, rates, gauge)
    if config.statistics is not None and config.foreign_bytes:
        tracker.resources = KnownResources()
        desk.accounts = ForeignAccounts(tracker.resources, config.foreign_bytes, 2 * config.foreign_seconds)
    shared = config.workers > 1
    if config.foreign_http is not None:
        role.listen(config.foreign_http, ForeignHttpFactory(desk, role.reactor), None, shared=shared)
    if config.foreign_udp is not None:
        role.listen_udp(config.foreign_udp, ForeignUdp(desk, identity.secret("connection ids")), shared=shared)
    return desk


def _report(
    role: RoleService, tracker: Tracker, config: TrackerConfig, config_path: Path, identity: Identity, trust: Trust
) -> None:
    """Let accounts flow to the statistics server, if there is one, and wait on disk while it is away."""
    if config.statistics is None:
        return
    state = resolve(config_path, config.state)
    url = f"sqlite:///{state / f'samples-{worker_number()}.sqlite'}"
    spool = Spool(Database(IReactorFromThreads(role.reactor), url, metadata))
    role.on_start("making the state folder", lambda: state.mkdir(parents=True, exist_ok=True))
    role.on_start("opening the samples that wait", spool.open)
    role.on_stop("closing the samples that wait", spool.close)
    api = ApiClient(role.reactor, config.statistics, policy=client_policy(identity, trust))
    accounting = Accounting(
        StatisticsClient(api).send,
        interval=config.report_seconds,
        now=tracker.now,
        rng=tracker.rng,
        spool=spool,
        wall=tracker.wall,
    )
    tracker.accounting = accounting
    role.every(config.report_seconds, accounting.flush, "reporting to the statistics server")
    role.on_stop("closing the way to the statistics server", api.close)
    role.on_stop("reporting for the last time", accounting.flush_now, deadline=LAST_REPORT)


def _register(role: RoleService, tracker: Tracker, config: TrackerConfig, identity: Identity, trust: Trust) -> None:
    """Let the global tracker know this local one, and this one's clients know the global one."""
    if config.global_tracker is None or config.registration is None:
        return
    api = ApiClient(role.reactor, config.global_tracker, policy=client_policy(identity, trust))
    registrar = Registrar(
        TrackerClient(api).register,
        config.registration,
        config.interval_seconds,
        lambda: tracker.store.summaries(MOST_SUMMARIES, tracker.now()),
    )

    async def register() -> None:
        await registrar.run()
        job.interval = registrar.interval

    job = role.every(config.interval_seconds, register, "registering at the global tracker", at_once=True)
    role.on_stop("closing the way to the global tracker", api.close)
    tracker.others = (TrackerRef(https_url(config.global_tracker), Scope.GLOBAL),)
