"""How are foreign clients answered in datagrams, and nobody who did not ask?"""

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.net.addresses import observed_address
from p2sp.net.errors import NetError
from p2sp.tracker import bep15
from p2sp.tracker.bep3 import SwarmNumbers
from p2sp.tracker.bep15 import BadDatagram, ConnectionIds, Datagram
from p2sp.tracker.foreign import ForeignDesk

MOST_WORKING: Final = 1_000
"""Datagrams whose answers are being found."""


class ForeignUdp(DatagramProtocol):
    """Answers connect, announce and scrape (BEP 15).

    Whoever cannot show the number that was sent to its address hears nothing: a forged sender's address gets at most
    the 16 bytes of a connect, for 16. Processes with the same `secret` take each other's numbers.
    """

    log = Logger()

    def __init__(self, desk: ForeignDesk, secret: bytes) -> None:
        self._desk = desk
        self._ids = ConnectionIds(secret)
        self._working: set[Deferred[None]] = set()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        desk = self._desk
        if desk.sheds() or len(self._working) >= MOST_WORKING:
            return
        address = observed_address(addr[0])
        try:
            request = bep15.read(datagram)
            if desk.wait(address) > 0.0:
                return
            now = desk.tracker.now()
            if request.action == bep15.CONNECT:
                self._send(bep15.write_connect(request, self._ids.make(address, now)), addr)
                return
            if not self._ids.check(request.number, address, now):
                desk.tally.ignored += 1
                return
        except BadDatagram:
            desk.tally.malformed += 1
            return
        working = Deferred.fromCoroutine(self._serve(request, address, addr))
        if not working.called:
            self._working.add(working)
        working.addErrback(self._broke).addBoth(lambda _: self._working.discard(working))

    async def _serve(self, request: Datagram, address: str, to: Any) -> None:
        desk = self._desk
        try:
            if request.action == bep15.ANNOUNCE:
                peers, numbers = await desk.announce(address, bep15.read_announce(request))
                answer = bep15.write_announce(request, peers, numbers, desk.next_time(), address)
            else:
                swarms = bep15.read_scrape(request)
                found = await desk.scrape(swarms)
                answer = bep15.write_scrape(request, [found.get(each, SwarmNumbers(0, 0, 0)) for each in swarms])
        except BadDatagram as error:
            desk.tally.malformed += 1
            answer = bep15.write_error(request, str(error))
        self._send(answer, to)

    def _send(self, answer: bytes, to: Any) -> None:
        if self.transport is not None:
            try:
                self.transport.write(answer, to)
            except OSError as error:
                self.log.debug("a datagram to {to} could not be sent: {error}", to=to, error=error)

    def _broke(self, failure: Failure) -> None:
        if failure.check(NetError):
            self.log.debug("an announce could not be answered: {error}", error=failure.value)
        else:
            self.log.failure("an announce failed", failure)

    def stopProtocol(self) -> None:
        for each in list(self._working):
            each.cancel()
