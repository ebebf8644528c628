"""What is believed of what foreign clients say they have downloaded? Pure.

Nobody vouches for them, so that what they say moves the statistics no more than an honest client could: of a resource
that our own nodes know, at most its length once for each client, and from each address no faster than a line carries.
"""

import hashlib
from collections import OrderedDict
from typing import Final, TypeVar

import attrs

from p2sp.net.ratelimit import client_key
from p2sp.statistics.schema import Sample
from p2sp.tracker.bep3 import ForeignAnnounce
from p2sp.tracker.entry import swarm_key
from p2sp.tracker.schema import Counters, Event

MOST_RESOURCES: Final = 100_000
MOST_ACCOUNTS: Final = 50_000
MOST_ADDRESSES: Final = 16_384
OWN: Final = b"-PS".hex()
"""How the ids of our own nodes begin where they talk to foreign ones; they report for themselves."""

_Value = TypeVar("_Value")


@attrs.define
class KnownResources:
    """Which resource a swarm is of, and how long it is, as our own nodes said last; who is not heard of goes first."""

    most: int = MOST_RESOURCES
    _known: OrderedDict[str, tuple[str, int]] = attrs.field(factory=OrderedDict)

    def learn(self, resource: str, length: int, v1: str | None) -> None:
        """A node announced a resource of so many bytes (0: it does not know), which v1 clients know by another name."""
        if not length:
            return
        for swarm in (swarm_key(resource), v1):
            if swarm is None:
                continue
            # What was said first holds while it is said: a later liar moves nobody's account.
            held = self._known.pop(swarm, (resource, length))
            _keep(self._known, swarm, held, self.most)

    def find(self, swarm: str) -> tuple[str, int] | None:
        """Resource id and bytes of a swarm."""
        return self._known.get(swarm)


@attrs.define
class ForeignAccounts:
    """Accounts of foreign clients, as samples for the statistics server.

    `rate` is how many bytes a second one address (IPv6: /64) may claim, `saved` for how many seconds of silence.
    Whatever the tracker forgets, or another process of it counts as well, is claimed anew from the same beginning, in
    the same session: the statistics server takes the largest claim of each.
    """

    resources: KnownResources
    rate: float
    saved: float
    _given: OrderedDict[str, int] = attrs.field(factory=OrderedDict)
    _allowances: OrderedDict[str, tuple[float, float]] = attrs.field(factory=OrderedDict)

    def sample(
        self, asked: ForeignAnnounce, address: str, isp: str | None, *, now: float, wall: float
    ) -> Sample | None:
        """What to report of an announce from `address`; None when there is nothing, or nothing to believe.

        All bytes count as from peers outside of the ISP: from whom they came such clients do not say, and what is
        unknown is never local. `now` counts silence, `wall` is seconds since 1970.
        """
        known = self.resources.find(asked.swarm)
        if known is None or asked.peer_id.startswith(OWN):
            return None
        resource, length = known
        claimed = min(asked.downloaded, max(0, length - asked.left))
        if not claimed and not asked.left:
            return None
        whose = f"{address} {asked.port} {asked.peer_id} {resource}"
        # A hybrid's client announces under two names what it downloads once.
        session = hashlib.sha256(whose.encode()).hexdigest()[:32]
        client = client_key(address)
        given = self._grant(session, client, claimed, now)
        event, left = asked.event, asked.left
        if (not left or event is Event.COMPLETED) and 2 * given < length:
            # Most of it came from elsewhere, or at another time: no download that we saw.
            event, left = Event.PROGRESS, max(left, 1)
        elif event is Event.STOPPED and not given:
            event = Event.PROGRESS
        return Sample(
            session=session,
            resource=resource,
            # Whoever has many ports is one client still.
            node_id=hashlib.sha256(f"foreign {client}".encode()).hexdigest(),
            at=wall,
            event=event,
            counters=Counters(peer_remote=given),
            length=length,
            left=left,
            isp=isp,
        )

    def _grant(self, session: str, client: str, claimed: int, now: float) -> int:
        """The bytes of a session that are believed by now, of so many claimed."""
        level, at = self._allowances.pop(client, (0.0, now))
        level = min(level + max(0.0, now - at) * self.rate, self.saved * self.rate)
        before = self._given.pop(session, 0)
        given = max(before, min(claimed, before + int(level)))
        _keep(self._given, session, given, MOST_ACCOUNTS)
        _keep(self._allowances, client, (level - (given - before), now), MOST_ADDRESSES)
        return given


def _keep(table: OrderedDict[str, _Value], key: str, value: _Value, most: int) -> None:
    """Put what is not in at the end of a table, and forget what stands in front when it is full."""
    while len(table) >= most:
        table.popitem(last=False)
    table[key] = value
