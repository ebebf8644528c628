"""Which resources does each ISP want, how much, how fast do they come, and from where?"""

import math
from collections.abc import Iterable, Iterator
from typing import Final

import attrs
from msgspec import structs

from p2sp.sketches import distinct
from p2sp.sketches.rates import percentile
from p2sp.statistics.schema import Rollup

RAW_INTERVALS: Final = 64
"""Intervals kept one by one for each key, so that a rollup seen again can replace itself."""

SETTLED_AFTER: Final = 7200.0
"""Seconds after which an interval is no longer kept by itself: a statistics server takes samples of the last hour."""

HORIZON: Final = 10
"""Half-lives after which a rollup weighs less than a thousandth and is left out."""

FAINT: Final = 1024.0
"""Bytes of demand below which a key is forgotten."""

LATELY: Final = 2.0
"""Half-lives that make a period in which clients are counted: those of this period and the last count."""

SLOWEST: Final = 0.2


@attrs.frozen
class Demand:
    """What one ISP wants of one resource, as of now.

    `volume` is bytes received by clients, each half-life ago counting half. `clients` is how many distinct ones there
    were lately, `imported` the share of the volume that came from outside the ISP (resource servers, remote peers),
    `speed` the volume-weighted download rate in bytes a second, `slow` that at or below which a fifth of the bytes came
    (0: unknown), `length` the bytes of the resource.
    """

    isp: str
    resource: str
    length: int
    volume: float
    clients: int
    imported: float
    speed: float
    slow: float = 0.0


@attrs.define
class _Sum:
    """Decayed bytes, as of one moment."""

    volume: float = 0.0
    imported: float = 0.0
    weighted_speed: float = 0.0
    speeds: dict[int, float] = attrs.field(factory=dict)

    def add(self, rollup: Rollup, weight: float) -> None:
        volume = _volume(rollup)
        self.volume += weight * volume
        self.imported += weight * (rollup.server + rollup.peer_remote)
        self.weighted_speed += weight * volume * rollup.speed
        for bucket, paced in rollup.speeds.items():
            self.speeds[bucket] = self.speeds.get(bucket, 0.0) + weight * paced

    def scaled(self, factor: float) -> "_Sum":
        speeds = {bucket: volume * factor for bucket, volume in self.speeds.items()}
        return _Sum(self.volume * factor, self.imported * factor, self.weighted_speed * factor, speeds)


@attrs.define
class _Clients:
    """Sketches of the clients of a period and of the one before it."""

    period: int = -1
    now: bytes = b""
    before: bytes = b""
    count: int = 0

    def add(self, nodes: bytes, period: int) -> None:
        if period > self.period:
            self.before = self.now if period == self.period + 1 else b""
            self.period, self.now = period, b""
        elif period < self.period - 1:
            return
        if period == self.period:
            self.now = distinct.merge((self.now, nodes))
        else:
            self.before = distinct.merge((self.before, nodes))
        self.count = distinct.count(distinct.merge((self.now, self.before)))

    def lately(self, period: int) -> int:
        if period <= self.period:
            return self.count
        return distinct.count(self.now) if period == self.period + 1 else 0


@attrs.define
class _Account:
    """One ISP's history of one resource: recent intervals one by one, older ones as a sum at `settled`.

    `past` is the sum, as of `as_of`, of all that had ended then; the intervals that had not are `running`. All decays
    alike, so that it need not be summed up anew while nothing is new.
    """

    recent: dict[tuple[float, float], Rollup] = attrs.field(factory=dict)
    older: _Sum = attrs.field(factory=_Sum)
    settled: float = float("-inf")
    length: int = 0
    clients: _Clients = attrs.field(factory=_Clients)
    past: _Sum | None = None
    as_of: float = float("-inf")
    running: list[Rollup] = attrs.field(factory=list)


def _volume(rollup: Rollup) -> int:
    return rollup.server + rollup.supernode + rollup.peer_local + rollup.peer_remote


def _end(rollup: Rollup) -> float:
    return rollup.start + rollup.seconds


class DemandTable:
    """Demand per ISP and resource, kept from rollups that may come again with larger numbers.

    `half_life` is in seconds. At most `max_keys` pairs are kept: beyond that those with the least demand go. Rollups of
    an unknown ISP are passed over, for no super node is near to them.
    """

    def __init__(self, half_life: float, *, max_keys: int = 100_000) -> None:
        if not half_life > 0:
            raise ValueError(f"the half-life must be positive, not {half_life}")
        if max_keys < 1:
            raise ValueError(f"at least one key must be kept, not {max_keys}")
        self.half_life = half_life
        self.max_keys = max_keys
        self._accounts: dict[str, dict[str, _Account]] = {}
        self._count = 0
        self._first = math.inf

    def __len__(self) -> int:
        return self._count

    def renumber(self) -> None:
        """Let any revision replace what is known: the statistics server counts them anew."""
        for account in (account for accounts in self._accounts.values() for account in accounts.values()):
            account.recent = {at: structs.replace(rollup, revision=0) for at, rollup in account.recent.items()}

    def ripeness(self, now: float) -> float:
        """How much of what a long history would weigh this one does: a young one makes all demand look small."""
        return 1.0 - self._weight(now - self._first)

    def take(self, rollups: Iterable[Rollup], now: float) -> int:
        """Take rollups in the order of their revision; each replaces what was known of its interval.

        Answers how many counted: those of an unknown ISP, beyond the horizon, or of an interval already settled do not.
        """
        counted = sum(self._take(rollup, now) for rollup in rollups)
        if self._count > self.max_keys:
            self._shrink(now)
        return counted

    def _take(self, rollup: Rollup, now: float) -> bool:
        if rollup.isp is None or now - _end(rollup) > HORIZON * self.half_life:
            return False
        self._first = min(self._first, rollup.start)
        accounts = self._accounts.setdefault(rollup.isp, {})
        account = accounts.get(rollup.resource)
        if account is None:
            account = accounts[rollup.resource] = _Account()
            self._count += 1
        if _end(rollup) <= account.settled or _is_covered(rollup, account.recent):
            return False
        known = account.recent.get((rollup.start, rollup.seconds))
        if known is not None and known.revision > rollup.revision:
            return False
        _uncover(rollup, account.recent)
        account.recent[(rollup.start, rollup.seconds)] = rollup
        account.past = None
        account.length = rollup.length or account.length
        account.clients.add(rollup.nodes, self._period(rollup.start))
        while len(account.recent) > 1:
            oldest = min(account.recent)
            if len(account.recent) <= RAW_INTERVALS and sum(oldest) > _end(rollup) - SETTLED_AFTER:
                break
            self._settle(account, oldest)
        return True

    def _period(self, at: float) -> int:
        return int(at // (LATELY * self.half_life))

    def _settle(self, account: _Account, which: tuple[float, float]) -> None:
        """Move the oldest interval into the sum, which then stands for everything up to its end."""
        oldest = account.recent.pop(which)
        end = _end(oldest)
        account.older = account.older.scaled(self._weight(end - account.settled))
        account.older.add(oldest, 1.0)
        account.settled = end

    def _weight(self, age: float) -> float:
        return math.exp2(-max(age, 0.0) / self.half_life)

    def _demand(self, isp: str, resource: str, account: _Account, now: float) -> Demand:
        if account.past is None or now < account.as_of:
            self._sum_up(account, now)
        assert account.past is not None
        factor = self._weight(now - account.as_of)
        total = account.past
        if account.running:
            total, factor = account.past.scaled(factor), 1.0
            for rollup in account.running:
                total.add(rollup, self._weight(now - _end(rollup)))
        return Demand(
            isp=isp,
            resource=resource,
            length=account.length,
            volume=total.volume * factor,
            clients=account.clients.lately(self._period(now)),
            imported=total.imported / total.volume if total.volume > 0 else 0.0,
            speed=total.weighted_speed / total.volume if total.volume > 0 else 0.0,
            slow=percentile(total.speeds, SLOWEST),
        )

    def _sum_up(self, account: _Account, now: float) -> None:
        account.past = account.older.scaled(self._weight(now - account.settled))
        account.as_of = now
        account.running = []
        for rollup in account.recent.values():
            if _end(rollup) > now:
                account.running.append(rollup)
            else:
                account.past.add(rollup, self._weight(now - _end(rollup)))

    def of(self, isp: str, resource: str, now: float) -> Demand | None:
        """The demand for one resource in one ISP; None when nothing is known of it."""
        account = self._accounts.get(isp, {}).get(resource)
        return None if account is None else self._demand(isp, resource, account, now)

    def length_of(self, resource: str) -> int:
        """The bytes of a resource as far as any ISP knows; 0 for not at all."""
        accounts = (found[resource] for found in self._accounts.values() if resource in found)
        return max((account.length for account in accounts), default=0)

    def wanted(self, isp: str, now: float) -> list[Demand]:
        """Everything wanted in one ISP; what has faded away is forgotten on the way."""
        found: list[Demand] = []
        accounts = self._accounts.get(isp, {})
        for resource, account in list(accounts.items()):
            demand = self._demand(isp, resource, account, now)
            if demand.volume < FAINT and all(now - _end(each) > self.half_life for each in account.recent.values()):
                self._forget(isp, resource)
            else:
                found.append(demand)
        return found

    def _forget(self, isp: str, resource: str) -> None:
        del self._accounts[isp][resource]
        if not self._accounts[isp]:
            del self._accounts[isp]
        self._count -= 1

    def _all(self, now: float) -> Iterator[Demand]:
        for isp, accounts in self._accounts.items():
            for resource, account in accounts.items():
                yield self._demand(isp, resource, account, now)

    def _shrink(self, now: float) -> None:
        """Make room for a tenth of the table, so that a full one is not sorted at every page."""
        keep = max(self.max_keys - self.max_keys // 10, 1)
        ranked = sorted(self._all(now), key=lambda demand: (-demand.volume, demand.isp, demand.resource))
        for demand in ranked[keep:]:
            self._forget(demand.isp, demand.resource)


def _is_covered(rollup: Rollup, recent: Iterable[tuple[float, float]]) -> bool:
    """Whether a longer interval is known that stands for this one, too."""
    return any(seconds > rollup.seconds and start <= rollup.start < start + seconds for start, seconds in recent)


def _uncover(rollup: Rollup, recent: dict[tuple[float, float], Rollup]) -> None:
    """Away with what this one stands for."""
    for start, seconds in [*recent]:
        if seconds < rollup.seconds and rollup.start <= start < _end(rollup):
            del recent[start, seconds]
