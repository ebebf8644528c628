"""How does a test ask an API over TLS, and look at its errors?"""

import json
from typing import Any

from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from p2sp.net.identity import Identity
from p2sp.net.jsonapi import Api
from p2sp.net.trust import client_policy
from tests.net.kit import SERVER, TRUST, LoopbackCase, reactor


class ApiCase(LoopbackCase):
    """An API behind TLS and one connection pool for each caller."""

    def api(self, **options: Any) -> Api:
        return Api(TRUST, reactor, role="index", node_id=SERVER.node_id, **options)

    async def ask(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        identity: Identity | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[IResponse, bytes]:
        pool = HTTPConnectionPool(reactor, persistent=False)
        client = HTTPClient(Agent(reactor, client_policy(identity, TRUST), pool=pool))
        response = await client.request(
            method,
            url,
            data=body,
            headers=Headers({k: [v] for k, v in (headers or {}).items()}),
            timeout=10,
            unbuffered=True,
        )
        return response, await response.content()

    async def error(self, expected: int, *args: Any, **kwargs: Any) -> tuple[str, str]:
        """The code and message of an answer that must have this status."""
        response, body = await self.ask(*args, **kwargs)
        self.assertEqual(response.code, expected, body)
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json"])
        told = json.loads(body)
        self.assertEqual(set(told), {"error"})
        self.assertEqual(set(told["error"]), {"code", "message"})
        return told["error"]["code"], told["error"]["message"]
