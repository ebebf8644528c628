"""Which parts make up a running manager?"""

from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from p2sp.index.client import Names
from p2sp.manager.api import ManagerApi
from p2sp.manager.config import ManagerConfig, check_config, database_url, load_network_map
from p2sp.manager.control import Manager
from p2sp.manager.demand import DemandTable
from p2sp.manager.metrics import ManagerMetrics
from p2sp.manager.pages import LoadHistory, ManagerPage
from p2sp.manager.policies import POLICIES
from p2sp.manager.store import VERSION, SqlNodeRegistry, metadata
from p2sp.net.addresses import https_url
from p2sp.net.api_client import ApiClient
from p2sp.net.identity import load_identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.trust import Trust, client_policy, server_context
from p2sp.ops.config import resolve
from p2sp.ops.database import Database
from p2sp.ops.metrics import serve_metrics
from p2sp.ops.pages.config import serve_pages
from p2sp.ops.service import RoleService
from p2sp.statistics.client import StatisticsClient

SETTLING: Final = 2.0
"""Heartbeats after a start within which every super node that is there has reported."""


def make_service(config: ManagerConfig, config_path: Path, reactor: IReactorTime) -> RoleService:
    """The manager as a service; relative paths start at the folder of `config_path`.

    The clock of `reactor` counts seconds since 1970. Raises BadIdentity when a key or certificate cannot be used,
    ConfigError for values that do not fit or a map that cannot be read.
    """
    check_config(config, config_path)
    identity = load_identity(resolve(config_path, config.identity))
    trust = Trust.from_file(resolve(config_path, config.authority))
    state = resolve(config_path, config.state)
    network_map = load_network_map(config, config_path)
    database = Database(IReactorFromThreads(reactor), database_url(config, config_path), metadata, version=VERSION)
    policy = client_policy(identity, trust)
    statistics = ApiClient(reactor, https_url(config.statistics), policy=policy)
    limits = config.limits
    manager = Manager(
        SqlNodeRegistry(database),
        StatisticsClient(statistics),
        DemandTable(limits.half_life),
        POLICIES[config.policy](limits),
        now=reactor.seconds,
        isp_of=network_map.isp_of if network_map is not None else lambda _: None,
        isps=config.supernode_isps,
        heartbeat_interval=config.heartbeat_seconds,
        patience=config.patience_seconds,
        settling=SETTLING * config.heartbeat_seconds,
        dry_run=config.dry_run,
    )
    handlers = ManagerApi(manager, config.policy, limits)
    api = Api(trust, reactor, role="manager", node_id=identity.node_id, health=handlers.health)
    handlers.mount(api)
    role = RoleService("manager", reactor)
    role.on_start("making the state folder", lambda: state.mkdir(parents=True, exist_ok=True))
    role.on_start("opening the database", database.open)
    role.on_stop("closing the database", database.close)
    role.on_stop("closing the way to the statistics server", statistics.close)
    site = make_site(api)
    role.listen(config.listen, site, server_context(identity))
    serve_metrics(role, config, ManagerMetrics(manager, database), api, site)
    if config.pages is not None:
        history = LoadHistory(manager)
        role.every(config.heartbeat_seconds, history.watch, "looking at the load of super nodes", at_once=True)
        names = Names.at(config.index, policy, reactor)
        role.on_stop("closing the way to the index", names.close)
        serve_pages(role, config, config_path, identity, ManagerPage(manager, history, reactor, names.of))

    async def sync() -> None:
        if await manager.sync():
            reading.run_soon()

    reading = role.every(config.sync_seconds, sync, "reading the statistics", at_once=True)
    role.every(config.period_seconds, manager.decide, "deciding on placements")
    return role
