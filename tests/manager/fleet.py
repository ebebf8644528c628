"""What does a super node do with its orders, as far as the manager is concerned?"""

import attrs

from p2sp.manager.schema import Heartbeat, HeartbeatAnswer, Held
from p2sp.supernode.cache import Entry, Wish, plan
from p2sp.supernode.fills import Fill, next_fills


@attrs.define
class CacheNode:
    """A super node in virtual time: the production rules of what stays and what is fetched next, over mere numbers.

    `lengths` are the bytes of each resource, `inventory` those it has. `fetched` is what it began to fetch from
    nothing, in order; `most_named` the most that one answer named and it did not have whole.
    """

    node_id: str
    address: str
    capacity: int
    lengths: dict[str, int]
    rate: int = 8 << 20
    fills: int = 2
    inventory: dict[str, int] = attrs.field(factory=dict)
    ordered: dict[str, float] = attrs.field(factory=dict)
    moving: list[str] = attrs.field(factory=list)
    fetched: list[str] = attrs.field(factory=list)
    most_named: int = 0

    def beat(self, *, draining: bool = False) -> Heartbeat:
        held = [Held(each, self.lengths[each], self._share(each)) for each in self.inventory]
        return Heartbeat(
            url="https://node.example:9006",
            port=9007,
            capacity=self.capacity,
            used=sum(self.lengths[each] for each in self.inventory),
            held=held,
            fills=self.fills,
            fill_rate=self.rate,
            draining=draining,
        )

    def _share(self, resource: str) -> float:
        return self.inventory[resource] / self.lengths[resource]

    def follow(self, answer: HeartbeatAnswer) -> None:
        self.ordered = {order.resource: order.value for order in answer.desired}
        self.most_named = max(self.most_named, sum(not self.is_whole(each) for each in self.ordered))
        entries = [Entry(each, self.lengths[each]) for each in self.inventory]
        todo = plan(self.capacity, entries, [Wish(each, self.lengths[each]) for each in self.ordered])
        for resource in todo.evict:
            del self.inventory[resource]
        for resource in todo.hold:
            self.inventory.setdefault(resource, 0)

    def is_whole(self, resource: str) -> bool:
        return self.inventory.get(resource, 0) == self.lengths[resource]

    def work(self, seconds: float) -> None:
        """Fetch for so long, all fills sharing what it fetches a second."""
        self.moving = [each for each in self.moving if each in self.ordered and each in self.inventory]
        waiting = [each for each in self.ordered if each in self.inventory and not self.is_whole(each)]
        states = [Fill(each, self.ordered[each], each in self.moving) for each in waiting]
        for resource in next_fills(states, self.fills):
            self.moving.append(resource)
            if not self.inventory[resource]:
                self.fetched.append(resource)
        for resource in self.moving:
            more = round(self.rate * seconds / len(self.moving))
            self.inventory[resource] = min(self.inventory[resource] + more, self.lengths[resource])
        self.moving = [each for each in self.moving if not self.is_whole(each)]
