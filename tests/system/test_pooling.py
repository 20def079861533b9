"""The pooled port: few backends for many clients, nobody dropped, and never too many in all."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psycopg
import pytest
import sqlalchemy as sa

from answers import data
from clients import ask, eventually, hurry, is_open, login
from harness import Installation
from inside import inside
from tenantry.base import settings
from tenantry.services.local_parts import LocalParts
from tenantry.services.repository.service import Repositories

MANY = 250


@pytest.fixture(scope="module", autouse=True)
def many_files() -> None:
    """Each client is a descriptor here, too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="module")
def small() -> Iterator[Installation]:
    """A machine so small that all pools together have 110 of 200 connections."""
    installation = Installation({"TENANTRY_MEMORY_MB": "512"})
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


@pytest.fixture
def quiet(small: Installation) -> Iterator[Installation]:
    """It, without the server connections that a test leaves idle for a minute."""
    yield small
    with small.superuser() as server:
        server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE usename LIKE 'user\\_%'"
        )


class Peak:
    """The most client backends there ever were, looked at again and again in the background."""

    def __init__(self, platform: Installation, *, username: str = "user\\_%") -> None:
        self.most = 0
        self._platform = platform
        self._username = username
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        with self._platform.superuser() as server:
            while not self._done.wait(0.02):
                row = server.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE %s", (self._username,)
                ).fetchone()
                self.most = max(self.most, row[0] if row else 0)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


async def together(count: int, client: Callable[[int], Any]) -> list[Any]:
    return await asyncio.gather(*(client(number) for number in range(count)))


# One database


async def test_many_clients_share_few_backends(platform: Installation) -> None:
    """A database and its shadow together have as many as one pool."""
    database = platform.create()
    strings = ("connection_string_pooled", "shadow_database_url_pooled")
    there = asyncio.Barrier(MANY)

    async def client(number: int) -> int:
        session = await asyncpg.connect(database[strings[number % 2]], timeout=60)
        try:
            await there.wait()  # all of them are connected at the same time
            for _ in range(5):
                async with session.transaction():
                    assert await session.fetchval("SELECT $1::int", number) == number
            return int(await session.fetchval("SELECT pg_backend_pid()"))
        finally:
            await session.close()

    with Peak(platform, username=database["username"]) as peak:
        backends = await together(MANY, client)
    assert 1 < len(set(backends)) <= 25
    assert 1 < peak.most <= 25


def test_all_roles_of_a_database_share_its_pool(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    asked = {"name": "reader", "access": "read_only", "max_connections": 50}
    reader = data(api.post(f"/api/databases/{database['id']}/roles", json=asked), 201)
    urls = [role["connection_string_pooled"] for role in (database, reader)] * 40

    def work(url: str) -> object:
        return ask(url, "SELECT 1 FROM pg_advisory_xact_lock_shared(1)")

    with (
        Peak(platform, username=f"{database['username']}%") as peak,
        ThreadPoolExecutor(len(urls)) as pool,
        platform.superuser(dbname=database["database_name"]) as gate,
    ):
        gate.execute("SELECT pg_advisory_lock(1)")
        working = [pool.submit(work, url) for url in urls]
        eventually(lambda: peak.most > 20)
        gate.execute("SELECT pg_advisory_unlock(1)")
        assert [each.result() for each in working] == [1] * len(urls)
    assert peak.most <= 25


async def test_a_connection_for_each_transaction_is_served(platform: Installation) -> None:
    database = platform.create()

    async def client(_: int) -> int:
        for _ in range(5):
            session = await asyncpg.connect(database["connection_string_pooled"], timeout=60)
            assert await session.fetchval("SELECT 1") == 1
            await session.close()
        return 1

    with Peak(platform, username=database["username"]) as peak:
        assert sum(await together(40, client)) == 40
    assert peak.most <= 25


async def test_both_endpoints_together_keep_to_the_limit(platform: Installation) -> None:
    """The pool takes four of five, and leaves one for a direct session."""
    database = platform.create(maxConnections=5)
    # PgBouncer learns of a new limit right after the answer.
    users = platform.home / "pooler" / "users.ini"
    eventually(lambda: database["username"] in users.read_text())

    async def pooled(_: int) -> int:
        session = await asyncpg.connect(database["connection_string_pooled"], timeout=60)
        try:
            for _ in range(20):
                await session.execute("SELECT pg_sleep(0.01)")
        finally:
            await session.close()
        return 1

    tried = asyncio.Barrier(8)

    async def direct(_: int) -> bool:
        try:
            session = await asyncpg.connect(database["connection_string"], timeout=60)
        except asyncpg.TooManyConnectionsError:
            await tried.wait()
            return False
        await tried.wait()  # it is there while the others are refused
        await session.execute("SELECT pg_sleep(1)")
        await session.close()
        return True

    with Peak(platform, username=database["username"]) as peak:
        served = asyncio.create_task(together(20, pooled))
        await asyncio.to_thread(eventually, lambda: peak.most == 4)
        let_in = await together(8, direct)
        assert sum(await served) == 20
    assert sum(let_in) == 1
    assert peak.most == 5


def test_a_changed_limit_is_in_force_on_the_pooled_port(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    with login(database["connection_string_pooled"]) as open_session:
        open_session.execute("SELECT 1")
        data(api.patch(f"/api/databases/{database['id']}", json={"maxConnections": 2}))
        users = platform.home / "pooler" / "users.ini"
        eventually(lambda: database["username"] in users.read_text())

        def work(_: int) -> object:
            return ask(database["connection_string_pooled"], "SELECT 1 FROM pg_sleep(0.05)")

        with Peak(platform, username=database["username"]) as peak, ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(16))) == [1] * 16
        assert peak.most <= 2
        assert open_session.execute("SELECT 2").fetchone() == (2,)


def test_nobody_is_dropped_when_databases_come(platform: Installation) -> None:
    """Also not by the reload that a database with a small limit needs."""
    database = platform.create()
    stop = threading.Event()

    def work() -> int:
        done = 0
        with login(database["connection_string_pooled"]) as session:
            while not stop.is_set():
                with session.transaction():
                    session.execute("SELECT pg_sleep(0.005)")
                done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work) for _ in range(4)]
        try:
            for limit in (3, 50, 4, 50):
                new = platform.create(maxConnections=limit)
                assert ask(new["connection_string_pooled"]) == 1
                assert ask(new["shadow_database_url_pooled"]) == 1
        finally:
            stop.set()
        assert all(worker.result() > 10 for worker in workers)


# The session between transactions


def test_psycopgs_prepared_statements_survive_the_reset_and_an_alter(
    platform: Installation,
) -> None:
    database = platform.create()
    query = "SELECT * FROM things WHERE id = %s"
    with (
        login(database["connection_string"]) as direct,
        login(database["connection_string_pooled"]) as open_client,
    ):
        direct.execute("CREATE TABLE things AS SELECT 1 AS id")
        open_client.prepare_threshold = 0
        for _ in range(5):
            assert open_client.execute(query, (1,)).fetchone() == (1,)
        direct.execute("ALTER TABLE things ADD name text; ALTER TABLE things ALTER id TYPE bigint")
        with login(database["connection_string_pooled"]) as new_client:
            new_client.prepare_threshold = 0
            for client in (open_client, new_client):
                assert client.execute(query, (1,)).fetchone() == (1, None)


async def test_asyncpgs_prepared_statements_survive_the_reset_and_an_alter(
    platform: Installation,
) -> None:
    database = platform.create()
    pooled = database["connection_string_pooled"]
    with login(database["connection_string"]) as direct:
        direct.execute("CREATE TABLE things AS SELECT n AS id FROM generate_series(0, 99) n")
        async with asyncpg.create_pool(pooled, min_size=10, max_size=10, timeout=60) as pool:

            async def read(number: int) -> int:
                found = await pool.fetchval("SELECT id FROM things WHERE id = $1", number % 100)
                return int(found)

            assert await together(300, read) == [number % 100 for number in range(300)]
            direct.execute("ALTER TABLE things ADD name text")
            assert await read(7) == 7
            new_client = await asyncpg.connect(pooled, timeout=60)
            try:
                found = await new_client.fetchrow("SELECT * FROM things WHERE id = $1", 7)
            finally:
                await new_client.close()
    assert found is not None
    assert dict(found) == {"id": 7, "name": None}


def test_sqlalchemy_is_served(platform: Installation) -> None:
    url = sa.make_url(platform.create()["connection_string_pooled"])
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE things AS SELECT 1 AS id"))
    with engine.connect() as connection:
        for _ in range(20):  # psycopg prepares what is asked for the sixth time
            with connection.begin():
                found = connection.execute(
                    sa.text("SELECT id FROM things WHERE id = :id"), {"id": 1}
                )
                assert found.scalar_one() == 1
    engine.dispose()


def test_read_only_follows_the_client_that_asked_for_it(platform: Installation) -> None:
    pooled = platform.create()["connection_string_pooled"]
    with login(pooled) as reader, login(pooled) as writer:
        # What psycopg2's set_session(readonly=True) and JDBC's setReadOnly send.
        reader.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        for number in range(3):
            writer.execute(f"CREATE TABLE written_{number} ()".encode())
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                reader.execute("CREATE TABLE refused ()")


def test_session_mode_is_a_databases_choice(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    path = f"/api/databases/{database['id']}"
    url = database["connection_string_pooled"]
    setting = "SELECT current_setting('app.customer', true)"
    assert database["pool_mode"] == "transaction"

    def keeps_state() -> bool:
        with login(url) as client:
            client.execute("SET app.customer = 'ann'")
            return client.execute(setting).fetchone() == ("ann",)

    assert not keeps_state()
    assert data(api.patch(path, json={"pool_mode": "session"}))["pool_mode"] == "session"
    eventually(keeps_state)
    assert ask(url, setting) in {None, ""}
    assert api.patch(path, json={"pool_mode": "statement"}).status_code == 422
    # PgBouncer leaves a role's settings as they are when its line is gone.
    assert data(api.patch(path, json={"pool_mode": "transaction"}))["pool_mode"] == "transaction"
    eventually(lambda: not keeps_state())


def test_migrations_are_not_run_where_each_transaction_has_another_session(
    platform: Installation, api: httpx.Client, tmp_path: Path
) -> None:
    """The lock that keeps two runs apart, and SET, are a session's."""
    made = platform.create()
    (tmp_path / "000001_a.up.sql").write_text("CREATE TABLE a (i int);\n")

    def migrate(endpoint: str, *words: str) -> "subprocess.CompletedProcess[str]":
        path = () if words[0] in {"force", "version"} else ("--path", str(tmp_path))
        return platform.tenantry(
            "migrate", *words, *path, "--database", made[endpoint], check=False
        )

    for words in (("up",), ("down", "--yes"), ("goto", "1"), ("force", "1")):
        refused = migrate("connection_string_pooled", *words)
        reported = " ".join(refused.stderr.split())
        assert refused.returncode == 1, words
        assert "gives each transaction another session" in reported
        assert "Use the direct one" in reported
    assert migrate("connection_string_pooled", "version").stdout == "none\n"
    assert migrate("connection_string", "up").returncode == 0
    mode = {"pool_mode": "session"}
    assert api.patch(f"/api/databases/{made['id']}", json=mode).status_code == 200
    eventually(lambda: migrate("connection_string_pooled", "force", "1").returncode == 0)
    assert "There is a pooler in between" in migrate("connection_string_pooled", "up").stderr


def test_an_owner_renews_the_pool(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    path = f"/api/databases/{database['id']}/pool/reconnect"
    pid = "SELECT pg_backend_pid()"
    assert api.post(path).status_code == 200  # nobody has come yet
    with login(database["connection_string_pooled"]) as client:
        before = client.execute(pid).fetchone()
        data(api.post(path))
        after = client.execute(pid).fetchone()
        assert after != before
        with client.transaction():
            assert client.execute(pid).fetchone() == after
            headers = {"Idempotency-Key": "renew"}
            first = api.post(path, headers=headers)
            assert client.execute(pid).fetchone() == after
        renewed = client.execute(pid).fetchone()
        assert renewed != after
        assert api.post(path, headers=headers).json() == first.json()
        assert client.execute(pid).fetchone() == renewed
        ended = platform.tenantry(
            "pool", "reconnect", database["database_name"], "--end-clients", "--json"
        )
        assert json.loads(ended.stdout)["id"] == database["id"]
        assert not is_open(client)
    assert ask(database["connection_string_pooled"]) == 1
    wanted = {"action": "database.pool_reconnect", "resource_id": database["id"]}
    audited = data(api.get("/api/audit-logs", params=wanted))
    assert [each["details"]["end_clients"] for each in audited] == [True, False, False, False]


# All databases together


async def _keep_busy(url: str, stop: asyncio.Event, seconds: float) -> int:
    """One pooled client that does one transaction after the other, at least one of them."""
    done = 0
    session = await asyncpg.connect(url, timeout=60)
    try:
        while not done or not stop.is_set():
            async with session.transaction():
                await session.execute(f"SELECT pg_sleep({seconds})")
            done += 1
    finally:
        await session.close()
    return done


async def test_all_pools_together_leave_room(quiet: Installation) -> None:
    """Four databases hold all they can in long transactions; then sixteen others come at once."""
    databases = [quiet.create(friendlyName=f"Busy {n}") for n in range(20)]
    with quiet.superuser() as server:
        row = server.execute(
            "SELECT current_setting('max_connections')::int,"
            " current_setting('superuser_reserved_connections')::int"
        ).fetchone()
    assert row is not None
    most, reserved = row
    assert most == 200
    stop = asyncio.Event()
    looked = 0

    async def look_on() -> None:
        """Direct logins and the API go on all the while."""
        nonlocal looked
        async with httpx.AsyncClient(
            base_url=quiet.url, headers={"X-API-Key": quiet.key}, trust_env=False, timeout=60
        ) as client:
            while not stop.is_set():
                direct = await asyncpg.connect(databases[0]["connection_string"], timeout=60)
                await direct.close()
                assert (await client.get("/ready")).status_code == 200
                path = f"/api/databases/{databases[0]['id']}/stats"
                assert (await client.get(path)).status_code == 200
                looked += 1

    def clients(part: list[dict[str, Any]], seconds: float) -> list[asyncio.Task[int]]:
        return [
            asyncio.create_task(_keep_busy(database["connection_string_pooled"], stop, seconds))
            for database in part
            for _ in range(25)
        ]

    with Peak(quiet) as peak:
        looking = asyncio.create_task(look_on())
        first = clients(databases[:4], 2)
        await asyncio.to_thread(eventually, lambda: peak.most > 80)
        rest = clients(databases[4:], 0.2)
        before = looked
        await asyncio.to_thread(
            eventually, lambda: looking.done() or looked > before + 5, seconds=120
        )
        stop.set()
        done = await asyncio.gather(*first, *rest)
        await looking
    assert len(done) == 500
    assert all(done)
    assert peak.most < most - reserved - 16

    assert await asyncio.to_thread(_servers, quiet) <= 110


def _servers(platform: Installation) -> int:
    with platform.client() as client:
        return int(data(client.get("/api/pooler"))["servers"])


async def test_a_busy_database_gives_way_to_others(quiet: Installation) -> None:
    """One that keeps all its connections busy gets fewer when others come, and loses nobody."""
    crowd = [quiet.create(friendlyName=f"Crowd {n}") for n in range(10)]

    def sizes() -> dict[str, int]:
        with quiet.client() as client:
            pools = data(client.get("/api/pooler"))["pools"]
        return {
            pool["database"]: pool["servers_active"] + pool["servers_idle"]
            for pool in pools
            if pool["clients_active"] + pool["clients_waiting"]
        }

    stop = asyncio.Event()
    hog = crowd[0]
    first = [
        asyncio.create_task(_keep_busy(hog["connection_string_pooled"], stop, 0.02))
        for _ in range(50)
    ]
    await asyncio.to_thread(eventually, lambda: sizes().get(hog["database_name"], 0) == 25)
    rest = [
        asyncio.create_task(_keep_busy(each["connection_string_pooled"], stop, 0.02))
        for each in crowd[1:]
        for _ in range(25)
    ]

    def shared_out() -> bool:
        found = sizes()
        return len(found) >= 10 and max(found.values()) <= 11

    await asyncio.to_thread(eventually, shared_out)
    stop.set()
    assert all(await asyncio.gather(*first, *rest))


async def make_pools_small(_: Repositories) -> None:
    """Have one server connection in each pool, and reserves opened after a second."""
    async with LocalParts(settings.load()).pooler.console() as console:
        await console.run("SET default_pool_size = 1")
        await console.run("SET reserve_pool_timeout = 1")


async def undo_settings(_: Repositories) -> None:
    """Have what is in the pooler's file again."""
    await LocalParts(settings.load()).pooler.reload()


def test_a_reserve_is_opened_for_who_has_waited(platform: Installation, api: httpx.Client) -> None:
    """Without the worker, which would raise the size of the pools again at once."""
    database = platform.create(name="reserved", maxConnections=40)
    url = f"/api/databases/{database['id']}"
    users = platform.home / "pooler" / "users.ini"
    line = f"{database['username']} = max_user_connections=25 pool_mode=transaction"
    assert data(api.patch(url, json={"reserve_pool_size": 2}))["limits"]["reserve_pool_size"] == 2
    eventually(lambda: f"{line} reserve_pool_size=2" in users.read_text())
    worker = platform.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        inside(platform, make_pools_small)
        with (
            Peak(platform, username=database["username"]) as peak,
            ThreadPoolExecutor(6) as threads,
        ):
            pooled = database["connection_string_pooled"]
            busy = [threads.submit(ask, pooled, "SELECT 1 FROM pg_sleep(2)") for _ in range(6)]
            assert [each.result() for each in busy] == [1] * 6
    finally:
        inside(platform, undo_settings)
        os.kill(worker, signal.SIGCONT)
    assert peak.most == 1 + 2
    assert (
        data(api.patch(url, json={"reserve_pool_size": None}))["limits"]["reserve_pool_size"] == 0
    )
    eventually(lambda: f"{line} reserve_pool_size=0" in users.read_text())


# What is reported


def test_the_poolers_state_is_reported(platform: Installation, api: httpx.Client) -> None:
    database = platform.create(maxConnections=5)
    users = platform.home / "pooler" / "users.ini"
    eventually(lambda: database["username"] in users.read_text())
    url = database["connection_string_pooled"]

    def pool_of(state: dict[str, Any]) -> dict[str, Any]:
        pools = (p for p in state["pools"] if p["database"] == database["database_name"])
        return next(pools, {})

    full = {"clients_active": 4, "clients_waiting": 2, "servers_active": 4, "servers_idle": 0}
    states: list[dict[str, Any]] = []

    def is_full() -> bool:
        states.append(data(api.get("/api/pooler")))
        return full.items() <= pool_of(states[-1]).items()

    with ThreadPoolExecutor(6) as threads:
        busy = [threads.submit(ask, url, "SELECT 1 FROM pg_sleep(3)") for _ in range(6)]
        eventually(is_full)
        assert [each.result() for each in busy] == [1] * 6
    state = states[-1]
    assert state["version"].startswith("PgBouncer 1.")
    assert state["budget"] == 110
    assert 1 <= state["pool_size"] <= 25
    assert state["clients"] >= 6
    assert state["servers"] >= 4
    pool = pool_of(state)
    assert pool["username"] == database["username"]
    assert 0 <= pool["longest_wait_seconds"] < 120
    eventually(lambda: _transactions(api, database["database_name"]) >= 6)
    assert "tenantry_pooler_server_budget 110.0" in api.get("/metrics").text


def _transactions(api: httpx.Client, database_name: str) -> int:
    stats = data(api.get("/api/pooler"))["stats"]
    return sum(each["transactions"] for each in stats if each["database"] == database_name)


# Deaths


def test_a_killed_pooler_comes_back(platform: Installation) -> None:
    database = platform.create()
    session = login(database["connection_string_pooled"])
    session.execute("SELECT 1")
    pid = platform.pids()["pooler"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError), session:
        session.execute("SELECT 1")
    eventually(lambda: platform.pids().get("pooler", pid) != pid)
    assert ask(database["connection_string_pooled"]) == 1
    eventually(platform.is_ready)


def test_a_killed_postgresql_comes_back(platform: Installation) -> None:
    database = platform.create()
    pooled, direct = (
        login(database["connection_string_pooled"]),
        login(database["connection_string"]),
    )
    direct.execute("CREATE TABLE kept AS SELECT 42 AS value")
    pid = platform.pids()["shared-1"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: platform.pids().get("shared-1", pid) != pid)
    with pytest.raises(psycopg.OperationalError), direct:
        direct.execute("SELECT 1")
    pooled.close()

    def works() -> bool:
        try:
            return ask(database["connection_string_pooled"], "SELECT value FROM kept") == 42
        except psycopg.OperationalError:
            return False

    eventually(works)
    assert ask(database["connection_string"], "SELECT value FROM kept") == 42
    eventually(platform.is_ready)
    assert platform.create()["status"] == "active"


def test_a_killed_control_cluster_comes_back(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    pid = platform.pids()["control"]
    os.kill(pid, signal.SIGKILL)
    assert ask(database["connection_string_pooled"]) == 1
    eventually(lambda: platform.pids().get("control", pid) != pid)
    eventually(lambda: api.get(f"/api/databases/{database['id']}").status_code == 200)
    assert ask(platform.create()["connection_string"]) == 1


def test_tenants_are_served_while_the_control_plane_dies(platform: Installation) -> None:
    database = platform.create()
    with (
        login(database["connection_string_pooled"]) as pooled,
        login(database["connection_string"]) as direct,
    ):
        for part in ("api", "worker"):
            pid = platform.pids()[part]
            os.kill(pid, signal.SIGKILL)
            while platform.pids().get(part, pid) == pid:
                for session in (pooled, direct):
                    assert session.execute("SELECT 1").fetchone() == (1,)
                assert ask(database["connection_string_pooled"]) == 1
                assert ask(database["connection_string"]) == 1
    eventually(platform.is_ready)
