"""Which servers does a transfer fetch from, which does it look at first, and what is remembered of each?"""

from collections.abc import Sequence
from time import time

from twisted.internet.defer import Deferred

from p2sp.download.agreement import agree
from p2sp.download.comparisons import Comparisons
from p2sp.download.conductor import Conductor
from p2sp.download.node import Node
from p2sp.download.report import Report
from p2sp.resource.verification import Content
from p2sp.schedule.spans import Kind
from p2sp.sources.http import HttpSource
from p2sp.sources.http_facts import Version
from p2sp.sources.http_probe import Connect, Probe

MAX_MIRRORS = 32


class Servers:
    """The servers of one download, from their URLs to what the node's memory is told of them."""

    def __init__(self, node: Node, connect: Connect, content: Content, report: Report, conductor: Conductor) -> None:
        self._node = node
        self._connect = connect
        self._content = content
        self._report = report
        self._conductor = conductor
        self._sources: list[HttpSource] = []
        self._comparisons: Comparisons | None = None

    @property
    def comparing(self) -> bool:
        """Whether one is compared at this moment: it may join soon."""
        return self._comparisons is not None and self._comparisons.running

    def begin(
        self, mirrors: Sequence[str], found: Probe | None, version: Version | None, unproven: Sequence[str]
    ) -> None:
        """Have them take part: `mirrors` at once, best first; `unproven` when they have been seen to hold what `found`
        holds.
        """
        if found is not None and unproven:
            # Before the first server is asked for more: what fails at once must find that others are looked at.
            self._compare(found, list(dict.fromkeys(unproven))[:MAX_MIRRORS])
        ranked = list(dict.fromkeys(mirrors))
        if self._node.memory is not None:
            ranked = self._node.memory.order(ranked, time())
        for url in ranked[:MAX_MIRRORS]:
            self._add(url, found if found is not None and found.url == url else None, version)

    def let_go(self) -> None:
        """Look at no more of them, and tell the memory what each did; for when the conductor has stopped."""
        if self._comparisons is not None:
            self._comparisons.stop()
        sources, self._sources = self._sources, []
        for source in sources:
            account = self._report.account(source.label, Kind.SERVER)
            if self._node.memory is not None and (account.bytes or account.failures):
                self._node.memory.note(
                    source.url,
                    count=account.bytes,
                    seconds=account.busy_seconds,
                    errors=0 if account.bytes else account.failures,
                    ranges=source.ranged,
                    now=time(),
                )

    def _add(self, url: str, found: Probe | None, version: Version | None) -> None:
        memory = self._node.memory
        source = HttpSource(
            self._connect,
            url,
            self._content,
            connections=self._node.connections,
            found=found,
            version=version,
            in_row=memory is not None and memory.ignores_ranges(url, time()),
        )
        self._sources.append(source)
        self._conductor.add(source, expected=memory.rate(url, time()) if memory is not None else 0.0)

    def _compare(self, first: Probe, urls: Sequence[str]) -> None:
        node = self._node

        def compare(url: str) -> "Deferred[Probe]":
            return Deferred.fromCoroutine(agree(self._connect, first, url, node.rng))

        def left_out(url: str, reason: str) -> None:
            self._report.account(url, Kind.SERVER).note(reason)
            self._report.tell(reason)

        self._comparisons = Comparisons(
            node.reactor,
            node.rng,
            compare,
            agreed=lambda url, probe: self._add(url, probe, None),
            left_out=left_out,
        )
        for url in urls:
            self._comparisons.begin(url)
