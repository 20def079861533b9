"""A whole cluster comes back: to a second, from a broken folder, and the control cluster too."""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from answers import data
from clients import eventually, hurry
from harness import Installation
from inside import inside
from persons import Person, make_user
from tenantry.services.repository.service import Repositories

CHECKSUM = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY n)) FROM kept t"
REFUSED = "authentication failed|not permitted|no pg_hba|no such user|login rejected"

Database = dict[str, Any]


@pytest.fixture(scope="module")
def backed() -> Iterator[Installation]:
    """An installation with backups, whose clusters are killed and restored."""
    platform = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "1"})
    try:
        platform.up()
        hurry(platform)
        for cluster in ("control", "shared-1"):
            platform.back_up(cluster)
        yield platform
    finally:
        platform.remove()


def ask(url: str, query: str) -> tuple[Any, ...] | None:
    with psycopg.connect(url, connect_timeout=15, prepare_threshold=None) as connection:
        return connection.execute(query.encode()).fetchone()


def write(url: str, query: str) -> None:
    with psycopg.connect(url, connect_timeout=15, prepare_threshold=None) as connection:
        connection.execute(query.encode())


def fill(database: Database, rows: int = 100) -> None:
    write(database["connection_string"], "CREATE TABLE IF NOT EXISTS kept (n int, said text)")
    with psycopg.connect(database["connection_string"]) as connection:
        connection.execute(
            "INSERT INTO kept SELECT n, md5(random()::text) FROM generate_series(1, %s) n", (rows,)
        )


def sums(databases: list[Database], endpoint: str = "connection_string") -> list[object]:
    return [ask(database[endpoint], CHECKSUM) for database in databases]


def is_refused(url: str) -> bool:
    with pytest.raises(psycopg.OperationalError, match=REFUSED):
        ask(url, "SELECT 1")
    return True


def restore(platform: Installation, *words: str) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(
        platform.tenantry("cluster", "restore", *words, "--yes", "--json").stdout
    )
    return reported


def killed(platform: Installation, cluster: str) -> None:
    """All of the platform ends at once, and the cluster does not start any more."""
    platform.kill_all()
    (platform.home / "clusters" / cluster / "data/global/pg_control").unlink()


@contextmanager
def never_down(platform: Installation) -> Iterator[None]:
    """Something that answers as long as the block lasts."""
    over = threading.Event()
    answers: list[int] = []

    def look() -> None:
        while not over.wait(0.05):
            answers.append(platform.get("/health").status_code)

    with ThreadPoolExecutor(1) as other:
        looking = other.submit(look)
        try:
            yield
        finally:
            over.set()
        looking.result()
    assert set(answers) == {200}


def moment_of(database: Database) -> dt.datetime:
    found = ask(database["connection_string"], "SELECT clock_timestamp()")
    assert found is not None
    moment: dt.datetime = found[0]
    return moment


async def secure(repositories: Repositories) -> object:
    return await repositories.secure("shared-1")


def secured(platform: Installation) -> None:
    """One more segment of the log is in the repository."""
    inside(platform, secure)


def one_line(text: str) -> str:
    return " ".join(text.split())


def wait_gone(platform: Installation, database: Database) -> None:
    eventually(lambda: database["username"] not in platform.inventory()[0])


def rotated(platform: Installation, database: Database) -> Database:
    with platform.client() as api:
        answer = data(api.post(f"/api/databases/{database['id']}/rotate-password", json={}))
    return {**database, **answer}


def test_the_shared_cluster_comes_back_as_it_was_a_second_before(backed: Installation) -> None:
    wrecked = [backed.create(name=f"wrecked-{n}") for n in range(3)]
    changed, leaked, listed = (backed.create(name=n) for n in ("changed", "leaked", "listed"))
    for database in (*wrecked, changed, leaked, listed):
        fill(database)
    before = sums(wrecked)
    moment = moment_of(wrecked[0])
    write(wrecked[0]["connection_string"], "DELETE FROM kept")
    write(wrecked[1]["connection_string"], "DROP TABLE kept")
    write(wrecked[2]["connection_string"], "UPDATE kept SET said = ''")
    late = backed.create(name="late")
    now = rotated(backed, changed)
    with backed.client() as api:
        assert api.delete(f"/api/databases/{leaked['id']}").status_code in {200, 202}
        entries = {"entries": [{"ip_address": "203.0.113.7"}]}
        data(api.put(f"/api/databases/{listed['id']}/whitelist", json=entries))
    wait_gone(backed, leaked)

    words = ["shared-1", "--to", moment.isoformat()]
    plan = json.loads(backed.tenantry("cluster", "restore", *words, "--dry-run", "--json").stdout)
    assert plan["made_since"] == [late["database_name"]]
    backed.down()
    reported = restore(backed, *words)
    assert reported["missing"] == [late["database_name"]]
    assert leaked["database_name"] in reported["unmanaged"]
    assert reported["locked"] == [leaked["username"]]
    assert reported["reached"]["timeline"] == 2
    backed.up()
    hurry(backed)

    assert sums(wrecked) == before
    assert sums(wrecked, "connection_string_pooled") == before
    for endpoint in ("connection_string", "connection_string_pooled"):
        assert is_refused(changed[endpoint])
        assert ask(now[endpoint], "SELECT 1")
        assert is_refused(leaked[endpoint])
        assert is_refused(listed[endpoint])
    with backed.client() as api:
        assert data(api.get(f"/api/databases/{late['id']}"))["missing_since"]
        (row, *_) = data(api.get("/api/audit-logs", params={"action": "cluster.restored"}))
        assert row["details"]["locked"] == [leaked["username"]]
        assert api.delete(f"/api/databases/{late['id']}").is_success
    kept = json.loads(backed.tenantry("cluster", "retained", "--json").stdout)
    assert [each["name"] for each in kept] == [reported["retained"]]
    assert kept[0]["size_bytes"] > 1_000_000


def test_backups_go_on_and_a_later_restore_takes_the_new_past_while_the_platform_is_up(
    backed: Installation,
) -> None:
    with backed.control() as control:  # so the platform makes a full one by itself
        wanted = control.execute("SELECT name FROM clusters WHERE full_backup_since IS NOT NULL")
        assert wanted.fetchall() == [("shared-1",)]
    backed.back_up("shared-1", "--type", "full")
    database = backed.create(name="afterwards")
    fill(database)
    write(database["connection_string"], "DELETE FROM kept WHERE n > 10")
    moment = moment_of(database)
    write(database["connection_string"], "DELETE FROM kept")
    refused = backed.tenantry("cluster", "restore", "shared-1", "--yes", check=False)
    assert "Stop it first" in refused.stderr
    with never_down(backed):
        reported = restore(backed, "shared-1", "--to", moment.isoformat())
    assert reported["reached"]["timeline"] == 3
    assert not reported["missing"]
    for endpoint in ("connection_string", "connection_string_pooled"):
        assert ask(database[endpoint], "SELECT count(*) FROM kept") == (10,)
    discarded = backed.tenantry("cluster", "discard", "shared-1", "--yes")
    assert len(discarded.stdout.splitlines() + discarded.stderr.splitlines()) == 2
    assert not list((backed.home / "clusters/shared-1").glob("before-*"))


@pytest.mark.parametrize(("cluster", "beyond"), [("shared-1", False), ("control", True)])
def test_a_broken_folder_comes_back_with_its_last_commit(
    backed: Installation, cluster: str, *, beyond: bool
) -> None:
    """Also if what is asked for is a moment ``beyond`` that."""
    database = backed.create(name=f"last-of-{cluster}")
    with backed.superuser() as server:
        server.execute("ALTER SYSTEM SET archive_command = 'false'")
        server.execute("SELECT pg_reload_conf()")
        server.execute("SELECT pg_switch_wal()")  # in no repository, and no last one
    fill(database, 10)
    killed(backed, cluster)
    to = dt.datetime.now(dt.UTC).isoformat() if beyond else "latest"
    assert backed.tenantry("up", "--detach", check=False).returncode != 0
    reported = restore(backed, cluster, "--to", to)
    assert reported["old_unreadable"]
    assert reported["reached"]["ended_early"] is beyond
    assert not reported["missing"]
    backed.up()
    assert ask(database["connection_string"], "SELECT count(*) FROM kept") == (10,)
    assert ask(database["connection_string_pooled"], "SELECT count(*) FROM kept") == (10,)
    with backed.client() as api:
        assert data(api.get(f"/api/databases/{database['id']}"))["missing_since"] is None
    with backed.superuser() as server:
        server.execute("ALTER SYSTEM RESET archive_command")
        server.execute("SELECT pg_reload_conf()")
    backed.back_up("shared-1")


def test_the_control_cluster_comes_back_to_a_moment_and_revives_no_key(
    backed: Installation,
) -> None:
    with backed.client() as api:
        gone, changed = (Person(backed, make_user(api)["email"]) for _ in range(2))
        leaked = data(api.post("/api/api-keys", json={"name": "leaked", "scopes": ["admin"]}), 201)
        with backed.control() as control:
            (moment,) = control.execute("SELECT clock_timestamp()").fetchone() or (None,)
        assert isinstance(moment, dt.datetime)
        assert api.delete(f"/api/api-keys/{leaked['id']}").is_success
        people = {row["email"]: row["id"] for row in data(api.get("/api/users"))}
        assert api.delete(f"/api/users/{people[gone.email]}").is_success
        path = f"/api/users/{people[changed.email]}/reset-password"
        new = data(api.post(path))["password"]
    born = backed.create(name="born")
    fill(born)
    backed.down()
    reported = restore(backed, "control", "--to", moment.isoformat())
    assert not reported["old_unreadable"]
    assert reported["locked"] == ["key leaked", f"user {gone.email}"]
    assert born["database_name"] in reported["unmanaged"]
    backed.up()
    with backed.client(leaked["key"]) as anonymous:
        assert anonymous.get("/api/databases").status_code == 401
    assert gone.login().status_code == changed.login().status_code == 401
    assert changed.login(new).is_success
    with backed.client() as api:
        assert api.get(f"/api/databases/{born['id']}").status_code == 404
    for person in (gone, changed):
        person.http.close()


def test_a_gap_in_the_log_is_reported_before_anything_is_done(backed: Installation) -> None:
    backed.back_up("shared-1")
    for _ in range(3):
        secured(backed)
    archive = backed.home / "backups/repository/archive/shared-1"
    segment = sorted(archive.glob("*/*/*-*"))[-2]
    segment.rename(backed.home / segment.name)
    done = backed.tenantry("cluster", "restore", "shared-1", "--dry-run", check=False)
    (backed.home / segment.name).rename(segment)
    assert done.returncode == 1
    assert "1 segments of the write-ahead log of shared-1 are not in" in one_line(done.stderr)


def test_what_cannot_be_is_refused(backed: Installation) -> None:
    def refusal(*words: str) -> str:
        done = backed.tenantry("cluster", "restore", *words, "--dry-run", check=False)
        assert done.returncode == 1
        return done.stderr

    assert "first one that can be restored" in refusal("shared-1", "--to", "30d")
    assert "in the future" in refusal("shared-1", "--to", "2999-01-01")
    assert "There is no cluster nowhere" in refusal("nowhere")
