"""Migrations through the product's endpoints: of one database, with its tenant's rights alone."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psycopg
import pytest

from answers import data, problem
from clients import VISITORS, ask, do, eventually, login
from harness import Installation
from tenantry.services.migrations.plan import TABLE, lock_key

Row = dict[str, Any]

NOWHERE = "/api/databases/0190a5a0-0000-7000-8000-000000000000/migrations"
FILES = {
    "000001_items.up.sql": "CREATE TABLE items (id bigint PRIMARY KEY, name text);\n"
    "INSERT INTO items VALUES (1, 'one');",
    "000001_items.down.sql": "DROP TABLE items;",
    "000002_by_name.up.sql": "CREATE INDEX CONCURRENTLY by_name ON items (name);",
    "000002_by_name.down.sql": "DROP INDEX CONCURRENTLY by_name;",
}


def body(files: dict[str, str], **more: object) -> Row:
    return {"files": [{"name": name, "sql": text} for name, text in files.items()], **more}


def path(database: Row) -> str:
    return f"/api/databases/{database['id']}/migrations"


def begin(api: httpx.Client, database: Row, files: dict[str, str], **more: object) -> Row:
    row: Row = data(api.post(path(database), json=body(files, **more)), 202)
    return row


def ended(api: httpx.Client, operation: Row) -> Row:
    rows: list[Row] = []

    def over() -> bool:
        rows.append(data(api.get(f"/api/operations/{operation['id']}")))
        return rows[-1]["status"] in {"succeeded", "failed", "cancelled"}

    eventually(over)
    return rows[-1]


def migrated(api: httpx.Client, database: Row, files: dict[str, str], **more: object) -> Row:
    done = ended(api, begin(api, database, files, **more))
    assert done["status"] == "succeeded", done["error"]
    result: Row = done["result"]
    return result


def test_up_down_goto_and_force(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    stands = data(api.get(path(database)))
    assert stands == {"version": None, "dirty": False, "running": False, "applied": []}
    result = migrated(api, database, FILES)
    assert [step["file"] for step in result["steps"]] == [
        "000001_items.up.sql",
        "000002_by_name.up.sql",
    ]
    stands = data(api.get(path(database)))
    assert (stands["version"], stands["dirty"]) == (2, False)
    assert [each["file"] for each in stands["applied"]] == [
        "000001_items.up.sql",
        "000002_by_name.up.sql",
    ]
    assert len(stands["applied"][0]["sha256"]) == 64
    assert migrated(api, database, FILES)["steps"] == []
    assert migrated(api, database, FILES, action="down", n=1)["version"] == 1
    assert migrated(api, database, FILES, action="goto", version=2)["version"] == 2
    assert migrated(api, database, FILES, action="down")["version"] is None
    assert ask(database["connection_string"], "SELECT to_regclass('items')") is None
    assert migrated(api, database, {}, action="force", version=1)["version"] == 1
    (done, audited, *_) = data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    assert (done["action"], done["result"]) == ("database.migrate", "ok")
    assert (audited["action"], audited["details"]["action"]) == ("database.migrate", "force")


_TWO = {
    "1_a.up.sql": "CREATE TABLE mine ();\nCREATE TABLE who AS SELECT current_user::text AS me;",
    "2_b.up.sql": "RESET ROLE; CREATE TABLE made_anyway ();",
}


def test_all_is_the_tenants_and_nothing_else_is_reached(
    platform: Installation, api: httpx.Client
) -> None:
    database, other = platform.create(), platform.create()
    migrated(api, database, _TWO)
    url = database["connection_string"]
    owners = "SELECT array_agg(DISTINCT relowner::regrole::text) FROM pg_class WHERE relname = ANY"
    names = "('{mine,made_anyway,schema_migrations,tenantry_migrations}')"
    assert ask(url, owners + names) == [database["username"]]
    assert ask(url, "SELECT me FROM who") == database["username"]
    for text in (
        f"SET ROLE {other['username']}",
        "SET ROLE tenantry_platform",
        "CREATE ROLE evil",
        "ALTER DATABASE postgres CONNECTION LIMIT 0",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ):
        done = ended(api, begin(api, database, {"3_c.up.sql": f"RESET ROLE; {text}"} | _TWO))
        assert done["status"] == "failed", text
        assert "3_c.up.sql, line 1" in done["error"]["detail"]
    with platform.superuser() as server:
        assert server.execute(VISITORS).fetchall() == []


def test_a_failure_is_reported_and_leaves_the_database_clean(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    files = {"1_a.up.sql": "CREATE TABLE a ();\nSELECT 1/0"}
    done = ended(api, begin(api, database, files))
    assert (done["status"], done["error"]["code"]) == ("failed", "migration_failed")
    assert "1_a.up.sql, line 2: division by zero" in done["error"]["detail"]
    assert data(api.get(path(database)))["version"] is None
    edited = {"1_a.up.sql": "CREATE TABLE a ()"}
    migrated(api, database, edited)
    edited["1_a.up.sql"] += ";"
    assert ended(api, begin(api, database, edited))["error"]["code"] == "migrations_edited"
    migrated(api, database, edited, acceptEdited=True)
    short = ended(api, begin(api, database, edited, n=5))
    assert short["error"]["code"] == "migration_limit_short"


def test_one_that_is_cancelled_is_taken_back(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    operation = begin(api, database, {"1_a.up.sql": "CREATE TABLE a (); SELECT pg_sleep(60)"})
    again = api.post(path(database), json=body(FILES))
    assert problem(again, 409)["code"] == "conflict"
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with platform.superuser() as server:
        eventually(lambda: server.execute(asleep).fetchone() == (1,))
        data(api.post(f"/api/operations/{operation['id']}/cancel"), 202)
        assert ended(api, operation)["status"] == "cancelled"
    assert data(api.get(path(database)))["version"] is None
    migrated(api, database, FILES)


@pytest.mark.parametrize(
    "asked",
    [
        body({"nonsense.sql": ""}),
        body({"1_a.up.sql": "", "2_b.sql": ""}),
        body({f"{2**63}_a.up.sql": ""}),
        {"files": [{"name": "1_a.up.sql", "sql": ""}] * 2},
        body({"1_a.up.sql": "", "1_b.up.sql": ""}),
        body({"1_a.up.sql": "SELECT '\0'"}),
        body({}, action="goto"),
        body({}, version=3),
        body({}, action="goto", version=-1),
        body({}, action="force", version=-2),
        body({}, action="force", version=1, n=1),
        body({}, n=-1),
        body({}, retries=-1),
        body({}, action="sideways"),
    ],
)
def test_what_cannot_be_is_refused(api: httpx.Client, asked: Row) -> None:
    refused = api.post(
        NOWHERE, content=json.dumps(asked), headers={"content-type": "application/json"}
    )
    assert problem(refused, 422)["errors"]


def test_half_a_character_is_no_json(api: httpx.Client) -> None:
    half = json.dumps(body({"1_a.up.sql": "\ud800"}))
    refused = api.post(NOWHERE, content=half, headers={"content-type": "application/json"})
    assert problem(refused, 400)["code"] == "invalid_json"


# Each changes the result of what clients have prepared.
_OUTDATING = [
    "ALTER TABLE items ADD c3 int;",
    "ALTER TABLE items ADD c4 int; INSERT INTO items VALUES (4, 'four');",
    "BEGIN; ALTER TABLE items ADD c5 int; UPDATE items SET c5 = 5; COMMIT;",
    "DO $$ BEGIN EXECUTE 'ALTER TABLE items ADD c6 int'; END $$;",
    "ALTER TABLE items ALTER name TYPE varchar(80);",
    "ALTER TABLE items RENAME c3 TO renamed; UPDATE items SET renamed = 3;",
    "DROP INDEX by_name; CREATE INDEX by_name ON items (name);",
    "ALTER TABLE items ADD c9 int DEFAULT 9;",
]


class Load:
    """Clients that ask the same again and again by a prepared statement, until the block ends."""

    def __init__(self, url: str, query: str) -> None:
        self._url = url
        self._query = query
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=work)
            for work in [self._psycopg] * 6 + [lambda: asyncio.run(self._asyncpg())] * 2
        ]
        self.failures: list[str] = []
        self.columns: set[int] = set()
        self.longest = 0.0

    def __enter__(self) -> "Load":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _psycopg(self) -> None:
        with psycopg.connect(self._url, autocommit=True, prepare_threshold=0) as client:
            while not self._over.is_set():
                began = time.monotonic()
                try:
                    self.columns.add(len(client.execute(self._query.encode()).fetchone() or ()))
                except psycopg.Error as error:
                    self.failures.append(str(error))
                self.longest = max(self.longest, time.monotonic() - began)

    async def _asyncpg(self) -> None:
        client = await asyncpg.connect(self._url.partition("?")[0], ssl="require")
        try:
            statement = await client.prepare("SELECT id FROM items WHERE id = $1")
            while not self._over.is_set():
                try:
                    assert await statement.fetchval(1) == 1
                    await client.fetch("SELECT id FROM items LIMIT 1")
                except asyncpg.PostgresError as error:
                    self.failures.append(f"asyncpg: {error}")
        finally:
            await client.close()


def test_pooled_clients_that_have_prepared_notice_nothing(
    platform: Installation, api: httpx.Client
) -> None:
    """Eight clients under load: no "cached plan must not change result type"."""
    database = platform.create()
    files = dict(FILES)
    migrated(api, database, files)
    with Load(database["connection_string_pooled"], "SELECT * FROM items") as load:
        eventually(lambda: load.columns == {2})
        for number, text in enumerate(_OUTDATING, 3):
            files[f"{number}_c.up.sql"] = text
            migrated(api, database, files)
        eventually(lambda: max(load.columns) == 7)
    assert load.failures == []


def test_a_slow_file_lets_clients_go_and_refreshes_their_plans(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    migrated(api, database, FILES)
    slow = {
        "3_c.up.sql": "ALTER TABLE items ADD c int; SELECT pg_sleep(8);",
        "4_d.up.sql": "INSERT INTO items VALUES (4, 'four');",
    }
    query = "SELECT * FROM items ORDER BY id"
    with (
        login(database["connection_string_pooled"]) as client,
        Load(database["connection_string_pooled"], "SELECT 1") as others,
    ):
        client.prepare_threshold = 0
        assert client.execute(query).fetchone() == (1, "one")
        migrated(api, database, FILES | slow)
        assert client.execute(query).fetchone() == (1, "one", None)
    assert 1.5 < others.longest < 7  # two seconds, and not the eight of the file
    assert others.failures == []


def test_a_transaction_that_outlasts_the_pause_gets_new_plans_after_it(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    migrated(api, database, FILES)
    query = "SELECT * FROM items"
    with login(database["connection_string_pooled"]) as client:
        client.prepare_threshold = 0
        assert client.execute(query).fetchone() == (1, "one")
        with client.transaction():
            client.execute("SELECT 1")
            migrated(api, database, FILES | {"3_c.up.sql": "ALTER TABLE items ADD c int;"})
        assert client.execute(query).fetchone() == (1, "one", None)


async def test_asyncpgs_statements_that_name_their_columns_go_on(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    await asyncio.to_thread(migrated, api, database, FILES)
    url = database["connection_string_pooled"].partition("?")[0]
    client = await asyncpg.connect(url, ssl="require")
    try:
        statement = await client.prepare("SELECT id, name FROM items")
        assert [tuple(row) for row in await statement.fetch()] == [(1, "one")]
        more = FILES | {"3_c.up.sql": "ALTER TABLE items ADD c int;"}
        await asyncio.to_thread(migrated, api, database, more)
        assert [tuple(row) for row in await statement.fetch()] == [(1, "one")]
        assert [tuple(row) for row in await client.fetch("SELECT c FROM items")] == [(None,)]
    finally:
        await client.close()


def test_the_command_does_it_by_name(platform: Installation, tmp_path: Path) -> None:
    database = platform.create()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    name = database["database_name"]

    def migrate(*words: str) -> Any:
        done = platform.tenantry("migrate", *words, "--database", name, "--json")
        return json.loads(done.stdout)

    folder = ("--path", str(tmp_path))
    assert [each["file"] for each in migrate("plan", *folder)] == [
        "000001_items.up.sql",
        "000002_by_name.up.sql",
    ]
    assert migrate("up", "1", *folder)["version"] == 1
    states = [each["state"] for each in migrate("status", *folder)["migrations"]]
    assert states == ["applied", "pending"]


def test_tables_that_somebody_has_changed_are_reported_of(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    do(
        database["connection_string"],
        "CREATE TABLE schema_migrations (version text, dirty text);"
        "INSERT INTO schema_migrations VALUES ('one', 'very')",
    )
    assert "schema_migrations" in problem(api.get(path(database)), 409)["hint"]
    assert ended(api, begin(api, database, FILES))["status"] == "failed"


def test_a_folder_of_more_than_a_megabyte_goes_through_the_command_line(
    platform: Installation, tmp_path: Path
) -> None:
    made = platform.create(name="many", shadow=False)
    row = "INSERT INTO many VALUES ({}, '" + "x" * 300 + "');"
    rows = "\n".join(map(row.format, range(5000)))
    text = f"CREATE TABLE many (id int PRIMARY KEY, v text);\n{rows}\n"
    (tmp_path / "000001_many.up.sql").write_text(text)
    reported = platform.tenantry("migrate", "up", "--path", str(tmp_path), "--database", "many")
    assert "clean at version 1" in reported.stderr
    assert ask(made["connection_string"], "SELECT count(*) FROM many") == 5000


def test_what_is_no_folder_is_refused(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(friendlyName="No folder", shadow=False)
    tar = {"Content-Type": "application/x-tar"}
    reported = problem(api.post(path(made), content=b"x" * 2048, headers=tar), 422)
    assert reported["errors"][0]["code"] == "not_a_folder"
    problem(api.post(path(made), content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    large = problem(api.post(path(made), content=iter([b"x" * 2**20] * 70), headers=tar), 409)
    assert "larger than" in large["detail"]


def test_another_run_is_waited_for_and_not_taken_for_a_failed_one(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create(friendlyName="Under way", shadow=False)
    url, name = made["connection_string"], made["database_name"]
    migrated(api, made, {"1_one.up.sql": "CREATE TABLE one (id int);"})
    with login(url) as other:  # as golang-migrate does while it works
        other.execute("SELECT pg_advisory_lock(%s)", (lock_key(f"/{name}", "public", TABLE),))
        other.execute("UPDATE schema_migrations SET version = 2, dirty = true")
        asked = {"lock_timeout_seconds": 0.05, "retries": 0}
        operation = ended(api, begin(api, made, {"1_one.up.sql": "", "2_b.up.sql": ""}, **asked))
        stands = data(api.get(path(made)))
        reported = platform.tenantry("migrate", "version", "--database", name)
    assert operation["error"]["code"] == "migrations_locked"
    assert (stands["dirty"], stands["running"]) == (True, True)
    assert "Another run is under way" in reported.stderr
    assert data(api.get(path(made)))["running"] is False


def test_a_record_begins_beside_another_tools(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(friendlyName="From Rails", shadow=False)
    do(made["connection_string"], "CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    files = {"1_one.up.sql": "CREATE TABLE one (id int);"}
    refused = ended(api, begin(api, made, files))
    assert refused["error"]["code"] == "foreign_ledger"
    assert problem(api.get(path(made)), 409)["code"] == "foreign_ledger"
    assert migrated(api, made, files, beside=True)["version"] == 1
    assert data(api.get(path(made)))["version"] == 1
