"""Which parts make up a running statistics server?"""

from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from p2sp.index.client import Names
from p2sp.net.identity import load_identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.trust import Trust, client_policy, server_context
from p2sp.ops.config import parse_duration, resolve
from p2sp.ops.database import Database
from p2sp.ops.metrics import serve_metrics
from p2sp.ops.pages.config import serve_pages
from p2sp.ops.service import RoleService
from p2sp.statistics.api import StatisticsApi
from p2sp.statistics.config import StatisticsConfig, check_config, database_url
from p2sp.statistics.figures import SqlFigures
from p2sp.statistics.interfaces import IStatisticsStore
from p2sp.statistics.metrics import StatisticsMetrics
from p2sp.statistics.pages import StatisticsPage
from p2sp.statistics.store import SqlStatisticsStore
from p2sp.statistics.tables import VERSION, add_index, metadata

PRUNE_EVERY: Final = 600.0
# One transaction forgets no more than this, so that a batch never waits long for it.
PRUNE_AT_ONCE: Final = 500

_log = Logger()


def make_service(config: StatisticsConfig, config_path: Path, reactor: IReactorTime) -> RoleService:
    """The statistics server as a service; relative paths start at the folder of `config_path`.

    Raises BadIdentity when a key or certificate cannot be used, ConfigError for values that do not fit.
    """
    check_config(config, config_path)
    identity = load_identity(resolve(config_path, config.identity))
    trust = Trust.from_file(resolve(config_path, config.authority))
    state = resolve(config_path, config.state)
    database = Database(IReactorFromThreads(reactor), database_url(config, config_path), metadata, version=VERSION)
    store = SqlStatisticsStore(
        database,
        interval=parse_duration(config.interval),
        retention=parse_duration(config.retention),
        max_age=parse_duration(config.max_sample_age),
        thin_after=parse_duration(config.thin_after),
        thin_interval=parse_duration(config.thin_interval),
    )
    api = Api(trust, reactor, role="statistics", node_id=identity.node_id)
    figures = SqlFigures(database)
    StatisticsApi(store, figures, reactor).mount(api)
    role = RoleService("statistics", reactor)
    role.on_start("making the state folder", lambda: state.mkdir(parents=True, exist_ok=True))
    role.on_start("opening the database", lambda: database.open(add_index))
    role.on_stop("closing the database", database.close)
    site = make_site(api)
    role.listen(config.listen, site, server_context(identity))
    serve_metrics(role, config, StatisticsMetrics(store.taken, database), api, site)
    if config.pages is not None:
        names = Names.at(config.index, client_policy(identity, trust), reactor)
        role.on_stop("closing the way to the index", names.close)
        serve_pages(role, config, config_path, identity, StatisticsPage(figures, reactor, store.interval, names.of))
    role.every(PRUNE_EVERY, lambda: prune(store, reactor), "forgetting old statistics", at_once=True)
    return role


async def prune(store: IStatisticsStore, clock: IReactorTime) -> int:
    """Forget what is beyond its time and sum up what is old, a little in each transaction; how much was forgotten."""
    forgotten = summed = 0
    while count := await store.prune(clock.seconds(), PRUNE_AT_ONCE):
        forgotten += count
    if forgotten:
        _log.info("{count} old sessions and rollups were forgotten", count=forgotten)
    while count := await store.thin(clock.seconds(), PRUNE_AT_ONCE):
        summed += count
    if summed:
        _log.info("{count} old rollups were summed up in longer intervals", count=summed)
    return forgotten
