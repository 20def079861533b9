"""Logical backups, through the product's endpoints: made, fetched, restored, damaged, and gone."""

import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import VISITORS, ask, do, eventually, login, run
from harness import Installation
from inside import inside
from tenantry.base import logs, settings
from tenantry.services.platform import open_platform
from tenantry.services.repository.service import Repositories

Row = dict[str, Any]

FILLED = """
    CREATE TABLE items AS
        SELECT i AS id, md5(i::text) AS name, now() - i * interval '1 min' AS at
        FROM generate_series(1, 2000) i;
    ALTER TABLE items ADD PRIMARY KEY (id);
    CREATE SEQUENCE numbers START 7;
    CREATE VIEW few AS SELECT * FROM items WHERE id < 10;
    CREATE TABLE hidden (id int, name text);
    INSERT INTO hidden SELECT id, name FROM items WHERE id < 100;
    ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
    ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
    CREATE POLICY nobody ON hidden USING (false);
    SELECT lo_from_bytea(0, 'a large object');
"""
ITEMS = "SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM items i"
HIDDEN = "SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM hidden i"


@pytest.fixture(scope="module")
def shop(platform: Installation) -> Iterator[Row]:
    """A filled database."""
    made = platform.create(name="shop", maxConnections=8)
    do(made["connection_string"], FILLED)
    yield made
    with platform.client() as client:
        client.delete(f"/api/databases/{made['id']}")


def path(database: Row, backup: Row | None = None, end: str = "") -> str:
    below = f"/api/databases/{database['id']}/backups"
    return below if backup is None else f"{below}/{backup['id']}{end}"


def ended(api: httpx.Client, answer: httpx.Response) -> Row:
    """The operation that an answer shows of, once it has ended."""
    data(answer, 202)
    found: Row = {}

    def has_ended() -> bool:
        found.update(data(api.get(answer.headers["Location"])))
        return found["finished_at"] is not None

    eventually(has_ended)
    return found


def make(api: httpx.Client, database: Row, **asked: object) -> Row:
    operation = ended(api, api.post(path(database), json=asked))
    assert operation["status"] == "succeeded", operation["error"]
    backup: Row = data(api.get(path(database, {"id": operation["result"]["backup_id"]})))
    assert backup["status"] == "ready"
    return backup


def folder_of(platform: Installation, database: Row) -> Path:
    return platform.home / "backups" / "logical" / str(database["database_name"])


def file_of(platform: Installation, database: Row, backup: Row) -> Path:
    return folder_of(platform, database) / str(backup["file_name"])


def files_of(platform: Installation, database: Row) -> list[str]:
    folder = folder_of(platform, database)
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


async def one_pass(_: Repositories) -> None:
    """The worker's pass over backups."""
    logs.configure("pass")  # to standard error
    async with open_platform(settings.load()) as platform:
        await platform.backups.reconcile()


def fetch(api: httpx.Client, database: Row, backup: Row, folder: Path) -> Path:
    """The file as it is downloaded, with all that is said of it."""
    answer = api.get(path(database, backup, "/download"))
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == backup["size_bytes"] == len(answer.content)
    assert answer.headers["content-disposition"] == f'attachment; filename="{backup["file_name"]}"'
    digest = hashlib.sha256(answer.content)
    assert digest.hexdigest() == backup["sha256"]
    reported = base64.b64encode(digest.digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{reported}:"
    file = folder / str(backup["file_name"])
    file.write_bytes(answer.content)
    return file


@contextlib.contextmanager
def ordinary(platform: Installation) -> Iterator[str]:
    """A database of a server that has nothing of a shared cluster."""
    with platform.superuser("control") as server:
        server.execute("CREATE DATABASE ordinary TEMPLATE template0")
        try:
            yield f"host={platform.home}/run/control user=tenantry_admin dbname=ordinary"
        finally:
            server.execute("DROP DATABASE ordinary WITH (FORCE)")


def hidden_of(platform: Installation, database: Row) -> object:
    with platform.superuser(dbname=database["database_name"]) as inside_:
        return (inside_.execute(HIDDEN.encode()).fetchone() or [None])[0]


def test_a_custom_backup_goes_into_any_server_and_a_new_database(
    platform: Installation, api: httpx.Client, shop: Row, tmp_path: Path
) -> None:
    backup = make(api, shop, description="by hand")
    assert re.fullmatch(r"shop-\d{8}-\d{6}\.dump", backup["file_name"])
    assert (backup["format"], backup["part"], backup["origin"]) == ("custom", "all", "manual")
    assert backup["description"] == "by hand"
    assert backup["postgres_version"].startswith("15.")
    file = fetch(api, shop, backup, tmp_path)
    kept = file_of(platform, shop, backup)
    assert kept.stat().st_mode & 0o777 == 0o600
    items, hidden = ask(shop["connection_string"], ITEMS), hidden_of(platform, shop)
    assert items
    assert hidden
    options = ["pg_restore", "--no-owner", "--no-acl", "--exit-on-error"]
    with ordinary(platform) as url:
        run(*options, "--dbname", url, str(file))
        assert (ask(url, ITEMS), ask(url, HIDDEN)) == (items, hidden)
        assert ask(url, "SELECT nextval('numbers')") == 7
        assert ask(url, "SELECT count(*) FROM pg_largeobject_metadata") == 1
    other = platform.create()
    run(*options, "--dbname", other["connection_string"], str(file))
    assert ask(other["connection_string"], ITEMS) == items
    assert hidden_of(platform, other) == hidden


def test_a_plain_backup_goes_into_any_server_and_a_new_database(
    platform: Installation, api: httpx.Client, shop: Row, tmp_path: Path
) -> None:
    backup = make(api, shop, format="plain")
    assert re.fullmatch(r"shop-\d{8}-\d{6}\.sql\.gz", backup["file_name"])
    file = fetch(api, shop, backup, tmp_path)
    script = tmp_path / "a.sql"
    script.write_text(run("gunzip", "-c", str(file)))
    options = ["psql", "-q", "-v", "ON_ERROR_STOP=1", "--file", str(script), "--dbname"]
    items, hidden = ask(shop["connection_string"], ITEMS), hidden_of(platform, shop)
    with ordinary(platform) as url:
        run(*options, url)
        assert (ask(url, ITEMS), ask(url, HIDDEN)) == (items, hidden)
    other = platform.create()
    run(*options, other["connection_string"])
    assert ask(other["connection_string"], ITEMS) == items
    assert hidden_of(platform, other) == hidden


def test_definitions_and_rows_are_had_alone(
    platform: Installation, api: httpx.Client, shop: Row, tmp_path: Path
) -> None:
    schema, rows = (
        fetch(api, shop, make(api, shop, part=part), tmp_path) for part in ("schema", "data")
    )
    other = platform.create()
    url = other["connection_string"]
    run("pg_restore", "--no-owner", "--no-acl", "--exit-on-error", "-d", url, str(schema))
    assert ask(url, "SELECT count(*) FROM items") == 0
    # The rows of a table that nobody may write to need that to be lifted, here as anywhere.
    do(url, "ALTER TABLE hidden NO FORCE ROW LEVEL SECURITY")
    run("pg_restore", "--no-owner", "--no-acl", "--exit-on-error", "-d", url, str(rows))
    assert ask(url, ITEMS) == ask(shop["connection_string"], ITEMS)


def test_what_is_there_is_reported(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    assert data(api.get(path(database))) == []
    key = {"Idempotency-Key": database["id"]}
    first, again = (api.post(path(database), json={}, headers=key) for _ in range(2))
    assert data(first, 202)["id"] == data(again, 202)["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert ended(api, first)["status"] == "succeeded"
    newest = make(api, database, format="plain")
    answer = api.get(path(database), params={"limit": 1})
    assert data(answer) == [newest]
    oldest = data(
        api.get(path(database), params={"limit": 1, "cursor": answer.json()["next_cursor"]})
    )
    sizes = [newest["size_bytes"], oldest[0]["size_bytes"]]
    assert answer.json()["total_bytes"] == sum(sizes)
    assert newest["file_name"].startswith(f"{database['database_name']}-")
    part = api.get(path(database, newest, "/download"), headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == file_of(platform, database, newest).read_bytes()[10:20]
    assert data(api.delete(path(database, newest))) == {"id": newest["id"], "status": "deleted"}
    problem(api.get(path(database, newest)), 404)
    assert files_of(platform, database) == [oldest[0]["file_name"]]
    actions = [
        (row["action"], row["result"])
        for row in data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    ]
    create = ("backup.create", "ok"), ("backup.create", "accepted")
    assert actions[:6] == [("backup.delete", "ok"), ("backup.download", "ok"), *create, *create]


@pytest.mark.parametrize(
    "asked",
    [
        {"format": "tar"},
        {"part": "rows"},
        {"description": ""},
        {"description": "a\u0000b"},
        {"more": 1},
    ],
)
def test_what_cannot_be_is_refused(api: httpx.Client, shop: Row, asked: Row) -> None:
    problem(api.post(path(shop), json=asked), 422)


def test_only_who_may_sees_a_backup(platform: Installation, api: httpx.Client, shop: Row) -> None:
    backup = make(api, shop)
    everything = [
        ("GET", path(shop)),
        ("GET", path(shop, backup)),
        ("GET", path(shop, backup, "/download")),
        ("GET", f"{path(shop)}/schedule"),
        ("POST", path(shop, backup, "/verify")),
        ("DELETE", path(shop, backup)),
    ]
    anonymous = data(
        api.post(
            "/api/api-keys",
            json={
                "name": "unknown",
                "scopes": ["backups:read", "backups:write", "databases:read", "databases:write"],
                "customerEmail": "unknown@example.com",
            },
        ),
        201,
    )
    with platform.client(anonymous["key"]) as client:
        for method, url in everything:
            reported = problem(client.request(method, url), 404)
            assert reported["detail"] == "There is no such database."
        own = data(client.post("/api/databases", json={"friendlyName": "Mine"}), 201)
        mine = make(client, own)
        assert data(client.get(path(own))) == [mine]
        assert client.get(path(own, mine, "/download")).status_code == 200
        reported = problem(client.get(path(own, backup)), 404)
        assert reported["detail"] == "This database has no such backup."
        data(client.put(f"{path(own)}/schedule", json={"every": "week"}))
        assert ended(client, client.post(path(own, mine, "/verify")))["status"] == "succeeded"
        data(client.delete(path(own, mine)))
    reader = data(api.post("/api/api-keys", json={"name": "r", "scopes": ["databases:read"]}), 201)
    with platform.client(reader["key"]) as client:
        for method, url in everything:
            assert "backups:" in problem(client.request(method, url), 403)["detail"]


def test_a_damaged_file_is_found_and_reported(
    platform: Installation, api: httpx.Client, shop: Row
) -> None:
    backup = make(api, shop)
    file = file_of(platform, shop, backup)
    good = file.read_bytes()
    middle = len(good) // 2
    bad = good[:middle] + bytes([good[middle] ^ 0xFF]) + good[middle + 1 :]
    before = platform.log_tail()
    for content, words in ((bad, "other bytes"), (good[:-1], "instead of"), (None, "cannot be")):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
            os.chown(file, file.parent.stat().st_uid, -1)
        verified = ended(api, api.post(path(shop, backup, "/verify")))
        assert verified["status"] == "succeeded"
        assert verified["result"]["status"] == "damaged"
        assert words in verified["result"]["damage"]
        reported = problem(api.get(path(shop, backup, "/download")), 409)
        assert reported["code"] == "backup_damaged"
        assert words in reported["detail"]
        if content is None:
            file.touch()
    assert 'tenantry_logical_backups{status="damaged"} 1.0' in api.get("/metrics").text
    assert "backup.damaged" in platform.log_tail().replace(before, "")
    file.write_bytes(good)
    os.chown(file, file.parent.stat().st_uid, -1)
    assert ended(api, api.post(path(shop, backup, "/verify")))["result"]["status"] == "ready"
    assert api.get(path(shop, backup, "/download")).content == good
    log = data(api.get("/api/audit-logs", params={"resource_id": shop["id"], "limit": 20}))
    assert {"backup.damaged", "backup.whole_again", "backup.verify"} <= {r["action"] for r in log}


def test_a_pass_finds_what_is_lost_and_removes_what_is_nobodys(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    lost, whole = make(api, database), make(api, database)
    file_of(platform, database, lost).unlink()
    for name in ("unknown.dump", f"{lost['file_name']}x", f"{whole['file_name']}.part"):
        file_of(platform, database, whole).with_name(name).touch()
    inside(platform, one_pass)
    assert data(api.get(path(database, lost)))["status"] == "damaged"
    assert data(api.get(path(database, whole)))["status"] == "ready"
    assert whole["file_name"] in files_of(platform, database)
    assert not {"unknown.dump", f"{lost['file_name']}x"} & set(files_of(platform, database))
    data(api.delete(path(database, lost)))


def test_a_database_that_lets_nobody_in_is_reported(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(maxConnections=2)
    with login(database["connection_string"]), login(database["connection_string"]):
        failed = ended(api, api.post(path(database), json={}))
    assert failed["status"] == "failed"
    assert "All connections of" in failed["error"]["detail"]
    assert data(api.get(path(database))) == []
    assert files_of(platform, database) == []
    assert make(api, database)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_without_room_is_reported(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    folder = folder_of(platform, database)
    small = make(api, database)
    data(api.delete(path(database, small)))
    own = f"uid={folder.stat().st_uid},mode=700"
    run("mount", "-t", "tmpfs", "-o", f"size=3m,{own}", "tmpfs", str(folder))
    try:
        refused = ended(api, api.post(path(database), json={}))
        # Of the second one it is known how small the first was, and not what has come since.
        first = make(api, database, part="schema")
        do(
            database["connection_string"],
            "CREATE TABLE t AS SELECT string_agg(md5(random()::text), '') AS b"
            " FROM generate_series(1, 300000) i GROUP BY i % 100",
        )
        with platform.control() as control:
            control.execute("UPDATE backups SET part = 'all' WHERE id = %s", (first["id"],))
        full = ended(api, api.post(path(database), json={}))
        assert files_of(platform, database) == [first["file_name"]]
        data(api.delete(path(database, first)))
    finally:
        run("umount", str(folder))
    assert refused["status"] == full["status"] == "failed"
    assert "there is room for" in refused["error"]["detail"]
    assert refused["error"]["hint"].startswith("Delete backups")
    assert re.search("No space left|there is room for", full["error"]["detail"])
    assert data(api.get(path(database))) == []


def test_one_is_cancelled_while_it_waits_for_a_table(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    do(database["connection_string"], "CREATE TABLE t (i int)")
    with psycopg.connect(database["connection_string"]) as session:
        session.execute("LOCK TABLE t")
        started = api.post(path(database), json={})
        eventually(lambda: f"{data(api.get(path(database)))[0]['file_name']}.part"
                   in files_of(platform, database))  # fmt: skip
        backup = data(api.get(path(database)))[0]
        assert backup["status"] == "making"
        problem(api.delete(path(database, backup)), 409)
        problem(api.get(path(database, backup, "/download")), 409)
        assert "to itself" in problem(api.post(path(database), json={}), 409)["detail"]
        api.post(f"{started.headers['Location']}/cancel").raise_for_status()
        assert ended(api, started)["status"] == "cancelled"
    assert data(api.get(path(database))) == []
    assert files_of(platform, database) == []
    with platform.superuser() as server:
        assert server.execute(VISITORS).fetchall() == []


def test_a_schedule_makes_backups_and_lets_them_go(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(name="by-the-clock")
    url = f"{path(database)}/schedule"
    assert data(api.get(url))["source"] == "default"
    wanted = {"every": "day", "hour": 0, "format": "plain", "keep_count": 1, "keep_days": 1}
    reported = data(api.put(url, json=wanted))
    assert {**reported, **wanted, "keep_manual_days": None, "source": "own"} == reported
    for bad in ({"every": "hour"}, {"every": "day", "hour": 24}, {"every": "day", "keep_count": 0}):
        problem(api.put(url, json=bad), 422)
    manual = make(api, database)

    def as_if_older(days: int) -> None:
        with platform.control() as control:
            control.execute(
                "UPDATE backups SET created_at = created_at - %(d)s * interval '1 day'"
                " WHERE database_id = %(id)s; ",
                {"d": days, "id": database["id"]},
            )
            control.execute(
                "UPDATE backup_schedules SET changed_at = now() - interval '2 days'"
                " WHERE database_id = %s",
                (database["id"],),
            )
            control.execute(
                "UPDATE backup_attempts SET begun_at = now() - interval '2 days'"
                " WHERE database_id = %s",
                (database["id"],),
            )

    def scheduled() -> list[Row]:
        rows: list[Row] = data(api.get(path(database)))
        return [row for row in rows if row["origin"] == "scheduled" and row["status"] == "ready"]

    as_if_older(2)
    eventually(lambda: len(scheduled()) == 1)
    (old,) = scheduled()
    assert old["file_name"].endswith(".sql.gz")
    as_if_older(2)
    eventually(lambda: len(scheduled()) == 2)
    inside(platform, one_pass)
    (new,) = scheduled()
    assert new != old
    assert files_of(platform, database) == sorted([manual["file_name"], new["file_name"]])


@pytest.fixture
def defaults(api: httpx.Client) -> Iterator[str]:
    """Where the defaults of environments are; changes are undone."""
    url = "/api/backup-defaults"
    before = {row.pop("environment"): row for row in data(api.get(url))}
    yield url
    for environment, schedule in before.items():
        data(api.put(f"{url}/{environment}", json=schedule))


def test_a_default_is_of_an_environment_and_a_database_may_have_its_own(
    platform: Installation, api: httpx.Client, defaults: str
) -> None:
    reported = {row["environment"]: row for row in data(api.get(defaults))}
    assert {name: row["every"] for name, row in reported.items()} == {
        "production": "day",
        "staging": "week",
        "development": "off",
    }
    owner = "clock@example.com"
    database = platform.create(name="by-default", environment="staging", ownerEmail=owner)
    url = f"{path(database)}/schedule"
    shown = data(api.get(url))
    assert (shown["every"], shown["source"], shown["last_attempt"]) == ("week", "default", None)
    assert shown["next_at"] is not None

    wanted = {"every": "day", "hour": 4, "format": "plain", "keep_count": 2, "keep_days": 3}
    asked = {"name": "clock", "scopes": ["backups:read", "backups:write"], "customerEmail": owner}
    with platform.client(data(api.post("/api/api-keys", json=asked), 201)["key"]) as customer:
        problem(customer.put(f"{defaults}/staging", json=wanted), 403)
        data(customer.put(url, json={**wanted, "every": "off"}))
        data(api.put(f"{defaults}/staging", json=wanted))
        assert data(customer.get(url))["every"] == "off"
        back = data(customer.delete(url))
        assert {**back, **wanted, "source": "default"} == back
    problem(api.put(f"{defaults}/elsewhere", json=wanted), 422)

    data(api.patch(f"/api/databases/{database['id']}", json={"environment": "development"}))
    assert data(api.get(url))["next_at"] is None


def test_a_scheduled_backup_that_fails_is_reported_and_tried_again(
    platform: Installation, api: httpx.Client, defaults: str
) -> None:
    database = platform.create(name="failing", environment="development")
    url = f"{path(database)}/schedule"

    def attempt() -> Row:
        found: Row = data(api.get(url))["last_attempt"] or {}
        return found

    def failing() -> str:
        text = api.get("/metrics").text
        return text.partition("\ntenantry_scheduled_backups_failing ")[2].partition("\n")[0]

    assert failing() == "0.0"
    in_the_way = platform.home / "backups" / "logical" / database["database_name"]
    in_the_way.touch()
    wanted = {"every": "day", "hour": 0, "format": "custom", "keep_count": 1, "keep_days": 1}
    data(api.put(f"{defaults}/development", json=wanted))
    with platform.control() as control:
        control.execute(
            "UPDATE databases SET created_at = now() - interval '2 days' WHERE id = %s",
            (database["id"],),
        )
        control.execute(
            "UPDATE backup_defaults SET changed_at = now() - interval '2 days'"
            " WHERE environment = 'development'"
        )
    eventually(attempt)
    with platform.control() as control:  # it has been tried often enough
        control.execute("UPDATE operations SET attempts = 5 WHERE resource_id = %s",
                        (database["id"],))  # fmt: skip
    eventually(lambda: attempt()["status"] == "failed")
    assert attempt()["tries"] == 1
    assert attempt()["error"]
    assert failing() == "1.0"
    assert "The last scheduled backup of databases failed: 1." in platform.warnings()
    parts = {part["name"]: part for part in api.get("/ready").json()["parts"]}
    assert parts["scheduled backups"]["state"] == "warning"

    in_the_way.unlink()
    with platform.control() as control:
        control.execute("UPDATE operations SET finished_at = finished_at - interval '15 min'")
    eventually(lambda: attempt()["status"] == "succeeded")
    assert attempt()["tries"] == 2
    assert failing() == "0.0"


@pytest.mark.parametrize("keep", [False, True])
def test_backups_go_with_their_database_unless_they_are_kept(
    platform: Installation, api: httpx.Client, tmp_path: Path, *, keep: bool
) -> None:
    database = platform.create()
    do(database["connection_string"], "CREATE TABLE t AS SELECT 1 AS i")
    backup = make(api, database)
    answer = api.delete(
        f"/api/databases/{database['id']}", params={"keep_backups": "true"} if keep else {}
    )
    assert answer.is_success
    eventually(lambda: api.get(f"/api/databases/{database['id']}").status_code == 404)
    inside(platform, one_pass)
    if not keep:
        problem(api.get(path(database)), 404)
        problem(api.get(path(database, backup, "/download")), 404)
        assert files_of(platform, database) == []
        return
    assert data(api.get(path(database))) == [backup]
    other = platform.create()
    run("pg_restore", "--no-owner", "-d", other["connection_string"],
        str(fetch(api, database, backup, tmp_path)))  # fmt: skip
    assert ask(other["connection_string"], "SELECT i FROM t") == 1
    data(api.delete(path(database, backup)))
    problem(api.get(path(database)), 404)
    assert files_of(platform, database) == []


def test_the_command_line_does_it_all(platform: Installation, tmp_path: Path) -> None:
    platform.create(name="by-hand")

    def say(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return platform.tenantry("backup", *words, check=check)

    made = say("create", "by-hand", "--format", "plain").stdout.strip()
    assert made.endswith(".sql.gz")
    (shown,) = json.loads(say("list", "by-hand", "--json").stdout)
    assert shown["file_name"] == made
    target = tmp_path / "mine.sql.gz"
    say("download", "by-hand", "--output", str(target))
    assert hashlib.sha256(target.read_bytes()).hexdigest() == shown["sha256"]
    # Into a folder, where a download broke off once: it goes on there, and is not repeated.
    (folder := tmp_path / "copies").mkdir()
    (folder / f"{made}.part").write_bytes(target.read_bytes()[:-20])
    for said in ("as they were sent", "were there already"):
        done = say("download", "by-hand", made, "--into", str(folder))
        assert (done.stdout, said in done.stderr) == (f"{folder / made}\n", True)
        assert [each.name for each in folder.iterdir()] == [made]
        assert (folder / made).read_bytes() == target.read_bytes()
    file = next((platform.home / "backups" / "logical").glob(f"*/{made}"))
    file.write_bytes(bytes(shown["size_bytes"]))
    damaged = say("verify", "by-hand", made, check=False)
    assert (damaged.returncode, "is damaged" in damaged.stderr) == (1, True)
    say("delete", "by-hand", made, "--yes")
    assert not file.exists()


def test_a_visitor_needs_its_password(platform: Installation) -> None:
    """Who is on this machine does not come in as one by knowing its name."""
    with platform.superuser() as server:
        server.execute("CREATE ROLE tenantry_visitor_0 LOGIN PASSWORD 'x' BYPASSRLS")
        try:
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                psycopg.connect(
                    host=str(platform.home / "run" / "shared-1"),
                    port=platform.pg_port,
                    user="tenantry_visitor_0",
                    dbname="postgres",
                    passfile="/nowhere",
                )
        finally:
            server.execute("DROP ROLE IF EXISTS tenantry_visitor_0")
