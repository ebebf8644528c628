"""Are metrics in the form that monitoring reads, and do they count what happens?"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent, HTTPConnectionPool

from p2sp.net.errors import Refused
from p2sp.net.jsonapi import Api, ApiError, Call
from p2sp.ops.config import Base, ConfigError
from p2sp.ops.metrics import LOOK, LoopWatch, check_metrics, counter, gauge, gauges, serve_metrics
from p2sp.ops.service import RoleService
from tests.net.kit import TRUST, LoopbackCase, reactor

CONFIG = Base(listen="127.0.0.1:0", identity="i.pem", authority="ca.pem", state="state", metrics="127.0.0.1:0")


async def own() -> Iterable[Metric]:
    return [
        counter("things_done", "What was done.", {'a "b"\\': 3.0}, "what"),
        gauge("things", "What there is.", 4.5),
        gauges("places", "Where.", ("isp", "state"), {("campus", "held"): 1.0, ("", "held"): 2.0}),
    ]


class ServedTests(LoopbackCase):
    """A role that serves its own and what every role has."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.api = Api(TRUST, reactor, role="test")
        self.api.route("GET", "/v1/refused", self.refuse)
        url = self.serve(self.api)
        self.role = RoleService("test", IReactorTime(reactor))
        serve_metrics(self.role, CONFIG, own, self.api, self.site)
        self.role.startService()
        self.addCleanup(self.role.stopService)
        self.calls = self.client(url)
        (port,) = self.role.ports
        self.metrics_url = f"http://127.0.0.1:{port.getHost().port}/metrics"  # type: ignore[attr-defined]

    async def refuse(self, call: Call) -> None:
        raise ApiError(403, "not-you", "no")

    async def samples(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Every sample by name and values of its labels, as Prometheus' own parser reads them."""
        client = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
        response = await client.get(self.metrics_url, unbuffered=True)
        assert response.code == 200
        families = text_string_to_metric_families((await response.content()).decode())
        return {(each.name, tuple(each.labels.values())): each.value for family in families for each in family.samples}

    async def test_calls_refusals_and_the_role_s_own(self) -> None:
        for _ in range(2):
            await self.calls.get("/v1/health", dict[str, Any])
        for path in ("/v1/refused", "/v1/nothing"):
            with pytest.raises(Refused):
                await self.calls.get(path, dict[str, Any])
        found = await self.samples()
        assert found["p2sp_http_calls_total", ("GET /v1/health",)] == 2
        assert found["p2sp_http_calls_total", ("GET /v1/refused",)] == 1
        assert found["p2sp_http_refused_total", ("not-you",)] == 1
        assert found["p2sp_http_refused_total", ("not-found",)] == 1
        assert found["p2sp_http_connections", ()] == 1
        assert found["p2sp_things_done_total", ('a "b"\\',)] == 3
        assert found["p2sp_things", ()] == 4.5
        assert found["p2sp_places", ("campus", "held")] == 1
        assert found["process_open_fds", ()] > 3
        assert set(found) == set(await self.samples()) - {("p2sp_http_calls_total", ("GET /metrics",))}

    async def test_nothing_else_is_there(self) -> None:
        client = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
        for path, method, code in (("/", "GET", 404), ("/metrics", "POST", 405)):
            url = urlsplit(self.metrics_url)._replace(path=path).geturl()
            response = await client.request(method, url, unbuffered=True)
            assert response.code == code
            await response.content()


def test_how_late_the_loop_is() -> None:
    registry = CollectorRegistry()
    watch = LoopWatch(Histogram("lag", "How late.", registry=registry, buckets=(0.1, 1.0)))
    for now in (10.0, 10.0 + LOOK, 10.25 + 2 * LOOK, 12.25 + 3 * LOOK, 5.0):
        watch.look(now)
    counts = [registry.get_sample_value("lag_bucket", {"le": le}) for le in ("0.1", "1.0", "+Inf")]
    assert counts == [2.0, 3.0, 4.0]
    assert registry.get_sample_value("lag_sum") == pytest.approx(2.25)


@pytest.mark.parametrize("metrics", ["*:9101", "192.0.2.1:9101", "[::]:9101"])
def test_metrics_are_for_this_machine(metrics: str) -> None:
    config = Base(listen="127.0.0.1:0", identity="i", authority="a", state="s", metrics=metrics)
    with pytest.raises(ConfigError, match=r"\$.metrics: .* is not a loopback address"):
        check_metrics(config, Path("role.toml"))
