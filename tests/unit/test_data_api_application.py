"""The data API's application of ASGI, with databases whose answers are given."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from test_data_api_parts import SECRET, Source

from tenantry.pg.connections import Address
from tenantry.rest.app import Application
from tenantry.rest.bodies import Bodies
from tenantry.rest.budget import Budget
from tenantry.rest.callers import Keys
from tenantry.rest.database import DatabaseApi
from tenantry.rest.databases import Databases
from tenantry.services.data_api.model import ServedDatabase
from tenantry.services.data_api.traffic import Traffic
from tenantry_rest import Answer, HttpRequest

Message = MutableMapping[str, Any]
TOKEN = f"Bearer {jwt.encode({'role': 'editor'}, SECRET, algorithm='HS256')}"


class Served:
    """An application whose databases answer by ``respond``, and what they were asked."""

    def __init__(self, **changed: Any) -> None:
        self.asked: list[HttpRequest] = []
        self.answer: Callable[[HttpRequest], Awaitable[Answer]] = self._empty
        self.api: DatabaseApi | None = None
        source = Source()

        async def fetch(_: str) -> Keys:
            return []

        def make(served: ServedDatabase, keys: Keys) -> DatabaseApi:
            self.api = DatabaseApi(served, Address(Path("/nowhere"), 1), "http://localhost", keys)
            self.api.respond = self._respond  # type: ignore[method-assign]
            return self.api

        self.databases = Databases(source, fetch, Budget(1000), make)
        self.app = Application(self.databases, Bodies(), Traffic(), (), **changed)

    async def _empty(self, _: HttpRequest) -> Answer:
        return Answer(200)

    async def _respond(self, http: HttpRequest) -> Answer:
        self.asked.append(http)
        return await self.answer(http)

    async def ask(
        self,
        method: str,
        path: str = "/todos",
        headers: tuple[tuple[str, str], ...] = (),
        **more: Any,
    ) -> "Exchange":
        scope = {
            "type": "http",
            "method": method,
            "path": path if path.startswith("/docs") else f"/rest/tenant_one{path}",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "client": (more.pop("client", "192.0.2.1"), 1),
        }
        made = Exchange(**more)
        await self.app(scope, made.receive, made.send)
        return made


class Exchange:
    """A client that sends pieces of a body, and what it was answered."""

    def __init__(
        self,
        pieces: list[bytes] | None = None,
        *,
        read: asyncio.Event | None = None,
        sent: asyncio.Event | None = None,
    ) -> None:
        self.pieces = pieces or []
        self.received = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._read, self._sent = read, sent

    async def receive(self) -> Message:
        if self._sent is not None:
            await self._sent.wait()
        self.received += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        if self._read is not None:
            await self._read.wait()
        self.body += message["body"]


@pytest.fixture
def served() -> Served:
    return Served()


async def test_tenants_see_no_cookies(served: Served) -> None:
    """Browsers send a console's session to every port of its host."""
    sent = (("cookie", "__Host-tenantry=session"), ("x-own", "1"), ("proxy-authorization", "x"))
    await served.ask("GET", headers=sent)
    assert served.asked[0].headers == [("x-own", "1")]


@pytest.mark.parametrize(
    "header",
    [
        ("Set-Cookie", "__Host-tenantry=attacker; Path=/; Secure"),
        ("Service-Worker-Allowed", "/"),
        ("Strict-Transport-Security", "max-age=99999999"),
        ("CLEAR-SITE-DATA", '"cookies"'),
        ("Alt-Svc", 'h2="attacker.example:443"'),
        ("WWW-Authenticate", 'Basic realm="Tenantry"'),
        ("WWW-Authenticate", 'Bearer realm="x", Basic realm="y"'),
    ],
)
async def test_tenants_set_nothing_for_the_whole_origin(
    served: Served, header: tuple[str, str]
) -> None:
    async def answer(_: HttpRequest) -> Answer:
        page = ("Content-Type", "text/html"), ("Content-Security-Policy", "default-src *")
        return Answer(200, [*page, header, ("X-Own", "1")], b"<script>")

    served.answer = answer
    found = (await served.ask("GET", "/rpc/page")).headers
    assert header[0].lower() not in found
    assert found["content-security-policy"] == "sandbox"
    assert found["x-content-type-options"] == "nosniff"
    assert (found["x-own"], found["content-type"]) == ("1", "text/html")


async def test_tenants_own_headers_are_sent(served: Served) -> None:
    challenge = 'Bearer error="invalid_token", error_description="JWT \\"expired\\""'

    async def answer(_: HttpRequest) -> Answer:
        return Answer(401, [("WWW-Authenticate", challenge), ("Location", "/elsewhere")])

    served.answer = answer
    found = (await served.ask("GET")).headers
    assert (found["www-authenticate"], found["location"]) == (challenge, "/elsewhere")


async def test_no_type_is_guessed(served: Served) -> None:
    for path in ("/docs/assets/swagger-ui.css", "/docs/nothing", "/"):
        found = await served.ask("GET", path, (("accept", "text/html"),))
        assert found.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in found.headers  # of our own page, which has scripts
