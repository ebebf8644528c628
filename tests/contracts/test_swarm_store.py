"""Does every swarm store keep the promises of ISwarmStore?"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from p2sp.net.errors import Overloaded
from p2sp.tracker.entry import Admission, Candidates, Entry, Limits, Occupancy, Speech, Summary, Viewpoint
from p2sp.tracker.interfaces import ISwarmStore
from p2sp.tracker.memory import MemorySwarmStore
from p2sp.tracker.redis_store import RedisSwarmStore, StoreError, connect
from tests.contracts.redis_process import Redis
from tests.tracker.entries import RESOURCE, SESSION, entry, node_name

reactor: Any = installed_reactor

EXPIRY = 100.0
OTHER = "cd" * 32
NOBODY = node_name(999)

T = TypeVar("T")

if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object


class SwarmStoreContract(_Base):
    """What every implementation must do; a subclass says how one is made."""

    def make(self, limits: Limits | None = None) -> ISwarmStore:
        """An empty store that forgets after EXPIRY seconds."""
        raise AssertionError("a subclass makes the store")

    async def look(
        self,
        store: ISwarmStore,
        isp: str | None = "here",
        *,
        node: str = NOBODY,
        host: str = "",
        seed: bool = False,
        speech: Speech = Speech.TLS,
        count: int = 50,
        now: float = 0.0,
        rng: Random | None = None,
    ) -> Candidates:
        viewpoint = Viewpoint(node, host, isp, seed, speech)
        candidates: Candidates = await store.look(RESOURCE, viewpoint, count, count, now, rng or Random(7))
        return candidates

    async def names(self, store: ISwarmStore, isp: str | None = "here", **how: Any) -> list[str]:
        return sorted(each.node_id for each in (await self.look(store, isp, **how)).entries)

    async def fill(self, store: ISwarmStore, *entries: Entry) -> None:
        for each in entries:
            assert await store.announce(each) is Admission.LISTED

    def test_it_provides_the_interface(self) -> None:
        assert verifyObject(ISwarmStore, self.make())

    async def test_nothing_is_known_of_an_unknown_resource(self) -> None:
        assert await self.look(self.make()) == Candidates()

    async def test_who_announced_is_named_to_others_and_not_to_itself(self) -> None:
        store = self.make()
        await self.fill(store, entry(1), entry(2), entry(3, resource=OTHER))
        assert await self.names(store) == [node_name(1), node_name(2)]
        assert await self.names(store, node=node_name(1)) == [node_name(2)]
        assert (await store.occupancy(0.0)) == Occupancy(swarms=2, entries=3, nodes=3)

    async def test_an_announce_replaces_the_one_before(self) -> None:
        store = self.make()
        await self.fill(store, entry(1))
        newer = entry(1, host="198.51.100.7", port=9, isp="there", left=0, session="11" * 16, seen=5.0)
        await self.fill(store, newer)
        found = await self.look(store, "there", now=5.0)
        assert found == Candidates((newer,), seeds=1, leeches=0, completions=1)
        assert (await store.occupancy(5.0)).entries == 1

    async def test_the_silent_are_gone(self) -> None:
        store = self.make()
        await self.fill(store, entry(1, seen=0.0), entry(2, seen=50.0))
        assert len(await self.names(store, now=EXPIRY - 0.1)) == 2
        found = await self.look(store, now=EXPIRY)
        assert [each.node_id for each in found.entries] == [node_name(2)]
        assert (found.seeds, found.leeches) == (0, 1)
        assert (await store.occupancy(150.0)) == Occupancy(0, 0, 0)

    async def test_announcing_again_keeps_alive(self) -> None:
        store = self.make()
        await self.fill(store, entry(1), entry(2), entry(1, seen=90.0))
        assert await store.expire(EXPIRY) == 1
        assert await self.names(store, now=EXPIRY) == [node_name(1)]
        assert await store.expire(189.0) == 0
        assert await store.expire(190.0) == 1

    async def test_leaving(self) -> None:
        store = self.make()
        await self.fill(store, entry(1), entry(2))
        assert await store.leave(RESOURCE, node_name(1), SESSION, 1.0) is True
        assert await self.names(store) == [node_name(2)]
        assert await store.leave(RESOURCE, node_name(1), SESSION, 1.0) is False
        assert await store.leave(OTHER, node_name(2), SESSION, 1.0) is False

    async def test_an_earlier_session_cannot_end_a_later_one(self) -> None:
        store = self.make()
        await self.fill(store, entry(1, session="11" * 16), entry(1, session="22" * 16))
        assert await store.leave(RESOURCE, node_name(1), "11" * 16, 1.0) is False
        assert await self.names(store) == [node_name(1)]

    async def test_port_0_is_counted_and_never_named(self) -> None:
        store = self.make()
        await self.fill(store, entry(1, port=0), entry(2, port=0, left=0), entry(3, port=0, supernode=True))
        assert await self.look(store) == Candidates((), seeds=1, leeches=2)
        await self.fill(store, entry(1, port=80), entry(4), entry(4, port=0))
        assert await self.names(store) == [node_name(1)]

    async def test_an_unknown_isp_has_no_inside(self) -> None:
        store = self.make()
        await self.fill(store, *(entry(number, isp=None) for number in range(10)))
        assert len(await self.names(store, None, count=4)) == 4
        assert len(await self.names(store, "here", count=4)) == 4

    async def test_every_group_is_drawn_from_within_its_bound(self) -> None:
        store = self.make()
        for base, supernode, left in ((1000, True, 0), (2000, False, 0), (3000, False, 5)):
            for isp, offset in (("here", 0), ("there", 100)):
                await self.fill(
                    store,
                    *(entry(base + offset + i, isp=isp, supernode=supernode, left=left) for i in range(40)),
                )
        found = await self.look(store, count=5)
        groups = [(each.supernode, each.seed, each.isp) for each in found.entries]
        assert len(set(groups)) == 6
        assert all(groups.count(group) == 5 for group in groups)
        assert (found.seeds, found.leeches) == (160, 80)

    async def test_a_few_outsiders_are_found_among_many_insiders(self) -> None:
        store = self.make()
        await self.fill(store, *(entry(number) for number in range(1000)))
        await self.fill(store, *(entry(number, isp=f"far-{number}") for number in range(2000, 2003)))
        found = await self.look(store, count=10)
        assert sum(each.isp != "here" for each in found.entries) == 3
        assert sum(each.isp == "here" for each in found.entries) == 10

    async def test_each_is_named_to_those_it_can_talk_to(self) -> None:
        store = self.make()
        speeches = (Speech.TLS, Speech.BOTH, Speech.CLEAR)
        await self.fill(store, *(entry(number, speech=speech) for number, speech in enumerate(speeches)))
        assert await self.names(store, speech=Speech.TLS) == [node_name(0), node_name(1)]
        assert await self.names(store, speech=Speech.BOTH) == [node_name(number) for number in range(3)]
        assert await self.names(store, speech=Speech.CLEAR) == [node_name(1), node_name(2)]

    async def test_a_seed_is_not_named_other_seeds(self) -> None:
        store = self.make()
        await self.fill(store, entry(1, left=0), entry(2), entry(3, left=0, supernode=True))
        assert set(await self.names(store, seed=True)) - {node_name(3)} == {node_name(2)}

    async def test_who_is_behind_the_same_address_is_found_in_any_crowd(self) -> None:
        store = self.make()
        for number in range(500):
            await store.announce(entry(number, host=f"192.0.{number // 250}.{number % 250}"))
        mates = [entry(1000 + number, host="203.0.113.7", isp=None) for number in range(3)]
        await self.fill(store, *mates)
        found = await self.names(store, host="203.0.113.7", node=node_name(1000), count=2)
        assert {node_name(1001), node_name(1002)} <= set(found)
        assert node_name(1000) not in found

    async def test_completions_are_counted_once_each(self) -> None:
        store = self.make()
        await self.fill(store, entry(1), entry(1, left=0), entry(1, left=0), entry(2, left=0))
        assert (await self.look(store)).completions == 1

    async def test_everybody_can_be_drawn(self) -> None:
        store = self.make()
        await self.fill(store, *(entry(number) for number in range(30)))
        await self.fill(store, *(entry(number, isp="there") for number in range(30, 34)))
        drawn: set[str] = set()
        for seed in range(200):
            found = await self.look(store, count=3, rng=Random(seed))
            drawn |= {each.node_id for each in found.entries}
        assert drawn == {node_name(number) for number in range(34)}

    async def test_wanting_nobody_still_counts(self) -> None:
        store = self.make()
        await self.fill(store, entry(1, left=0), entry(2), entry(3, length=0, left=0))
        assert await self.look(store, count=0) == Candidates((), seeds=1, leeches=2)

    async def test_the_largest_swarms_are_summed_up(self) -> None:
        store = self.make()
        await self.fill(store, entry(1), entry(2, left=0), entry(3, port=0), entry(1, resource=OTHER))
        whole = [Summary(RESOURCE, 1, 2), Summary(OTHER, 0, 1)]
        assert await store.summaries(5, 0.0) == whole
        assert await store.summaries(1, 0.0) == whole[:1]
        assert await store.summaries(5, EXPIRY) == []

    async def test_swarms_are_limited(self) -> None:
        store = self.make(Limits(swarms=1))
        await self.fill(store, entry(1))
        assert await store.announce(entry(1, resource=OTHER)) is Admission.TOO_MANY_SWARMS
        assert await store.announce(entry(2, resource=OTHER, supernode=True)) is Admission.TOO_MANY_SWARMS
        assert await store.announce(entry(1, resource=OTHER, seen=EXPIRY)) is Admission.LISTED

    async def test_entries_are_limited(self) -> None:
        store = self.make(Limits(entries=2))
        await self.fill(store, entry(1), entry(2), entry(2, seen=1.0))
        assert await store.announce(entry(3, seen=1.0)) is Admission.TOO_MANY_ENTRIES
        assert await store.announce(entry(3, seen=1.0, supernode=True)) is Admission.TOO_MANY_ENTRIES
        assert await store.leave(RESOURCE, node_name(1), SESSION, 1.0)
        await self.fill(store, entry(3, seen=1.0))

    async def test_nodes_of_a_swarm_are_limited_and_super_nodes_get_in(self) -> None:
        store = self.make(Limits(nodes_per_swarm=2))
        await self.fill(store, entry(1), entry(2), entry(3, supernode=True), entry(1, seen=1.0))
        assert await store.announce(entry(4)) is Admission.SWARM_FULL
        await self.fill(store, entry(4, resource=OTHER), entry(5, supernode=True))

    async def test_swarms_of_a_node_are_limited(self) -> None:
        store = self.make(Limits(swarms_per_node=1))
        await self.fill(store, entry(1), entry(2, supernode=True), entry(2, resource=OTHER, supernode=True))
        assert await store.announce(entry(1, resource=OTHER)) is Admission.NODE_IN_TOO_MANY
        await self.fill(store, entry(1, seen=1.0))

    async def test_entries_of_an_address_are_limited_by_ipv4_address_and_ipv6_network(self) -> None:
        store = self.make(Limits(entries_per_address=1))
        await self.fill(store, entry(1), entry(2, host="192.0.2.2"), entry(3, host="2001:db8::1"))
        assert await store.announce(entry(4)) is Admission.ADDRESS_HAS_TOO_MANY
        assert await store.announce(entry(4, host="2001:db8::ffff")) is Admission.ADDRESS_HAS_TOO_MANY
        await self.fill(store, entry(4, host="2001:db8:0:1::1"), entry(5, supernode=True))

    async def test_who_moves_to_a_full_address_is_no_longer_listed(self) -> None:
        store = self.make(Limits(entries_per_address=1))
        await self.fill(store, entry(1), entry(2, host="192.0.2.2"))
        assert await store.announce(entry(2)) is Admission.ADDRESS_HAS_TOO_MANY
        assert await self.names(store) == [node_name(1)]

    async def test_a_swarm_of_thousands_is_drawn_from_without_reading_it(self) -> None:
        store = self.make()
        for number in range(3_000):
            await store.announce(entry(number, host=f"192.0.{number // 250}.{number % 250}"))
        rng = CountingRandom(7)
        await self.look(store, rng=rng)
        assert rng.draws < 1000

    async def test_closing_is_quiet(self) -> None:
        await self.make().close()


class CountingRandom(Random):
    """Counts how much chance was used: a store that shuffles a swarm uses as much as the swarm is large."""

    draws = 0

    def getrandbits(self, k: int, /) -> int:
        self.draws += 1
        return super().getrandbits(k)


class MemorySwarmStoreTests(SwarmStoreContract, TestCase):
    """The store in memory."""

    def make(self, limits: Limits | None = None) -> ISwarmStore:
        store: ISwarmStore = MemorySwarmStore(EXPIRY, limits)
        return store

    def test_it_needs_an_expiry(self) -> None:
        self.assertRaises(ValueError, MemorySwarmStore, 0.0)


class RedisSwarmStoreTests(SwarmStoreContract, TestCase):
    """The store that several trackers share."""

    timeout = 60
    redis: Redis

    @classmethod
    def setUpClass(cls) -> None:
        cls.redis = Redis()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.redis.close()

    def make(self, limits: Limits | None = None) -> ISwarmStore:
        return self.open(limits)

    def open(self, limits: Limits | None = None, told: Callable[[str], None] = lambda epoch: None) -> RedisSwarmStore:
        """A store whose part of Redis nobody else has."""
        store = RedisSwarmStore(reactor, self.redis.url, EXPIRY, limits, told=told, prefix=f"{self.id()}:")
        store.open()
        self.addCleanup(store.close)
        return store

    def test_it_needs_an_expiry(self) -> None:
        self.assertRaises(ValueError, RedisSwarmStore, reactor, self.redis.url, 0.0)

    async def test_two_trackers_see_one_swarm_and_one_epoch(self) -> None:
        epochs: list[str] = []
        one, two = self.open(told=epochs.append), self.open(told=epochs.append)
        await one.announce(entry(1))
        await two.announce(entry(2, left=0))
        assert await self.names(one) == await self.names(two) == [node_name(1), node_name(2)]
        assert len(set(epochs)) == 1
        await one.leave(RESOURCE, node_name(2), SESSION, 1.0)
        assert await self.names(two) == [node_name(1)]

    async def test_a_redis_without_memory_is_a_new_epoch(self) -> None:
        epochs: list[str] = []
        await self.open(told=epochs.append).announce(entry(1))
        connect(self.redis.url).flushall()
        assert await self.names(self.open(told=epochs.append)) == []
        assert len(set(epochs)) == 2

    async def test_large_numbers_and_every_field_come_back(self) -> None:
        store = self.make()
        whole = entry(1, left=2**62 - 1, length=2**62, isp="a:b@c.d", host="2001:db8::1", speech=Speech.BOTH, seen=1.25)
        await self.fill(store, whole)
        assert (await self.look(store, now=2.0)).entries == (whole,)

    async def test_one_that_is_away_is_said_so_and_used_again(self) -> None:
        redis = Redis()
        self.addCleanup(redis.close)
        store = RedisSwarmStore(reactor, redis.url, EXPIRY)
        store.open()
        self.addCleanup(store.close)
        await store.announce(entry(1))
        redis.process.kill()
        with self.assertRaisesRegex(Overloaded, "Redis did not answer"):
            await store.announce(entry(1))
        with self.assertRaisesRegex(StoreError, "Redis cannot be used"):
            RedisSwarmStore(reactor, redis.url, EXPIRY).open()


def result_of(deferred: Deferred[T]) -> T:
    results: list[T] = []
    deferred.addCallback(results.append)
    return results[0]


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["announce", "announce", "leave", "wait"]),
        st.integers(0, 5),
        st.sampled_from([RESOURCE, OTHER]),
        st.sampled_from([None, "here", "there"]),
        st.sampled_from([0, 7000]),
        st.booleans(),
        st.integers(0, 60),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(_STEPS)
def test_the_memory_store_is_a_table_with_an_expiry(
    steps: list[tuple[str, int, str, str | None, int, bool, int]],
) -> None:
    store = MemorySwarmStore(EXPIRY)
    table: dict[tuple[str, str], Entry] = {}
    now = 0.0
    for what, number, resource, isp, port, flag, amount in steps:
        table = {key: each for key, each in table.items() if now - each.seen < EXPIRY}
        if what == "announce":
            new = entry(number, resource=resource, isp=isp, port=port, left=amount, seen=now, supernode=flag)
            result_of(store.announce(new))
            table[resource, new.node_id] = new
        elif what == "leave":
            left = result_of(store.leave(resource, node_name(number), SESSION, now))
            assert left == (table.pop((resource, node_name(number)), None) is not None)
        else:
            now += amount
            table = {key: each for key, each in table.items() if now - each.seen < EXPIRY}
        swarm = [each for (of, _), each in table.items() if of == resource]
        found = result_of(store.look(resource, Viewpoint(NOBODY, "", isp), 100, 100, now, Random(number)))
        by_name = sorted(found.entries, key=lambda each: each.node_id)
        assert by_name == sorted((each for each in swarm if each.port), key=lambda each: each.node_id)
        assert (found.seeds, found.leeches) == (sum(e.seed for e in swarm), sum(not e.seed for e in swarm))
        nodes = len({of for _, of in table})
        assert result_of(store.occupancy(now)) == Occupancy(len({of for of, _ in table}), len(table), nodes)
