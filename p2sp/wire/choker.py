"""Whom do we serve?"""

from collections.abc import Collection, Hashable
from random import Random
from typing import Final, Generic, TypeVar

import attrs

ROUND: Final = 10.0
"""Seconds after which who gives us most is looked at anew."""

OPTIMISTIC: Final = 30.0
"""Seconds that somebody is served on trial, whatever he gives."""

NEW: Final = 60.0
"""Seconds after joining in which somebody is taken on trial thrice as likely as others."""

TURN: Final = 30.0
QUOTA: Final = 16 * 1024 * 1024
"""Of who gives nothing back a turn ends after so many seconds and bytes, if others wait."""

LONGEST_TURN: Final = 120.0
"""Seconds after which a turn ends however little was taken."""

ASLEEP: Final = 3.0
"""Seconds after which somebody who is served and takes nothing keeps nobody else from a slot."""

K = TypeVar("K", bound=Hashable)


@attrs.frozen
class Applicant(Generic[K]):
    """One link, as the choker sees it.

    `given` are the bytes it gave us, `taken` those it took, both since it joined; `trading` is said of one that has
    something we still want to get, so that giving is to depend on giving. `near` is one in our ISP.
    """

    key: K
    interested: bool
    trading: bool = False
    given: int = 0
    taken: int = 0
    near: bool = False


@attrs.define(eq=False)
class _Standing:
    """What is remembered of a link between two looks."""

    joined: float
    given: int
    rate: float = 0.0
    turn_since: float = 0.0
    turn_taken: int = 0
    taken: int = 0
    awake: float = 0.0


class Choker(Generic[K]):
    """Gives a number of upload slots to who is interested.

    As long as slots are free everybody who is interested has one. When others wait: who trades is served for what he
    gives (the rate of the last seconds), who only takes in turns with a quota, the longest waiting first; slots are
    shared between the two by their numbers. Who is served and takes nothing stays so beside the others. One slot goes
    to somebody on trial, newcomers favoured, so that better ones are found and nobody is left out for ever. With a
    single slot all take turns. `now` is any steady count of seconds.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._standing: dict[K, _Standing] = {}
        self._traders: list[K] = []
        self._takers: list[K] = []
        self._waiting: dict[K, None] = {}
        self._trial: K | None = None
        self._trial_since = 0.0
        self._round: float | None = None
        self._rank_anew = False
        self._served: set[K] = set()

    def decide(
        self, applicants: Collection[Applicant[K]], now: float, rng: Random, slots: int | None = None
    ) -> Collection[K]:
        """Who is to be unchoked now; everybody else is to be choked. `applicants` are all links there are.

        `slots` is how many there are from now on.
        """
        self._slots = self._slots if slots is None else slots
        by_key = {applicant.key: applicant for applicant in applicants}
        self._note(by_key, now)
        asleep = {each.key for each in applicants if each.interested and self._sleeps(each.key, now)}
        interested = [each for each in applicants if each.interested and each.key not in asleep]
        traders = [each.key for each in interested if each.trading and self._slots > 1]
        chosen = set(traders)
        takers = [each.key for each in interested if each.key not in chosen]
        trial = 1 if 1 < self._slots < len(interested) else 0
        for_traders, for_takers = self._shares(len(traders), len(takers), self._slots - trial)
        self._choose_traders(traders, for_traders, now)
        self._choose_takers(takers, for_takers, by_key, now)
        served = {*self._traders, *self._takers}
        if trial:
            self._choose_trial([each.key for each in interested if each.key not in served], now, rng)
        else:
            self._trial = None
        if self._trial is not None:
            served.add(self._trial)
        self._waiting = {
            key: None
            for key in [*self._waiting, *(each.key for each in interested)]
            if key in by_key and by_key[key].interested and key not in served
        }
        self._served = served | asleep
        return self._served

    def _sleeps(self, key: K, now: float) -> bool:
        return key in self._served and now - self._standing[key].awake >= ASLEEP

    def _note(self, applicants: dict[K, Applicant[K]], now: float) -> None:
        """Take up what was given since the last round, and who is new or gone."""
        self._standing = {key: standing for key, standing in self._standing.items() if key in applicants}
        for key, applicant in applicants.items():
            if key not in self._standing:
                self._standing[key] = _Standing(now, applicant.given)
            standing = self._standing[key]
            if key not in self._served or standing.taken != applicant.taken:
                standing.taken, standing.awake = applicant.taken, now
        if self._round is None:
            self._round = now
        elif now - self._round >= ROUND:
            for key, standing in self._standing.items():
                given = applicants[key].given
                # The round before counts as much: who is fast now and then is not thrown out for a pause.
                standing.rate = (standing.rate + (given - standing.given) / (now - self._round)) / 2
                standing.given = given
            self._round = now
            self._rank_anew = True

    @staticmethod
    def _shares(traders: int, takers: int, slots: int) -> tuple[int, int]:
        """Slots of the two: by their numbers, neither is without; what one does not need the other has."""
        if not traders or not takers or slots < 2:
            return (slots, 0) if traders else (0, slots)
        share = min(max(round(slots * traders / (traders + takers)), 1), slots - 1)
        share = min(share, traders)
        rest = min(slots - share, takers)
        return min(slots - rest, traders), rest

    def _choose_traders(self, interested: list[K], slots: int, now: float) -> None:
        present = set(interested)
        before = [key for key in self._traders if key in present]
        waiting = {key: place for place, key in enumerate(self._waiting)}

        def rank(key: K) -> tuple[float, int]:
            # Of those who give the same, which may be nothing, each has its turn.
            standing = self._standing[key]
            fresh = key in before and now - standing.turn_since < TURN
            return (-standing.rate, -1 if fresh else waiting.get(key, len(waiting)))

        kept = [] if self._rank_anew else before[:slots]
        self._rank_anew = False
        self._traders = kept + sorted((key for key in interested if key not in kept), key=rank)[: slots - len(kept)]
        for key in self._traders:
            if key not in before:
                self._standing[key].turn_since = now

    def _choose_takers(self, interested: list[K], slots: int, by_key: dict[K, Applicant[K]], now: float) -> None:
        present = set(interested)
        waiting = [key for key in self._waiting if key in present]
        waiting += [key for key in interested if key not in self._waiting and key not in self._takers]
        holders = [key for key in self._takers if key in present]
        free = slots - len(holders)
        # Who has had his turn makes room, the longest served first, for as many as wait.
        for key in [key for key in holders if self._through(by_key[key], now)][: max(len(waiting) - free, 0)]:
            holders.remove(key)
        for key in holders[slots:]:
            holders.remove(key)
        for key in waiting[: slots - len(holders)]:
            holders.append(key)
            standing = self._standing[key]
            standing.turn_since, standing.turn_taken = now, by_key[key].taken
        self._takers = holders

    def _through(self, applicant: Applicant[K], now: float) -> bool:
        standing = self._standing[applicant.key]
        served = now - standing.turn_since
        return served >= LONGEST_TURN or (served >= TURN and applicant.taken - standing.turn_taken >= QUOTA)

    def _choose_trial(self, others: list[K], now: float, rng: Random) -> None:
        if self._trial in others and now - self._trial_since < OPTIMISTIC:
            return
        candidates = [key for key in others if key != self._trial] or others
        weights = [3 if now - self._standing[key].joined < NEW else 1 for key in candidates]
        self._trial = rng.choices(candidates, weights)[0] if candidates else None
        self._trial_since = now
