"""What does a sample add to what is already known? Pure accounting, no store and no clock."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from p2sp.sketches.distinct import count
from p2sp.sketches.rates import bucket_of, merge, percentile
from p2sp.statistics.schema import Rollup, Sample
from p2sp.tracker.schema import Counters, Event

MOST = 2**62
"""The largest count the schema lets through; sums stop there instead of overflowing a database's integer."""

MAX_AHEAD = 60.0
"""Seconds a tracker's clock may be ahead of ours."""

SLOWEST: Final = 0.2
"""The share of the bytes whose rate is called slow: a mean hides those who wait."""


@attrs.frozen
class AccountKey:
    """Whose account it is. The node is part of the key: nobody can spoil an account by borrowing its session id."""

    session: str
    node_id: str
    resource: str

    @classmethod
    def of(cls, sample: Sample) -> "AccountKey":
        return cls(sample.session, sample.node_id, sample.resource)


@attrs.frozen
class Account:
    """The most a session has claimed so far, field by field, and when it was last heard (seconds since 1970)."""

    at: float
    counters: Counters
    stalled_ms: int = 0
    completed: bool = False
    failed: bool = False


@attrs.frozen
class RollupKey:
    """One resource in one ISP in one interval of `seconds` that begins at `start`."""

    isp: str | None
    resource: str
    start: float
    seconds: float


@attrs.frozen
class Amounts:
    """What is summed up in a rollup.

    `paced` bytes moved at a known rate, `pace` is the sum of bytes times rate, `speeds` the same bytes by bucket of
    rate. `completed` and `failed` are downloads: failed is one that stopped before it had everything.
    """

    server: int = 0
    supernode: int = 0
    peer_local: int = 0
    peer_remote: int = 0
    fill: int = 0
    stalled_ms: int = 0
    completed: int = 0
    failed: int = 0
    length: int = 0
    paced: float = 0.0
    pace: float = 0.0
    speeds: Mapping[int, int] = attrs.field(factory=dict)

    def plus(self, other: "Amounts") -> "Amounts":
        """Both together; the length is the larger, as it is unknown (0) before it is known."""
        return Amounts(
            server=min(self.server + other.server, MOST),
            supernode=min(self.supernode + other.supernode, MOST),
            peer_local=min(self.peer_local + other.peer_local, MOST),
            peer_remote=min(self.peer_remote + other.peer_remote, MOST),
            fill=min(self.fill + other.fill, MOST),
            stalled_ms=min(self.stalled_ms + other.stalled_ms, MOST),
            completed=min(self.completed + other.completed, MOST),
            failed=min(self.failed + other.failed, MOST),
            length=max(self.length, other.length),
            paced=self.paced + other.paced,
            pace=self.pace + other.pace,
            speeds=merge((self.speeds, other.speeds)),
        )

    @property
    def speed(self) -> float:
        """Mean download rate weighted by volume, bytes a second; 0 while no rate is known."""
        return self.pace / self.paced if self.paced else 0.0


@attrs.define
class Gathered:
    """What a batch changes: accounts to keep, amounts to add, nodes to count; and how many samples were taken."""

    accounts: dict[AccountKey, Account] = attrs.field(factory=dict)
    amounts: dict[RollupKey, Amounts] = attrs.field(factory=dict)
    clients: dict[RollupKey, set[str]] = attrs.field(factory=dict)
    accepted: int = 0
    refused: int = 0


def interval_start(at: float, seconds: float) -> float:
    """Begin of the interval that holds `at`: intervals are aligned to the epoch, so that all trackers agree."""
    return math.floor(at / seconds) * seconds


def timely(sample: Sample, now: float, max_age: float) -> bool:
    """Whether the sample's clock can be believed: not older than `max_age`, at most MAX_AHEAD in the future."""
    return now - max_age <= sample.at <= now + MAX_AHEAD


def settle(sample: Sample, known: Account | None) -> tuple[Account, Amounts]:
    """The account after a sample, and what the sample adds.

    Counters are cumulative and only grow, so the account keeps the largest value of each field: samples that are
    late, lost or sent twice lead to the same sum. A super node's bytes are fills and nothing else.
    """
    before = known or Account(sample.at, Counters())
    old, new = before.counters, sample.counters
    top = Counters(
        server=max(old.server, new.server),
        supernode=max(old.supernode, new.supernode),
        peer_local=max(old.peer_local, new.peer_local),
        peer_remote=max(old.peer_remote, new.peer_remote),
        up=max(old.up, new.up),
    )
    completed = before.completed or _is_complete(sample)
    failed = before.failed or _is_failure(sample)
    after = Account(max(before.at, sample.at), top, max(before.stalled_ms, sample.stalled_ms), completed, failed)
    gained = _received(top) - _received(old)
    if sample.supernode:
        return after, Amounts(fill=min(gained, MOST), length=sample.length)
    rate = _rate_of(sample, gained, known)
    return after, Amounts(
        server=top.server - old.server,
        supernode=top.supernode - old.supernode,
        peer_local=top.peer_local - old.peer_local,
        peer_remote=top.peer_remote - old.peer_remote,
        stalled_ms=after.stalled_ms - before.stalled_ms,
        completed=int(completed and not before.completed),
        failed=int(failed and not before.failed),
        length=sample.length,
        paced=float(gained) if rate else 0.0,
        pace=float(gained) * rate,
        speeds={bucket_of(rate): min(gained, MOST)} if rate else {},
    )


def gather(
    samples: Iterable[Sample], known: Mapping[AccountKey, Account], *, now: float, seconds: float, max_age: float
) -> Gathered:
    """Take a batch, oldest sample first, on top of the accounts that are known.

    `seconds` is the length of an interval; samples out of time (see `timely`) are refused and change nothing.
    """
    result = Gathered()
    for sample in samples:
        if not timely(sample, now, max_age):
            result.refused += 1
            continue
        result.accepted += 1
        key = AccountKey.of(sample)
        before = result.accounts.get(key) or known.get(key)
        result.accounts[key], added = settle(sample, before)
        volume = added.server + added.supernode + added.peer_local + added.peer_remote
        if not (volume or added.fill or added.stalled_ms or added.completed or added.failed):
            continue
        at = RollupKey(sample.isp or None, sample.resource, interval_start(sample.at, seconds), seconds)
        summed = result.amounts.get(at)
        result.amounts[at] = added if summed is None else summed.plus(added)
        if volume:
            result.clients.setdefault(at, set()).add(sample.node_id)
    return result


def rollup_of(key: RollupKey, amounts: Amounts, nodes: bytes, revision: int) -> Rollup:
    """The rollup as it is told to readers; `nodes` is the sketch of the clients' node ids."""
    return Rollup(
        isp=key.isp,
        resource=key.resource,
        start=key.start,
        seconds=key.seconds,
        server=amounts.server,
        supernode=amounts.supernode,
        peer_local=amounts.peer_local,
        peer_remote=amounts.peer_remote,
        fill=amounts.fill,
        clients=count(nodes),
        speed=amounts.speed,
        stalled_ms=amounts.stalled_ms,
        length=amounts.length,
        completed=amounts.completed,
        revision=revision,
        failed=amounts.failed,
        slow=percentile(amounts.speeds, SLOWEST),
        speeds=dict(amounts.speeds),
        nodes=nodes,
    )


def _received(counters: Counters) -> int:
    return counters.server + counters.supernode + counters.peer_local + counters.peer_remote


def _has_all(sample: Sample) -> bool:
    return sample.event is Event.COMPLETED or (sample.length > 0 and sample.left == 0)


def _is_complete(sample: Sample) -> bool:
    # The announce that says "completed" may be lost: one that has nothing left and received something says it too.
    return _has_all(sample) and not sample.supernode and _received(sample.counters) > 0


def _is_failure(sample: Sample) -> bool:
    return sample.event is Event.STOPPED and not _has_all(sample) and not sample.supernode


def _rate_of(sample: Sample, gained: int, known: Account | None) -> float:
    """The rate at which the gained bytes moved: as stated, else over the time since the session was last heard."""
    if not gained:
        return 0.0
    if sample.rate:
        return float(sample.rate)
    if known is None or sample.at <= known.at:
        return 0.0
    return gained / (sample.at - known.at)
