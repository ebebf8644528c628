"""Which parts make up a running resource index?"""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool

from p2sp.index.api import IndexApi
from p2sp.index.config import IndexConfig, database_url
from p2sp.index.metrics import IndexMetrics
from p2sp.index.publication import Publication, examine
from p2sp.index.schema import PublishRequest
from p2sp.index.store import SqlIndexStore, metadata
from p2sp.net.identity import load_identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.trust import Trust, server_context
from p2sp.ops.config import resolve
from p2sp.ops.database import Database
from p2sp.ops.metrics import serve_metrics
from p2sp.ops.service import RoleService


def make_service(config: IndexConfig, config_path: Path, reactor: IReactorTime) -> RoleService:
    """The index as a service; relative paths start at the folder of `config_path`.

    Raises BadIdentity when a key or certificate cannot be used.
    """
    identity = load_identity(resolve(config_path, config.identity))
    trust = Trust.from_file(resolve(config_path, config.authority))
    state = resolve(config_path, config.state)
    database = Database(IReactorFromThreads(reactor), database_url(config, config_path), metadata)

    def examine_in_thread(request: PublishRequest) -> Deferred[Publication]:
        threads = IReactorThreads(reactor).getThreadPool()
        return deferToThreadPool(IReactorFromThreads(reactor), threads, examine, request)

    api = Api(trust, reactor, role="index", node_id=identity.node_id)
    IndexApi(SqlIndexStore(database), reactor, examine_in_thread).mount(api)
    role = RoleService("index", reactor)
    role.on_start("making the state folder", lambda: state.mkdir(parents=True, exist_ok=True))
    role.on_start("opening the database", database.open)
    role.on_stop("closing the database", database.close)
    site = make_site(api)
    role.listen(config.listen, site, server_context(identity))
    serve_metrics(role, config, IndexMetrics(database), api, site)
    return role
