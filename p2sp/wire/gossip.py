"""Which links of a swarm hear of which others, and what do we make of what they tell (BEP 11)?"""

from collections.abc import Iterable
from ipaddress import ip_address

import attrs

from p2sp.wire.link import PeerLink
from p2sp.wire.pex import REACHED, SEED, SLACK, Neighbour, Neighbours, PexTeller, PexTimer, callable_from


@attrs.define
class _Talk:
    """What was said on one link."""

    teller: PexTeller = attrs.field(factory=PexTeller)
    heard: PexTimer = attrs.field(factory=lambda: PexTimer(SLACK))


class Gossip:
    """Tells the links of one resource of each other: nodes of nodes, foreign clients of foreign clients."""

    def __init__(self) -> None:
        self._talks: dict[PeerLink, _Talk] = {}

    def tell(self, links: Iterable[PeerLink], now: float) -> None:
        """Tell every link what is new to it, if it is time."""
        known = [(link, at) for link in links if (at := _whereabouts(link)) is not None]
        for link in links:
            if not link.session.talks_of_others:
                continue
            here = _is_loopback(link.address[0])
            others = {
                at: (SEED if other.session.pieces.full else 0) | (REACHED if other.outgoing else 0)
                for other, at in known
                if other is not link and other.secure == link.secure and _is_loopback(at.host) == here
            }
            news = self._talk(link).teller.news(others, now)
            if news is not None:
                link.session.tell_of_others(news, others)
                link.flush()

    def heard(self, link: PeerLink, news: Neighbours, now: float) -> list[Neighbour]:
        """The nodes worth calling out of what a link told; none when it tells too often."""
        if not self._talk(link).heard.due(now):
            return []
        return callable_from(news.added, link.address[0])

    def gone(self, link: PeerLink) -> None:
        """A link ended."""
        self._talks.pop(link, None)

    def _talk(self, link: PeerLink) -> _Talk:
        return self._talks.setdefault(link, _Talk())


def _whereabouts(link: PeerLink) -> Neighbour | None:
    """Where the other side of a link can be called; None when it does not say."""
    said = link.session.abilities.port if link.session.abilities else 0
    port = link.address[1] if link.outgoing else said
    return Neighbour(link.address[0], port, link.node_id) if port else None


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback
