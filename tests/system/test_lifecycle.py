"""Up, down, and what a machine may do in between: each test has an installation of its own."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing

import httpx
import psycopg
import pytest

from clients import ask, do, eventually
from harness import Installation

PARTS = ("supervisor", "control", "shared-1", "pooler", "api", "worker")


@pytest.fixture
def installation() -> Iterator[Installation]:
    """A home that nothing runs in yet."""
    here = Installation({"TENANTRY_WARM_POOL": "1"})
    try:
        yield here
    finally:
        here.remove()


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    """A platform whose parts may be killed: every test brings it up again."""
    here = Installation({"TENANTRY_WARM_POOL": "1"})
    try:
        here.up()
        yield here
    finally:
        here.remove()


def is_ready(here: Installation) -> bool:
    try:
        return httpx.get(f"{here.url}/ready", trust_env=False, timeout=5).is_success
    except httpx.HTTPError:
        return False


def test_down_then_up_keeps_everything(installation: Installation) -> None:
    installation.up()
    made = installation.create(name="kept")
    do(made["connection_string"], "CREATE TABLE t AS SELECT 42 AS x")
    again = installation.tenantry("up", "--detach")
    assert "already runs" in again.stderr
    key = installation.key
    installation.down()
    assert installation.processes() == []
    assert installation.tenantry("status", check=False).returncode == 3
    installation.up()
    assert installation.key == key
    for string in ("connection_string", "connection_string_pooled"):
        assert ask(made[string], "SELECT x FROM t") == 42


def test_status_tells_the_parts_and_the_clusters(running: Installation) -> None:
    running.up()
    told = running.status()
    assert [part["name"] for part in told["parts"]] == list(PARTS)
    assert {part["state"] for part in told["parts"]} == {"running"}
    assert all(part["detail"] for part in told["parts"])
    clusters = {cluster["name"]: cluster for cluster in told["clusters"]}
    assert {name: each["kind"] for name, each in clusters.items()} == {
        "control": "control",
        "shared-1": "shared",
    }
    shared = clusters["shared-1"]
    assert shared["port"] == running.pg_port
    assert shared["driver"] == "process"
    assert shared["status"] == "running"
    assert shared["version"] >= 15
    socket_file = f"{shared['socket_dir']}/.s.PGSQL.{shared['port']}"
    assert os.path.exists(socket_file)  # noqa: PTH110 (a socket's path is a text)


@pytest.mark.parametrize("part", PARTS)
def test_what_was_killed_is_up_again(running: Installation, part: str) -> None:
    running.up()
    made = running.create()
    do(made["connection_string"], "CREATE TABLE t AS SELECT 42 AS x")
    pid = running.pids()[part]
    os.kill(pid, signal.SIGKILL)
    if part == "supervisor":
        # What serves tenants goes on; the rest ends with the supervisor.
        eventually(lambda: set(running.pids()) == {"control", "shared-1", "pooler"})
        assert ask(made["connection_string_pooled"], "SELECT x FROM t") == 42
        running.up()
    eventually(lambda: running.pids().get(part, pid) != pid and is_ready(running))
    assert set(running.pids()) == set(PARTS)
    for string in ("connection_string", "connection_string_pooled"):
        assert ask(made[string], "SELECT x FROM t") == 42


def test_tenants_are_served_while_the_control_plane_is_away(running: Installation) -> None:
    running.up()
    made = running.create()
    with (
        closing(psycopg.connect(made["connection_string"], autocommit=True)) as direct,
        closing(psycopg.connect(made["connection_string_pooled"], autocommit=True)) as pooled,
    ):
        before = running.pids()
        os.kill(before["supervisor"], signal.SIGHUP)
        eventually(
            lambda: (
                running.pids().get("api", before["api"]) != before["api"]
                and running.pids().get("worker", before["worker"]) != before["worker"]
            )
        )
        for session in (direct, pooled):
            assert session.execute("SELECT 1").fetchone() == (1,)
        eventually(lambda: is_ready(running))
        after = running.pids()
    for part in ("supervisor", "control", "shared-1", "pooler"):
        assert after[part] == before[part]


def test_down_also_stops_what_a_killed_supervisor_left(installation: Installation) -> None:
    installation.up()
    os.kill(installation.pids()["supervisor"], signal.SIGKILL)
    installation.down()
    eventually(lambda: installation.processes() == [])


@pytest.mark.parametrize("setting", ["TENANTRY_PG_PORT", "TENANTRY_POOL_PORT", "TENANTRY_API_PORT"])
def test_a_port_in_use_is_told_and_nothing_is_left(
    installation: Installation, setting: str
) -> None:
    with socket.create_server(("127.0.0.1", int(installation.env[setting]))) as taken:
        done = installation.tenantry("up", "--detach", check=False)
        port = taken.getsockname()[1]
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert setting in done.stderr
    assert installation.processes() == []


def test_a_setting_that_cannot_be_is_told(installation: Installation) -> None:
    installation.environment["TENANTRY_PG_PORT"] = "99999"
    done = installation.tenantry("up", "--detach", check=False)
    assert done.returncode == 1
    assert "TENANTRY_PG_PORT" in done.stderr
    assert installation.processes() == []


def test_two_installations_live_side_by_side(
    running: Installation, installation: Installation
) -> None:
    running.up()
    installation.up()
    one, other = running.create(name="twin"), installation.create(name="twin")
    assert ask(one["connection_string"], "SELECT current_database()") == one["database_name"]
    assert ask(other["connection_string"], "SELECT current_database()") == other["database_name"]
    with running.client(key=installation.key) as client:
        assert client.get("/api/databases").status_code == 401


# What convergence repairs: a pass runs at the worker's start.


def start_a_pass(here: Installation) -> None:
    before = here.pids()
    os.kill(before["supervisor"], signal.SIGHUP)
    eventually(
        lambda: (
            all(here.pids().get(part, before[part]) != before[part] for part in ("api", "worker"))
            and is_ready(here)
        )
    )


def test_files_changed_by_hand_are_as_they_were(running: Installation) -> None:
    running.up()
    names = (
        "clusters/shared-1/data/pg_hba.conf",
        "clusters/shared-1/data/postgresql.conf",
        "clusters/control/data/pg_ident.conf",
        "pooler/pgbouncer.ini",
        "pooler/hba.conf",
    )
    files = {running.home / name: (running.home / name).read_text() for name in names}
    for path in files:
        with path.open("a") as file:
            file.write("# by hand\n")
    start_a_pass(running)
    eventually(lambda: all(path.read_text() == text for path, text in files.items()))


def test_what_was_removed_by_hand_is_there_again(running: Installation) -> None:
    running.up()
    made = running.create()
    shadowless = running.create(shadow=False)
    name, role = made["database_name"], made["username"]
    with running.superuser() as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
        server.execute(f"DROP DATABASE {name}_shadow WITH (FORCE)")  # type: ignore[arg-type]
        server.execute("CREATE ROLE user_nobodys NOLOGIN")
        server.execute(f"ALTER ROLE {role} CONNECTION LIMIT 999")  # type: ignore[arg-type]
    with running.control() as control:
        control.execute(
            "INSERT INTO databases (id, cluster_id, database_name, username, status)"
            " SELECT gen_random_uuid(), id, 'tenant_stuck', 'user_stuck', 'creating'"
            " FROM clusters WHERE kind = 'shared'"
        )
    start_a_pass(running)

    def repaired() -> bool:
        roles, databases = running.world()
        return (
            {name, f"{name}_shadow", "tenant_stuck", "tenant_stuck_shadow"} <= databases
            and "user_nobodys" not in roles
            and "user_stuck" in roles
            and f"{shadowless['database_name']}_shadow" not in databases
        )

    eventually(repaired)
    # The role was never gone, so its password still opens what is there, though empty.
    eventually(lambda: ask(made["connection_string"], "SELECT 1") == 1)
    statuses = {row["database_name"]: row["status"] for row in running.rows()}
    assert statuses["tenant_stuck"] == "warm"
    with running.client() as client:
        log = client.get("/api/audit-logs", params={"resource_id": made["id"]}).json()["data"]
    assert "database.made_again" in {entry["action"] for entry in log}


def test_a_database_that_nobody_asked_for_is_never_dropped(running: Installation) -> None:
    running.up()
    with running.superuser() as server:
        server.execute("CREATE DATABASE tenant_from_a_backup")
    start_a_pass(running)
    made = running.create(maxConnections=7)
    eventually(lambda: f"{made['username']} =" in (running.home / "pooler/users.ini").read_text())
    _, databases = running.world()
    assert "tenant_from_a_backup" in databases


def test_doctor_tells_what_is_wrong(running: Installation) -> None:
    running.up()
    done = running.tenantry("doctor", "--json", check=False)
    findings = json.loads(done.stdout)
    assert {"PostgreSQL", "PgBouncer", "home", "disk"} <= {each["subject"] for each in findings}
    problems = [each for each in findings if each["level"] == "problem"]
    assert done.returncode == (1 if problems else 0)
    assert problems == []
