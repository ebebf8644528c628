"""What can an operator's monitoring read of a role, and from where?"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import attrs
from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from twisted.internet.interfaces import IReactorTime

from p2sp.net.jsonapi import Api, Call, Reply, make_site
from p2sp.net.listen import parse_listen
from p2sp.net.web import BoundedSite
from p2sp.ops.checks import Checker
from p2sp.ops.config import Base
from p2sp.ops.database import Database
from p2sp.ops.service import RoleService

Gather = Callable[[], Awaitable[Iterable[Metric]]]
PATH: Final = "/metrics"

LOOK: Final = 0.5
"""Seconds between two looks at how late the event loop is."""

LAGS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def counter(name: str, says: str, values: float | dict[str, float], label: str = "") -> Metric:
    """A number that only grows, or one for each value of a label."""
    family = CounterMetricFamily(f"p2sp_{name}", says, labels=[label] if label else None)
    return _filled(family, values)


def gauge(name: str, says: str, values: float | dict[str, float], label: str = "") -> Metric:
    """A number that goes up and down, or one for each value of a label."""
    family = GaugeMetricFamily(f"p2sp_{name}", says, labels=[label] if label else None)
    return _filled(family, values)


def gauges(name: str, says: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Numbers that go up and down, one for each tuple of values of several labels."""
    family = GaugeMetricFamily(f"p2sp_{name}", says, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: float | dict[str, float]) -> Metric:
    if isinstance(values, dict):
        for name, value in values.items():
            family.add_metric([name], value)
    else:
        family.add_metric([], values)
    return family


def database_metrics(database: Database) -> list[Metric]:
    """What every role with a database tells of it."""
    return [gauge("database_jobs", "Jobs of the database that are under way or wait.", database.waiting)]


def http_metrics(api: Api, site: BoundedSite) -> list[Metric]:
    """What every role tells of the calls it gets."""
    refused: dict[str, float] = dict(api.refused)
    if site.refused_bodies:
        refused["body"] = site.refused_bodies
    if site.turned_away:
        refused["connections"] = site.turned_away
    return [
        counter("http_calls", "Calls that had a route.", dict(api.calls), "call"),
        counter("http_refused", "Calls answered by an error, by its code; bodies and connections.", refused, "reason"),
        gauge("http_connections", "Connections that are open.", len(site.channels)),
    ]


@attrs.define(eq=False)
class _Snapshot(Collector):
    """What was gathered for the answer at hand."""

    metrics: list[Metric] = attrs.field(factory=list)

    def collect(self) -> Iterable[Metric]:
        return self.metrics


@attrs.define
class LoopWatch:
    """How late the event loop is: a look at the clock every `LOOK` seconds comes so much too late."""

    histogram: Histogram
    _last: float | None = None

    def look(self, now: float) -> None:
        """Look at a clock that does not go back."""
        if self._last is not None:
            self.histogram.observe(max(0.0, now - self._last - LOOK))
        self._last = now


def metrics_site(clock: IReactorTime, gather: Gather, registry: CollectorRegistry | None = None) -> BoundedSite:
    """A web site with `GET /metrics` in Prometheus' text form; what it says is gathered when it is asked.

    `registry` is the role's own for what is counted all the time; never the global one, as roles may share a process.
    """
    api = Api(None, clock)
    snapshot = _Snapshot()
    registry = registry or CollectorRegistry()
    registry.register(snapshot)

    async def answer(call: Call) -> Reply:
        # Nothing comes between the two: both run in this turn of the event loop.
        snapshot.metrics = list(await gather())
        return Reply(generate_latest(registry), CONTENT_TYPE_LATEST)

    api.route("GET", PATH, answer)
    return make_site(api)


def serve_metrics(role: RoleService, config: Base, gather: Gather, api: Api, site: BoundedSite) -> None:
    """Have a role serve its metrics where its operator wants that: its own, those of its calls and of its process."""
    if config.metrics is None:
        return
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    lag = Histogram("p2sp_loop_lag_seconds", "How late the event loop is.", registry=registry, buckets=LAGS)
    watch = LoopWatch(lag)

    async def all_of_it() -> Iterable[Metric]:
        return [*http_metrics(api, site), *await gather()]

    role.every(LOOK, lambda: watch.look(role.reactor.seconds()), "watching the event loop", jitter=0.0)
    role.listen(config.metrics, metrics_site(role.reactor, all_of_it, registry), None)


def check_metrics(config: Base, path: Path) -> None:
    """Raise ConfigError for an address of metrics that cannot be, or that others could reach."""
    if (metrics := config.metrics) is not None:
        Checker(path).read("metrics", lambda: parse_metrics_listen(metrics))


def parse_metrics_listen(text: str) -> tuple[str, int]:
    """Read where metrics are served: on a loopback address alone, as nobody is asked who they are.

    Raises ValueError.
    """
    host, port = parse_listen(text)
    if not ip_address(host).is_loopback:
        raise ValueError(f"{text!r} is not a loopback address: metrics are for this machine alone")
    return host, port
