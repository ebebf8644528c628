"""How does a role start whole or not at all, and stop in good order?"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, runtime_checkable

import attrs
from twisted.application import service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTCP,
    IReactorTime,
    IReactorUDP,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from p2sp.net.errors import NetError, in_words
from p2sp.net.listen import listen_tcp, listen_tls, listen_udp
from p2sp.ops.config import ConfigError
from p2sp.ops.loops import Periodic

STEP_DEADLINE: Final = 10.0
DRAIN: Final = 8.0
"""Seconds that answers under way may still take when a role stops, unless it says otherwise."""

SPARE: Final = 2.0
"""Seconds for cut connections to be gone."""


class CannotStart(Exception):
    """A role cannot open what it needs; `str()` is one line for its operator.

    `RoleOptions` sees to it that twistd shows this line and no stack trace. It is no SystemExit because a daemon's
    parent process would wait for ever.
    """

    def __init__(self, role: str, message: str) -> None:
        super().__init__(message)
        self.role = role


@runtime_checkable
class Drainable(Protocol):
    """A factory that can end its connections: those at work first get until `deadline` seconds have passed."""

    def drain(self, deadline: float) -> Deferred[None]: ...


@attrs.frozen
class _Listener:
    address: str
    factory: IProtocolFactory
    context: IOpenSSLServerConnectionCreator | None
    shared: bool

    def open(self, reactor: object) -> tuple[str, IListeningPort]:
        tcp = IReactorTCP(reactor)
        if self.context is None:
            return "http", listen_tcp(tcp, self.address, self.factory, shared=self.shared)
        return "https", listen_tls(tcp, self.address, self.factory, self.context, shared=self.shared)


@attrs.frozen
class _Datagrams:
    address: str
    protocol: DatagramProtocol
    shared: bool

    def open(self, reactor: object) -> tuple[str, IListeningPort]:
        return "udp", listen_udp(IReactorUDP(reactor), self.address, self.protocol, shared=self.shared)


@attrs.frozen
class _Step:
    name: str
    fn: Callable[[], Awaitable[object] | Deferred[object] | object]
    deadline: float


class RoleService(service.Service):
    """One role as twistd runs it: what it opens, listens on, repeats, and undoes when it stops.

    Start: `on_start` steps in order, then the listeners, then the periodic jobs. What cannot start raises
    CannotStart. Stop: the `on_leaving` steps run in order while all goes on, then listeners close and their connections
    drain for `drain` seconds, periodic jobs end, then the `on_stop` steps run one after another, last registered first.
    Each step has a deadline.
    """

    log = Logger()

    def __init__(
        self, role: str, reactor: IReactorTime, *, rng: random.Random | None = None, drain: float = DRAIN
    ) -> None:
        self.role = role
        self.reactor = reactor
        self.ports: list[IListeningPort] = []
        self.jobs: list[Periodic] = []
        self._rng = rng or random.Random()
        self._listeners: list[_Listener | _Datagrams] = []
        self._start_steps: list[tuple[str, Callable[[], object]]] = []
        self._leaving_steps: list[_Step] = []
        self._stop_steps: list[_Step] = []
        self._drain_within = drain
        self._opened = False

    def listen(
        self,
        address: str,
        factory: IProtocolFactory,
        context: IOpenSSLServerConnectionCreator | None,
        *,
        shared: bool = False,
    ) -> None:
        """Serve `factory` at `address` from the start on, over TLS, or in clear text when `context` is None.

        A `shared` address may be served by several processes.
        """
        self._listeners.append(_Listener(address, factory, context, shared))

    def listen_udp(self, address: str, protocol: DatagramProtocol, *, shared: bool = False) -> None:
        """Take datagrams at `address` from the start on. A `shared` address may be served by several processes."""
        self._listeners.append(_Datagrams(address, protocol, shared))

    def every(
        self,
        interval: float,
        fn: Callable[[], Awaitable[object] | object],
        name: str,
        *,
        jitter: float = 0.1,
        rng: random.Random | None = None,
        at_once: bool = False,
    ) -> Periodic:
        """Do `fn` every `interval` seconds while the role runs; see `Periodic`."""
        job = Periodic(self.reactor, interval, fn, name, jitter=jitter, rng=rng or self._rng, at_once=at_once)
        self.jobs.append(job)
        if self.running:
            job.start()
        return job

    def on_start(self, name: str, fn: Callable[[], object]) -> None:
        """Do `fn`, which is synchronous, before listening: open a database, read a file.

        It runs after twistd has forked, which threads and database connections do not survive.
        """
        self._start_steps.append((name, fn))

    def on_leaving(
        self,
        name: str,
        fn: Callable[[], Awaitable[object] | Deferred[object] | object],
        *,
        deadline: float = STEP_DEADLINE,
    ) -> None:
        """Do `fn` when the role is told to stop, while it still answers; what is registered first is done first."""
        self._leaving_steps.append(_Step(name, fn, deadline))

    def on_stop(
        self,
        name: str,
        fn: Callable[[], Awaitable[object] | Deferred[object] | object],
        *,
        deadline: float = STEP_DEADLINE,
    ) -> None:
        """Do `fn` when the role stops, for at most `deadline` seconds; what is registered last is done first."""
        self._stop_steps.append(_Step(name, fn, deadline))

    def privilegedStartService(self) -> None:
        """Open and listen, with the rights twistd was started with; raises CannotStart."""
        super().privilegedStartService()
        self._open()

    def startService(self) -> None:
        """Begin to work; opens first when nobody called `privilegedStartService`."""
        self._open()
        super().startService()
        for job in self.jobs:
            job.start()

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        try:
            for _, fn in self._start_steps:
                fn()
            for each in self._listeners:
                self._listen(each)
        except (NetError, ConfigError, OSError) as error:
            raise CannotStart(self.role, in_words(error)) from error

    def _listen(self, wanted: _Listener | _Datagrams) -> None:
        scheme, port = wanted.open(self.reactor)
        self.ports.append(port)
        host = port.getHost()
        assert isinstance(host, IPv4Address | IPv6Address)
        self.log.info(
            "{role} listening on {scheme}://{host}:{port}",
            role=self.role,
            scheme=scheme,
            host=f"[{host.host}]" if ":" in host.host else host.host,
            port=host.port,
        )

    def stopService(self) -> Deferred[None]:
        """Stop in order; the Deferred fires when every step has ended or used up its time."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        for step in self._leaving_steps:
            await self._step(step)
        ports, self.ports = self.ports, []
        await self._step(_Step("closing listeners", lambda: _close(ports), STEP_DEADLINE))
        factories = [
            each.factory
            for each in self._listeners
            if isinstance(each, _Listener) and isinstance(each.factory, Drainable)
        ]
        within = self._drain_within
        await self._step(_Step("draining connections", lambda: _drain_all(factories, within), within + SPARE))
        await self._step(_Step("ending periodic jobs", lambda: _end(self.jobs), STEP_DEADLINE))
        for step in reversed(self._stop_steps):
            await self._step(step)
        self._opened = False
        self.log.info("{role} has stopped", role=self.role)

    async def _step(self, step: _Step) -> None:
        self.log.debug("{role} stops: {step}", role=self.role, step=step.name)
        running = maybeDeferred(_as_deferred, step.fn)
        running.addTimeout(step.deadline, self.reactor)
        try:
            await running
        except DeadlineError:
            self.log.warn(
                "{role}: {step} was cut off after {deadline} s",
                role=self.role,
                step=step.name,
                deadline=step.deadline,
            )
        except Exception:  # noqa: BLE001 - one broken step must not keep the others from running
            self.log.failure("{role}: {step} failed", role=self.role, step=step.name)


def _as_deferred(fn: Callable[[], Awaitable[object] | Deferred[object] | object]) -> object:
    result = fn()
    if isinstance(result, Awaitable) and not isinstance(result, Deferred):
        return Deferred.fromCoroutine(_await(result))
    return result


async def _await(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _close(ports: list[IListeningPort]) -> Deferred[list[object]]:
    return gatherResults([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)


def _drain_all(factories: Sequence[Drainable], within: float) -> Deferred[list[None]]:
    return gatherResults([each.drain(within) for each in factories], consumeErrors=True)


def _end(jobs: list[Periodic]) -> Deferred[list[None]]:
    return gatherResults([job.stop() for job in jobs], consumeErrors=True)
