"""Are foreign trackers asked in their order and in their time?"""

from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2sp.download.foreign import Announce, AnnounceFailed, Event, Heard, Hints
from p2sp.download.foreign_finder import (
    DEADLINE,
    FIRST_RETRY,
    GOODBYE,
    LONGEST_RETRY,
    MAX_TRACKERS,
    SHORTEST_INTERVAL,
    ForeignFinder,
)
from p2sp.schedule.spans import Kind
from p2sp.sources.interfaces import Candidate

V2, V1 = b"2" * 20, b"1" * 20
HEARD = Heard(1000.0)


@attrs.define
class Hunt:
    """A finder, its trackers by URL (what each does when asked), and all that came of it."""

    hints: Hints
    trackers: dict[str, Callable[[], "Heard | Deferred[Heard]"]] = attrs.field(factory=dict)
    hashes: tuple[bytes, ...] = (V2,)
    clock: Clock = attrs.field(factory=Clock)
    asked: list[tuple[float, str, Announce, bytes]] = attrs.field(factory=list)
    found: list[Candidate] = attrs.field(factory=list)
    news: list[str] = attrs.field(factory=list)
    finder: ForeignFinder = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.finder = ForeignFinder(self.clock, self.hints, self.hashes, self._ask, self._describe, Random(3))
        self.finder.start(self.found.append, self.news.append)
        self.run(0.0)

    async def _ask(self, url: str, told: Announce, tracker_id: bytes) -> Heard:
        self.asked.append((self.clock.seconds(), url, told, tracker_id))
        answer = self.trackers[url]()
        return answer if isinstance(answer, Heard) else await answer

    def _describe(self, info_hash: bytes, event: Event) -> Announce:
        return Announce(info_hash, bytes(20), 7, 0, 0, 1, event, 0)

    def run(self, seconds: float) -> None:
        self.clock.pump([seconds / 100] * 100)

    @property
    def urls(self) -> list[str]:
        return [url for _, url, _, _ in self.asked]

    @property
    def events(self) -> list[Event]:
        return [told.event for _, _, told, _ in self.asked]

    @property
    def times(self) -> list[float]:
        return [at for at, _, _, _ in self.asked]


def down() -> Heard:
    raise AnnounceFailed("it is down")


def tiers(*tiers: str) -> Hints:
    return Hints(tuple(tuple(tier) for tier in tiers))


def test_the_next_tier_only_when_nobody_in_this_one_answers() -> None:
    hunt = Hunt(tiers("ab", "c"), {"a": down, "b": down, "c": lambda: HEARD})
    assert sorted(hunt.urls[:2]) == ["a", "b"]
    assert hunt.urls[2:] == ["c"]
    assert hunt.finder.answered
    assert sorted(hunt.news) == [f"tracker {url} does not help: it is down" for url in "ab"]
    hunt.run(1001.0)
    assert sorted(hunt.urls[3:5]) == ["a", "b"]
    assert hunt.urls[5:] == ["c"]
    assert len(hunt.news) == 2, "said once"


def test_who_answered_is_asked_first_from_then_on() -> None:
    hunt = Hunt(tiers("abcdef"), {"f": lambda: HEARD, **dict.fromkeys("abcde", down)})
    assert hunt.urls[-1] == "f"
    before = len(hunt.urls)
    hunt.run(1001.0)
    assert hunt.urls[before:] == ["f"]


def test_the_order_within_a_tier_is_anybodys() -> None:
    orders = set()
    for seed in range(20):
        urls: list[str] = []

        async def ask(url: str, told: Announce, tracker_id: bytes, urls: list[str] = urls) -> Heard:
            urls.append(url)
            raise AnnounceFailed("no")

        clock = Clock()
        finder = ForeignFinder(clock, tiers("abc"), (V2,), ask, lambda *_: _told(), Random(seed))
        finder.start(lambda candidate: None, lambda news: None)
        clock.advance(0)
        orders.add("".join(urls))
    assert len(orders) > 3


def _told() -> Announce:
    return Announce(V2, bytes(20), 7, 0, 0, 1, Event.STARTED, 0)


def test_the_interval_is_the_trackers() -> None:
    hunt = Hunt(tiers("a"), {"a": lambda: HEARD})
    hunt.run(2500.0)
    assert hunt.events == [Event.STARTED, Event.PROGRESS, Event.PROGRESS]
    assert all(after - before >= 1000.0 for before, after in zip(hunt.times, hunt.times[1:], strict=False))


def test_an_interval_too_short_is_not_followed() -> None:
    hunt = Hunt(tiers("a"), {"a": lambda: Heard(1.0)})
    hunt.run(SHORTEST_INTERVAL * 3.5)
    assert len(hunt.asked) == 4
    patient = Hunt(tiers("a"), {"a": lambda: Heard(60.0, shortest=500.0)})
    patient.run(450.0)
    assert len(patient.asked) == 1


def test_peers_are_foreign_clients() -> None:
    hunt = Hunt(Hints((("a",),), (("192.0.2.9", 9),)), {"a": lambda: Heard(99.0, peers=(("192.0.2.1", 1), ("::1", 2)))})
    assert hunt.found == [
        Candidate(Kind.PEER, "", "192.0.2.9", 9),
        Candidate(Kind.PEER, "", "192.0.2.1", 1),
        Candidate(Kind.PEER, "", "::1", 2),
    ]


def test_both_swarms_of_a_hybrid() -> None:
    hunt = Hunt(tiers("a"), {"a": lambda: HEARD}, hashes=(V2, V1))
    assert [told.info_hash for _, _, told, _ in hunt.asked] == [V2, V1]


def test_completion_is_told_once_and_at_once() -> None:
    hunt = Hunt(tiers("a"), {"a": lambda: HEARD})
    hunt.run(10.0)
    hunt.finder.completed()
    hunt.run(0.0)
    assert hunt.events == [Event.STARTED, Event.COMPLETED]
    hunt.run(1500.0)
    assert hunt.events[2:] == [Event.PROGRESS]


def test_completion_while_the_first_answer_is_awaited() -> None:
    waiting: Deferred[Heard] = Deferred()
    answers: list[Heard | Deferred[Heard]] = [waiting, HEARD]
    hunt = Hunt(tiers("a"), {"a": lambda: answers.pop(0)})
    hunt.finder.completed()
    hunt.run(5.0)
    assert hunt.events == [Event.STARTED]
    waiting.callback(HEARD)
    hunt.run(5.0)
    assert hunt.events == [Event.STARTED, Event.COMPLETED]


def test_who_never_answered_is_tried_later_and_later() -> None:
    hunt = Hunt(tiers("a"), {"a": down})
    for _ in range(100):
        hunt.run(1000.0)
    waits = [after - before for before, after in zip(hunt.times, hunt.times[1:], strict=False)]
    assert waits[0] <= FIRST_RETRY + 10
    assert waits[-1] <= LONGEST_RETRY + 10
    assert max(waits) > LONGEST_RETRY / 2
    assert not hunt.finder.answered
    assert set(hunt.events) == {Event.STARTED}


def test_a_tracker_may_say_when_to_come_back() -> None:
    def busy() -> Heard:
        raise AnnounceFailed("busy", 600.0)

    hunt = Hunt(tiers("a"), {"a": busy})
    hunt.run(450.0)
    assert len(hunt.asked) == 1
    hunt.run(200.0)
    assert len(hunt.asked) == 2


def test_a_silent_tracker_is_given_up() -> None:
    hunt = Hunt(tiers("a", "b"), {"a": Deferred, "b": lambda: HEARD})
    assert hunt.urls == ["a"]
    hunt.run(DEADLINE + 1)
    assert hunt.urls == ["a", "b"]
    assert hunt.news == [f"tracker a does not help: no answer within {DEADLINE:g} s"]


def test_the_trackers_own_id_is_said_back_to_it() -> None:
    hunt = Hunt(tiers("a"), {"a": lambda: Heard(100.0, tracker_id=b"me")})
    hunt.run(150.0)
    assert [tracker_id for _, _, _, tracker_id in hunt.asked] == [b"", b"me"]


def test_a_warning_is_passed_on_once() -> None:
    hunt = Hunt(tiers("a"), {"a": lambda: Heard(100.0, warning="be nice")})
    hunt.run(350.0)
    assert hunt.news == ["tracker a warns: be nice"]


def test_goodbye_to_who_answered() -> None:
    hunt = Hunt(tiers("a", "b"), {"a": down, "b": lambda: HEARD})
    gone: list[None] = []
    hunt.finder.stop().addCallback(gone.append)
    assert gone == [None]
    assert (hunt.urls[-1], hunt.events[-1]) == ("b", Event.STOPPED)
    hunt.run(5000.0)
    assert len(hunt.asked) == 3
    assert not hunt.clock.getDelayedCalls()


def test_a_goodbye_is_not_waited_for_long() -> None:
    answers: list[Heard | Deferred[Heard]] = [HEARD, Deferred()]
    hunt = Hunt(tiers("a"), {"a": lambda: answers.pop(0)})
    gone: list[None] = []
    hunt.finder.stop().addCallback(gone.append)
    assert gone == []
    hunt.run(GOODBYE + 1)
    assert gone == [None]
    assert not hunt.clock.getDelayedCalls()


def test_leaving_ends_what_is_asked() -> None:
    cancelled: list[Deferred[Heard]] = []
    hunt = Hunt(tiers("a", "b"), {"a": lambda: Deferred(cancelled.append), "b": lambda: HEARD})
    gone: list[None] = []
    hunt.finder.stop().addCallback(gone.append)
    assert len(cancelled) == 1
    assert gone == [None]
    assert hunt.urls == ["a"]
    assert not hunt.clock.getDelayedCalls()


def test_only_so_many_trackers() -> None:
    many = Hints((tuple(map(str, range(15))), tuple(map(str, range(15, 100)))))
    hunt = Hunt(many, {str(each): down for each in range(100)})
    assert len(set(hunt.urls)) == MAX_TRACKERS


def test_without_trackers_nobody_is_asked() -> None:
    hunt = Hunt(Hints(peers=(("192.0.2.9", 9),)))
    assert (hunt.asked, len(hunt.found)) == ([], 1)
    assert not hunt.clock.getDelayedCalls()
