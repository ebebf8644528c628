"""What does an API handler get to see, and what may it answer?"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import attrs
import msgspec
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest

from p2sp.net.trust import Caller

T = TypeVar("T")

JSON: Final = "application/json"


class ApiError(Exception):
    """An answer that is not a success: raise it anywhere in a handler.

    `status` is the HTTP status, `code` a word for programs, `message` a sentence for people.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def reply(self) -> "Reply":
        """The error as the JSON every route answers with."""
        body = msgspec.json.encode({"error": {"code": self.code, "message": self.message}})
        return Reply(body, JSON, self.status, self.headers)


@attrs.frozen
class Reply:
    """A body that is not JSON, or a status or headers out of the ordinary."""

    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Call:
    """One request as a handler sees it.

    `caller` is None when no certificate was shown. `address` is the IP address we observed, `path` the values
    of the pattern's names, `query` the last value of each name (bytes that are not UTF-8 are replaced; the raw
    ones are in `request.args`), `body` what the route's `body` type asked for.
    """

    caller: Caller | None
    address: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    headers: Headers
    request: IRequest

    def header(self, name: str) -> str | None:
        """The last value of a request header, or None."""
        values = self.headers.getRawHeaders(name)
        return values[-1] if values else None

    def query_as(self, kind: type[T]) -> T:
        """The query checked and converted to a struct; raises ApiError 422 naming what does not fit."""
        try:
            return msgspec.convert(self.query, kind, strict=False)
        except msgspec.ValidationError as error:
            raise ApiError(422, "invalid-query", str(error)) from error


def as_reply(result: object) -> Reply:
    """What goes over the wire for a handler's result: a Reply as it is, None as 204, the rest as JSON."""
    if isinstance(result, Reply):
        return result
    if result is None:
        return Reply(b"", "", 204)
    return Reply(msgspec.json.encode(result), JSON)
