"""Which calls does a tracker answer over HTTPS?"""

import math
from typing import Any

from twisted.logger import Logger

from p2sp.locality.network_map import MEDIA_TYPE
from p2sp.net.jsonapi import Api, ApiError, Call, RateLimit, Reply
from p2sp.net.ratelimit import RateTable
from p2sp.tracker.core import SUPERNODE_ROLE, Tracker
from p2sp.tracker.load import RETRY, LoadGauge
from p2sp.tracker.registry import RegistryFull
from p2sp.tracker.schema import AnnounceAnswer, AnnounceRequest, Registration, RegistrationAnswer

MAX_ANNOUNCE = 16 * 1024
MAX_REGISTRATION = 1024 * 1024


class TrackerApi:
    """The handlers of a tracker; `add_to` puts the routes its scope offers on an Api.

    Where `gauge` finds that there is too much to do, nodes without a role are sent away for a while, those that
    announce more than they were asked to before others.

    `rate_limit` binds each key, whatever addresses it comes from; super nodes, which announce all they hold, are
    free of it. The limit for each address is the Api's own.
    """

    log = Logger()

    def __init__(self, tracker: Tracker, rate_limit: RateLimit, gauge: LoadGauge | None = None) -> None:
        self._tracker = tracker
        self._gauge = gauge or LoadGauge()
        self._rates = RateTable(rate_limit)

    def add_to(self, api: Api) -> None:
        """Add the routes: announcing and the network map, and registration when this tracker is global."""
        api.route(
            "POST", "/v1/announce", self.announce, body=AnnounceRequest, needs_identity=True, max_body=MAX_ANNOUNCE
        )
        api.route("GET", "/v1/map", self.network_map)
        if self._tracker.registry is not None:
            api.route(
                "POST",
                "/v1/trackers",
                self.register,
                body=Registration,
                roles=frozenset({"tracker"}),
                max_body=MAX_REGISTRATION,
            )

    async def announce(self, call: Call) -> AnnounceAnswer:
        """`POST /v1/announce`: any key may; who it is comes from the handshake, where it is from the connection."""
        assert call.caller is not None
        if not call.caller.roles and self._gauge.turns_away(self._tracker.rng):
            retry = {"Retry-After": str(RETRY)}
            raise ApiError(503, "overloaded", "this tracker has too much to do at present", retry)
        if SUPERNODE_ROLE not in call.caller.roles:
            price = self._gauge.price_for(self._rates.limit, self._tracker.interval)
            wait = self._rates.wait(call.caller.node_id, self._tracker.now(), price)
            if wait > 0:
                retry = {"Retry-After": str(math.ceil(wait))}
                raise ApiError(429, "too-many", "this node announces too often", retry)
        try:
            return await self._tracker.announce(call.caller, call.address, call.body)
        except ValueError as error:
            raise ApiError(422, "invalid", str(error)) from error

    async def network_map(self, call: Call) -> Reply:
        """`GET /v1/map`: the operator's network map as it was given, for whoever wants to know."""
        network_map = self._tracker.network_map
        if network_map is None:
            raise ApiError(404, "no-map", "this tracker has no network map")
        return Reply(network_map.document, MEDIA_TYPE, headers={"ETag": f'"{network_map.digest}"'})

    async def register(self, call: Call) -> RegistrationAnswer:
        """`POST /v1/trackers`: a local tracker says whom it serves, and comes back before it is forgotten."""
        assert call.caller is not None
        registry, network_map = self._tracker.registry, self._tracker.network_map
        assert registry is not None
        body: Registration = call.body
        unknown = sorted(set(body.isps) - (network_map.pids if network_map is not None else frozenset()))
        if unknown:
            self.log.warn("{url} serves {isps}, not in our network map", url=body.url, isps=", ".join(unknown[:10]))
        try:
            registry.register(call.caller.node_id, body, self._tracker.now())
        except ValueError as error:
            raise ApiError(422, "invalid", str(error)) from error
        except RegistryFull as error:
            raise ApiError(503, "full", str(error), {"Retry-After": "60"}) from error
        return RegistrationAnswer(interval=self._tracker.interval)

    async def health(self) -> dict[str, Any]:
        """What the health answer says beyond that the process lives."""
        tracker = self._tracker
        held = await tracker.store.occupancy(tracker.now())
        answer: dict[str, Any] = {
            "scope": tracker.scope.value,
            "epoch": tracker.epoch,
            "swarms": held.swarms,
            "entries": held.entries,
            "nodes": held.nodes,
        }
        if tracker.registry is not None:
            answer["local_trackers"] = len(tracker.registry)
        if tracker.accounting is not None:
            answer["samples_waiting"] = tracker.accounting.waiting
            answer["samples_dropped"] = tracker.accounting.dropped
        return answer
