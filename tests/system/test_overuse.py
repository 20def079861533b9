"""A tenant writes what no quota counts: it is noticed and paused, and its neighbour works."""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from attempts_disk import SETTINGS, policies
from clients import ask, changed, do, eventually, login, port_of
from harness import Installation
from tenantry.pg import writing

MIB = 2**20
OCTETS = "application/octet-stream"
REWRITE = (
    "TRUNCATE again; INSERT INTO again SELECT repeat(md5(g::text), 31)"
    " FROM generate_series(1, 8192) g"
)
NOTIFY = "SELECT count(pg_notify('n', g || repeat('x', 7900))) FROM generate_series(1, 1000) g"


@pytest.fixture(scope="module")
def neighbour(platform: Installation) -> dict[str, Any]:
    return platform.create()


@pytest.fixture
def noisy(platform: Installation, api: httpx.Client) -> Iterator[dict[str, Any]]:
    made = platform.create(diskQuotaBytes=64 * MIB)
    yield made
    api.delete(f"/api/databases/{made['id']}")


def paused(api: httpx.Client, made: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = data(api.get(f"/api/databases/{made['id']}"))["paused"]
    return found


@contextmanager
def again_and_again(url: str, statement: str) -> Iterator[None]:
    """Run a statement all the time, and connect again when the session is ended."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(psycopg.Error), login(url) as session:
                while not over.is_set():
                    session.execute(statement.encode())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def refuses(url: str) -> bool:
    try:
        ask(url)
    except psycopg.OperationalError:
        return True
    return False


def let_pause_end(platform: Installation, made: dict[str, Any]) -> None:
    """Move the end of a pause to now; the platform lifts it by itself."""
    with platform.control() as control:
        control.execute(
            "UPDATE databases SET paused_until = now() WHERE id = %s AND paused_until IS NOT NULL",
            (made["id"],),
        )


def position(platform: Installation) -> int:
    with platform.superuser() as server:
        row = server.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    assert row
    return int(row[0])


def test_write_ahead_log_beyond_the_allowance_pauses_its_writer_alone(
    platform: Installation, api: httpx.Client, noisy: dict[str, Any], neighbour: dict[str, Any]
) -> None:
    with login(noisy["connection_string"]) as session:
        session.execute("CREATE TABLE again (x text)")
    url = noisy["connection_string"]
    with (
        again_and_again(noisy["connection_string_pooled"], REWRITE),
        contextlib.closing(login(url)) as holder,
    ):
        holder.execute("BEGIN")  # a lock that a new limit of this role has to wait for
        holder.execute("ALTER ROLE CURRENT_USER SET work_mem = '5MB'")
        eventually(lambda: paused(api, noisy))
        for endpoint in ("connection_string", "connection_string_pooled"):
            eventually(partial(refuses, noisy[endpoint]))  # its sessions are ended right after
        held = position(platform)
        for endpoint in ("connection_string", "connection_string_pooled"):
            assert ask(neighbour[endpoint]) == 1
        platform.reconcile()  # a pause is what the row says, and stays
        assert position(platform) - held < 8 * MIB  # it goes on trying, and each try wrote 8 MiB
    assert paused(api, neighbour) is None
    found = paused(api, noisy)
    assert found
    assert found["reason"] == "wal"
    assert "disk_quota_bytes" in found["detail"]
    ready = {each["name"]: each for each in api.get("/ready").json()["parts"]}
    assert ready["databases"]["state"] == "warning"
    assert 'tenantry_databases_paused{reason="wal"} 1.0' in platform.get("/metrics").text
    assert "paused" in platform.tenantry("db", "show", noisy["id"]).stdout

    assert refuses(noisy["connection_string"])
    let_pause_end(platform, noisy)
    eventually(lambda: not refuses(noisy["connection_string"]))
    assert paused(api, noisy) is None
    reported = data(api.get(f"/api/audit-logs?resource_id={noisy['id']}"))
    assert {"database.paused", "database.resumed"} <= {each["action"] for each in reported}


def test_a_restart_of_the_worker_grants_no_new_allowance(
    platform: Installation, noisy: dict[str, Any]
) -> None:
    file = platform.home / "run" / "overuse.json"

    def counted_after_writing() -> tuple[float, float]:
        """Write 8 MiB. Returns what is counted, and when it was."""
        do(noisy["connection_string"], REWRITE)
        if not file.exists():
            return 0.0, 0.0
        found = json.loads(file.read_text())
        size, _ = found["wal"].get(noisy["database_name"], (0.0, 0))
        return size, found["at"]

    do(noisy["connection_string"], "CREATE TABLE again (x text)")
    eventually(lambda: counted_after_writing()[0] > 64 * MIB)
    before, _ = counted_after_writing()
    worker = platform.pids()["worker"]
    os.kill(worker, signal.SIGKILL)
    killed = time.time()
    eventually(lambda: platform.pids().get("worker") not in {None, worker})
    eventually(lambda: counted_after_writing()[1] > killed + 1)
    size, _ = counted_after_writing()
    assert size > before - 8 * MIB  # 256 MiB leak in an hour


def run_all(url: str, statements: Iterable[str]) -> None:
    with login(url) as session:
        for each in statements:
            session.execute(each.encode())


def catalogs(platform: Installation) -> int:
    """The bytes of what all databases share."""
    return writing.shared_catalogs_bytes(platform.home / "clusters" / "shared-1" / "data")


@pytest.mark.parametrize("what", ["settings", "policies"])
def test_who_has_shared_catalogs_grow_is_paused_alone(
    platform: Installation,
    api: httpx.Client,
    noisy: dict[str, Any],
    neighbour: dict[str, Any],
    what: str,
) -> None:
    role, size = noisy["username"], catalogs(platform)
    statements = {
        "settings": [SETTINGS],
        "policies": ["CREATE TABLE p (a int)", *policies(role, 12)],
    }
    own = "ALTER ROLE CURRENT_USER SET work_mem = '5MB'"
    with again_and_again(neighbour["connection_string"], own):
        with pytest.raises(psycopg.OperationalError):
            run_all(noisy["connection_string"], statements[what])
        eventually(lambda: (paused(api, noisy) or {}).get("reason") == "wal")
    assert paused(api, neighbour) is None
    if what == "settings":  # indexes keep their size, and are used again
        eventually(lambda: catalogs(platform) - size < 32 * MIB)


@contextmanager
def listening(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A session that listens and then holds a transaction open, so that the queue stays."""
    with login(url) as session:
        session.execute("LISTEN n")
        session.execute("BEGIN")
        session.execute("SELECT 1")
        yield session


def test_who_fills_the_queue_of_notifications_is_paused(
    platform: Installation, api: httpx.Client, noisy: dict[str, Any], neighbour: dict[str, Any]
) -> None:
    # A neighbour's open transaction holds the queue: its session ends, and it is not paused.
    with (
        contextlib.suppress(psycopg.OperationalError),
        listening(neighbour["connection_string"]) as holder,
        again_and_again(noisy["connection_string"], NOTIFY),
    ):
        eventually(lambda: paused(api, noisy))
        eventually(lambda: holder.closed or refuses_session(holder))
    found = paused(api, noisy)
    assert found
    assert found["reason"] == "notify"
    assert paused(api, neighbour) is None
    with platform.superuser() as server:
        eventually(
            lambda: server.execute("SELECT pg_notification_queue_usage()").fetchone() == (0.0,)
        )


def refuses_session(session: psycopg.Connection[Any]) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_without_the_watch_the_queue_grows(platform: Installation, noisy: dict[str, Any]) -> None:
    """So the attempt is a real one: with the worker stopped, it goes on for as long as it likes."""
    worker = platform.pids()["worker"]
    queue = platform.home / "clusters" / "shared-1" / "data" / "pg_notify"
    os.kill(worker, signal.SIGSTOP)
    try:
        with (
            listening(noisy["connection_string"]),
            again_and_again(noisy["connection_string"], NOTIFY),
        ):
            eventually(lambda: sum(each.stat().st_size for each in queue.iterdir()) > 100 * MIB)
    finally:
        os.kill(worker, signal.SIGCONT)


def flood_the_log(url: str, count: int) -> None:
    """Send logins that are refused before anybody asks who it is, with 9 KB that are logged."""
    words = b"user\0nobody\0database\0nowhere\0replication\0" + b"x" * 9000 + b"\0\0"
    packet = struct.pack("!ii", len(words) + 8, 196608) + words
    for _ in range(count):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port_of(url)), timeout=5) as here,
        ):
            here.sendall(packet)
            here.recv(4096)


def test_logs_are_rotated_and_deleted_by_size(
    platform: Installation, api: httpx.Client, neighbour: dict[str, Any]
) -> None:
    logs = platform.home / "logs"
    for number in range(10):  # as a flood would have left them
        old = logs / f"shared-1-2026-01-{number + 1:02}_000000.json"
        old.write_bytes(b"x" * 8 * MIB)
        os.utime(old, (1, 1 + number))
    pooler = logs / "pooler.log"
    with pooler.open("ab") as file:
        file.write(b"x" * 17 * MIB)
    flood_the_log(neighbour["connection_string"], 50)
    eventually(
        lambda: sum(each.stat().st_size for each in logs.glob("shared-1-*.json")) <= 64 * MIB
    )
    eventually(lambda: pooler.stat().st_size < MIB)
    assert not (logs / "shared-1-2026-01-01_000000.json").exists()
    assert (logs / "shared-1-2026-01-10_000000.json").exists()
    assert (logs / "pooler.log.1").stat().st_size <= 16 * MIB
    with platform.superuser() as server:
        for name, value in (("log_rotation_size", "8MB"), ("logging_collector", "on")):
            assert server.execute(f"SHOW {name}".encode()).fetchone() == (value,)
    assert paused(api, neighbour) is None


def test_what_logins_write_to_the_log_is_reported_apart(
    platform: Installation, noisy: dict[str, Any], neighbour: dict[str, Any]
) -> None:
    def newest() -> bytes:
        logs = (platform.home / "logs").glob("shared-1-*.json")
        found = max((each for each in logs if "start" not in each.name), key=os.path.getmtime)
        return found.read_bytes()

    refused = changed(noisy["connection_string"], options="-c nowhere=1")
    with pytest.raises(psycopg.OperationalError, match="nowhere"):
        login(refused)
    with pytest.raises(psycopg.OperationalError, match="password"):
        login(changed(neighbour["connection_string"], password="wrong"))
    eventually(lambda: writing.log_shares(newest())[noisy["username"]] > 0)
    eventually(lambda: neighbour["username"].encode() in newest())
    assert neighbour["username"] not in writing.log_shares(newest())


def test_temporary_files_of_all_sessions_together_have_a_bound(
    api: httpx.Client, noisy: dict[str, Any]
) -> None:
    one = {"temp_file_limit_bytes": 80 * MIB}
    assert api.patch(f"/api/databases/{noisy['id']}", json=one).status_code == 200
    held = (
        "DECLARE held CURSOR WITH HOLD FOR"
        " SELECT repeat(md5(g::text), 31) FROM generate_series(1, 60000) g"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(8):  # some may be ended before all are open
            with contextlib.suppress(psycopg.OperationalError):
                stack.enter_context(login(noisy["connection_string"])).execute(held)
        eventually(lambda: (paused(api, noisy) or {}).get("reason") == "temp")


def test_parameters_that_a_role_sets_for_itself_have_a_bound(
    platform: Installation, api: httpx.Client, noisy: dict[str, Any]
) -> None:
    with (
        contextlib.suppress(psycopg.OperationalError),
        login(noisy["connection_string"]) as session,
    ):
        session.execute(
            """
            DO $$ BEGIN
                EXECUTE 'ALTER ROLE CURRENT_USER SET search_path = '
                    || (SELECT string_agg('x' || md5(g::text), ',')
                        FROM generate_series(1, 9999) g);
            END $$
            """
        )
    eventually(lambda: (paused(api, noisy) or {}).get("reason") == "settings")
    with platform.superuser() as server:
        assert server.execute(
            "SELECT count(*) FROM pg_db_role_setting WHERE setrole = %s::regrole",
            (noisy["username"],),
        ).fetchone() == (0,)


# ── what customers send and make ─────────────────────────────────────────────


def begin_upload(platform: Installation, made: dict[str, Any], size: int) -> socket.socket:
    """Announce a dump of so many bytes, and send half a MiB of it."""
    here = socket.create_connection(("127.0.0.1", platform.api_port), timeout=20)
    here.sendall(
        (
            f"POST /api/databases/{made['id']}/import HTTP/1.1\r\nHost: localhost\r\n"
            f"X-API-Key: {platform.key}\r\nContent-Type: {OCTETS}\r\n"
            f"Content-Length: {size}\r\n\r\n"
        ).encode()
        + b"PGDMP"
        + b"\0" * (MIB // 2)
    )
    return here


def test_a_database_takes_one_upload_at_a_time(
    platform: Installation, api: httpx.Client, noisy: dict[str, Any]
) -> None:
    folder = platform.home / "scratch" / "uploads"
    path = f"/api/databases/{noisy['id']}/import"

    def send() -> httpx.Response:
        return api.post(path, content=b"PGDMP" + b"\0" * 1000, headers={"content-type": OCTETS})

    with begin_upload(platform, noisy, MIB):
        eventually(lambda: folder.exists() and any(folder.iterdir()))
        found = problem(send(), 409)
        assert "30 seconds" in found["hint"]
        assert len(list(folder.iterdir())) == 1
    eventually(lambda: not any(folder.iterdir()))  # who sent it is gone, and so is the file
    with begin_upload(platform, noisy, 65 * MIB) as too_large:
        assert too_large.recv(1000).startswith(b"HTTP/1.1 409")
    eventually(lambda: send().status_code == 202)


def test_a_customers_databases_and_backups_have_a_bound(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create(ownerEmail="many@example.org")
    key = data(
        api.post(
            "/api/api-keys",
            json={
                "name": "many",
                "customerEmail": "many@example.org",
                "scopes": ["databases:read", "databases:write", "backups:write"],
            },
        ),
        201,
    )["key"]
    with platform.client(key) as customer, platform.control() as control:
        control.execute(
            """
            INSERT INTO databases (id, cluster_id, database_name, username, status, customer_id,
                friendly_name)
            SELECT gen_random_uuid(), cluster_id, 'tenant_many' || g, 'user_many' || g,
                'branching', customer_id, 'Many'
            FROM databases, generate_series(1, 99) g WHERE id = %s
            """,
            (made["id"],),
        )
        wanted = {"friendlyName": "One more"}
        found = problem(customer.post("/api/databases", json=wanted), 409)
        assert "100 databases" in found["detail"]
        assert "TENANTRY_CUSTOMER_DATABASES" in found["hint"]
        branch = customer.post(f"/api/databases/{made['id']}/branches", json={"name": "b"})
        assert "100 databases" in problem(branch, 409)["detail"]
        control.execute("DELETE FROM databases WHERE status = 'branching' AND username ~ 'many'")
        again = data(customer.post("/api/databases", json=wanted), 201)

        control.execute(
            """
            INSERT INTO backups (id, database_id, database_name, customer_id, file_name, format,
                part, origin, size_bytes)
            SELECT gen_random_uuid(), id, 'gone', customer_id, 'x.dump', 'custom', 'all', 'manual',
                100::bigint << 30
            FROM databases WHERE id = %s
            """,
            (made["id"],),
        )
        path = f"/api/databases/{again['id']}/backups"
        found = problem(customer.post(path, json={}), 409)
        assert "107,374,182,400 bytes" in found["detail"]
        control.execute("DELETE FROM backups WHERE file_name = 'x.dump'")
        assert customer.post(path, json={}).status_code == 202
