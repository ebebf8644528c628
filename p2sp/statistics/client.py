"""How do trackers and the manager talk to the statistics server?"""

from collections.abc import Sequence

from p2sp.net.api_client import ApiClient
from p2sp.statistics.schema import (
    Course,
    HotPage,
    HotResource,
    IspFigures,
    IspPage,
    Moment,
    ResourceRollups,
    Rollup,
    RollupPage,
    Sample,
    SampleAnswer,
    SampleBatch,
)


class StatisticsClient:
    """The calls of a statistics server. Every one raises Unreachable, Refused or BadAnswer and nothing else."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def send(self, samples: Sequence[Sample]) -> SampleAnswer:
        """Hand in at most 5000 samples, oldest first; when it fails, sending the same again is safe.

        Needs a certificate for the role tracker.
        """
        return await self._api.post("/v1/samples", SampleBatch(list(samples)), SampleAnswer)

    async def rollups(self, cursor: int = 0, limit: int = 1000) -> RollupPage:
        """Rollups changed after `cursor`; needs a certificate for the role manager or operator."""
        return await self._api.get("/v1/rollups", RollupPage, {"cursor": cursor, "limit": limit})

    async def of_resource(self, resource: str, limit: int = 100) -> list[Rollup]:
        """The newest rollups of one resource (64 hex digits); for the roles manager and operator."""
        path = f"/v1/resources/{resource}/rollups"
        return (await self._api.get(path, ResourceRollups, {"limit": limit})).rollups

    async def hot(self, window: float = 3600.0, limit: int = 20, isp: str | None = None) -> list[HotResource]:
        """The resources wanted most in the last `window` seconds, at most 100; for the roles manager and operator."""
        params = {"window": window, "limit": limit, "isp": isp}
        return (await self._api.get("/v1/hot", HotPage, params)).resources

    async def course(
        self, window: float = 3600.0, step: float = 60.0, isp: str | None = None, resource: str | None = None
    ) -> list[Moment]:
        """Bytes by kind and speed in steps of the last `window` seconds; for the roles manager and operator."""
        params = {"window": window, "step": step, "isp": isp, "resource": resource}
        return (await self._api.get("/v1/course", Course, params)).moments

    async def isps(self, window: float = 3600.0) -> list[IspFigures]:
        """What each ISP received in the last `window` seconds; for the roles manager and operator."""
        return (await self._api.get("/v1/isps", IspPage, {"window": window})).isps
