"""What does an idle source do for the running fetches of others, when nothing is free that it could fetch?"""

from collections.abc import Callable, Mapping

import attrs

from p2sp.resource.layout import Layout
from p2sp.schedule.ledger import Ledger, Running
from p2sp.schedule.rescue import (
    FIRST,
    GRACE,
    MIN_SAVED,
    MIN_SAVED_OF_NODE,
    SETTLE,
    Helper,
    Pace,
    best_copy,
    best_tail,
)
from p2sp.schedule.retries import Retries
from p2sp.schedule.spans import Assignment, Kind, Span
from p2sp.schedule.standing import SourceState

COPY_MAX = 16 * 1024 * 1024
COPY_SHARE = 0.03
"""Of a resource this part, but at least FIRST and at most COPY_MAX bytes, may be asked for twice."""


class Rescuer:
    """Takes the tail of a fetch for who is better for it, else has a second copy fetched, within a budget.

    `spared`: servers are relieved by peers and super nodes, while these bring at least the `floor_rate` (bytes a
    second) together. `on_trial` tells whether a source has still to show that what it gives is good.
    """

    def __init__(
        self,
        layout: Layout,
        ledger: Ledger,
        sources: Mapping[str, SourceState],
        retries: Retries,
        on_trial: Callable[[str], bool],
        *,
        spared: bool,
        floor_rate: float,
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._sources = sources
        self._retries = retries
        self._on_trial = on_trial
        self._spared = spared
        self._floor_rate = floor_rate
        self._budget = max(min(COPY_MAX, int(layout.length * COPY_SHARE)), FIRST)

    def rescue(self, key: str, may: int, now: float) -> Assignment | None:
        """What a source can do for the fetches of others, of the pieces that it `may` be asked for."""
        source = self._sources[key]
        if source.silent(now):
            return None

        def allowed(piece: int) -> bool:
            return bool(may >> piece & 1) and not self._retries.suspected(key, piece)

        helper = Helper(key, source.expects(now), allowed)
        trial = self._on_trial(key)
        node = source.kind is not Kind.SERVER
        stranger = source.stranger(now) and not all(each.stranger(now) for each in self._sources.values())

        def pace(fetch: Running) -> Pace:
            its = self._pace(fetch, source, now)
            if node and fetch.source == key:
                # It answers one request after another: what it takes from itself comes no sooner, and some of it twice.
                return attrs.evolve(its, silent=False, known=False)
            # Two silent ones in a row are what costs time: who delivers comes before who may turn out to be the next.
            if its.silent and stranger and now - self._heard(fetch) < 2 * GRACE:
                its = attrs.evolve(its, silent=False, known=False)
            # To share a piece with who may be wrong costs all of it, to cut a body short what is under way on it: only
            # what would take long is worth that.
            cut_short = node and fetch.left < self._layout.piece_length and self._is_server(fetch) and not its.spare
            return attrs.evolve(its, known=False) if (trial or cut_short) and its.eta < GRACE else its

        tail = best_tail(self._ledger, self._layout, helper, pace)
        if tail is not None:
            if trial:
                tail = tail.last_piece(self._layout)
            self._ledger.shorten(tail.fetch, tail.start)
            return Assignment(Span(tail.start, tail.stop), tail.fetch.span, tail.start)
        if self._budget <= 0:
            return None
        budget = min(self._budget, self._layout.piece_length) if trial else self._budget
        copy = best_copy(self._ledger, self._layout, helper, pace, budget)
        if copy is None:
            return None
        self._budget -= copy[1] - copy[0]
        return Assignment(Span(*copy))

    def _offloads(self, now: float) -> bool:
        """Whether servers are to be spared at present."""
        return self._spared and self._wire_rate(now) >= self._floor_rate

    def _wire_rate(self, now: float) -> float:
        """What peers and super nodes bring together; who is not asked, or keeps silent, brings nothing."""
        wire = (s for s in self._sources.values() if s.kind is not Kind.SERVER and s.running)
        return sum(source.rate.rate(now) for source in wire if now - source.heard < GRACE)

    def _is_server(self, fetch: Running) -> bool:
        return self._sources[fetch.source].kind is Kind.SERVER

    def _heard(self, fetch: Running) -> float:
        """When a fetch last gave a sign of life; what a wire source sends is one for all its fetches."""
        owner = self._sources[fetch.source]
        return fetch.heard if owner.kind is Kind.SERVER else owner.heard

    def _pace(self, fetch: Running, helper: SourceState, now: float) -> Pace:
        """Servers answer fetches side by side, each at its own pace; wire sources answer one after another.

        A node that has been quiet for a while is taken to remain so for as long.
        """
        owner = self._sources[fetch.source]
        server = owner.kind is Kind.SERVER
        settled = now - fetch.since >= SETTLE
        rate = fetch.rate.rate(now) if server and settled else owner.rate.rate(now) / owner.running
        quiet = now - self._heard(fetch)
        return Pace(
            rate,
            eta=fetch.left / rate + (0.0 if server else quiet) if rate > 0 else float("inf"),
            silent=quiet >= GRACE,
            known=settled or owner.rate.age(now) >= SETTLE,
            spare=server and helper.kind is not Kind.SERVER and self._offloads(now),
            least=MIN_SAVED if server else MIN_SAVED_OF_NODE,
        )
