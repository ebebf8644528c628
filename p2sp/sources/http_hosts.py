"""How many connections may one host be asked for now? Pure: more while that brings more, fewer when it says no."""

from urllib.parse import urlsplit

import attrs

MEASURE = 0.25
"""Seconds over which the rate is measured before and after a step."""

SETTLE = 0.15
"""Seconds after a step that are not measured."""

GAIN = 1.1
"""A step was worth it when the host brings so much more; else there is no further one for a while."""

AGAIN = 10.0
"""Seconds after a step that brought nothing until the next is tried: the bottleneck may have moved."""

CLEAN = 30.0
"""Seconds without a refusal after which a host that refused is trusted with one connection more."""

RANGE_AGAIN = 60.0
"""Seconds after which a server that ignored ranges is asked for one again."""

MAX_HOSTS = 256
"""Hosts remembered at the same time."""


@attrs.define(eq=False)
class Host:
    """What is known of one host (scheme, name and port), over all URLs and downloads that use it.

    `now` is seconds on any steady clock.
    """

    busy: int = 0
    """Connections in use."""

    if_range: bool = True
    """Whether it serves parts to a request with If-Range as it does to one without."""

    _level: int = 1
    _ceiling: float = float("inf")
    _refused_at: float = float("-inf")
    _not_before: float = float("-inf")
    _since: float | None = None
    _bytes: int = 0
    _before: float = 0.0
    _next_step: float = 0.0

    def allowed(self, most: int, now: float) -> int:
        """Connections it may be asked for in all, at most `most`; 0 while it is to be left alone."""
        if now < self._not_before:
            return 0
        return max(1, int(min(most, self._level, self._cap(now))))

    def _cap(self, now: float) -> float:
        return self._ceiling + max(now - self._refused_at, 0.0) // CLEAN if self.refusing else self._ceiling

    @property
    def refusing(self) -> bool:
        """Whether it has said no for reasons of load."""
        return self._ceiling != float("inf")

    def waits(self, now: float) -> float:
        """Seconds for which it asked to be left alone."""
        return max(self._not_before - now, 0.0)

    def serves_parts(self) -> None:
        """It serves ranges: a second connection can be of use."""
        self._level = max(self._level, 2)

    def refused(self, now: float, retry_after: float | None) -> None:
        """It answered 429 or 503: half as many connections from now on, and none before it wants us back.

        Refusals of requests that ran side by side count once.
        """
        if now - self._refused_at >= 1.0:
            running = max(self.busy, 1)
            self._ceiling = max(1.0, min(self._cap(now), running) / 2)
            self._refused_at = now
        if retry_after is not None:
            self._not_before = max(self._not_before, now + retry_after)

    def arrived(self, count: int, now: float) -> bool:
        """Bytes came from it. True when more connections than before may be asked for."""
        if self._since is None or now - self._since > 4 * MEASURE:
            # The first bytes, or the first after a silence: what was measured before says nothing now.
            self._since, self._bytes = now, 0
            return False
        if self.busy < self._level or now < self._next_step:
            self._since, self._bytes = now, 0
            return False
        lasted = now - self._since
        if lasted <= 0:
            return False
        self._bytes += count
        if lasted < MEASURE:
            return False
        rate = self._bytes / lasted
        self._since, self._bytes = now, 0
        if self._level > 1 and rate < self._before * GAIN:
            self._before, self._next_step = 0.0, now + AGAIN
            return False
        self._before = rate
        if self._level >= 64:
            return False
        self._level *= 2
        # What is new has to connect first.
        self._since = now + SETTLE
        return True


class Hosts:
    """The hosts by scheme, name and port."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str, int | None], Host] = {}

    def of(self, url: str) -> Host:
        """What is known of the host of a URL."""
        parts = urlsplit(url)
        key = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
        host = self._hosts.get(key)
        if host is None:
            while len(self._hosts) >= MAX_HOSTS:
                idle = next((k for k, each in self._hosts.items() if not each.busy), None)
                del self._hosts[idle if idle is not None else next(iter(self._hosts))]
            host = self._hosts[key] = Host()
        return host
