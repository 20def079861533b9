"""The data API's application of ASGI, with databases whose answers are given."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from test_data_api_parts import SECRET, SERVED, Source

from tenantry.pg.connections import Address
from tenantry.rest import database
from tenantry.rest.app import Application
from tenantry.rest.authentication import Authentication
from tenantry.rest.bodies import Bodies
from tenantry.rest.budget import Budget
from tenantry.rest.callers import Keys
from tenantry.rest.database import DatabaseApi
from tenantry.rest.databases import Databases
from tenantry.rest.memory import SMALL
from tenantry.services.application_users.service import ApplicationUsers
from tenantry.services.data_api.model import ServedDatabase
from tenantry.services.data_api.traffic import Traffic
from tenantry.services.requests.proxies import Trusted
from tenantry_rest import Answer, HttpRequest

Message = MutableMapping[str, Any]
TOKEN = f"Bearer {jwt.encode({'role': 'editor'}, SECRET, algorithm='HS256')}"


class Served:
    """An application whose databases answer by ``respond``, and what they were asked."""

    def __init__(self, **changed: Any) -> None:
        """``changed`` are attributes of the database."""
        self.asked: list[HttpRequest] = []
        self.responding = asyncio.Semaphore(0)  # released with each request that is answered
        self.answer: Callable[[HttpRequest], Awaitable[Answer]] = self._empty
        self.api: DatabaseApi | None = None
        source = Source()
        source.found = {"tenant_one": replace(SERVED, **changed)}

        async def fetch(_: str) -> Keys:
            return []

        def make(served: ServedDatabase, keys: Keys) -> DatabaseApi:
            self.api = DatabaseApi(served, Address(Path("/nowhere"), 1), "http://localhost", keys)
            self.api.respond = self._respond  # type: ignore[method-assign]
            return self.api

        self.databases = Databases(source, fetch, Budget(1000), make)
        users = Authentication(ApplicationUsers(None, "localhost"), lambda name: name)
        self.app = Application(self.databases, Bodies(), Traffic("rest"), users, Trusted())

    async def _empty(self, _: HttpRequest) -> Answer:
        return Answer(200)

    async def _respond(self, http: HttpRequest) -> Answer:
        self.asked.append(http)
        self.responding.release()
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


@asynccontextmanager
async def serving(**changed: Any) -> AsyncIterator[Served]:
    made = Served(**changed)
    yield made
    await made.databases.close()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as made:
        yield made


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
        assert "content-security-policy" not in found.headers  # our own page has scripts


WRITES = [("POST", "/todos"), ("PUT", "/todos"), ("PATCH", "/todos"), ("DELETE", "/todos")]


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_who_may_not_write_is_refused_before_a_body_is_received(
    method: str, path: str
) -> None:
    for changed, headers, status in (
        ({}, (), 401),
        ({"read_only": True}, (("authorization", TOKEN),), 503),
        ({}, (("authorization", "Bearer x.y.z"),), 401),
    ):
        async with serving(**changed) as served:
            for length in ("10", "100000"):
                found = await served.ask(method, path, (*headers, ("content-length", length)))
                assert (found.status, found.received, served.asked) == (status, 0, [])
                assert ("connection" in found.headers) is (length == "100000")


async def test_who_has_no_token_sends_little(served: Served) -> None:
    token = ("apikey", TOKEN.removeprefix("Bearer "))
    for size, headers, status in (
        (SMALL, (), 200),
        (SMALL + 1, (), 413),
        (SMALL + 1, (token,), 200),
    ):
        for length in (("content-length", str(size)), ("transfer-encoding", "chunked")):
            pieces = [b"x" * (size - 1), b"x"]
            found = await served.ask("POST", "/rpc/f", (*headers, length), pieces=pieces)
            assert found.status == status
    chunked = ("transfer-encoding", "chunked")
    found = await served.ask("GET", "/todos", (chunked, token), pieces=[b"x" * SMALL, b"x"])
    assert found.status == 413


async def large(http: HttpRequest) -> Answer:
    return Answer(200, [], b"x" * (10 if http.path == "/small" else 15 << 20))


async def test_answers_that_are_not_read_are_limited(served: Served) -> None:
    served.answer, read = large, asyncio.Event()
    unread = []
    for client in ("192.0.2.1", "192.0.2.2"):
        asking = served.ask("GET", client=client, read=read)
        unread.append(asyncio.create_task(asking))
        await served.responding.acquire()
        found = await served.ask("GET", client=client)
        assert (found.status, found.headers["retry-after"]) == (503, "1")
        assert b"answers_too_large" in found.body
        assert (await served.ask("GET", "/small", client=client)).status == 200
        for _ in range(2):
            await served.responding.acquire()
    assert (await served.ask("GET", client="192.0.2.3")).status == 503
    read.set()
    assert [len((await each).body) for each in unread] == [15 << 20] * 2
    assert (await served.ask("GET", client="192.0.2.1")).status == 200


async def test_what_is_written_is_answered_or_refused_before(served: Served) -> None:
    served.answer, read = large, asyncio.Event()
    headers = (("authorization", TOKEN),)
    unread = [asyncio.create_task(served.ask("POST", headers=headers, read=read)) for _ in range(2)]
    for _ in unread:
        await served.responding.acquire()
    assert (await served.ask("POST", headers=headers)).status == 503
    assert len(served.asked) == 2
    read.set()
    assert [(await each).status for each in unread] == [200, 200]


async def test_bodies_that_are_sent_slowly_take_no_places(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_PLACE_SECONDS", 0.01)
    sent, length = asyncio.Event(), ("content-length", "10")
    slow = [
        asyncio.create_task(
            served.ask("POST", "/rpc/f", (length,), client=f"2001:db8:0:{net}::{host}", sent=sent)
        )
        for net in range(4)
        for host in range(17)
    ]
    refused = 0
    while refused < 4:  # of each network one has no place
        await asyncio.sleep(0.01)
        refused = sum(each.done() and each.result().status == 429 for each in slow)
    for headers in ((), (("authorization", TOKEN), length)):
        assert (await served.ask("POST" if headers else "GET", headers=headers)).status == 200
    assert len(served.asked) == 2
    sent.set()
    assert sorted([(await each).status for each in slow]) == [200] * 64 + [429] * 4
    assert served.api is not None
    assert served.api.active == 0
