"""Which local trackers serve an ISP?"""

from typing import Final

import attrs

from p2sp.net.addresses import https_url
from p2sp.tracker.schema import Registration, Scope, SwarmSummary, TrackerRef

MOST_TRACKERS: Final = 1_000
MOST_PER_ISP: Final = 16


class RegistryFull(Exception):
    """No more local trackers are taken."""


@attrs.frozen
class _Registered:
    url: str
    isps: frozenset[str]
    until: float
    swarms: tuple[str, ...]


@attrs.define
class LocalTrackers:
    """Local trackers that registered lately, by the key they proved; `ttl` in seconds, time comes in as `now`."""

    ttl: float
    most: int = MOST_TRACKERS
    _trackers: dict[str, _Registered] = attrs.field(factory=dict)
    _by_isp: dict[str, dict[str, None]] = attrs.field(factory=dict)
    _by_swarm: dict[str, dict[str, SwarmSummary]] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._trackers)

    def register(self, node_id: str, registration: Registration, now: float) -> None:
        """Take a tracker in, or what it says now in place of what it said before.

        Raises ValueError for a URL that clients cannot use, RegistryFull when there are too many.
        """
        url = https_url(registration.url)
        self._expire(now)
        if node_id not in self._trackers and len(self._trackers) >= self.most:
            raise RegistryFull(f"{self.most} local trackers are registered already")
        self._forget(node_id)
        swarms = {each.swarm: each for each in registration.swarms}
        self._trackers[node_id] = _Registered(url, frozenset(registration.isps), now + self.ttl, tuple(swarms))
        for swarm, summary in swarms.items():
            self._by_swarm.setdefault(swarm, {})[node_id] = summary
        for isp in registration.isps:
            self._by_isp.setdefault(isp, {})[node_id] = None

    def serving(self, isp: str | None, now: float) -> list[TrackerRef]:
        """The local trackers of an ISP, at most 16; none for an unknown one."""
        self._expire(now)
        if isp is None:
            return []
        urls = dict.fromkeys(self._trackers[node_id].url for node_id in self._by_isp.get(isp, ()))
        return [TrackerRef(url, Scope.LOCAL) for url in list(urls)[:MOST_PER_ISP]]

    def numbers(self, swarm: str, now: float) -> tuple[int, int]:
        """Seeds and leeches of a swarm that local trackers know, altogether."""
        self._expire(now)
        told = self._by_swarm.get(swarm, {}).values()
        return sum(each.seeds for each in told), sum(each.leeches for each in told)

    def _expire(self, now: float) -> None:
        # Registering again puts a tracker at the end: the oldest stands in front.
        while self._trackers:
            node_id, oldest = next(iter(self._trackers.items()))
            if oldest.until > now:
                return
            self._forget(node_id)

    def _forget(self, node_id: str) -> None:
        registered = self._trackers.pop(node_id, None)
        for isp in registered.isps if registered else ():
            serving = self._by_isp[isp]
            del serving[node_id]
            if not serving:
                del self._by_isp[isp]
        for swarm in registered.swarms if registered else ():
            told = self._by_swarm[swarm]
            del told[node_id]
            if not told:
                del self._by_swarm[swarm]
