"""How does a role answer typed JSON calls over HTTPS?"""

import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from p2sp.net.addresses import observed_address
from p2sp.net.calls import ApiError, Call, Reply, as_reply
from p2sp.net.errors import Overloaded
from p2sp.net.presence import work_for
from p2sp.net.ratelimit import RateLimit, RateTable
from p2sp.net.routes import Handler, Pattern, Route, RouteTable
from p2sp.net.trust import Caller, Examined, Trust, peer_certificate
from p2sp.net.web import BoundedChannel, BoundedSite

__all__ = ["Api", "ApiError", "Call", "RateLimit", "Reply", "make_site"]

DEFAULT_LIMIT: Final = RateLimit(100, 400)
MAX_BODY: Final = 1024 * 1024
# A body nobody asked for is read and ignored up to here.
UNWANTED_BODY: Final = 4096
DEADLINE: Final = 30.0


class _Dispatcher(Resource):
    isLeaf = True

    def __init__(self, api: "Api") -> None:
        super().__init__()
        self._api = api

    def render(self, request: Any) -> int:
        self._api.answer(request)
        return NOT_DONE_YET


class Api(Resource):
    """The root resource of a role: typed JSON routes, `GET /v1/health`, and foreign resources mounted beside.

    `trust` says whose roles count (None: nobody has one). Callers that carry a role are not rate limited.
    `health` is awaited for further fields of the health answer; when it raises, the answer is 503. `identify`
    replaces how the caller of a request is found, `wall` the time certificates are judged at.
    """

    isLeaf = False

    def __init__(
        self,
        trust: Trust | None,
        clock: IReactorTime,
        *,
        role: str = "",
        node_id: str = "",
        max_body: int = MAX_BODY,
        rate_limit: RateLimit | None = DEFAULT_LIMIT,
        health: Callable[[], Awaitable[dict[str, Any]]] | None = None,
        identify: Callable[[IRequest], Caller | None] | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        log: Logger | None = None,
    ) -> None:
        super().__init__()
        self.clock = clock
        self.role = role
        self.node_id = node_id
        self.max_body = max_body
        self._trust = trust
        self._health = health
        self._identify = identify or self._by_certificate
        self._wall = wall
        self._log = log or Logger()
        self.calls: Counter[str] = Counter()
        """How often each route was called."""
        self.refused: Counter[str] = Counter()
        """How often the answer was an error, by its code."""
        self._rates = None if rate_limit is None else RateTable(rate_limit)
        self._routes = RouteTable()
        self._mounts: list[tuple[list[bytes], IResource]] = []
        self._callers: WeakKeyDictionary[object, Examined] = WeakKeyDictionary()
        self._dispatcher = _Dispatcher(self)
        self._born = clock.seconds()
        self.route("GET", "/v1/health", self._answer_health)

    def route(
        self,
        method: str,
        pattern: str,
        handler: Handler,
        *,
        body: Any = None,
        roles: frozenset[str] | None = None,
        needs_identity: bool = False,
        max_body: int | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        """Answer `method` on `pattern` with `handler`.

        `body` is the type the JSON body must have, or `bytes` for a raw one. `roles`: the caller must carry one
        of them. `needs_identity`: it must show a certificate. `max_body` in bytes, `deadline` in seconds.
        Raises ValueError for a pattern that makes no sense or is routed twice.
        """
        decoder = None if body is None or body is bytes else msgspec.json.Decoder(body)
        limit = self.max_body if max_body is None else max_body
        if body is None:
            limit = min(limit, UNWANTED_BODY)
        self._routes.add(
            Route(method, Pattern.parse(pattern), handler, body, decoder, roles, needs_identity, limit, deadline)
        )

    def mount(self, prefix: str, resource: IResource) -> None:
        """Hand every path under `prefix` (such as `/r/`) to a resource of twisted.web; no limits but the body's.

        Raises ValueError for an empty prefix.
        """
        segments = [part.encode() for part in prefix.split("/") if part]
        if not segments:
            raise ValueError("a prefix to mount at names at least one segment")
        self._mounts.append((segments, resource))
        self._mounts.sort(key=lambda each: -len(each[0]))

    def body_limit(self, method: bytes, path: bytes, request: Any) -> tuple[int, ApiError]:
        """How many bytes of body this request may have, and what to say of more.

        Who may not make the call may not fill the memory with its body either.
        """
        too_large = ApiError(413, "too-large", "the request's body is larger than this route takes")
        route, _, methods = self._routes.find(method.decode("latin-1"), path)
        if route is None:
            # A path that knows other methods answers 405, and has no use for a body before that.
            return min(self.max_body, UNWANTED_BODY) if methods else self.max_body, too_large
        try:
            _authorize(self._identify(request), route)
        except ApiError as error:
            return min(route.max_body, UNWANTED_BODY), error
        return route.max_body, too_large

    def getChildWithDefault(self, name: bytes, request: Any) -> IResource:
        """Find who answers: a mounted resource or the routes."""
        segments = [name, *request.postpath]
        for prefix, resource in self._mounts:
            if segments[: len(prefix)] == prefix:
                for _ in prefix[1:]:
                    request.prepath.append(request.postpath.pop(0))
                return resource
        return self._dispatcher

    def render(self, request: Any) -> int:
        """Answer the bare root."""
        return self._dispatcher.render(request)

    def answer(self, request: Any) -> None:
        """Start answering; the work is cancelled when the client goes away."""
        working, present = work_for(request, self._answer(request))

        def send(reply: Reply) -> None:
            if present():
                _send(request, reply)

        def unsendable(failure: Failure) -> None:
            self._log.failure("{path}: the answer could not be sent", failure, path=request.path)
            request.loseConnection()

        working.addCallback(send)
        working.addErrback(unsendable)

    async def _answer(self, request: Any) -> Reply:
        try:
            return await self._reply(request)
        except ApiError as error:
            self.refused[error.code] += 1
            return error.reply()
        except CancelledError:
            return ApiError(503, "cancelled", "the work was given up").reply()
        except Exception:  # noqa: BLE001 - whatever a handler lets slip must not reach the client
            self.refused["internal"] += 1
            code = secrets.token_hex(4)
            self._log.failure("{method} {path} failed ({code})", method=request.method, path=request.path, code=code)
            return ApiError(500, "internal", f"something went wrong here; the log has it under {code}").reply()

    async def _reply(self, request: Any) -> Reply:
        caller = self._identify(request)
        address = observed_address(getattr(request.getClientAddress(), "host", ""))
        if self._rates is not None and not (caller and caller.roles):
            wait = self._rates.wait(address, self.clock.seconds())
            if wait > 0:
                retry = {"Retry-After": str(math.ceil(wait))}
                raise ApiError(429, "too-many", "too many calls from this address", retry)
        method = request.method.decode("latin-1")
        route, values, methods = self._routes.find(method, request.path)
        if route is None:
            if not methods:
                raise ApiError(404, "not-found", "there is nothing at this path")
            message = f"{method} is not among what this path knows: {', '.join(methods)}"
            raise ApiError(405, "method", message, {"Allow": ", ".join(methods)})
        self.calls[f"{route.method} {route.pattern.text}"] += 1
        _authorize(caller, route)
        body = _read_body(request, route)
        query = {
            name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
            for name, values in request.args.items()
        }
        call = Call(caller, address, values, query, body, request.requestHeaders, request)
        working: Deferred[object] = Deferred.fromCoroutine(_run(route.handler, call))
        working.addTimeout(route.deadline, self.clock)
        try:
            return as_reply(await working)
        except DeadlineError:
            raise ApiError(503, "deadline", "the answer took too long", {"Retry-After": "5"}) from None
        except Overloaded as error:
            raise ApiError(503, "overloaded", str(error), {"Retry-After": "1"}) from error

    def _by_certificate(self, request: IRequest) -> Caller | None:
        transport: object = getattr(request, "transport", None)
        examined = self._callers.get(transport) if transport is not None else None
        if examined is None:
            certificate = peer_certificate(transport)
            if certificate is None:
                return None
            # A signature check costs more than the rest of a call, and a connection never changes its key.
            examined = self._callers[transport] = (self._trust or Trust(())).examine(certificate)
        return examined.at(self._wall())

    async def _answer_health(self, call: Call) -> dict[str, Any]:
        # Through the event loop: a loop that is stuck must not look healthy.
        await deferLater(self.clock, 0.0)
        answer: dict[str, Any] = {
            "status": "ok",
            "role": self.role,
            "node_id": self.node_id,
            "version": package_version("p2sp"),
            "uptime": round(self.clock.seconds() - self._born, 3),
        }
        if self._health is not None:
            try:
                answer |= await self._health()
            except Exception as error:
                self._log.failure("the health check failed")
                raise ApiError(503, "unhealthy", f"{type(error).__name__}: {error}") from error
        return answer


async def _run(handler: Handler, call: Call) -> object:
    return await handler(call)


def _authorize(caller: Caller | None, route: Route) -> None:
    if route.roles is None and not route.needs_identity:
        return
    if caller is None:
        raise ApiError(401, "identity", "this call needs a client certificate")
    if route.roles is not None and not (caller.roles & route.roles):
        wanted = " or ".join(sorted(route.roles))
        raise ApiError(403, "role", f"this call is for the role {wanted}")


def _read_body(request: Any, route: Route) -> Any:
    if route.body is None:
        return None
    raw: bytes = request.content.read(route.max_body + 1)
    if len(raw) > route.max_body:
        raise ApiError(413, "too-large", f"the body is larger than {route.max_body} bytes")
    if route.decoder is None:
        return raw
    kind = (request.getHeader("content-type") or "application/json").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, "media-type", f"this call takes application/json, not {kind}")
    try:
        return route.decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise ApiError(422, "invalid", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "bad-json", f"the body is not JSON: {error}") from error


def _send(request: Any, reply: Reply) -> None:
    request.setResponseCode(reply.status)
    headers = request.responseHeaders
    headers.setRawHeaders("Server", ["p2sp"])
    headers.setRawHeaders("X-Content-Type-Options", ["nosniff"])
    headers.setRawHeaders("Cache-Control", ["no-store"])
    if reply.content_type:
        headers.setRawHeaders("Content-Type", [reply.content_type])
    for name, value in reply.headers.items():
        headers.setRawHeaders(name, [value])
    if (wait := reply.headers.get("Retry-After")) is not None and isinstance(request.channel, BoundedChannel):
        request.channel.turned_down(float(wait))
    if reply.status not in (204, 304):
        headers.setRawHeaders("Content-Length", [str(len(reply.body))])
        request.write(reply.body if request.method != b"HEAD" else b"")
    request.finish()


def make_site(api: Api, *, timeout: float = 60.0, **options: Any) -> BoundedSite:
    """The web site of an API, for a listener: bounded bodies, connections and times, and it can be drained.

    `options` are further ones of `BoundedSite`.
    """
    return BoundedSite(api, api, api.clock, timeout=timeout, **options)
