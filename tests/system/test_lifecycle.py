"""An installation's life: up, down, killed, brought up again."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis

from answers import data
from clients import STRINGS, ask, do, eventually, hurry, login
from harness import Installation
from tenantry import __version__

pytestmark = pytest.mark.takes_minutes

PARTS = ("supervisor", "control", "shared-1", "pooler", "api", "worker")


@pytest.fixture(scope="module")
def own() -> Iterator[Installation]:
    """A platform that is up. Its tests end it in all ways, and leave it up."""
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


@pytest.fixture
def fresh() -> Iterator[Installation]:
    """One that has never been up."""
    installation = Installation()
    yield installation
    installation.remove()


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def nothing_is_left(installation: Installation) -> None:
    assert installation.processes() == []
    for port in (installation.api_port, installation.pg_port, installation.pool_port):
        assert not listens(port)


def is_healthy(installation: Installation, database: dict[str, Any]) -> None:
    """Everything runs, and a database that was made before is there as it was."""
    eventually(installation.is_ready)
    eventually(lambda: set(installation.pids()) >= set(PARTS))
    for string in STRINGS:
        assert ask(database[string], "SELECT current_user") == database["username"]
    with installation.client() as client:
        assert data(client.get(f"/api/databases/{database['id']}"))["status"] == "active"
    assert ask(installation.create()["connection_string_pooled"]) == 1


# Up and down


def test_up_on_a_running_platform_says_so(own: Installation) -> None:
    before = own.pids()
    again = own.tenantry("up")
    assert f"already runs in {own.home}" in again.stderr
    assert own.url in again.stdout + again.stderr
    assert own.key not in again.stdout + again.stderr
    assert own.pids() == before
    assert set(before) == set(PARTS)


def test_status_is_reported_in_its_fixed_shape(own: Installation) -> None:
    own.create()
    reported = own.tenantry("status", "--json")
    assert reported.stderr == ""
    status = own.status()
    assert [part["name"] for part in status["parts"]] == list(PARTS)
    for part in status["parts"]:
        assert part.keys() == {"name", "state", "detail"}
        assert part["state"] == "running"
    clusters = {cluster["name"]: cluster for cluster in status["clusters"]}
    assert clusters.keys() == {"control", "shared-1"}
    for cluster in clusters.values():
        assert cluster.keys() == {
            *("name", "kind", "driver", "status", "version", "socket_dir", "port", "databases"),
            *("last_backup_at", "backups", "warnings", "retained", "activity"),
        }
        assert (cluster["driver"], cluster["status"]) == ("process", "running")
        socket_file = Path(cluster["socket_dir"]) / f".s.PGSQL.{cluster['port']}"
        assert socket_file.is_socket()
        assert cluster["version"] >= 15
    assert clusters["control"]["kind"] == "control"
    assert clusters["shared-1"]["kind"] == "shared"
    assert clusters["shared-1"]["port"] == own.pg_port
    with own.control() as control:
        query = "SELECT count(*), count(*) FILTER (WHERE status = 'active') FROM databases"
        every, active = control.execute(query).fetchone() or (0, 0)
    assert clusters["shared-1"]["databases"] == active < every
    table = own.tenantry("status").stdout
    assert all(part in table for part in PARTS)


def test_a_new_home_shows_what_was_made(fresh: Installation) -> None:
    first = fresh.tenantry("status", check=False)
    assert (first.returncode, "tenantry up" in first.stdout + first.stderr) == (3, True)
    assert fresh.status() == {"parts": [], "clusters": []}
    up = fresh.tenantry("up", "--detach")
    reported = up.stdout + up.stderr
    for there in (fresh.url, f":{fresh.pg_port}", f":{fresh.pool_port}", fresh.key):
        assert there in reported
    assert str(fresh.home / "ca.crt") in reported
    # What is logged meanwhile is in the log, not before the reader.
    *doing, local, last = up.stderr.splitlines()
    assert all(re.fullmatch(r"[A-Z][^{}]+ …", line) for line in doing), up.stderr
    assert local.startswith("Connection strings contain localhost")
    assert last == f"The key is also in {fresh.home / 'admin.key'}, for its owner only."
    assert '"event": "cluster.started"' in (fresh.home / "logs" / "tenantry.log").read_text()
    assert fresh.get("/ca.crt").text == ((fresh.home / "ca.crt").read_text())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
@pytest.mark.parametrize("command", ["status", "doctor", "down"])
def test_another_user_is_reported_who_may(own: Installation, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tenantry.cli", command],
        env=own.env,
        capture_output=True,
        text=True,
        user="nobody",
        group="nogroup",
        extra_groups=[],
        cwd="/",
        check=False,
    )
    assert done.returncode == 1
    assert "This user may not use" in done.stderr
    assert "→ Run it as root (sudo), or as the user that brought the platform up." in done.stderr
    assert "fault of Tenantry" not in done.stderr


def test_down_and_up_keep_everything(own: Installation) -> None:
    database = own.create()
    do(database["connection_string"], "CREATE TABLE kept AS SELECT 42 AS value")
    key, authority = own.key, (own.home / "ca.crt").read_bytes()
    session = login(database["connection_string_pooled"])
    with own.client() as client:
        wanted = {"name": "shop", "memory_mb": 8, "persistence": "aof"}
        site = data(client.post("/api/sites", json=wanted), 201)
    kept = f"{site['key_prefix']}kept"
    redis = Redis.from_url(site["redis_url"], ssl_ca_certs=str(own.home / "ca.crt"))
    redis.set(kept, "42")

    own.down()
    # Not killed at its deadline, since it waits for no client that has nothing to do.
    assert (own.home / "logs" / "pooler.log").read_text().rstrip().endswith("dropped, exiting")
    nothing_is_left(own)
    with pytest.raises(psycopg.OperationalError), session:
        session.execute("SELECT 1")
    status = own.tenantry("status", "--json", check=False)
    assert status.returncode == 3
    assert {part["state"] for part in own.status()["parts"]} == {"stopped"}
    again = own.tenantry("down")
    assert "stopped" in again.stderr + again.stdout

    own.up()
    assert (own.key, (own.home / "ca.crt").read_bytes()) == (key, authority)
    assert ask(database["connection_string_pooled"], "SELECT value FROM kept") == 42
    is_healthy(own, database)
    with own.client() as client:
        eventually(lambda: data(client.get(f"/api/sites/{site['id']}"))["status"] == "active")
        assert redis.get(kept) == b"42"
        data(client.delete(f"/api/sites/{site['id']}"))


def test_root_gets_another_administrators_key_by_emptying_the_file(own: Installation) -> None:
    """It depends on no other key, so that the one before can be revoked."""
    old = own.key
    (own.home / "admin.key").write_text("")
    own.down()
    own.up()
    assert own.key != old
    with own.client() as api:
        rows = data(api.get("/api/api-keys"))
        mine = [row for row in rows if row["created_by"]["kind"] == "platform"]
        (first,) = [row for row in mine if old.startswith(row["prefix"])]
        data(api.delete(f"/api/api-keys/{first['id']}"))
        data(api.get("/api/users"))


def test_ctrl_c_stops_everything(own: Installation) -> None:
    own.down()
    process = subprocess.Popen(
        [sys.executable, "-m", "tenantry.cli", "up"],
        env=own.env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    eventually(own.is_ready)
    process.send_signal(signal.SIGINT)
    reported, _ = process.communicate(timeout=60)
    assert process.returncode == 0, reported
    assert "Tenantry has stopped" in reported
    assert "Traceback" not in reported
    nothing_is_left(own)
    own.up()


# Killed


@pytest.mark.parametrize("part", PARTS)
def test_up_heals_what_was_killed(own: Installation, part: str) -> None:
    database = own.create()
    pid = own.pids()[part]
    os.kill(pid, signal.SIGKILL)
    own.up()
    eventually(lambda: own.pids().get(part, pid) != pid)
    is_healthy(own, database)


def test_up_heals_when_all_of_it_was_killed(own: Installation) -> None:
    database = own.create()
    own.kill_all()
    own.up()
    is_healthy(own, database)


def test_tenants_are_served_without_the_supervisor(own: Installation) -> None:
    database = own.create()
    with login(database["connection_string_pooled"]) as session:
        os.kill(own.pids()["supervisor"], signal.SIGKILL)
        eventually(lambda: own.pids().keys() == {"control", "shared-1", "pooler"})
        assert session.execute("SELECT 1").fetchone() == (1,)
        assert ask(database["connection_string_pooled"]) == 1
        own.up()
        assert session.execute("SELECT 2").fetchone() == (2,)
    is_healthy(own, database)


def test_down_stops_what_a_killed_supervisor_left(own: Installation) -> None:
    database = own.create()
    os.kill(own.pids()["supervisor"], signal.SIGKILL)
    own.down()
    nothing_is_left(own)
    own.up()
    is_healthy(own, database)


def test_a_hangup_starts_only_the_control_plane_again(own: Installation) -> None:
    database = own.create()
    before = own.pids()
    with login(database["connection_string_pooled"]) as session:
        os.kill(before["supervisor"], signal.SIGHUP)
        eventually(
            lambda: all(own.pids().get(part, before[part]) != before[part] for part in PARTS[4:])
        )
        assert session.execute("SELECT 1").fetchone() == (1,)
    after = own.pids()
    for part in PARTS[:4]:
        assert after[part] == before[part]
    is_healthy(own, database)


# In the way


@pytest.mark.parametrize("which", ["TENANTRY_API_PORT", "TENANTRY_PG_PORT", "TENANTRY_POOL_PORT"])
def test_a_port_in_use_is_reported_and_nothing_is_left(fresh: Installation, which: str) -> None:
    port = int(fresh.env[which])
    with socket.create_server(("127.0.0.1", port)):
        up = fresh.tenantry("up", "--detach", check=False)
        assert up.returncode == 1
        assert f"ort {port}" in up.stderr
        assert which in up.stderr
        assert "Traceback" not in up.stderr
        assert fresh.processes() == []


def test_settings_that_cannot_be_are_reported(fresh: Installation) -> None:
    fresh.environment = {"TENANTRY_PG_PORT": "70000", "TENANTRY_WARM_POOL": "many"}
    up = fresh.tenantry("up", check=False)
    assert up.returncode == 1
    for reported in ("TENANTRY_PG_PORT", "TENANTRY_WARM_POOL"):
        assert reported in up.stderr
    assert fresh.processes() == []


def test_two_installations_live_side_by_side(own: Installation, fresh: Installation) -> None:
    fresh.up()
    mine, theirs = own.create(), fresh.create()
    assert ask(mine["connection_string_pooled"]) == ask(theirs["connection_string_pooled"]) == 1
    with fresh.client(own.key) as anonymous:
        assert anonymous.get("/api/databases").status_code == 401
    roles, _ = fresh.inventory()
    assert mine["username"] not in roles
    fresh.down()
    nothing_is_left(fresh)
    is_healthy(own, mine)


def test_doctor_finds_nothing_wrong_with_what_runs(own: Installation) -> None:
    findings = json.loads(own.tenantry("doctor", "--json").stdout)
    assert {"PostgreSQL", "PgBouncer", "home", "disk"} <= {each["subject"] for each in findings}
    assert [each for each in findings if each["level"] == "problem"] == []
    assert [each for each in findings if each["level"] == "warning" and not each["hint"]] == []
    reported = {each["subject"]: each["detail"] for each in findings}
    for name in ("supervisor", "api", "worker"):
        version = re.escape(__version__) + r"\+[0-9a-f]{8}"
        assert re.fullmatch(
            f"{version} runs, {version} is installed.", reported[f"version of {name}"]
        )
