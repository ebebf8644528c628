"""How do trackers and the manager talk to the statistics server?"""

from collections.abc import Sequence

from p2sp.net.api_client import ApiClient
from p2sp.statistics.schema import ResourceRollups, Rollup, RollupPage, Sample, SampleAnswer, SampleBatch


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
