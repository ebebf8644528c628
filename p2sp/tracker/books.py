"""Which entries does a node have, and which does an address, at little cost where it is one, as it mostly is?"""

from collections.abc import Iterator
from itertools import islice

import attrs

from p2sp.net.ratelimit import client_key
from p2sp.tracker.entry import Entry


@attrs.define
class NodeBook:
    """Entries by node id and swarm. A node in one swarm alone costs no table of its own."""

    _held: dict[str, "Entry | dict[str, Entry]"] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._held)

    def find(self, node_id: str, resource: str) -> Entry | None:
        """The entry of a node in a swarm."""
        held = self._held.get(node_id)
        if isinstance(held, dict):
            return held.get(resource)
        return held if held is not None and held.resource == resource else None

    def count(self, node_id: str) -> int:
        """In how many swarms a node is."""
        held = self._held.get(node_id)
        return len(held) if isinstance(held, dict) else int(held is not None)

    def put(self, entry: Entry) -> None:
        """Take an entry in that is not in yet."""
        held = self._held.get(entry.node_id)
        if held is None:
            self._held[entry.node_id] = entry
        elif isinstance(held, dict):
            held[entry.resource] = entry
        else:
            self._held[entry.node_id] = {held.resource: held, entry.resource: entry}

    def take(self, entry: Entry) -> None:
        """Take an entry out that is in."""
        held = self._held[entry.node_id]
        if isinstance(held, dict) and len(held) > 1:
            del held[entry.resource]
        else:
            del self._held[entry.node_id]


@attrs.define
class _Crowd:
    """Several entries of one address, by swarm and node id."""

    count: int = 0
    swarms: dict[str, dict[str, Entry]] = attrs.field(factory=dict)

    def put(self, entry: Entry) -> None:
        self.count += 1
        self.swarms.setdefault(entry.resource, {})[entry.node_id] = entry

    def take(self, entry: Entry) -> None:
        self.count -= 1
        nodes = self.swarms[entry.resource]
        del nodes[entry.node_id]
        if not nodes:
            del self.swarms[entry.resource]


@attrs.define
class AddressBook:
    """Entries by address, an IPv6 one standing for its /64: who is behind one address shares a local network."""

    _held: dict[str, Entry | _Crowd] = attrs.field(factory=dict)

    def count(self, host: str) -> int:
        """How many entries an address has."""
        held = self._held.get(client_key(host))
        return held.count if isinstance(held, _Crowd) else int(held is not None)

    def put(self, entry: Entry) -> None:
        """Take an entry in that is not in yet."""
        key = client_key(entry.host)
        held = self._held.get(key)
        if held is None:
            self._held[key] = entry
            return
        if not isinstance(held, _Crowd):
            alone, held = held, _Crowd()
            held.put(alone)
            self._held[key] = held
        held.put(entry)

    def take(self, entry: Entry) -> None:
        """Take an entry out that is in, with the address it was put in with."""
        key = client_key(entry.host)
        held = self._held[key]
        if isinstance(held, _Crowd) and held.count > 1:
            held.take(entry)
        else:
            del self._held[key]

    def neighbours(self, host: str, resource: str, most: int) -> Iterator[Entry]:
        """At most `most` entries of an address in one swarm, whoever of them can be reached."""
        held = self._held.get(client_key(host))
        if isinstance(held, _Crowd):
            yield from islice(held.swarms.get(resource, {}).values(), most)
        elif held is not None and held.resource == resource:
            yield held
