"""How do several trackers share one swarm, through Redis?"""

import secrets
from collections.abc import Callable
from heapq import nlargest
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from p2sp.net.errors import NetError, Overloaded
from p2sp.net.ratelimit import client_key
from p2sp.tracker.entry import (
    Admission,
    Candidates,
    Entry,
    Limits,
    Occupancy,
    Part,
    Speech,
    Summary,
    Viewpoint,
    part_of,
)
from p2sp.tracker.interfaces import ISwarmStore

if TYPE_CHECKING:
    from random import Random

THREADS: Final = 4
MOST_WAITING: Final = 1_000
ANSWER_WITHIN: Final = 5.0
"""Seconds Redis has for one call."""

PREFIX: Final = "p2sp:"


class StoreError(NetError):
    """Redis cannot be used; `str()` names it without its password."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """An entry as it is written down."""

    resource: str
    node_id: str
    session: str
    host: str
    port: int
    isp: str | None
    left: int
    length: int
    seen: float
    supernode: bool
    speech: str


@implementer(ISwarmStore)
class RedisSwarmStore:
    """Swarms in Redis, for trackers whose clocks agree: `now` is seconds since 1970 here.

    `expiry` in seconds of silence, `foreign` for foreign clients; all trackers are to be set alike. `told` hears the
    epoch, which is Redis' own: it changes when Redis lost its memory. Calls fail with Overloaded while Redis is away.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        url: str,
        expiry: float,
        limits: Limits | None = None,
        *,
        foreign: float | None = None,
        told: Callable[[str], None] = lambda epoch: None,
        prefix: str = PREFIX,
    ) -> None:
        if not expiry > 0:
            raise ValueError(f"the expiry must be positive, not {expiry}")
        self._reactor = reactor
        self._expiry = expiry
        self._foreign = foreign or expiry
        self._limits = limits or Limits()
        self._told = told
        self._prefix = prefix
        self._epoch = secrets.token_hex(8)
        self._waiting = 0
        self._pool: ThreadPool | None = None
        self._redis = connect(url)
        script = files("p2sp.tracker").joinpath("redis_store.lua").read_text(encoding="utf-8")
        self._script = self._redis.register_script(script)

    def open(self) -> None:
        """Start the threads; call it after twistd has forked. Blocks for one call; raises StoreError."""
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise StoreError(f"Redis cannot be used: {error}") from error
        self._pool = ThreadPool(0, THREADS, name="redis")
        self._pool.start()

    def announce(self, entry: Entry) -> Deferred[Admission]:
        limits = self._limits
        row = _Row(
            entry.resource, entry.node_id, entry.session, entry.host, entry.port, entry.isp, entry.left, entry.length,
            entry.seen, entry.supernode, entry.speech.value,
        )  # fmt: skip
        arguments: list[Any] = [
            entry.resource,
            entry.node_id,
            repr(entry.seen + (self._foreign if entry.foreign else self._expiry)),
            limits.entries,
            limits.swarms,
            limits.nodes_per_swarm,
            limits.swarms_per_node,
            limits.entries_per_address,
            entry.isp or "",
            client_key(entry.host),
            entry.speech.value,
            part_of(entry).value,
            int(entry.seed),
            int(entry.port > 0),
            int(not entry.supernode),
            entry.session,
            msgspec.json.encode(row),
        ]
        return self._call("announce", entry.seen, arguments, lambda answer: Admission(answer.decode()))

    def leave(self, resource: str, node_id: str, session: str, now: float) -> Deferred[bool]:
        return self._call("leave", now, [resource, node_id, session], bool)

    def look(
        self, resource: str, viewpoint: Viewpoint, inside: int, outside: int, now: float, rng: "Random"
    ) -> Deferred[Candidates]:
        kinds = [
            f"{speech.value}:{part.value}"
            for speech in Speech
            for part in Part
            if viewpoint.speech.understands(speech) and not (viewpoint.seed and part is Part.SEEDS)
        ]
        arguments = [resource, viewpoint.isp or "", client_key(viewpoint.host), inside, outside, *kinds]

        def read(answer: list[Any]) -> Candidates:
            rows, seeds, leeches, completions = answer
            entries = [_entry(row) for row in rows]
            rng.shuffle(entries)
            return Candidates(tuple(_few(entries, viewpoint, inside, outside, kinds)), seeds, leeches, completions)

        return self._call("look", now, arguments, read)

    def expire(self, now: float) -> Deferred[int]:
        return self._call("expire", now, [], int)

    def summaries(self, most: int, now: float) -> Deferred[list[Summary]]:
        def read(rows: list[Any]) -> list[Summary]:
            found = [Summary(swarm.decode(), seeds, leeches) for swarm, seeds, leeches in rows]
            return nlargest(most, found, key=lambda each: each.seeds + each.leeches)

        return self._call("summaries", now, [2 * most], read)

    def occupancy(self, now: float) -> Deferred[Occupancy]:
        return self._call("occupancy", now, [], lambda answer: Occupancy(*answer))

    def close(self) -> Deferred[None]:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
        self._redis.close()
        return succeed(None)

    def _call(self, what: str, now: float, arguments: list[Any], read: Callable[[Any], Any]) -> Deferred[Any]:
        if self._pool is None:
            return fail(Overloaded("the swarms in Redis are closed"))
        if self._waiting >= MOST_WAITING:
            return fail(Overloaded(f"{self._waiting} calls wait for Redis"))
        self._waiting += 1
        everything = [self._prefix, what, repr(now), self._epoch, *arguments]
        working = deferToThreadPool(self._reactor, self._pool, self._script, (), everything)

        def done(result: Any) -> Any:
            self._waiting -= 1
            return result

        def heard(result: list[Any]) -> Any:
            epoch, answer = result
            self._told(epoch.decode())
            return read(answer)

        def away(failure: Any) -> None:
            failure.trap(redis.RedisError)
            raise Overloaded(f"Redis did not answer: {failure.value}")

        return working.addBoth(done).addCallbacks(heard, away)


def connect(url: str) -> "redis.Redis":
    """A client for a URL such as redis://127.0.0.1:6379/0, rediss:// or unix://; raises ValueError for another."""
    return redis.Redis.from_url(
        url,
        socket_timeout=ANSWER_WITHIN,
        socket_connect_timeout=ANSWER_WITHIN,
        max_connections=THREADS + 1,
        retry=Retry(NoBackoff(), 1),
    )


def _entry(row: bytes) -> Entry:
    read = msgspec.json.decode(row, type=_Row)
    fields = msgspec.structs.asdict(read)
    return Entry(**{**fields, "speech": Speech(read.speech)})


def _few(entries: list[Entry], viewpoint: Viewpoint, inside: int, outside: int, kinds: list[str]) -> list[Entry]:
    """No more of each kind than wished for; those behind the asker's own address always."""
    met: dict[tuple[str, bool], int] = {}
    address = client_key(viewpoint.host)
    few = []
    for entry in entries:
        kind = f"{entry.speech.value}:{part_of(entry).value}"
        if entry.node_id == viewpoint.node_id or kind not in kinds:
            continue
        near = viewpoint.isp is not None and entry.isp == viewpoint.isp
        met[kind, near] = met.get((kind, near), 0) + 1
        if met[kind, near] <= (inside if near else outside) or client_key(entry.host) == address:
            few.append(entry)
    return few
