"""Does a role start whole or not at all, and stop in its order, each step within its time?"""

from typing import Any

import pytest
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from p2sp.net.jsonapi import Api, make_site
from p2sp.net.trust import server_context
from p2sp.ops.config import ConfigError
from p2sp.ops.service import STEP_DEADLINE, CannotStart, RoleService
from tests.net.kit import AUTHORITY, TRUST, Talk, reactor


class Draining(Factory):
    """A factory that notes how it is drained."""

    noisy = False

    def __init__(self, news: list[str]) -> None:
        self.news = news
        self.protocol = Protocol
        self.done: Deferred[None] = Deferred()

    def drain(self, deadline: float) -> Deferred[None]:
        self.news.append("drain")
        return self.done


class FullReactor(MemoryReactorClock):
    """A machine on which every port is taken."""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        raise CannotListenError(interface, port, OSError(98, "Address already in use"))


class LifeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.news: list[str] = []
        self.service = RoleService("index", self.reactor)

    def note(self, name: str) -> Any:
        return lambda: self.news.append(name)

    def test_start_opens_then_listens_then_repeats(self) -> None:
        self.service.on_start("a", self.note("a"))
        self.service.on_start("b", self.note("b"))
        self.service.listen("127.0.0.1:9001", Factory.forProtocol(Protocol), None)
        self.service.every(5, self.note("tick"), "ticking", jitter=0)
        self.service.privilegedStartService()
        self.assertEqual(self.news, ["a", "b"])
        self.assertEqual([(port, where) for port, _, _, where in self.reactor.tcpServers], [(9001, "127.0.0.1")])
        self.reactor.advance(5)
        self.assertEqual(self.news, ["a", "b"])
        self.service.startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.reactor.advance(5)
        self.assertEqual(self.news, ["a", "b", "tick"])

    def test_it_listens_as_a_child_too(self) -> None:
        parent = MultiService()
        self.service.listen("127.0.0.1:9001", Factory.forProtocol(Protocol), None)
        self.service.setServiceParent(parent)
        parent.privilegedStartService()
        parent.startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_a_job_added_later_runs_too(self) -> None:
        self.service.startService()
        self.service.every(5, self.note("tick"), "ticking", jitter=0)
        self.reactor.advance(5)
        self.assertEqual(self.news, ["tick"])

    def test_a_taken_port_is_one_line(self) -> None:
        service = RoleService("index", FullReactor())
        service.listen("127.0.0.1:9001", Factory.forProtocol(Protocol), None)
        with pytest.raises(CannotStart) as caught:
            service.privilegedStartService()
        self.assertEqual(
            (caught.value.role, str(caught.value)), ("index", "cannot listen on 127.0.0.1:9001: Address already in use")
        )

    def test_a_step_that_cannot_start_is_one_line(self) -> None:
        for error in (ConfigError("x.toml", "no"), OSError(28, "No space left on device", "/var/x")):
            service = RoleService("index", self.reactor)

            def fail(error: Exception = error) -> None:
                raise error

            service.on_start("failing", fail)
            service.listen("127.0.0.1:9001", Factory.forProtocol(Protocol), None)
            with pytest.raises(CannotStart, match=r"x\.toml: no|No space"):
                service.privilegedStartService()
            self.assertEqual(self.reactor.tcpServers, [])

    def test_stop_is_in_order_one_after_the_other(self) -> None:
        factory = Draining(self.news)
        steps: dict[str, Deferred[None]] = {name: Deferred() for name in ("manager", "database", "client")}

        def step(name: str) -> Deferred[None]:
            self.news.append(name)
            return steps[name]

        async def as_coroutine() -> None:
            await step("client")

        async def working() -> None:
            try:
                await Deferred()
            finally:
                self.news.append("job ended")

        self.service.on_leaving("manager", lambda: step("manager"))
        self.service.on_leaving("swarms", self.note("swarms"))
        self.service.on_stop("database", lambda: step("database"))
        self.service.on_stop("client", as_coroutine)
        self.service.on_stop("plain", self.note("plain"))
        self.service.listen("127.0.0.1:9001", factory, None)
        self.service.every(5, working, "working", jitter=0)
        self.service.startService()
        [port] = self.service.ports
        port.stopListening = self.note("closed")  # type: ignore[method-assign]
        self.reactor.advance(5)
        stopped = self.service.stopService()
        # All goes on while it says that it goes.
        self.assertEqual(self.news, ["manager"])
        self.news.clear()
        steps["manager"].callback(None)
        self.assertEqual(self.news, ["swarms", "closed", "drain"])
        self.news.remove("swarms")
        factory.done.callback(None)
        self.assertEqual(self.news, ["closed", "drain", "job ended", "plain", "client"])
        steps["client"].callback(None)
        self.assertEqual(self.news[5:], ["database"])
        self.assertNoResult(stopped)
        steps["database"].callback(None)
        self.successResultOf(stopped)
        self.reactor.advance(100)
        self.assertEqual(self.news[5:], ["database"])

    def test_a_step_that_hangs_or_fails_does_not_keep_the_others(self) -> None:
        cancelled: list[str] = []

        def fail() -> None:
            raise RuntimeError("cannot stop")

        self.service.on_stop("last", self.note("last"))
        self.service.on_stop("failing", fail)
        self.service.on_stop("hanging", lambda: Deferred(lambda _: cancelled.append("hanging")))
        self.service.on_stop("short", lambda: Deferred(lambda _: cancelled.append("short")), deadline=1)
        self.service.startService()
        stopped = self.service.stopService()
        self.reactor.advance(1)
        self.assertEqual(cancelled, ["short"])
        self.reactor.advance(STEP_DEADLINE - 0.1)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual((cancelled, self.news), (["short", "hanging"], ["last"]))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_it_can_start_again(self) -> None:
        self.service.listen("127.0.0.1:9001", Factory.forProtocol(Protocol), None)
        self.service.every(5, self.note("tick"), "ticking", jitter=0)
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.service.startService()
        self.reactor.advance(5)
        self.assertEqual((self.news, len(self.service.ports)), (["tick"], 1))
        self.successResultOf(self.service.stopService())


class SocketTests(TestCase):
    timeout = 20

    async def test_a_stopped_role_has_no_listener_and_no_connection(self) -> None:
        identity = AUTHORITY.issue("index", ["127.0.0.1"], "i")
        service = RoleService("index", reactor)
        service.listen("127.0.0.1:0", make_site(Api(TRUST, reactor)), None)
        service.listen("127.0.0.1:0", make_site(Api(TRUST, reactor)), server_context(identity))
        service.privilegedStartService()
        service.startService()
        clear, _ = [port.getHost().port for port in service.ports]  # type: ignore[attr-defined]
        talk = Talk()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", clear)
        await connectProtocol(endpoint, talk)
        talk.say(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        await talk.until(b'"status":"ok"')
        await service.stopService()
        await talk.ended
        with pytest.raises(Exception, match="refused"):
            await connectProtocol(endpoint, Talk())
