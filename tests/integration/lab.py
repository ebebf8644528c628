"""How does a test run a whole network of real processes, watch downloads through it, and end all of it?"""

import http.client
import json
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from random import Random, randrange
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import attrs

from p2sp.site.layout import MAP, PKI, NetworkFolder, Service
from tests.integration.processes import Process, twistd

ISPS = {"north": ["127.1.0.0/16"], "south": ["127.2.0.0/16"]}
CORE, NORTH, SOUTH = "127.0.0.1", "127.1.0.", "127.2.0."
GET_WITHIN = 60.0
MIB = 1024 * 1024
TROUBLE = re.compile(r"Traceback|Unhandled|internal error|^.*\[critical\].*$", re.MULTILINE)
"""What must never be in a log, whatever was done to the network."""


@attrs.frozen
class Bytes:
    """A file that was made up, and what its SHA-256 is."""

    path: Path
    sha256: str


def make_file(path: Path, size: int, seed: int = 1) -> Bytes:
    """A file of `size` bytes that look like nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = Random(seed).randbytes(size)
    path.write_bytes(data)
    return Bytes(path, sha256(data).hexdigest())


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


class Download:
    """A `p2sp get` that runs, or is over."""

    def __init__(self, process: Process, path: Path, summary: Path) -> None:
        self.process = process
        self.path = path
        self._summary = summary

    @property
    def summary(self) -> dict[str, Any]:
        """The account it wrote when it was over."""
        loaded: dict[str, Any] = json.loads(self._summary.read_text())
        return loaded

    @property
    def by_kind(self) -> dict[str, int]:
        """Bytes by kind of source."""
        kinds: dict[str, int] = self.summary["bytes_by_kind"]
        return kinds

    @property
    def is_served(self) -> bool:
        """Whether it is complete, as somebody who goes on seeding writes at that moment."""
        return self._summary.exists()

    @property
    def news(self) -> list[str]:
        """The sentences it told its user."""
        return [event["text"] for event in self._events() if event.get("event") == "news"]

    def _events(self) -> list[dict[str, Any]]:
        lines = [line for line in self.process.log.splitlines() if line.startswith('{"event"') and line.endswith("}")]
        return [json.loads(line) for line in lines]

    @property
    def written(self) -> int:
        """Bytes on the disk so far, by the blocks the file takes: to the moment, where progress comes by the second."""
        try:
            return self.path.with_name(self.path.name + ".part").stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def until_written(self, count: int) -> None:
        """Wait until so many bytes are there; the download must not be over then."""
        until(lambda: self.written >= count or not self.process.is_running, GET_WITHIN, f"{count} bytes are there")
        assert self.process.is_running, f"over before it had {count} bytes:\n{self.process.log[-6000:]}"

    def wait(self, code: int = 0) -> Self:
        """Wait for the end, which must come in time and with this exit code."""
        ended = self.process.wait(GET_WITHIN)
        assert ended == code, f"exit code {ended}, not {code}:\n{self.process.log[-6000:]}"
        return self

    def is_right(self, wanted: Bytes) -> Self:
        """Wait for a good end, and compare what came."""
        self.wait()
        assert digest_of(self.path) == wanted.sha256
        assert self.summary["ok"] is True
        return self


def until(true: Callable[[], object], within: float, what: str) -> None:
    """Look again and again until something has come about; AssertionError when it has not in time."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(0.05)


def steady_port(host: str) -> int:
    """A free port that no outgoing connection takes meanwhile: a killed service is to come back to it."""
    while True:
        port = randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port


class Lab:
    """A network in a folder: services are described with `add`, run with `start`, and all ended with the block.

    Ports are free ones; everything listens on loopback, services of an ISP on its addresses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = NetworkFolder(folder, "test network")
        self.files.write_map(ISPS)
        self.files.key("publisher", "publisher")
        self.files.key("operator", "operator")
        self.services: dict[str, Service] = {}
        self.running: dict[str, Process] = {}
        self.logs: list[tuple[str, Process]] = []
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for process in self.running.values():
                process.request_stop()
        finally:
            self._stack.close()
        if error is None:
            self.assert_quiet()

    # -- services --------------------------------------------------------------------------------------------

    def add(self, role: str, name: str = "", address: str = CORE, **settings: Any) -> Service:
        """Key and configuration of a service, on a free port of its address."""
        service = Service(role, name or role, address, steady_port(address), settings)
        self.rewrite(service)
        return service

    def rewrite(self, service: Service) -> None:
        """Write a service's configuration, and a key when it is new."""
        self.services[service.name] = service
        self.files.service(service)

    def add_core(self, **tracker: Any) -> None:
        """An index and a global tracker that wants to hear from everybody each second; `site.toml` for clients."""
        self.add("index")
        self.add("tracker", scope="global", network_map=MAP, interval=1, **tracker)
        self.site("site.toml")

    def add_node(self, role: str, name: str, address: str, **settings: Any) -> Service:
        """A peer daemon or a super node, which dials from its own address."""
        wire = f"{address}:{steady_port(address)}"
        where = {"wire": wire, "connect_from": address, "index": self.url("index"), "trackers": [self.url("tracker")]}
        # The ISPs are all on one loopback interface, where they would hear of each other.
        alone = {"lan": False} if role == "peer" else {}
        return self.add(role, name, address, **{**where, **alone, **settings})

    def url(self, name: str) -> str:
        """Where a service is reached."""
        return self.services[name].url

    def site(self, name: str, **changes: Any) -> Path:
        """A `site.toml` for clients, with changes; None takes a line out."""
        values = {
            "authority": f"{PKI}/ca.pem",
            "index": self.url("index") if "index" in self.services else None,
            "trackers": [self.url("tracker")] if "tracker" in self.services else [],
            "publisher": f"{PKI}/publisher.pem",
        }
        return self.files.write(name, {**values, **changes}, "for clients")

    def start(self, *names: str) -> None:
        """Run services (all there are, when none is named) and wait until they listen."""
        chosen = names or tuple(self.services)
        for name in chosen:
            role = self.services[name].role
            self.running[name] = self._process(name, twistd(f"p2sp-{role}", self.folder / f"{name}.toml"))
        for name in chosen:
            self.running[name].wait_until_listening()

    def kill(self, name: str) -> None:
        """End a service as a crash would."""
        self.running.pop(name).kill()

    def stop(self, *names: str) -> None:
        """Stop services in order, all at once; each must end in time and well."""
        stopping = [(name, self.running.pop(name)) for name in names]
        for _, process in stopping:
            process.request_stop()
        for name, process in stopping:
            assert process.terminate() == 0, f"{name}:\n{process.log[-4000:]}"

    def _process(self, name: str, command: Sequence[str]) -> Process:
        # Some of the programs are the tests' own.
        here = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        process = self._stack.enter_context(Process(command, self.folder, {"PYTHONPATH": here}))
        self.logs.append((name, process))
        return process

    def assert_quiet(self) -> None:
        """No log of anything that ever ran here holds a traceback."""
        for name, process in self.logs:
            found = TROUBLE.search(process.log)
            if found is not None:
                start = max(found.start() - 500, 0)
                raise AssertionError(f"the log of {name} has {found.group(0)!r}:\n{process.log[start:][:4000]}")

    # -- programs --------------------------------------------------------------------------------------------

    def run(self, name: str, *arguments: str) -> Process:
        """Run `python -m` with arguments in the network's folder."""
        return self._process(name, [sys.executable, "-m", *arguments])

    def origin(self, file: Bytes, rate: float, host: str = CORE) -> tuple[str, Process]:
        """An ordinary web server for one file at a limited rate in bytes a second; the file's URL."""
        process = self.run("origin", "p2sp.cli.demo_origin", str(file.path), host, str(rate))
        return process.wait_for(r"(?m)^http://\S+$").group(0), process

    def publish(self, path: Path, *options: str, site: str = "site.toml", code: int = 0) -> str:
        """`p2sp publish` of a file or folder; the resource id, or the whole output when it must fail."""
        process = self.run("publish", "p2sp.cli", "publish", str(path), "--site", site, *options)
        assert process.wait(GET_WITHIN) == code, process.log
        found = re.search(r"(?m)^[0-9a-f]{64}$", process.log)
        return found.group(0) if found is not None else process.log

    def get(self, target: str, *options: str, address: str = NORTH + "10", site: str | None = "site.toml") -> Download:
        """Start a `p2sp get` at an address, with its progress as JSON."""
        self._count += 1
        path = self.folder / "got" / f"{self._count}"
        path.parent.mkdir(exist_ok=True)
        summary = path.with_suffix(".json")
        arguments = ["p2sp.cli", "get", target, "-o", str(path), "--summary", str(summary), "--progress", "json"]
        if site is not None:
            arguments += ["--site", site, *([] if "--lan" in options else ["--no-lan"])]
        arguments += ["--address", address, *options]
        return Download(self.run(f"get {self._count}", *arguments), path, summary)

    def seed(self, folder: str, resource: str, source: Path | None) -> None:
        """Put the `.torrent` of a resource where a peer daemon looks for it, and the bytes if there are any."""
        target = self.folder / folder
        target.mkdir(exist_ok=True)
        if source is not None and not (target / source.name).exists():
            os.link(source, target / source.name)
        torrent = self.call("index", f"/v1/resources/{resource}.torrent")
        # A torrent that is still being written would be taken for a bad one.
        (target / "new").write_bytes(torrent)
        (target / "new").rename(target / f"{resource[:8]}.torrent")

    # -- calls -----------------------------------------------------------------------------------------------

    def context(self, key: str | None = None) -> ssl.SSLContext:
        """TLS towards the network's services, showing `pki/<key>.pem` if one is named."""
        context = ssl.create_default_context(cafile=str(self.folder / PKI / "ca.pem"))
        if key is not None:
            context.load_cert_chain(self.folder / PKI / f"{key}.pem")
        return context

    def ask(
        self,
        name: str,
        path: str,
        body: Any = None,
        *,
        method: str = "",
        key: str | None = None,
        address: str | None = None,
    ) -> tuple[int, bytes]:
        """Call a service, from an address; status and body of its answer."""
        parts = urlsplit(self.url(name))
        connection = http.client.HTTPSConnection(
            parts.hostname or "",
            parts.port,
            timeout=20,
            context=self.context(key),
            source_address=(address, 0) if address else None,
        )
        try:
            data = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if data else {}
            connection.request(method or ("GET" if data is None else "POST"), path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self, name: str, path: str) -> int:
        """The status a service answers with, whatever the body would be."""
        return self.ask(name, path, method="HEAD")[0]

    def call(self, name: str, path: str, body: Any = None, **options: Any) -> bytes:
        """Call a service; the body of its answer, which must be a good one."""
        status, text = self.ask(name, path, body, **options)
        assert 200 <= status < 300, f"{path}: {status} {text[:500]!r}"
        return text

    def placements(self) -> list[dict[str, Any]]:
        """What the manager has placed."""
        found: list[dict[str, Any]] = json.loads(self.call("manager", "/v1/placements"))["placements"]
        return found

    def entries(self, tracker: str = "tracker") -> int:
        """How many nodes in how many swarms a tracker knows, counted together."""
        return int(json.loads(self.call(tracker, "/v1/health"))["entries"])
