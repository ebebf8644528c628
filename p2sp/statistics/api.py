"""What does the statistics server take, and what does it tell?"""

from typing import Annotated, Final

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from p2sp.net.fields import Count, ResourceId, Text
from p2sp.net.jsonapi import Api, ApiError, Call
from p2sp.resource.errors import ResourceError
from p2sp.resource.magnet import parse_resource_id
from p2sp.statistics.figures import MAX_HOT
from p2sp.statistics.interfaces import IFigures, IStatisticsStore
from p2sp.statistics.schema import (
    Course,
    HotPage,
    IspPage,
    ResourceRollups,
    RollupPage,
    SampleAnswer,
    SampleBatch,
)
from p2sp.statistics.store import MAX_PAGE

WRITERS: Final = frozenset({"tracker"})
READERS: Final = frozenset({"manager", "operator"})

MAX_BATCH_BODY: Final = 8 * 1024 * 1024
"""Bytes of a batch: 5000 samples with every field at its longest take about as much."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)]


class _PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cursor: Count = 0
    limit: Limit = MAX_PAGE


class _ResourceQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Limit = 100


Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)]


class _HotQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    window: Seconds = 3600.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_HOT)] = 20
    isp: Text | None = None


class _CourseQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    window: Seconds = 3600.0
    step: Seconds = 60.0
    isp: Text | None = None
    resource: ResourceId | None = None


class _IspQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    window: Seconds = 3600.0


class StatisticsApi:
    """The handlers of the statistics server; `mount` adds them to an Api."""

    log = Logger()

    def __init__(self, store: IStatisticsStore, figures: IFigures, clock: IReactorTime) -> None:
        self._store = store
        self._figures = figures
        self._clock = clock

    def mount(self, api: Api) -> None:
        """Route every call of the statistics server."""
        api.route("POST", "/v1/samples", self.samples, body=SampleBatch, roles=WRITERS, max_body=MAX_BATCH_BODY)
        api.route("GET", "/v1/rollups", self.rollups, roles=READERS)
        api.route("GET", "/v1/resources/{id}/rollups", self.of_resource, roles=READERS)
        api.route("GET", "/v1/hot", self.hot, roles=READERS)
        api.route("GET", "/v1/course", self.course, roles=READERS)
        api.route("GET", "/v1/isps", self.isps, roles=READERS)

    async def samples(self, call: Call) -> SampleAnswer:
        """Take a batch, whole or not at all; the same batch again changes nothing."""
        batch: SampleBatch = call.body
        answer = await self._store.take(batch.samples, self._clock.seconds())
        if answer.refused:
            self.log.warn(
                "{refused} of {all} samples from {node} were out of time; is its clock right?",
                refused=answer.refused,
                all=len(batch.samples),
                node=call.caller.node_id if call.caller else None,
            )
        return answer

    async def rollups(self, call: Call) -> RollupPage:
        """Rollups changed after a cursor."""
        query = call.query_as(_PageQuery)
        return await self._store.page(query.cursor, query.limit)

    async def of_resource(self, call: Call) -> ResourceRollups:
        """The newest rollups of one resource; none for an id that nobody has reported on."""
        query = call.query_as(_ResourceQuery)
        try:
            resource = parse_resource_id(call.path["id"]).hex()
        except ResourceError as error:
            raise ApiError(404, "unknown", str(error)) from error
        return ResourceRollups(await self._store.of_resource(resource, query.limit))

    async def hot(self, call: Call) -> HotPage:
        """What was wanted most in a window of seconds up to now."""
        query = call.query_as(_HotQuery)
        return HotPage(await self._figures.hot(self._clock.seconds() - query.window, query.limit, query.isp))

    async def course(self, call: Call) -> Course:
        """Bytes by kind and speed, step by step, in a window of seconds up to now."""
        query = call.query_as(_CourseQuery)
        now = self._clock.seconds()
        return Course(await self._figures.course(now - query.window, now, query.step, query.isp, query.resource))

    async def isps(self, call: Call) -> IspPage:
        """What each ISP received and imported in a window of seconds up to now."""
        query = call.query_as(_IspQuery)
        return IspPage(await self._figures.isps(self._clock.seconds() - query.window))
