"""Which trackers does the network we are in name in its DNS? (as BEP 22 finds local trackers)"""

import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.net.addresses import https_url

SCHEME: Final = "srv:"
"""Begins what stands among trackers for those that DNS names: of `srv:campus.example` for this domain, of `srv:` alone
for the one that the address belongs to at which trackers see us."""

SERVICE: Final = "_p2sp-tracker._tcp"
MOST_LEVELS: Final = 8
MOST_TRACKERS: Final = 4
MOST_FAILURES: Final = 2
"""Look-ups of one search that may fail otherwise than by telling that there is no such name."""

MOST_SEARCHES: Final = 8
"""Domains and addresses that are searched for one transfer."""

REMEMBERED: Final = 300.0
"""Seconds for which an answer of DNS, or that there was none, is good for all transfers."""

MOST_REMEMBERED: Final = 64
TIMEOUTS: Final = (1, 2)
"""Seconds for each attempt at a look-up."""

_LARGEST_DOMAIN: Final = 200
_DOMAIN: Final = re.compile(r"[0-9A-Za-z_-]{1,63}(\.[0-9A-Za-z_-]{1,63})+\.?")
_RESOLV_CONF: Final = Path("/etc/resolv.conf")


class NoSuchName(Exception):
    """DNS answered, and knows nothing by this name."""


@attrs.frozen
class Service:
    """One SRV record (RFC 2782)."""

    host: str
    port: int
    priority: int = 0
    weight: int = 0


class Names(Protocol):
    """A resolver. Look-ups fail with NoSuchName, or with anything where nobody answers."""

    def services(self, name: str) -> "Deferred[list[Service]]":
        """The SRV records of a name."""

    def hosts(self, name: str) -> "Deferred[list[str]]":
        """The names an address has (PTR), of the form `reverse_name` makes."""


_log = Logger()


def check_tracker(text: str) -> str:
    """A tracker to begin with as it stands: a URL (https), or what stands for those that DNS names.

    Raises ValueError saying what is wrong with it.
    """
    if not text.startswith(SCHEME):
        return https_url(text)
    domain = text.removeprefix(SCHEME)
    if domain and (len(domain) > _LARGEST_DOMAIN or not _DOMAIN.fullmatch(domain)):
        raise ValueError(f"{text!r} must name a domain such as {SCHEME}campus.example, or none")
    return text


def reverse_name(address: str) -> str:
    """Under which name DNS knows the names of an address; ValueError for what is none."""
    return ip_address(address).reverse_pointer


async def domain_of(address: str, names: Names) -> str | None:
    """The domain of the host that has this address; None where DNS does not say."""
    try:
        hosts = await names.hosts(reverse_name(address))
    except CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - a resolver fails in many ways, and none is worth a download
        _log.debug("{address} has no name: {error}", address=address, error=error)
        return None
    for host in hosts:
        _, dot, domain = host.strip(".").partition(".")
        if dot:
            return domain
    return None


async def local_trackers(domain: str, names: Names, rng: Random) -> list[str]:
    """URLs of the trackers of a domain, else of the one it is part of, and so on; the most wanted first.

    At most eight levels are asked, never one of a single label. Names in DNS prove nothing: whoever answers there must
    show a certificate of the network. Whatever goes wrong finds nobody.
    """
    if len(domain) > _LARGEST_DOMAIN or not _DOMAIN.fullmatch(domain):
        return []
    labels = domain.strip(".").split(".")
    failures = 0
    for _ in range(MOST_LEVELS):
        if len(labels) < 2:
            return []
        name = ".".join((SERVICE, *labels))
        found: list[Service] = []
        try:
            found = await names.services(name)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            _log.debug("{name} cannot be looked up: {error}", name=name, error=error)
            failures += not isinstance(error, NoSuchName)
            if failures >= MOST_FAILURES:
                return []
        if found:
            # Larger weights are likelier to come first among equal priorities.
            lots = {each: rng.random() ** (1.0 / max(each.weight, 0.01)) for each in found}
            ordered = sorted(lots, key=lambda each: (each.priority, -lots[each]))
            return [f"https://{each.host}:{each.port}" for each in ordered if each.host][:MOST_TRACKERS]
        labels = labels[1:]
    return []


class LocalSearch:
    """Searches for the local trackers of domains and addresses, each once; `found` hears their URLs."""

    def __init__(self, names: Callable[[], Names], rng: Random, found: Callable[[str], None]) -> None:
        self._names = names
        self._rng = rng
        self._found = found
        self._searched: set[str] = set()
        self._searching: set[Deferred[None]] = set()

    def domain(self, domain: str) -> None:
        """Search in the DNS of a domain."""
        self._begin(domain, self._search)

    def address(self, address: str) -> None:
        """Search in the DNS of the domain that an address belongs to."""
        self._begin(address, self._locate)

    def stop(self) -> None:
        """Search no more."""
        for each in list(self._searching):
            each.cancel()

    def _begin(self, what: str, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        if what in self._searched or len(self._searched) >= MOST_SEARCHES:
            return
        self._searched.add(what)
        searching: Deferred[None] = Deferred.fromCoroutine(work(what))
        if not searching.called:
            self._searching.add(searching)
        searching.addErrback(lambda failure: failure.trap(CancelledError))
        searching.addBoth(lambda _: self._searching.discard(searching))

    async def _locate(self, address: str) -> None:
        domain = await domain_of(address, self._names())
        if domain is not None:
            await self._search(domain)

    async def _search(self, domain: str) -> None:
        for url in await local_trackers(domain, self._names(), self._rng):
            self._found(url)


class SystemNames:
    """Look-ups at the servers the system uses, or at these."""

    def __init__(self, reactor: Any, servers: list[tuple[str, int]] | None = None) -> None:
        from twisted.names.client import Resolver

        self._resolver = Resolver(servers=servers or [("127.0.0.1", 53)], timeout=TIMEOUTS, reactor=reactor)
        if servers is None and _RESOLV_CONF.is_file():
            self._resolver.parseConfig(_RESOLV_CONF.read_bytes().splitlines())

    def services(self, name: str) -> "Deferred[list[Service]]":
        from twisted.names import dns

        def read(result: Any) -> list[Service]:
            return [
                Service(str(each.target).strip("."), each.port, each.priority, each.weight)
                for each in _payloads(result, dns.SRV)
            ]

        return self._ask(self._resolver.lookupService(name), read)

    def hosts(self, name: str) -> "Deferred[list[str]]":
        from twisted.names import dns

        return self._ask(
            self._resolver.lookupPointer(name), lambda result: [str(each.name) for each in _payloads(result, dns.PTR)]
        )

    def _ask(self, looking: "Deferred[Any]", read: Callable[[Any], Any]) -> "Deferred[Any]":
        from twisted.names.error import DomainError

        def unknown(failure: Any) -> None:
            failure.trap(DomainError)
            raise NoSuchName(str(failure.value))

        return looking.addCallbacks(read, unknown)


def _payloads(result: Any, kind: int) -> list[Any]:
    return [each.payload for each in result[0] if each.type == kind]


class RememberedNames:
    """Looks up once for all who ask, and again when an answer is old; `now` in seconds."""

    def __init__(self, names: Names, now: Callable[[], float]) -> None:
        self._names = names
        self._now = now
        self._answers: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()
        self._waiting: dict[tuple[str, str], list[Deferred[Any]]] = {}

    def services(self, name: str) -> "Deferred[list[Service]]":
        return self._ask(("services", name), self._names.services)

    def hosts(self, name: str) -> "Deferred[list[str]]":
        return self._ask(("hosts", name), self._names.hosts)

    def _ask(self, key: tuple[str, str], look_up: Callable[[str], "Deferred[Any]"]) -> "Deferred[Any]":
        until, answer = self._answers.get(key, (0.0, None))
        if self._now() < until:
            return fail(answer) if isinstance(answer, Failure) else succeed(answer)
        # Who waits no longer takes nothing from the others.
        waits: Deferred[Any] = Deferred(lambda deferred: self._waiting[key].remove(deferred))
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(waits)
            return waits
        self._waiting[key] = [waits]
        look_up(key[1]).addBoth(self._heard, key)
        return waits

    def _heard(self, answer: Any, key: tuple[str, str]) -> None:
        self._answers.pop(key, None)
        while len(self._answers) >= MOST_REMEMBERED:
            self._answers.popitem(last=False)
        self._answers[key] = (self._now() + REMEMBERED, answer)
        for each in self._waiting.pop(key):
            each.callback(answer)
