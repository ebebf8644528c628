"""Who may call, how often, is the role well, and who answers beside the routes?"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from p2sp.net.calls import Call
from p2sp.net.jsonapi import Api, RateLimit
from p2sp.net.trust import Caller
from p2sp.net.web import BoundedSite
from tests.net.api_case import ApiCase
from tests.net.kit import AUTHORITY, SERVER, STRANGER, TRACKER, TRUST, reactor


class CallerTests(ApiCase):
    async def test_identity_and_roles(self) -> None:
        async def whoami(call: Call) -> dict[str, object]:
            assert call.caller is not None
            return {"id": call.caller.node_id, "roles": sorted(call.caller.roles)}

        api = self.api()
        api.route("GET", "/v1/known", whoami, needs_identity=True)
        api.route("GET", "/v1/ours", whoami, roles=frozenset({"tracker", "manager"}))
        url = self.serve(api)
        self.assertEqual((await self.error(401, url + "/v1/known"))[0], "identity")
        self.assertEqual((await self.error(401, url + "/v1/ours"))[0], "identity")
        code, message = await self.error(403, url + "/v1/ours", identity=STRANGER)
        self.assertEqual((code, message), ("role", "this call is for the role manager or tracker"))
        other = AUTHORITY.issue("supernode", [], "s")
        self.assertEqual((await self.error(403, url + "/v1/ours", identity=other))[0], "role")
        for path, who in (("/v1/known", STRANGER), ("/v1/ours", TRACKER)):
            response, body = await self.ask(url + path, identity=who)
            self.assertEqual((response.code, json.loads(body)["id"]), (200, who.node_id))

    async def test_a_role_ends_while_the_connection_lasts(self) -> None:
        now = [datetime.now(UTC)]

        async def ours(call: Call) -> None: ...

        api = self.api(wall=lambda: now[0])
        api.route("GET", "/v1/ours", ours, roles=frozenset({"tracker"}))
        client = self.client(self.serve(api), TRACKER)
        await client.get("/v1/ours", type(None))
        now[0] += timedelta(days=365 * 10)
        with pytest.raises(Exception, match="403 role"):
            await client.get("/v1/ours", type(None))
        self.assertEqual(len(self.site.channels), 1)

    async def test_one_address_cannot_flood(self) -> None:
        clock = Clock()
        api = Api(TRUST, clock, rate_limit=RateLimit(0.5, 2))

        async def fine(call: Call) -> None: ...

        api.route("GET", "/v1/x", fine)
        url = self.serve_raw(_site_on_the_reactor(api))
        for _ in range(2):
            self.assertEqual((await self.ask(url + "/v1/x"))[0].code, 204)
        response, body = await self.ask(url + "/v1/x")
        self.assertEqual((response.code, json.loads(body)["error"]["code"]), (429, "too-many"))
        self.assertEqual(response.headers.getRawHeaders("retry-after"), ["2"])
        self.assertEqual((await self.ask(url + "/v1/x", identity=STRANGER))[0].code, 429)
        self.assertEqual((await self.ask(url + "/v1/x", identity=TRACKER))[0].code, 204)
        clock.advance(2)
        self.assertEqual((await self.ask(url + "/v1/x"))[0].code, 204)

    async def test_how_a_caller_is_found_can_be_replaced(self) -> None:
        async def ours(call: Call) -> None: ...

        api = self.api(identify=lambda request: Caller("ab" * 32, frozenset({"tracker"})))
        api.route("GET", "/v1/ours", ours, roles=frozenset({"tracker"}))
        self.assertEqual((await self.ask(self.serve(api, tls=False) + "/v1/ours"))[0].code, 204)


def _site_on_the_reactor(api: Api) -> Any:
    return BoundedSite(api, api, reactor, timeout=10)


class HealthTests(ApiCase):
    async def test_health(self) -> None:
        async def more() -> dict[str, Any]:
            return {"resources": 7}

        response, body = await self.ask(self.serve(self.api(health=more)) + "/v1/health")
        told = json.loads(body)
        self.assertEqual(response.code, 200)
        self.assertGreaterEqual(told.pop("uptime"), 0)
        self.assertTrue(told.pop("version"))
        self.assertEqual(told, {"status": "ok", "role": "index", "node_id": SERVER.node_id, "resources": 7})

    async def test_bad_health_is_503(self) -> None:
        async def more() -> dict[str, Any]:
            raise OSError("the disk is gone")

        code, message = await self.error(503, self.serve(self.api(health=more)) + "/v1/health")
        self.assertEqual(code, "unhealthy")
        self.assertIn("the disk is gone", message)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class Shelf(Resource):
    """A foreign resource that says where it thinks it is."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"|".join([b"/".join(request.prepath), b"/".join(request.postpath)])


class MountTests(ApiCase):
    async def test_foreign_resources_stand_beside_the_routes(self) -> None:
        api = self.api()
        api.mount("/r/", Shelf())
        api.mount("/r/special", Shelf())
        url = self.serve(api)
        self.assertEqual((await self.ask(url + "/r/a/b.iso"))[1], b"r|a/b.iso")
        self.assertEqual((await self.ask(url + "/r/special/x"))[1], b"r/special|x")
        self.assertEqual((await self.ask(url + "/v1/health"))[0].code, 200)
        self.assertEqual((await self.ask(url + "/rr/x"))[0].code, 404)

    def test_an_empty_prefix_is_refused(self) -> None:
        with pytest.raises(ValueError, match="segment"):
            self.api().mount("/", Shelf())
