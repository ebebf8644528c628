"""Who may see a role's pages?"""

import hmac
from hashlib import sha256
from secrets import token_bytes
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from p2sp.net.jsonapi import ApiError, Call
from p2sp.net.ratelimit import RateLimit, RateTable

STAYS: Final = 12 * 3600
"""Seconds for which a browser that showed the token is let in."""

TRIES: Final = RateLimit(0.2, 8)
"""How often one address may show a token that is wrong."""


@attrs.define
class Door:
    """Lets in who shows the operator's token, or everybody where there is none (on loopback alone, see `config`).

    A browser shows it once in a form and gets a cookie in return, which does not hold the token and ends with the
    process; programs show it as `Authorization: Bearer TOKEN`. `secure`: the cookie is for TLS alone.
    """

    role: str
    clock: IReactorTime
    token: str | None = None
    secure: bool = False
    _key: bytes = attrs.field(factory=lambda: token_bytes(32), repr=False)
    _tries: RateTable = attrs.field(factory=lambda: RateTable(TRIES))

    @property
    def _cookie_name(self) -> str:
        # Cookies do not tell ports apart: each role of a machine has one of its own.
        return f"p2sp_{self.role}"

    def admits(self, call: Call) -> bool:
        """Whether a request comes from somebody who showed the token. Raises ApiError 429 for too many wrong ones."""
        if self.token is None:
            return True
        scheme, _, shown = (call.header("Authorization") or "").partition(" ")
        if scheme.lower() == "bearer":
            return self._knows(shown.strip(), call)
        cookie = call.request.getCookie(self._cookie_name.encode())
        return cookie is not None and self._is_ours(cookie.decode("latin-1"))

    def enter(self, call: Call, shown: str) -> str | None:
        """The cookie for who shows the right token, None for a wrong one. Raises ApiError 429 for too many of them."""
        if self.token is None or not self._knows(shown, call):
            return None
        until = f"{self.clock.seconds() + STAYS:.0f}"
        flags = f"Path=/; Max-Age={STAYS}; HttpOnly; SameSite=Strict{'; Secure' if self.secure else ''}"
        return f"{self._cookie_name}={until}.{self._sign(until)}; {flags}"

    def _knows(self, shown: str, call: Call) -> bool:
        assert self.token is not None
        # Digests are of one length, so that the comparison tells nothing of the token's.
        if hmac.compare_digest(_digest(shown), _digest(self.token)):
            return True
        if (wait := self._tries.wait(call.address, self.clock.seconds())) > 0:
            raise ApiError(429, "too-many", f"too many wrong tokens; wait {wait:.0f} s", {"Retry-After": f"{wait:.0f}"})
        return False

    def _sign(self, until: str) -> str:
        return hmac.new(self._key, until.encode(), sha256).hexdigest()

    def _is_ours(self, cookie: str) -> bool:
        until, _, signature = cookie.partition(".")
        if not (until.isascii() and until.isdigit()):
            return False
        good = hmac.compare_digest(self._sign(until).encode(), signature.encode("utf-8", "replace"))
        return good and self.clock.seconds() < int(until)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()
