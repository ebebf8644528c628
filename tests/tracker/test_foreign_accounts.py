"""Is of what foreign clients say just so much reported as an honest one could have downloaded?"""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from p2sp.statistics.rollup import Amounts, gather
from p2sp.statistics.schema import Sample, SampleAnswer
from p2sp.tracker.accounting import Accounting
from p2sp.tracker.bep3 import ForeignAnnounce
from p2sp.tracker.entry import swarm_key
from p2sp.tracker.foreign_accounts import MOST_ACCOUNTS, ForeignAccounts, KnownResources
from p2sp.tracker.schema import Event
from tests.tracker.entries import MIB, RESOURCE, request
from tests.tracker.kit import ISP_ONE, reactor
from tests.tracker.test_foreign import HASH, V1, Asker, ForeignCase, connect_number, datagram

LENGTH = 100 * MIB
RATE = 10.0 * MIB
SAVED = 600.0
HERE = "192.0.2.1"
SWARM = swarm_key(RESOURCE)


def accounts() -> ForeignAccounts:
    made = ForeignAccounts(KnownResources(), RATE, SAVED)
    made.resources.learn(RESOURCE, LENGTH, V1.hex())
    return made


def said(
    downloaded: int,
    *,
    left: int | None = None,
    event: Event = Event.PROGRESS,
    port: int = 6881,
    peer_id: str = "ee" * 20,
    swarm: str = SWARM,
) -> ForeignAnnounce:
    """A client that began with nothing, unless told otherwise."""
    return ForeignAnnounce(swarm, peer_id, port, LENGTH - downloaded if left is None else left, event, downloaded)


def volume(samples: Sequence[Sample | None]) -> Amounts:
    """What the statistics server makes of them, in any order."""
    real = [each for each in samples if each is not None]
    amounts = gather(reversed(real), {}, now=1000.0, seconds=1e6, max_age=1e6).amounts
    assert {key.resource for key in amounts} <= {RESOURCE}
    return next(iter(amounts.values()), Amounts())


def test_an_honest_download_is_reported_as_it_is() -> None:
    account = accounts()
    steps = [
        (said(0, event=Event.STARTED), 0.0),
        (said(30 * MIB), 10.0),
        (said(LENGTH, event=Event.COMPLETED), 40.0),
        (said(LENGTH, event=Event.STOPPED), 50.0),
    ]
    samples = [account.sample(what, HERE, "one", now=at, wall=at) for what, at in steps]
    found = volume(samples)
    assert (found.peer_remote, found.completed, found.failed) == (LENGTH, 1, 0)
    assert found.server == found.supernode == found.peer_local == 0
    assert samples[1] is not None
    assert (samples[1].isp, samples[1].left, samples[1].length) == ("one", 70 * MIB, LENGTH)


def test_a_hybrid_under_both_names_is_one_download() -> None:
    account = accounts()
    samples = [
        account.sample(said(downloaded, swarm=swarm), HERE, None, now=at, wall=at)
        for downloaded, at in ((0, 0.0), (LENGTH, 100.0))
        for swarm in (SWARM, V1.hex())
    ]
    assert volume(samples).peer_remote == LENGTH


def test_a_tracker_that_forgets_and_its_other_processes_count_nothing_twice() -> None:
    one, other = accounts(), accounts()
    samples = []
    for turn in range(10):
        for account in (one, other):
            samples.append(account.sample(said(turn * 10 * MIB), HERE, None, now=turn * 60.0, wall=turn * 60.0))
        one = accounts() if turn == 5 else one
    assert volume(samples).peer_remote == 90 * MIB


def test_what_is_not_believed_is_no_download() -> None:
    account = accounts()
    resumed = [
        account.sample(said(0, left=MIB, event=Event.STARTED), HERE, None, now=0.0, wall=0.0),
        account.sample(said(MIB, left=0, event=Event.COMPLETED), HERE, None, now=60.0, wall=60.0),
        account.sample(said(MIB, left=0, event=Event.STOPPED), HERE, None, now=61.0, wall=61.0),
    ]
    found = volume(resumed)
    assert (found.peer_remote, found.completed, found.failed) == (MIB, 0, 0)
    boaster = [
        account.sample(said(LENGTH, event=Event.COMPLETED), "192.0.2.9", None, now=0.0, wall=0.0),
        account.sample(said(0, event=Event.STOPPED), "192.0.2.9", None, now=0.0, wall=0.0),
    ]
    assert volume(boaster) == Amounts()


def test_who_stops_early_failed() -> None:
    account = accounts()
    account.sample(said(0, event=Event.STARTED), HERE, None, now=0.0, wall=0.0)
    stopped = account.sample(said(MIB, event=Event.STOPPED), HERE, None, now=9.0, wall=9.0)
    assert volume([stopped]).failed == 1


def test_nothing_is_reported_of_what_nobody_knows_of_seeds_and_of_our_own() -> None:
    account = accounts()
    for what in (
        said(MIB, swarm="00" * 20),
        said(0, left=0),
        said(MIB, peer_id=b"-PS0100-".hex() + "00" * 12),
    ):
        assert account.sample(what, HERE, None, now=100.0, wall=100.0) is None
    unknown = KnownResources()
    unknown.learn(RESOURCE, 0, None)
    assert unknown.find(SWARM) is None


CLAIMS = st.lists(
    st.tuples(
        st.floats(0, 1000),
        st.integers(1, 4),
        st.integers(0, 3),
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        st.sampled_from(Event),
    ),
    max_size=40,
)


@given(claims=CLAIMS)
def test_no_address_claims_more_than_a_line_carries_nor_a_client_more_than_there_is(
    claims: list[tuple[float, int, int, int, int, Event]],
) -> None:
    account = accounts()
    now, samples = 0.0, []
    for pause, port, peer, downloaded, left, event in claims:
        now += pause
        what = said(downloaded, left=left, event=event, port=port, peer_id=f"{peer:040x}")
        samples.append(account.sample(what, HERE, None, now=now, wall=0.0))
    found = volume(samples)
    assert found.peer_remote <= RATE * now + 1
    assert found.peer_remote <= 16 * LENGTH
    assert 2 * found.peer_remote >= found.completed * LENGTH
    # However many it pretends to be, an address is one client.
    assert len({each.node_id for each in samples if each is not None}) <= 1


def test_memory_is_bounded() -> None:
    account = accounts()
    for number in range(MOST_ACCOUNTS + 10):
        account.sample(said(1, port=number % 65536, peer_id=f"{number:040x}"), HERE, None, now=0.0, wall=0.0)
    assert len(account._given) == MOST_ACCOUNTS
    known = KnownResources(most=3)
    for number in range(5):
        known.learn(f"{number:064x}", 1, None)
        known.learn(f"{0:064x}", 2, None)
    assert known.find("0" * 40) == ("0" * 64, 1)


class ReportTests(ForeignCase):
    """From the socket to a sample."""

    async def test_clients_of_both_protocols_are_reported(self) -> None:
        url = self.open('statistics = "https://127.0.0.1:1"\n')
        tracker = self.desk().tracker
        sent: list[Sample] = []

        async def send(samples: list[Sample]) -> SampleAnswer:
            sent.extend(samples)
            return SampleAnswer(len(samples))

        tracker.accounting = Accounting(send, interval=1.0, now=lambda: self.now, rng=tracker.rng)
        await self.announce(ISP_ONE.format(1), downloaded=5)
        # Nobody of ours has told what this is.
        assert tracker.accounting.waiting == 0
        await self.node(url, ISP_ONE.format(9)).announce(request(home=False))
        asker = Asker()
        self.addCleanup(reactor.listenUDP(0, asker, interface=ISP_ONE.format(2)).stopListening)
        number = await connect_number(asker, self.udp)
        for downloaded, left in ((0, 2 * MIB), (MIB, MIB)):
            await self.announce(ISP_ONE.format(1), swarm=HASH, downloaded=downloaded, left=left)
            await asker.ask(self.udp, datagram(number, downloaded=downloaded, left=left))
            self.now += 60.0
        await tracker.accounting.flush_now()
        assert [(each.isp, each.counters.peer_remote, each.left) for each in sent] == [
            ("one", 0, 2 * MIB),
            ("one", 0, 2 * MIB),
            ("one", MIB, MIB),
            ("one", MIB, MIB),
        ]
        assert {each.resource for each in sent} == {RESOURCE}
        assert len({each.node_id for each in sent}) == len({each.session for each in sent}) == 2

    async def test_an_operator_may_have_nothing_reported(self) -> None:
        self.open('statistics = "https://127.0.0.1:1"\nforeign_rate = 0\n')
        assert self.desk().accounts is None
