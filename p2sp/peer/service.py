"""Which parts make up a running peer daemon?"""

from pathlib import Path
from random import Random
from typing import Any

from p2sp.download.node import Node
from p2sp.net.identity import load_or_create_identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.listen import parse_listen
from p2sp.net.trust import Trust, server_context
from p2sp.ops.config import resolve
from p2sp.ops.metrics import serve_metrics
from p2sp.ops.service import RoleService
from p2sp.peer.config import PeerConfig
from p2sp.peer.keeper import Keeper
from p2sp.peer.metrics import PeerMetrics


def make_service(config: PeerConfig, config_path: Path, reactor: Any) -> RoleService:
    """The peer daemon as a service; its key is made on first start. Raises BadIdentity when a key cannot be used."""
    identity = load_or_create_identity(resolve(config_path, config.identity))
    trust = Trust.from_file(resolve(config_path, config.authority))
    folder = resolve(config_path, config.folder)
    host, port = parse_listen(config.wire)
    rng = Random()
    node = Node(
        reactor,
        identity,
        rng=rng,
        trust=trust,
        index=config.index,
        trackers=config.trackers,
        address=config.connect_from,
        listen=(host, port),
        max_upload=config.upload_rate,
        max_download=config.download_rate,
        slots=config.slots,
        clear_text=config.clear_text,
        lan=config.lan,
    )
    keeper = Keeper(node, folder)
    api = Api(trust, reactor, role="peer", node_id=identity.node_id)
    role = RoleService("peer", reactor, rng=rng)
    role.on_start("making the folder", lambda: folder.mkdir(parents=True, exist_ok=True))
    role.on_start("starting the wire", node.start)
    role.every(config.scan_seconds, keeper.scan, "looking for resources", at_once=True)
    role.on_stop("stopping the wire", node.stop)
    role.on_stop("leaving the swarms", keeper.stop)
    site = make_site(api)
    role.listen(config.listen, site, server_context(identity))
    serve_metrics(role, config, PeerMetrics(node, keeper), api, site)
    return role
