"""What does the whole network look like at work? The demonstration: real processes on loopback, told as it happens."""

import json
import os
import shutil
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from p2sp.cli.demo_account import Part, told
from p2sp.cli.demo_processes import Processes, Running, free_port
from p2sp.cli.outcome import UserError, run
from p2sp.cli.progress import human
from p2sp.download.report import ExitCode
from p2sp.manager.client import ManagerClient
from p2sp.net.api_client import ApiClient
from p2sp.net.errors import NetError
from p2sp.net.identity import create_identity
from p2sp.net.trust import Trust, client_policy
from p2sp.site.layout import MAP, PKI, NetworkFolder, Service

NORTH, SOUTH = "north", "south"
ISPS = {NORTH: ["127.1.0.0/16"], SOUTH: ["127.2.0.0/16"]}
ORIGIN_SECONDS = 32.0
"""How long the origin alone would take for the file: 64 MiB at 2 MiB/s."""

SMALLEST = 4 * 1024 * 1024
SPREAD_WITHIN = 100.0
SUPERNODE_WITHIN = 60.0


@attrs.define
class _Client:
    """One downloader of the story."""

    name: str
    isp: str
    address: str
    process: Running | None = None
    told: int = 0

    @property
    def summary(self) -> str:
        """The file its account goes to."""
        return f"{self.name.replace(' ', '-')}.json"


class Demo:
    """The story, from an empty folder to the table."""

    def __init__(self, reactor: Any, size: int, file: Path | None, folder: Path, linger: float) -> None:
        self._reactor = reactor
        self._folder = folder
        self._linger = linger
        self._processes = Processes(reactor, folder)
        self._began = reactor.seconds()
        self._file = file.resolve() if file is not None else folder / "origin" / "demo.bin"
        self._size = self._file.stat().st_size if file is not None else size
        self._rate = self._size / ORIGIN_SECONDS
        self._digest = ""
        self._manager: ManagerClient | None = None
        self._told: dict[str, str] = {}
        if self._size < SMALLEST:
            raise UserError(f"the demonstration needs a file of at least {human(SMALLEST)}", ExitCode.BAD_INPUT)

    def say(self, text: str) -> None:
        """One line of the story."""
        print(f"[{self._reactor.seconds() - self._began:5.1f} s] {text}", flush=True)

    async def tell(self) -> int:
        """Everything; the exit code."""
        try:
            return await self._tell()
        finally:
            await self._processes.stop_all()
            self.say("every process has ended")

    async def _tell(self) -> int:
        self._make_file()
        origin = await self._start_origin()
        manager_api = await self._start_network()
        try:
            resource = await self._publish(origin)
            first = [
                _Client("client 1", NORTH, "127.1.0.11"),
                _Client("client 2", NORTH, "127.1.0.12"),
                _Client("client 3", SOUTH, "127.2.0.11"),
            ]
            self.say("three clients want it at the same time: two in ISP north, one in south; a peer in south too")
            for client in first:
                self._start_client(client, resource, seed=True)
            await self._watch(first)
            last = _Client("client 4", NORTH, "127.1.0.20")
            self.say("one more client of ISP north wants it now")
            self._start_client(last, resource, seed=False)
            assert last.process is not None
            code = await last.process.ended
            if code != 0:
                raise UserError(f"{last.name} failed: {last.process.tail()}")
            result = self._conclude([*first, last])
            if self._linger:
                self.say(f"all stays up for {self._linger:g} s more, for who looks at the pages")
                await deferLater(self._reactor, self._linger)
            return result
        finally:
            await manager_api.close()

    # -- the stage -------------------------------------------------------------------------------------------

    def _make_file(self) -> None:
        if not self._file.exists():
            self._file.parent.mkdir()
            with self._file.open("wb") as out:
                for _ in range(self._size // (1 << 20)):
                    out.write(os.urandom(1 << 20))
        hasher = sha256()
        with self._file.open("rb") as data:
            while part := data.read(1 << 20):
                hasher.update(part)
        self._digest = hasher.hexdigest()

    async def _start_origin(self) -> str:
        arguments = ["p2sp.cli.demo_origin", str(self._file), "127.0.0.1", str(self._rate)]
        origin = self._processes.start("origin", arguments)
        url = (await origin.says(r"^http://\S+", self._reactor)).group(0)
        self.say(f"an ordinary web server has {self._file.name}, {human(self._size)}, and gives {human(self._rate)}/s")
        return url

    async def _start_network(self) -> ApiClient:
        files = NetworkFolder(self._folder, "p2sp demonstration")
        files.write_map(ISPS)

        def service(role: str, name: str, address: str = "127.0.0.1", **settings: Any) -> Service:
            return Service(role, name, address, free_port(address), settings)

        index = service("index", "index")
        pages = {name: f"127.0.0.1:{free_port('127.0.0.1')}" for name in ("statistics", "manager")}
        links = {name: f"http://{address}/" for name, address in pages.items()}
        statistics = service(
            "statistics",
            "statistics",
            interval=2,
            index=index.url,
            pages=pages["statistics"],
            pages_links={"manager": links["manager"]},
        )
        report: dict[str, Any] = {"network_map": MAP, "statistics": statistics.url, "interval": 2, "report_interval": 1}
        tracker = service("tracker", "tracker", scope="global", **report)
        manager = service(
            "manager",
            "manager",
            statistics=statistics.url,
            network_map=MAP,
            period=2,
            sync_interval=1,
            heartbeat_interval=1,
            min_clients=2,
            min_demand=self._size // 16,
            target_speed=int(self._rate * 4),
            half_life=120,
            index=index.url,
            pages=pages["manager"],
            pages_links={"statistics": links["statistics"] + "?window=10m"},
        )
        services = [index, statistics, tracker, manager]
        for isp, address in ((NORTH, "127.1.0.2"), (SOUTH, "127.2.0.2")):
            local = service("tracker", f"tracker-{isp}", address, scope="local", isps=[isp], **report)
            public = {"public_url": local.url, "global_tracker": tracker.url}
            services.append(attrs.evolve(local, settings={**local.settings, **public}))
        node: dict[str, Any] = {"index": index.url, "trackers": [tracker.url]}
        cache = service("supernode", "supernode-north", "127.1.0.3")
        services.append(
            attrs.evolve(
                cache,
                settings={
                    "public_url": cache.url,
                    "manager": manager.url,
                    **node,
                    "capacity": self._size * 4,
                    "wire": f"127.1.0.3:{free_port('127.1.0.3')}",
                    "connect_from": "127.1.0.3",
                    "max_upload": int(self._rate * 4),
                    "allow_targets": ["127.0.0.0/8"],
                },
            )
        )
        services.append(
            service(
                "peer",
                "peer-south",
                "127.2.0.5",
                folder="seed",
                wire=f"127.2.0.5:{free_port('127.2.0.5')}",
                connect_from="127.2.0.5",
                max_upload=int(self._rate * 0.75),
                scan_interval=1,
                # All ISPs of the demonstration are on one loopback interface.
                lan=False,
                **node,
            )
        )
        (self._folder / "seed").mkdir()
        running = []
        for each in services:
            files.service(each)
            running.append(self._processes.twistd(each.role, f"{each.name}.toml"))
        files.key("publisher", "publisher")
        files.write(
            "site.toml",
            {
                "authority": f"{PKI}/ca.pem",
                "index": index.url,
                "trackers": [tracker.url],
                "publisher": f"{PKI}/publisher.pem",
            },
            "for the clients",
        )
        await gatherResults([each.says(r"listening on https", self._reactor) for each in running])
        self.say(
            "up, each a process of its own, TLS between all: index, global tracker, a local tracker for each of the "
            "ISPs north (127.1.*) and south (127.2.*), statistics, manager, a super node in north, a peer in south"
        )
        self.say(
            f"look on: what is hot and how fast at {links['statistics']}?window=10m, what lies where and why at "
            f"{links['manager']}"
        )
        trust = Trust.from_file(self._folder / PKI / "ca.pem")
        api = ApiClient(self._reactor, manager.url, policy=client_policy(create_identity(), trust))
        self._manager = ManagerClient(api)
        return api

    async def _publish(self, origin: str) -> str:
        arguments = ["p2sp.cli", "publish", str(self._file), "--mirror", origin, "--site", "site.toml"]
        publishing = self._processes.start("publish", [*arguments, "--torrent", "published.torrent"])
        resource = (await publishing.says(r"^[0-9a-f]{64}$", self._reactor)).group(0)
        if await publishing.ended != 0:
            raise UserError(f"publishing failed: {publishing.tail()}")
        shutil.copy(self._folder / "published.torrent", self._folder / "seed" / "published.torrent")
        self.say(f"published to the index as {resource[:16]}...")
        return resource

    # -- the actors ------------------------------------------------------------------------------------------

    def _start_client(self, client: _Client, resource: str, *, seed: bool) -> None:
        arguments = ["p2sp.cli", "get", "-v", resource, "--site", "site.toml", "--address", client.address, "--no-lan"]
        arguments += ["-o", f"{client.name.replace(' ', '-')}.bin", "--summary", client.summary, "--progress", "json"]
        arguments += ["--max-upload", str(int(self._rate * 0.75))]
        if seed:
            arguments += ["--seed", "600"]
        client.process = self._processes.start(client.name, arguments, lambda line: self._hear(client, line))

    def _hear(self, client: _Client, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if event.get("event") == "news" and "serving" in event["text"]:
            self.say(f"{client.name} ({client.isp}) is complete and serves others now")
        elif event.get("event") == "progress" and event["total"]:
            quarter = event["done"] * 4 // event["total"]
            if quarter > client.told and quarter < 4:
                client.told = quarter
                self.say(f"{client.name} ({client.isp}) has {quarter * 25} %, {human(event['rate'])}/s")

    async def _watch(self, clients: list[_Client]) -> None:
        """Until the clients are complete and the super node, told by nobody but the manager, holds the file."""
        deadline = self._reactor.seconds() + SPREAD_WITHIN
        patience: float | None = None
        while True:
            held = await self._look_at_placements()
            complete = all(self._complete(client) for client in clients)
            if held and complete:
                return
            now = self._reactor.seconds()
            if complete and patience is None:
                patience = now + SUPERNODE_WITHIN
            if now > deadline or (patience is not None and now > patience):
                raise UserError(
                    "the file did not spread in time; see the logs"
                    if not complete
                    else "the super node did not get the file in time; see the logs"
                )
            for client in clients:
                if client.process is not None and client.process.code is not None:
                    raise UserError(f"{client.name} failed: {client.process.tail()}")
            await deferLater(self._reactor, 0.5)

    def _complete(self, client: _Client) -> bool:
        return (self._folder / client.summary).exists()

    async def _look_at_placements(self) -> bool:
        assert self._manager is not None
        try:
            page = await self._manager.placements()
        except NetError:
            return False
        for placement in page.placements:
            before = self._told.get(placement.node_id)
            if before is None:
                self.say(f"the manager orders the super node in {placement.isp} to hold it: {placement.reason}")
            if placement.have >= 1.0 and before != "held":
                self.say(f"the super node in {placement.isp} holds all of it")
            self._told[placement.node_id] = "held" if placement.have >= 1.0 else "filling"
        return any(state == "held" for state in self._told.values())

    # -- the end ---------------------------------------------------------------------------------------------

    def _conclude(self, clients: list[_Client]) -> int:
        parts = [Part.read(self._folder / each.summary, each.name, each.isp, each.address[:6]) for each in clients]
        print("\n".join(["", *told(parts, self._digest), ""]))
        good = all(part.summary["ok"] and part.summary["sha256"] == self._digest for part in parts)
        last = parts[-1].summary
        missing = [kind for kind, count in last["bytes_by_kind"].items() if not count]
        if missing:
            self.say(f"the last client had nothing from: {', '.join(missing)}")
        if not good:
            self.say("a digest is wrong")
        print(f"summary of the last client: {json.dumps(last)}", flush=True)
        return ExitCode.OK if good and not missing else ExitCode.ERROR


def run_demo(size: int, file: Path | None, keep: bool, linger: float = 0.0) -> int:
    """Run it in a folder of its own, which goes away afterwards unless `keep`; the exit code.

    The network stays up for `linger` seconds after the story's end.
    """
    folder = Path(tempfile.mkdtemp(prefix="p2sp-demo-"))

    async def main(reactor: Any) -> int:
        return await Demo(reactor, size, file, folder, linger).tell()

    code = ExitCode.ERROR
    try:
        code = run(main)
    finally:
        if keep:
            print(f"configurations and logs are in {folder}")
        else:
            with suppress(OSError):
                shutil.rmtree(folder)
    return code
