"""What can an operator's monitoring read of a role, and from where?"""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Final

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from twisted.internet.interfaces import IReactorTime

from p2sp.net.jsonapi import Api, Call, Reply, make_site
from p2sp.net.listen import parse_listen
from p2sp.net.web import BoundedSite

Gather = Callable[[], Awaitable[Iterable[Metric]]]
PATH: Final = "/metrics"


def counter(name: str, says: str, values: float | dict[str, float], label: str = "") -> Metric:
    """A number that only grows, or one for each value of a label."""
    family = CounterMetricFamily(f"p2sp_{name}", says, labels=[label] if label else None)
    return _filled(family, values)


def gauge(name: str, says: str, values: float | dict[str, float], label: str = "") -> Metric:
    """A number that goes up and down, or one for each value of a label."""
    family = GaugeMetricFamily(f"p2sp_{name}", says, labels=[label] if label else None)
    return _filled(family, values)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: float | dict[str, float]) -> Metric:
    if isinstance(values, dict):
        for name, value in values.items():
            family.add_metric([name], value)
    else:
        family.add_metric([], values)
    return family


@attrs.frozen(eq=False)
class _Snapshot(Collector):
    metrics: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def metrics_site(clock: IReactorTime, gather: Gather) -> BoundedSite:
    """A web site with `GET /metrics` in Prometheus' text form; what it says is gathered when it is asked."""
    api = Api(None, clock)

    async def answer(call: Call) -> Reply:
        registry = CollectorRegistry()
        registry.register(_Snapshot(list(await gather())))
        return Reply(generate_latest(registry), CONTENT_TYPE_LATEST)

    api.route("GET", PATH, answer)
    return make_site(api)


def parse_metrics_listen(text: str) -> tuple[str, int]:
    """Read where metrics are served: on a loopback address alone, as nobody is asked who they are.

    Raises ValueError.
    """
    host, port = parse_listen(text)
    if not ip_address(host).is_loopback:
        raise ValueError(f"{text!r} is not a loopback address: metrics are for this machine alone")
    return host, port
