"""What does a tracker tell clients without a key of this network, whatever protocol they ask in?"""

from collections.abc import Sequence
from typing import Final

import attrs

from p2sp.net.addresses import host_port
from p2sp.net.ratelimit import RateTable
from p2sp.tracker.bep3 import ForeignAnnounce, SwarmNumbers
from p2sp.tracker.core import Tracker
from p2sp.tracker.entry import Candidates, Entry, Speech, Viewpoint
from p2sp.tracker.foreign_accounts import ForeignAccounts
from p2sp.tracker.load import LoadGauge
from p2sp.tracker.schema import Event

LARGEST_INTERVAL: Final = 86_400
_NOBODY: Final = Viewpoint("", "", None)


@attrs.define
class Tally:
    """What was done for foreign clients, by kind of answer, since the start."""

    announces: int = 0
    scrapes: int = 0
    limited: int = 0
    malformed: int = 0
    ignored: int = 0


@attrs.define
class ForeignDesk:
    """Announces and scrapes of foreign clients, onto the same swarms and by the same choice as those of our nodes.

    A client is its observed address with the port it names: it can make nobody appear but itself. It is told only of
    those who take clear text. What it says it has downloaded is reported as far as `accounts` believe it. `interval` in
    seconds.
    """

    tracker: Tracker
    interval: float
    rates: RateTable
    gauge: LoadGauge
    accounts: ForeignAccounts | None = None
    tally: Tally = attrs.field(factory=Tally)

    def wait(self, address: str) -> float:
        """Count a request of an address: 0.0 when it may go on, else in how many seconds it may be tried again."""
        price = self.gauge.price_for(self.rates.limit, self.interval)
        wait = self.rates.wait(address, self.tracker.now(), price)
        if wait > 0.0:
            self.tally.limited += 1
        return wait

    def sheds(self) -> bool:
        """Whether the request at hand is one too many for this process."""
        return self.gauge.turns_away(self.tracker.rng)

    def next_time(self) -> int:
        """In how many seconds a client is to come back, spread so that not all come at once."""
        return max(1, min(LARGEST_INTERVAL, round(self.tracker.spread(self.interval))))

    async def announce(self, address: str, asked: ForeignAnnounce) -> tuple[Sequence[Entry], SwarmNumbers]:
        """Note a client's state; whom to name to it, and the swarm's numbers."""
        self.tally.announces += 1
        tracker = self.tracker
        entry = Entry(
            resource=asked.swarm,
            node_id=host_port(address, asked.port),
            session=asked.peer_id,
            host=address,
            port=asked.port,
            isp=tracker.isp_of(address),
            left=asked.left,
            # What the whole is, such clients do not say; that nothing is left says enough.
            length=0 if asked.left else 1,
            seen=tracker.now(),
            speech=Speech.CLEAR,
        )
        if self.accounts is not None and tracker.accounting is not None:
            sample = self.accounts.sample(asked, address, entry.isp, now=entry.seen, wall=tracker.wall())
            if sample is not None:
                tracker.accounting.add(sample)
        stopped = asked.event is Event.STOPPED
        chosen, whole = await tracker.meet(entry, [asked.swarm], 0 if stopped else asked.wanted, stopped=stopped)
        return chosen, _numbers(whole)

    async def scrape(self, swarms: Sequence[str]) -> dict[str, SwarmNumbers]:
        """The numbers of each swarm."""
        self.tally.scrapes += 1
        tracker = self.tracker
        found = {}
        for swarm in swarms:
            found[swarm] = _numbers(await tracker.store.look(swarm, _NOBODY, 0, 0, tracker.now(), tracker.rng))
        return found


def _numbers(whole: Candidates) -> SwarmNumbers:
    return SwarmNumbers(whole.seeds, whole.completions, whole.leeches)
