"""What must a store of swarms promise?"""

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2sp.tracker.entry import Admission, Candidates, Entry, Occupancy, Summary, Viewpoint

if TYPE_CHECKING:
    from random import Random


class ISwarmStore(Interface):
    """Which nodes are in which swarm, for as long as they keep announcing.

    Obligations of every implementation:

    * A node has one entry per swarm, whose key is opaque; announcing again replaces it, whatever changed.
    * A node silent for the expiry the store was made with is gone: never handed out, never counted.
    * The work of one call does not grow with the size of the swarm.
    * Limits hold: on swarms, on entries, on nodes per swarm, swarms per node and entries per address (an IPv6
      address stands for its /64). Who is known already may always announce again from where it was. Super nodes
      are bound by the first two alone, so that a flood of anonymous nodes cannot keep them out of a swarm.
    * The store starts empty and may forget everything at any time: nodes announce again.
    * Time comes in as `now`, seconds that do not go back, chance as `rng`.
    """

    def announce(entry: Entry) -> Deferred[Admission]:
        """Take a node in, or its newer state; its `seen` is the time now. The answer says whether it is listed."""

    def leave(resource: str, node_id: str, session: str, now: float) -> Deferred[bool]:
        """Forget a node in a swarm, if the entry is of that very session; the answer says whether it was."""

    def look(
        resource: str, viewpoint: Viewpoint, inside: int, outside: int, now: float, rng: "Random"
    ) -> Deferred[Candidates]:
        """Draw nodes for the one who asks, and count the swarm; empty for an unknown resource.

        Never the asker itself, never one with port 0, never one it has no speech in common with, and for a seed no
        other seeds that are peers. Drawn are of each speech and part (super nodes, seeds, leeches) at most `inside`
        of the asker's ISP and `outside` of others; outside ones are among them if there are any. An unknown ISP has
        no inside. Every reachable node can be drawn. Besides, some of those behind the asker's own address.
        """

    def expire(now: float) -> Deferred[int]:
        """Forget the silent; how many entries went. Called now and then, correctness does not depend on it."""

    def summaries(most: int, now: float) -> Deferred[list[Summary]]:
        """The numbers of at most `most` swarms, of the larger ones sooner than of the smaller. Called now and then."""

    def occupancy(now: float) -> Deferred[Occupancy]:
        """How full the store is."""

    def close() -> Deferred[None]:
        """Let go of what the store holds open."""
