"""The parts of the data API's process: paths, limits, who asks, and which databases are open."""

import asyncio
import contextlib
import json
import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.base.setting_groups import Rest
from tenantry.base.settings import Settings
from tenantry.host import processors
from tenantry.pg.connections import Address
from tenantry.rest import database
from tenantry.rest.bodies import bounded, most_of
from tenantry.rest.breaker import Breaker
from tenantry.rest.budget import Budget, size_of
from tenantry.rest.callers import Callers, Keys, config_of
from tenantry.rest.database import EACH_ADDRESS, DatabaseApi
from tenantry.rest.databases import Databases
from tenantry.rest.keys import parse_keys
from tenantry.rest.memory import SMALL, Memory, Share
from tenantry.rest.routing import Route, database_at, route
from tenantry.rest.threads import Threads
from tenantry.services.data_api import process
from tenantry.services.data_api.model import ServedDatabase
from tenantry.services.data_api.traffic import Traffic, decoded, encoded
from tenantry_rest import ApiError, HttpRequest, Prepared, Schema, Shapes, State, respond
from tenantry_rest.transaction import translated

SECRET = b"s" * 64
SERVED = ServedDatabase(
    database_id=uuid.uuid4(),
    database_name="tenant_one",
    marker="1",
    schemas=("public",),
    anonymous_role="anon",
    open=False,
    max_rows=1000,
    statement_timeout_ms=None,
    jwt_secrets=(SECRET, b"o" * 64),
    jwks_url=None,
    allowed_origins=(),
    auth=None,
    authenticator="user_one__authenticator",
    password=Secret("p"),
    max_connections=20,
    roles={"anon": "anon", "editor": "user_one_editor"},
    networks=None,
    stopped=False,
    read_only=False,
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/tenant_one/rest/v1/todos", Route("tenant_one", "/todos")),
        ("/tenant_one/rest/v1/rpc/add", Route("tenant_one", "/rpc/add")),
        ("/tenant_one/rest/v1", Route("tenant_one", "/")),
        ("/rest/tenant_one/", Route("tenant_one", "/")),
        ("/rest/tenant_one/a%2Fb", Route("tenant_one", "/a%2Fb")),
        ("/rest/tenant_one", Route("tenant_one", "/")),
        ("/tenant_one/auth/v1/signup", Route("tenant_one", "/signup", is_auth=True)),
        ("/auth/tenant_one/.well-known/x", Route("tenant_one", "/.well-known/x", is_auth=True)),
        ("/tenant_one/rest/v1x", None),
        ("/tenant_one/todos", None),
        ("/tenant%5Fone/rest/v1/", None),
        ("/rest/", None),
        ("/", None),
        ("", None),
    ],
)
def test_paths_lead_to_databases(path: str, found: Route | None) -> None:
    assert route(path) == found


@given(st.text())
def test_what_any_path_leads_to_is_below_the_root(path: str) -> None:
    found = route(path)
    assert found is None or (found.path.startswith("/") and "/" not in found.database)


@pytest.mark.parametrize(
    ("host", "database"),
    [
        ("tenant-b7kx2.rest.example.com", "tenant_b7kx2"),
        ("TENANT-b7kx2.REST.example.com:8443", "tenant_b7kx2"),
        ("rest.example.com", None),
        ("a.b.rest.example.com", None),
        ("tenant-b7kx2.rest.example.org", None),
        ("tenant_b7kx2.rest.example.com", None),
        (".rest.example.com", None),
        ("", None),
    ],
)
def test_a_host_name_is_a_databases(host: str, database: str | None) -> None:
    assert database_at(host, "example.com") == database


def test_a_databases_host_name_leads_to_no_other() -> None:
    assert route("/rest/v1/todos", "tenant_a") == Route("tenant_a", "/todos")
    assert route("/auth/v1/token", "tenant_a") == Route("tenant_a", "/token", is_auth=True)
    for path in ("/tenant_b/rest/v1/todos", "/rest/tenant_b/todos", "/todos", "/"):
        assert route(path, "tenant_a") is None


def test_a_breaker_opens_after_failures_and_lets_one_attempt_through() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(2):
        breaker.failed()
    assert breaker.wait() == 0
    breaker.failed()
    assert breaker.wait() == 1
    now = 1.0
    assert [breaker.wait(), breaker.wait()] == [0, 1]
    breaker.failed()
    assert breaker.wait() == 2
    now = 3.0
    assert breaker.wait() == 0
    breaker.succeeded()
    breaker.failed()
    assert breaker.wait() == 0


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 60))))
def test_a_budget_drops_the_longest_unused(uses: list[tuple[str, int]]) -> None:
    budget, held = Budget(100), dict[str, int]()
    for name, size in uses:
        held.pop(name, None)
        held[name] = size
        dropped = budget.put(name, size)
        assert dropped == list(held)[: len(dropped)]
        for other in dropped:
            budget.forget(other)
            del held[other]
        assert budget.used == sum(held.values()) <= 100


def test_a_touched_cache_is_not_the_next_to_go() -> None:
    budget = Budget(100)
    for name in "ab":
        assert not budget.put(name, 50)
    budget.touch("a")
    assert budget.put("c", 50) == ["b"]
    assert size_of(Schema()) < 50_000


def token(secret: bytes = SECRET, **claims: object) -> str:
    return f"Bearer {jwt.encode(claims, secret, algorithm='HS256')}"


def callers(served: ServedDatabase = SERVED) -> Callers:
    return Callers(served, config_of(served, "http://localhost/tenant_one/rest/v1", []))


def test_a_token_selects_a_role_by_its_short_name() -> None:
    found = callers().caller(token(role="editor", sub="ann"))
    assert (found.role, found.claims["role"], found.write_refusal) == (
        "user_one_editor",
        "editor",
        None,
    )
    assert callers().caller(token(b"o" * 64, role="editor")).role == "user_one_editor"


@pytest.mark.parametrize("role", ["user_one_editor", "user_two", "postgres", "", 1])
def test_no_other_role_is_possible(role: object) -> None:
    with pytest.raises(ApiError) as refused:
        callers().caller(token(role=role))
    assert (refused.value.status, refused.value.code) == (401, "22023")


@pytest.mark.parametrize("authorization", [None, "Basic eDp5", "BEARER x", "Bearerx"])
def test_only_with_a_token_may_one_write(authorization: str | None) -> None:
    refusal = callers().caller(authorization).write_refusal
    assert refusal is not None
    assert refusal.status == 401
    assert callers(replace(SERVED, open=True)).caller(authorization).write_refusal is None


def test_a_database_over_its_quota_is_written_by_nobody() -> None:
    full = callers(replace(SERVED, read_only=True)).caller(token(role="editor")).write_refusal
    assert full is not None
    assert full.code == "53100"


def test_keys_of_others_are_public_ones() -> None:
    ec = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}
    ec |= {"y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "kid": "1"}
    given_keys = [ec, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC", "crv": "P-256"}, 1]
    assert parse_keys(json.dumps({"keys": given_keys}).encode()) == [ec]
    for wrong in (b"[]", b"{}", b"x"):
        with pytest.raises(ValueError, match=r"JWK set|Expecting value"):
            parse_keys(wrong)


async def test_bodies_are_limited_each_and_together() -> None:
    memory = Memory(8 * 2 * SMALL)
    http = HttpRequest("POST", "/todos")

    async def send(share: Share, size: int, *headers: tuple[str, str]) -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"x" * size}

        most = 3 * SMALL
        await bounded(replace(http, headers=list(headers)), receive, share, most)()

    for size, headers in ((3 * SMALL + 1, []), (1, [("content-length", str(3 * SMALL + 1))])):
        with memory.share("one", "a") as share, pytest.raises(ApiError) as refused:
            await send(share, size, *headers)
        assert (refused.value.status, refused.value.headers) == (413, [("Connection", "close")])
    with memory.share("one", "a") as first, memory.share("two", "a") as second:
        await send(first, 2 * SMALL)
        await send(second, SMALL)
        with pytest.raises(ApiError) as refused:
            await send(second, SMALL + 1)
        assert refused.value.status == 503
    with memory.share("two", "a") as share:
        await send(share, 2 * SMALL)


@pytest.mark.parametrize(
    ("content", "has_token", "most"),
    [
        ("application/json", True, 10 << 20),
        ("application/json", False, 64 << 10),
        ("text/csv; charset=utf-8", True, 2 << 20),
        ("Application/X-WWW-Form-Urlencoded", True, 2 << 20),
        ("text/csv", False, 64 << 10),
    ],
)
def test_a_body_has_a_limit_by_its_head(content: str, has_token: bool, most: int) -> None:
    http = HttpRequest("POST", "/todos", headers=[("content-type", content)])
    assert most_of(http, has_token=has_token) == most


SHARES = st.lists(st.tuples(st.sampled_from("de"), st.sampled_from("abc"), st.integers(0, 40)))


@given(SHARES)
def test_nobody_has_all_memory(wanted: list[tuple[str, str, int]]) -> None:
    memory, granted = Memory(80), Counter[str]()
    with contextlib.ExitStack() as stack:
        for database, address, size in wanted:
            share = stack.enter_context(memory.share(database, address))
            if not share.exceeds(size):
                share.add(size)
                granted.update({database: size, address: size})
            assert all(granted[each] <= 20 for each in "de")
            assert all(granted[each] <= 10 for each in "abc")
    with memory.share("d", "a") as share:
        assert not share.exceeds(10)


async def test_work_that_never_ends_has_one_thread() -> None:
    threads, stuck = Threads(2, "test"), threading.Event()
    for _ in range(4):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await threads.run("one", stuck.wait)
    assert await threads.run("two", lambda: 2) == 2
    stuck.set()
    await threads.idle("one")
    assert await threads.run("one", lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await threads.run("one", lambda: 1 // 0)
    assert await asyncio.gather(*(threads.run("one", lambda: 1) for _ in range(3))) == [1, 1, 1]


async def test_large_requests_are_planned_aside() -> None:
    config, large = config_of(SERVED, "http://localhost", []), 64 * 1024 + 1
    sizes = []

    async def aside(plan: Callable[[], Prepared]) -> Prepared:
        sizes.append(1)
        return await asyncio.to_thread(plan)

    state = State(config, Schema(), Callers(SERVED, config), Shapes(1), aside)
    post = HttpRequest("POST", "/none", headers=[("authorization", token(role="editor"))])
    for http, times in (
        (replace(post, body=b"[" + b" " * large + b"]"), 1),
        (HttpRequest("GET", "/none", "a=eq." + "x" * 4000), 2),
        (replace(post, body=b"[]"), 2),
        (HttpRequest("GET", "/none", "select=a"), 2),
    ):
        found = await respond(http, state, contextlib.nullcontext)  # type: ignore[arg-type]
        assert json.loads(found.body)["code"] == "PGRST205"
        assert len(sizes) == times


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (psycopg.OperationalError("server login has been failing"), "The database does not answer"),
        (psycopg.errors.ProtocolViolation("server login has been failing"), None),
        (psycopg.errors.InsufficientPrivilege("permission denied"), "permission denied"),
    ],
)
def test_clients_see_what_postgresql_says_and_not_what_pgbouncer_says(
    error: psycopg.Error, details: str | None
) -> None:
    assert database._details(error) == (details or "The database does not answer")


class PoolerError(psycopg.errors.ProtocolViolation):
    """What PgBouncer sends when a server refuses it."""

    severity = "FATAL"

    @property
    def diag(self) -> Any:
        none = dict.fromkeys(("message_detail", "message_hint"))
        return SimpleNamespace(severity=self.severity, message_primary=str(self), **none)


def test_what_the_pooler_says_in_a_request_is_no_answer() -> None:
    error = PoolerError("server login has been failing")
    found = translated(error, anonymous=True)
    assert (found.status, found.code, found.details) == (503, "PGRST001", None)
    error.severity = "ERROR"  # raised by a function, for its client
    assert translated(error, anonymous=True).message == "server login has been failing"


class Source:
    """The control database, as the process reads it."""

    def __init__(self) -> None:
        self.found = {"tenant_one": SERVED}
        self.down = False

    async def markers(self) -> dict[str, str]:
        if self.down:
            raise Unavailable("It is down.")
        return {name: each.marker for name, each in self.found.items()}

    async def find(self, database_name: str) -> ServedDatabase | None:
        if self.down:
            raise Unavailable("It is down.")
        return self.found.get(database_name)


@pytest.fixture
def source() -> Source:
    return Source()


def _databases(source: Source, most: int = 1000) -> Databases:
    async def fetch(_: str) -> Keys:
        return []

    def make(served: ServedDatabase, keys: Keys) -> DatabaseApi:
        return DatabaseApi(served, Address(Path("/nowhere"), 1), "http://localhost", keys)

    return Databases(source, fetch, Budget(most), make)


async def test_databases_are_opened_when_asked_for_and_again_when_changed(source: Source) -> None:
    databases = _databases(source)
    assert await databases.find("tenant_two") is None
    first, again = await asyncio.gather(*(databases.find("tenant_one") for _ in range(2)))
    assert first is again is not None
    source.found["tenant_one"] = replace(SERVED, marker="2")
    await databases._look_after(asyncio.get_running_loop().time())
    changed = await databases.find("tenant_one")
    assert changed is not None
    assert changed.served.marker == "2"
    source.found.clear()
    await databases._look_after(asyncio.get_running_loop().time())
    assert await databases.find("tenant_one") is None
    await databases.close()


async def test_what_is_known_is_served_while_the_control_database_is_down(source: Source) -> None:
    databases = _databases(source)
    source.down = True
    with pytest.raises(Unavailable):
        await databases.find("tenant_one")
    source.down = False
    found = await databases.find("tenant_one")
    source.down = True
    assert await databases.find("tenant_one") is found
    assert await databases.find("tenant_two") is None
    await databases.close()


async def test_the_least_used_are_closed_when_memory_is_short(source: Source) -> None:
    source.found["tenant_two"] = replace(SERVED, database_name="tenant_two")
    databases = _databases(source, most=100)
    for name in ("tenant_one", "tenant_two"):
        api = await databases.find(name)
        assert api is not None
        api.cache_bytes = 60
        databases.note_size(name, api)
    assert list(databases.open) == ["tenant_two"]
    assert databases.budget.used == 60
    await databases.close()


async def test_an_opening_that_fails_leaves_nothing_and_one_at_a_time_opens(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases, gate, at_once = _databases(source), asyncio.Event(), Counter[str]()
    assert await databases.find("tenant_two") is None

    async def find(name: str) -> ServedDatabase | None:
        at_once[name] += 1
        assert at_once[name] == 1
        try:
            await gate.wait()
            if source.down:
                raise Unavailable("It is down.")
            return SERVED
        finally:
            at_once[name] -= 1

    monkeypatch.setattr(source, "find", find)
    source.down = True
    waiting = [asyncio.create_task(databases.find("tenant_one")) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    source.down = False
    waiting.append(asyncio.create_task(databases.find("tenant_one")))
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], Unavailable)
    assert {each for each in found if not isinstance(each, Exception)} == {
        databases.open["tenant_one"]
    }
    assert not databases._retired
    assert not databases._opening._of
    await databases.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "run").mkdir()
    return Home(tmp_path)


async def test_the_process_is_wanted_while_there_is_a_data_api(home: Home, source: Source) -> None:
    for found, wanted in (({}, False), ({"tenant_one": SERVED}, True), ({}, False)):
        source.found = found
        await process.note_wanted(home, source)
        assert process.is_wanted(home) is wanted
    with pytest.raises(Unavailable, match="rest-2"):
        await process.check(home, "rest-2")


@pytest.mark.parametrize(
    ("there", "chosen", "count"),
    [(1, None, 1), (3, None, 1), (4, None, 2), (64, None, 4), (1, 3, 3)],
)
def test_the_processes_leave_processors_to_postgresql(
    monkeypatch: pytest.MonkeyPatch, there: int, chosen: int | None, count: int
) -> None:
    monkeypatch.setattr(processors, "count", lambda: there)
    here = Settings(home=Path("/nowhere"), rest=Rest(processes=chosen))
    names = ["rest", "rest-2", "rest-3", "rest-4"][:count]
    assert (process.every(here), process.wanted(here)) == (names, [])
    monkeypatch.setattr(process, "is_wanted", lambda _: True)
    assert process.wanted(here) == names
    assert asyncio.run(process.measures(here)) == []


def test_what_processes_count_is_kept_apart() -> None:
    counted = Traffic("rest-2")
    counted.add("tenant_one", 200, 0.5)
    counted.add("tenant_gone", 200, 0.5)
    measures = counted.measures({"tenant_one"}, {"tenant_one": 1000})
    assert decoded(encoded(measures)) == measures
    assert {each.labels for each in measures} == {
        ("tenant_one", "200", "rest-2"),
        ("tenant_one", "rest-2"),
        ("rest-2",),
    }
    assert decoded(b'[["tenantry_unknown", 1, []], ["tenantry_data_api_cache_bytes", 1, []]]') == []


async def test_enabling_waits_until_the_process_answers(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[bool] = []

    async def check(home: Home, name: str) -> None:
        assert name == "rest"
        tries.append(process.is_wanted(home))
        if len(tries) < 3:
            raise Unavailable("It does not answer.")

    monkeypatch.setattr(process, "check", check)
    monkeypatch.setattr(process, "_PAUSE_SECONDS", 0)
    await process.begin(home)
    assert (tries, process.is_wanted(home)) == ([], False)
    home.supervisor_pid.write_text(f"{os.getpid()}\n")
    await process.begin(home)
    assert tries == [True, True, True]


async def test_one_address_leaves_places_to_others() -> None:
    api = DatabaseApi(SERVED, Address(Path("/nowhere"), 1), "http://localhost")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(EACH_ADDRESS):
            await stack.enter_async_context(api.place("192.0.2.1"))
        with pytest.raises(ApiError) as refused:
            await stack.enter_async_context(api.place("192.0.2.1"))
        assert (refused.value.status, refused.value.headers) == (429, [("Retry-After", "1")])
        await stack.enter_async_context(api.place("192.0.2.2"))
        assert api.active == EACH_ADDRESS + 1
    assert api.active == 0
    await api.close()
