"""Whoever waits for one tenant, or runs its code, holds up nobody else: requests and operations."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import eventually, login
from harness import Installation

Row = dict[str, Any]

_SCOPES = ["databases:read", "databases:write", "backups:read", "backups:write"]
_SLEEP = {"name": "000001_sleep.up.sql", "sql": "SELECT pg_sleep(3000);"}


@dataclass
class Customer:
    """Somebody with a key and databases of their own."""

    email: str
    api: httpx.Client

    def database(self) -> Row:
        made: Row = data(
            self.api.post("/api/databases", json={"friendlyName": "Own", "shadow": False}), 201
        )
        return made


@pytest.fixture
def customer(platform: Installation, api: httpx.Client) -> Iterator[Callable[[str], Customer]]:
    """Makes customers by a name."""
    with contextlib.ExitStack() as open_clients:

        def make(name: str) -> Customer:
            email = f"{name}@fair.example"
            key = data(
                api.post(
                    "/api/api-keys",
                    json={"name": name, "scopes": _SCOPES, "customer_email": email},
                ),
                201,
            )["key"]
            return Customer(email, open_clients.enter_context(platform.client(key)))

        yield make


@contextlib.contextmanager
def crowd(count: int, ask: Callable[[], httpx.Response]) -> Iterator[list[httpx.Response]]:
    """So many who ask again and again until the end of the block."""
    over = threading.Event()
    answers: list[httpx.Response] = []

    def work() -> None:
        while not over.is_set():
            answers.append(ask())
            over.wait(0.1)

    with ThreadPoolExecutor(count) as threads:
        running = [threads.submit(work) for _ in range(count)]
        try:
            yield answers
        finally:
            over.set()
    for each in running:
        each.result()


def works(platform: Installation, other: Customer, database: Row, number: int) -> None:
    """What a neighbour, an administrator and anybody ask for meanwhile; all of it is answered."""
    path = f"/api/databases/{database['id']}"
    assert data(other.api.get("/api/databases"))
    role = data(other.api.post(f"{path}/roles", json={"name": f"r{number}"}), 201)
    data(other.api.delete(f"{path}/roles/{role['id']}"))
    data(other.api.patch(path, json={"friendlyName": f"Name {number}"}))
    with platform.client() as administrator:
        data(administrator.get("/api/operations"))
    assert platform.get("/ready").status_code == 200
    assert platform.get("/health").status_code == 200


def codes(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(each.status_code for each in answers)


# ── requests ─────────────────────────────────────────────────────────────────


def test_requests_that_wait_for_a_tenants_locks_hold_up_nobody(
    platform: Installation, customer: Callable[[str], Customer]
) -> None:
    blocked, other = customer("blocked"), customer("other")
    database, own = blocked.database(), other.database()
    path = f"/api/databases/{database['id']}/extensions"
    with (
        login(database["connection_string"]) as session,
        session.transaction(force_rollback=True),
    ):
        session.execute("CREATE EXTENSION citext")  # its name is waited for by whoever makes it
        # More than one key may have at a time, and all of them more than there are connections.
        with crowd(36, lambda: blocked.api.post(path, json={"name": "citext"})) as asked:
            eventually(lambda: 429 in codes(asked))
            for number in range(3):
                works(platform, other, own, number)
            session.execute("SELECT 1")
            refused = next(each for each in asked if each.status_code == 429)
        assert problem(refused, 429)["code"] == "too_many_at_once"
        assert int(refused.headers["retry-after"]) >= 1
        assert set(codes(asked)) <= {409, 429}
    assert data(blocked.api.post(path, json={"name": "citext"}), 201)


def test_silent_import_sources_hold_up_nobody(
    platform: Installation, api: httpx.Client, customer: Callable[[str], Customer]
) -> None:
    other = customer("importer")
    own, target = other.database(), platform.create(shadow=False)
    path = f"/api/databases/{target['id']}/import"
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        source = f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=2"
        with crowd(14, lambda: api.post(path, json={"from": source})) as asked:
            eventually(lambda: 429 in codes(asked))
            for number in range(2):
                works(platform, other, own, number)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                closed = f"postgresql://u:p@127.0.0.1:{probe.getsockname()[1]}/d"
                second = data(
                    api.post("/api/api-keys", json={"name": "second", "scopes": _SCOPES}), 201
                )
                with platform.client(second["key"]) as beside:
                    reported = problem(beside.post(path, json={"from": closed}), 422)
            assert reported["code"] == "source_error", "others' sources are looked at meanwhile"
    assert set(codes(asked)) <= {422, 429}


def test_a_source_that_falls_silent_is_given_up(platform: Installation, api: httpx.Client) -> None:
    """It lets in, and answers nothing after that: psycopg alone would wait for ever."""
    target = platform.create(shadow=False)

    def let_in(server: socket.socket) -> None:
        with server.accept()[0] as client:
            client.recv(1024)
            client.sendall(b"R" + (8).to_bytes(4, "big") + (0).to_bytes(4, "big"))
            client.sendall(b"Z" + (5).to_bytes(4, "big") + b"I")
            while client.recv(1024):
                pass

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        serving = threads.submit(let_in, server)
        source = f"postgresql://u:p@127.0.0.1:{server.getsockname()[1]}/d?sslmode=disable"
        answer = api.post(f"/api/databases/{target['id']}/import", json={"from": source})
        assert "did not answer in time" in problem(answer, 422)["detail"]
        serving.result()


# ── shared objects of the cluster ────────────────────────────────────────────


def test_a_role_that_its_tenant_keeps_is_changed_later_and_deleted_all_the_same(
    customer: Callable[[str], Customer],
) -> None:
    owner = customer("keeper")
    database = owner.database()
    path = f"/api/databases/{database['id']}"
    session = psycopg.connect(database["connection_string"])
    session.execute("ALTER ROLE CURRENT_USER PASSWORD 'not yet committed'")
    assert problem(owner.api.post(f"{path}/rotate-password"), 409)["code"] == "busy"
    assert owner.api.delete(path).status_code in {200, 202}
    eventually(lambda: owner.api.get(path).status_code == 404)
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()


def test_nobody_keeps_a_neighbours_database_from_being_deleted(
    customer: Callable[[str], Customer],
) -> None:
    hostile, victim = customer("hostile"), customer("victim")
    mine, theirs = hostile.database(), victim.database()
    session = psycopg.connect(mine["connection_string"])
    # It takes a lock on the other database, until the transaction ends.
    session.execute(
        f"ALTER ROLE CURRENT_USER IN DATABASE {theirs['database_name']} SET work_mem = '1MB'"
    )
    path = f"/api/databases/{theirs['id']}"
    assert victim.api.delete(path).status_code in {200, 202}
    eventually(lambda: victim.api.get(path).status_code == 404)
    session.close()


# ── operations ───────────────────────────────────────────────────────────────


def started(api: httpx.Client, path: str, **asked: object) -> str:
    return str(data(api.post(path, json=asked), 202)["id"])


def status(api: httpx.Client, operation: str) -> str:
    return str(data(api.get(f"/api/operations/{operation}"))["status"])


def ended(api: httpx.Client, operation: str) -> Row:
    eventually(lambda: data(api.get(f"/api/operations/{operation}"))["finished_at"])
    row: Row = data(api.get(f"/api/operations/{operation}"))
    return row


def migrate(api: httpx.Client, database: Row, **asked: object) -> str:
    return started(api, f"/api/databases/{database['id']}/migrations", files=[_SLEEP], **asked)


def test_sleeping_migrations_hold_up_nobody_elses_operations(
    platform: Installation, api: httpx.Client, customer: Callable[[str], Customer]
) -> None:
    sleeper, other = customer("sleeper"), customer("awake")
    own = other.database()
    sleeping = [migrate(sleeper.api, sleeper.database()) for _ in range(3)]
    eventually(
        lambda: Counter(status(api, each) for each in sleeping) == {"running": 2, "queued": 1}
    )
    path = f"/api/databases/{own['id']}"
    assert ended(other.api, started(other.api, f"{path}/backups"))["status"] == "succeeded"
    branch = data(other.api.post(f"{path}/branches", json={"name": "br"}), 202)["operation"]
    assert ended(other.api, branch["id"])["status"] == "succeeded"
    files = [{"name": "000001_t.up.sql", "sql": "CREATE TABLE t (i int);"}]
    migrated = started(other.api, f"{path}/migrations", files=files)
    assert ended(other.api, migrated)["status"] == "succeeded"
    # What waits for too long is reported of.
    with platform.control() as control:
        control.execute(
            "UPDATE operations SET due_at = now() - interval '1 hour' WHERE id = ANY (%s)"
            " AND status = 'queued'",
            (sleeping,),
        )
    ready = platform.get("/ready")
    parts = {part["name"]: part for part in ready.json()["parts"]}
    assert (ready.status_code, parts["operations"]["state"]) == (200, "warning")
    assert "1 of the lane scripts, the oldest for 60 min" in parts["operations"]["detail"]
    reported = platform.get("/metrics").text
    assert 'tenantry_operations_queued{lane="scripts"} 1.0' in reported
    worker = next(part for part in platform.status()["parts"] if part["name"] == "worker")
    assert "1 database.migrate wait to begin" in worker["detail"]
    for each in sleeping:
        data(sleeper.api.post(f"/api/operations/{each}/cancel"), 202)
    assert {ended(sleeper.api, each)["status"] for each in sleeping} == {"cancelled"}


def test_a_statement_ends_in_time_whatever_the_file_says(
    customer: Callable[[str], Customer],
) -> None:
    owner = customer("late")
    database = owner.database()
    honest = ended(owner.api, migrate(owner.api, database, statement_timeout_seconds=0.5))
    assert honest["error"]["code"] == "migration_failed"
    assert "statement_timeout_seconds" in honest["error"]["hint"]
    stubborn = {
        "name": "000001_stubborn.up.sql",
        "sql": """
            SET statement_timeout = 0;
            DO $$ BEGIN
                LOOP
                    BEGIN
                        PERFORM pg_sleep(3000);
                    EXCEPTION WHEN query_canceled THEN NULL;
                    END;
                END LOOP;
            END $$;
        """,
    }
    path = f"/api/databases/{database['id']}"
    operation = started(
        owner.api, f"{path}/migrations", files=[stubborn], statement_timeout_seconds=0.5
    )
    assert ended(owner.api, operation)["error"]["code"] == "statement_too_long"
    refused = owner.api.post(
        f"{path}/migrations", json={"files": [_SLEEP], "statement_timeout_seconds": 20_000}
    )
    assert "the plan standard grants" in problem(refused, 422)["detail"]


def upload(api: httpx.Client, database: Row, script: bytes, **asked: str) -> str:
    answer = api.post(
        f"/api/databases/{database['id']}/import",
        content=script,
        params=asked,
        headers={"Content-Type": "application/octet-stream"},
    )
    return str(data(answer, 202)["id"])


def test_sleeping_imports_hold_up_nobody_elses(
    api: httpx.Client, customer: Callable[[str], Customer]
) -> None:
    sleeper, other = customer("sleeping-importer"), customer("importing")
    script = b"SET statement_timeout = 0;\nCREATE TABLE t (i int);\nSELECT pg_sleep(3000);\n"
    sleeping = [
        upload(sleeper.api, sleeper.database(), script, statement_timeout_seconds="15")
        for _ in range(3)
    ]
    eventually(lambda: status(api, sleeping[0]) == "running")
    mine = ended(other.api, upload(other.api, other.database(), b"CREATE TABLE t (i int);\n"))
    first = ended(sleeper.api, sleeping[0])
    assert (mine["status"], first["error"]["code"]) == ("succeeded", "statement_too_long")
    assert mine["started_at"] < first["finished_at"]
    data(sleeper.api.post(f"/api/operations/{sleeping[2]}/cancel"), 202)
    assert {ended(sleeper.api, each)["status"] for each in sleeping} <= {"failed", "cancelled"}
