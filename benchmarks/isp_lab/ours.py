"""How does p2sp take part in a race: index, trackers, statistics, manager, super nodes, and real `p2sp get` clients?"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.isp_lab.contenders import FILE, ORIGIN_URL, Client
from benchmarks.isp_lab.network import CONTROL_NAME
from benchmarks.isp_lab.plan import CONTROL, Host, Isp, Plan
from benchmarks.isp_lab.processes import Group
from p2sp.site.layout import MAP, PKI, NetworkFolder, Service

OURS: Final = "p2sp"
"""What the names of all our contenders begin with."""

SEED: Final = "3600"
"""Seconds a client goes on serving: longer than any race."""

_PUBLISH_WITHIN: Final = 60.0
_PARTS: Final = ("index", "tracker", "statistics", "manager")
_FAST: Final = {"report_interval": 1}
_STEERED: Final = {"period": 1, "sync_interval": 1, "heartbeat_interval": 1, "min_clients": 2, "min_demand": "8MiB"}


@attrs.define(eq=False)
class Ours:
    """The whole network: one process of services, a local tracker at the edge of each ISP, and the clients.

    `supernodes`: none, `cold` ones that do what the manager orders, or `warm` ones that hold the file from the
    beginning. `torrent` has clients begin with a `.torrent`, and without a network unless `trackers`.
    """

    mode: str = "fast"
    supernodes: str = "none"
    trackers: bool = True
    torrent: bool = False
    interval: str = "60s"
    options: Sequence[str] = ()
    name: str = ""
    _folder: Path = Path()
    _resource: str = ""

    def __attrs_post_init__(self) -> None:
        self.name = self.name or f"{OURS} {self.mode}"

    def prepare(self, plan: Plan, group: Group, file: Path, logs: Path) -> None:
        self._folder = folder = group.folder / "network"
        folder.mkdir()
        files = NetworkFolder(folder, "ISP lab")
        files.write_map({isp.name: [isp.prefix] for isp in plan.isps})
        services = self._services()
        for service in services.values():
            files.service(service)
        files.key("publisher", "publisher")
        files.write("site.toml", self._site(services, publisher=f"{PKI}/publisher.pem"), "for the publisher")
        files.write("client.toml", self._site(services), "for the clients")
        files.write("p2sp-site.toml", {part: f"{part}.toml" for part in _PARTS}, "all services in one process")
        started = [self._twistd(group, "services", CONTROL_NAME, "site", "p2sp-site.toml")]
        started[0].wait_for(rf"(?s)(?:listening on https.*?){{{len(_PARTS)}}}")
        for isp in plan.isps:
            local = self._local_tracker(isp, services)
            files.service(local)
            started.append(self._twistd(group, local.name, isp.edge_name, "tracker", f"{local.name}.toml"))
        self._publish(group, file)
        if self.supernodes != "none":
            for isp in plan.isps:
                cache = self._supernode(isp, services)
                files.service(cache)
                if self.supernodes == "warm":
                    self._fill(folder / "state" / cache.name / "cache", file)
                started.append(self._twistd(group, cache.name, isp.edge_name, "supernode", f"{cache.name}.toml"))
        for process in started[1:]:
            process.wait_for("listening on https")

    def client(self, host: Host, group: Group, folder: Path) -> Client:
        file, done = folder / FILE, folder / "summary.json"
        target = str(self._folder / "file.torrent") if self.torrent else self._resource
        arguments = ["get", target, "-o", str(file), "--summary", str(done), "--progress", "json"]
        arguments += ["--mode", self.mode, "--address", host.address, *self.options]
        if self.trackers:
            arguments += ["--site", str(self._folder / "client.toml"), "--seed", SEED]
        command = [sys.executable, "-m", "benchmarks.isp_lab.our_client", *arguments]
        process = group.start(f"p2sp-{host.name}", host.name, _with_path(command), folder)
        return Client(host, process, file, done)

    def account(self, client: Client) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(client.done.read_text())
        return {key: found[key] for key in ("seconds", "bytes_by_kind", "sources", "stalled_seconds", "sha256")}

    # -- the network -----------------------------------------------------------------------------------------

    def _services(self) -> dict[str, Service]:
        index = Service("index", "index", CONTROL, 9401)
        statistics = Service("statistics", "statistics", CONTROL, 9403, {"interval": 2})
        told = {"network_map": MAP, "statistics": statistics.url, "interval": self.interval, **_FAST}
        tracker = Service("tracker", "tracker", CONTROL, 9402, {"scope": "global", **told})
        steering = {"statistics": statistics.url, "network_map": MAP, **_STEERED}
        manager = Service("manager", "manager", CONTROL, 9404, steering)
        return {service.name: service for service in (index, tracker, statistics, manager)}

    def _site(self, services: dict[str, Service], **more: str) -> dict[str, Any]:
        trackers = [services["tracker"].url] if self.trackers else []
        return {"authority": f"{PKI}/ca.pem", "index": services["index"].url, "trackers": trackers, **more}

    def _local_tracker(self, isp: Isp, services: dict[str, Service]) -> Service:
        local = Service("tracker", f"tracker-{isp.name}", isp.edge_address, 9402)
        settings = {**services["tracker"].settings, "scope": "local", "isps": [isp.name], "public_url": local.url}
        return attrs.evolve(local, settings={**settings, "global_tracker": services["tracker"].url})

    def _supernode(self, isp: Isp, services: dict[str, Service]) -> Service:
        cache = Service("supernode", f"supernode-{isp.name}", isp.edge_address, 9405)
        settings = {
            "public_url": cache.url,
            "manager": services["manager"].url,
            "index": services["index"].url,
            "trackers": [services["tracker"].url],
            "capacity": "10GiB",
            "wire": f"{isp.edge_address}:9406",
            "connect_from": isp.edge_address,
            "allow_targets": ["10.0.0.0/8"],
        }
        return attrs.evolve(cache, settings=settings)

    def _twistd(self, group: Group, name: str, namespace: str, role: str, config: str) -> Any:
        command = [sys.executable, "-m", "p2sp.cli.twistd", "-n", "--pidfile=", f"p2sp-{role}", "--config", config]
        return group.start(name, namespace, _with_path(command), self._folder)

    def _publish(self, group: Group, file: Path) -> None:
        command = [sys.executable, "-m", "p2sp.cli", "publish", str(file), "--mirror", ORIGIN_URL]
        command += ["--site", "site.toml", "--torrent", "file.torrent"]
        publishing = group.start("publish", CONTROL_NAME, _with_path(command), self._folder)
        publishing.wait(_PUBLISH_WITHIN)
        self._resource = publishing.wait_for(r"^[0-9a-f]{64}$").group(0)

    def _fill(self, cache: Path, file: Path) -> None:
        """Lay the file where a super node that starts takes up what it held."""
        shelf = cache / self._resource
        shelf.mkdir(parents=True)
        os.link(file, shelf / "data")
        os.link(self._folder / "file.torrent", shelf / "descriptor.torrent")


def _with_path(command: list[str]) -> list[str]:
    """The same, with this checkout's packages to import, whatever folder it runs in."""
    root = str(Path(__file__).resolve().parents[2])
    return ["env", f"PYTHONPATH={root}", *command]
