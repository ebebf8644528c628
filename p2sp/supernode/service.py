"""Which parts make up a running super node?"""

from pathlib import Path
from random import Random
from typing import Any

from p2sp.download.node import Node
from p2sp.manager.client import ManagerClient
from p2sp.manager.schema import Heartbeat
from p2sp.net.errors import NetError
from p2sp.net.identity import load_identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.listen import parse_listen
from p2sp.net.trust import Trust, server_context
from p2sp.ops.config import parse_duration, resolve
from p2sp.ops.loops import Periodic
from p2sp.ops.metrics import serve_metrics
from p2sp.ops.service import RoleService
from p2sp.ops.workers import worker_number
from p2sp.supernode.config import SuperNodeConfig
from p2sp.supernode.crew import add_workers, make_worker, shop_window
from p2sp.supernode.keeper import Keeper
from p2sp.supernode.metrics import SuperNodeMetrics
from p2sp.supernode.tally import Tally

ARRANGE = 5.0
"""Seconds between two looks at which fills shall run."""

FAREWELL = 3.0
"""Seconds for which the manager may take to hear that we stop."""


class Steering:
    """The heartbeat: says what is held, follows what is ordered, comes back when told to.

    While the manager is away the cache goes on as it is.
    """

    def __init__(self, role: RoleService, manager: ManagerClient, keeper: Keeper, node: Node, config: SuperNodeConfig):
        self._role = role
        self._manager = manager
        self._keeper = keeper
        self._node = node
        self._config = config
        self._restored = False
        self._away = False
        self._draining = False
        self.job: Periodic | None = None

    async def beat(self) -> None:
        """One heartbeat."""
        if not self._restored and not self._draining:
            self._restored = True
            await self._keeper.restore()
        beat = Heartbeat(
            url=self._config.public_url,
            port=self._node.port,
            capacity=self._config.capacity_bytes,
            used=self._keeper.used,
            uploaded=self._keeper.uploaded,
            held=self._keeper.held(),
            troubles=self._keeper.troubles(),
            fills=self._config.fills,
            fill_rate=self._config.fill_rate or 0,
            draining=self._draining,
        )
        try:
            answer = await self._manager.heartbeat(beat)
        except NetError as error:
            if not self._away:
                self._role.log.warn("the manager is away, the cache stays as it is: {reason}", reason=str(error))
            self._away = True
            return
        self._away = False
        if self.job is not None:
            self.job.interval = answer.interval
        if not self._draining:
            await self._keeper.follow(answer.desired)

    async def farewell(self) -> None:
        """Say that nothing is to be placed here any more, now and with every heartbeat that is still to come."""
        self._draining = True
        await self.beat()


def make_service(config: SuperNodeConfig, config_path: Path, reactor: Any) -> RoleService:
    """The super node as a service. Raises BadIdentity when a key or certificate cannot be used."""
    identity = load_identity(resolve(config_path, config.identity))
    trust = Trust.from_file(resolve(config_path, config.authority))
    state = resolve(config_path, config.state)
    rng = Random()
    if worker_number():
        return make_worker(config, state, identity, trust, reactor, rng)
    node = Node(
        reactor,
        identity,
        rng=rng,
        trust=trust,
        index=config.index,
        trackers=config.trackers,
        address=config.connect_from,
        listen=parse_listen(config.wire),
        max_upload=config.upload_rate,
        max_download=config.fill_rate,
        slots=config.slots,
        generous=True,
        clear_text=config.clear_text,
        allowed=config.allowed,
    )
    keeper = Keeper(
        node,
        state / "cache",
        config.capacity_bytes,
        config.fills,
        read_through=config.read_through,
        own_url=config.public_url,
    )
    manager_api = node.api(config.manager)
    role = RoleService("supernode", reactor, rng=rng, drain=config.drain_seconds)
    steering = Steering(role, ManagerClient(manager_api), keeper, node, config)
    api = Api(trust, reactor, role="supernode", node_id=identity.node_id)
    front = shop_window(config, keeper, identity, reactor)
    behind = front.behind()
    api.mount("/r", front)
    role.on_start("making the cache folder", lambda: (state / "cache").mkdir(parents=True, exist_ok=True))
    role.on_start("starting the wire", node.start)
    steering.job = role.every(
        parse_duration(config.first_heartbeat), steering.beat, "heartbeat to the manager", at_once=True
    )
    role.every(ARRANGE, keeper.arrange, "arranging the fills")
    site = make_site(api)
    role.on_leaving("closing connections after their answers", site.wind_down)
    role.on_leaving("saying so to the manager", steering.farewell, deadline=FAREWELL)
    role.on_leaving("leaving the swarms", keeper.leave)
    role.on_stop("stopping the wire", node.stop)
    role.on_stop("saying goodbye to the manager", manager_api.close)
    role.on_stop("closing the cache", keeper.close)
    tally = Tally(reactor.seconds, lambda: (front.answers, behind.answers), lambda: len(site.channels))
    if config.workers > 1:
        add_workers(role, config, config_path, state, keeper, behind, tally, reactor)
    role.listen(config.listen, site, server_context(identity), shared=config.workers > 1)
    serve_metrics(role, config, SuperNodeMetrics(node, keeper, tally, config.capacity_bytes), api, site)
    return role
