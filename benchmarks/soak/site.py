"""What is the site that is soaked, and how does one of its roles die and come back?"""

import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.soak.origin import Counts
from p2sp.site.layout import MAP
from tests.integration.lab import CORE, MIB, NORTH, SOUTH, TROUBLE, Lab, steady_port
from tests.integration.processes import Process, twistd

ORIGIN: Final = "origin"
NODES: Final = {"cache-north": NORTH + "3", "cache-south": SOUTH + "3", "peer": SOUTH + "5"}
"""Roles that fetch pieces, and where they live: super nodes of both ISPs and a peer daemon."""

PATIENCE: Final = 120.0
"""Seconds a role may take to start or to end: the soak runs niced, beside whatever else the machine does."""

CACHE: Final = 96 * MIB
_SAMPLE: Final = re.compile(r"(?m)^p2sp_(\w+)(?:\{\w+=\"(\w+)\"\})? (\S+)$")


@attrs.frozen
class Pace:
    """How fast the network's clocks go, in seconds, and its servers, in bytes a second."""

    announce: float = 10.0
    report: float = 5.0
    rollup: float = 10.0
    decide: float = 10.0
    origin_rate: float = 3.0 * MIB
    fill_rate: int = 3 * MIB
    node_upload: int = 6 * MIB


@attrs.define
class Life:
    """One process of a role from its start on; `counters` are what its metrics said last."""

    process: Process
    began: float
    counters: dict[str, float] = attrs.field(factory=dict)


class Site(Lab):
    """Index, trackers, statistics, manager, origin, a peer, and a super node in each of two ISPs."""

    def __init__(self, folder: Path, pace: Pace) -> None:
        super().__init__(folder)
        self._pace = pace
        self.wares = folder / ORIGIN
        self.wares.mkdir()
        (folder / "seed").mkdir()
        self._origin_port = steady_port(CORE)
        self._metrics = {name: steady_port(CORE) for name in NODES}
        self.counts = Counts(folder / "origin.counts")
        self.lives: dict[str, Life] = {}
        self.past: dict[str, dict[str, float]] = {name: {} for name in NODES}
        self._describe()

    def _describe(self) -> None:
        pace = self._pace
        statistics = self.add("statistics", interval=pace.rollup)
        told: dict[str, Any] = {"network_map": MAP, "statistics": statistics.url}
        told |= {"interval": pace.announce, "report_interval": pace.report}
        self.add("index")
        tracker = self.add("tracker", scope="global", **told)
        manager = self.add(
            "manager",
            statistics=statistics.url,
            network_map=MAP,
            period=pace.decide,
            sync_interval=pace.decide / 2,
            heartbeat_interval=pace.decide / 2,
            min_demand="4MiB",
        )
        for isp, prefix in (("north", NORTH), ("south", SOUTH)):
            local = self.add("tracker", f"tracker-{isp}", prefix + "2", scope="local", isps=[isp], **told)
            known = {"public_url": local.url, "global_tracker": tracker.url}
            self.rewrite(attrs.evolve(local, settings={**local.settings, **known}))
            name = f"cache-{isp}"
            cache = self.add_node("supernode", name, NODES[name], metrics=self._metrics_of(name))
            told_cache = {"manager": manager.url, "capacity": CACHE, "allow_targets": ["127.0.0.0/8"]}
            rates = {"max_upload": pace.node_upload, "max_fill": pace.fill_rate, "public_url": cache.url}
            self.rewrite(attrs.evolve(cache, settings={**cache.settings, **told_cache, **rates}))
        rates = {"max_upload": pace.node_upload, "max_download": pace.fill_rate, "scan_interval": 2}
        self.add_node("peer", "peer", NODES["peer"], folder="seed", metrics=self._metrics_of("peer"), **rates)
        self.site("site.toml")

    def _metrics_of(self, name: str) -> str:
        return f"{CORE}:{self._metrics[name]}"

    @property
    def roles(self) -> list[str]:
        """All that is killed in turn."""
        return [*self.services, ORIGIN]

    def url_of(self, name: str) -> str:
        """Where the origin has a file."""
        return f"http://{CORE}:{self._origin_port}/{name}"

    # -- life and death --------------------------------------------------------------------------------------

    def begin(self, name: str) -> None:
        """Start a role and wait until it listens."""
        if name in self.running:
            # It did not come up when it was tried last.
            self.running.pop(name).kill()
        if name == ORIGIN:
            words = [str(self.wares), CORE, str(self._origin_port), str(self._pace.origin_rate)]
            command = ["-m", "benchmarks.soak.origin", *words, str(self.folder / "origin.counts")]
            self.running[name] = self._process(name, [sys.executable, *command])
        else:
            plugin, config = f"p2sp-{self.services[name].role}", self.folder / f"{name}.toml"
            self.running[name] = self._process(name, twistd(plugin, config))
        self.running[name].wait_until_listening(timeout=PATIENCE)
        self.lives[name] = Life(self.running[name], time.monotonic())

    def end(self, name: str, *, politely: bool) -> None:
        """End a role, by SIGTERM or by SIGKILL. AssertionError when it does not end well, or has logged trouble."""
        self.read_counters(name)
        if name not in self.running:
            return
        process = self.running[name]
        del self.running[name]
        code = 0
        if politely and name != ORIGIN:
            code = process.terminate(PATIENCE)
        elif politely:
            process.stop()
        else:
            process.kill()
        life = self.lives.pop(name, None)
        if name in self.past and life is not None:
            for key, value in life.counters.items():
                self.past[name][key] = self.past[name].get(key, 0.0) + value
        self.forget(process, name)
        assert code == 0, f"it ended with {code}:\n{process.log[-4000:]}"

    def forget(self, process: Process, name: str) -> None:
        """Look at the log of a process that has ended, which is not kept. AssertionError when it holds trouble."""
        self.logs = [entry for entry in self.logs if entry[1] is not process]
        found = TROUBLE.search(process.log)
        if found is not None:
            raise AssertionError(f"the log of {name}:\n{process.log[max(found.start() - 2000, 0) :][:6000]}")

    # -- the wire's own counters -----------------------------------------------------------------------------

    def read_counters(self, name: str) -> None:
        """Keep what a node's metrics say now; one that does not answer keeps what it said before."""
        life = self.lives.get(name)
        if name not in self._metrics or life is None:
            return
        with suppress(OSError), urllib.request.urlopen(f"http://{self._metrics_of(name)}/metrics", timeout=5) as answer:
            text = answer.read().decode()
            life.counters = {
                f"{match[1]} {match[2] or ''}".strip(): float(match[3])
                for match in _SAMPLE.finditer(text)
                if match[1].endswith("_total")
            }

    def counted(self, name: str, counter: str) -> int:
        """What a node's counter came to over all its lives."""
        life = self.lives.get(name)
        return int(self.past[name].get(counter, 0.0) + (life.counters.get(counter, 0.0) if life else 0.0))

    # -- what the network says -------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        """Bytes by kind, and downloads that completed and failed: the sums over all rollups."""
        total = dict.fromkeys(("server", "supernode", "peer_local", "peer_remote", "fill", "completed", "failed"), 0)
        for rollup in self._rollups():
            for key in total:
                total[key] += rollup[key]
        return total

    def _rollups(self) -> Iterator[dict[str, Any]]:
        cursor, more = 0, True
        while more:
            page = json.loads(self.call("statistics", f"/v1/rollups?cursor={cursor}", key="operator"))
            yield from page["rollups"]
            cursor, more = page["cursor"], page["more"]
