"""Where a database's record of migrations is, and what it shows of files that came late."""

from pathlib import Path
from typing import LiteralString

import pytest
from migrating import IMPATIENT, Connection, connect, recorded, rows, tables, versions, write

from tenantry.base.errors import Conflict
from tenantry.services.migrations import plan, service
from tenantry.services.migrations.ledger import Ledger
from tenantry.services.migrations.model import (
    Acceptance,
    DirtyDatabase,
    ForeignLedger,
    MigrationFailed,
    MigrationsLocked,
    SkippedMigrations,
    State,
)

FILES = {
    "000001_one.up.sql": "CREATE TABLE one (id int);",
    "000001_one.down.sql": "DROP TABLE one;",
    "000020_two.up.sql": "CREATE TABLE two (id int);",
    "000020_two.down.sql": "DROP TABLE two;",
}
LATE = {
    "000009_late.up.sql": "CREATE TABLE late (id int);",
    "000009_late.down.sql": "DROP TABLE late;",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FILES)


async def noted(conn: Connection) -> list[int]:
    return [v for (v,) in await rows(conn, "SELECT version FROM tenantry_migrations ORDER BY 1")]


# ── files that came late ─────────────────────────────────────────────────────


async def test_a_file_that_came_late_is_reported_and_no_run_goes_on(
    conn: Connection, folder: Path
) -> None:
    await service.up(conn, folder)
    write(folder, LATE)
    found = await service.status(conn, folder)
    assert [m.version for m in found.applied] == [1, 20]
    assert [m.version for m in found.skipped] == [9]
    for verb in (service.up(conn, folder), service.down(conn, folder, 1)):
        with pytest.raises(SkippedMigrations, match=r"000009_late.up.sql") as refused:
            await verb
        assert "--accept-skipped" in str(refused.value.hint)
    with pytest.raises(SkippedMigrations):
        await service.goto(conn, folder, 1)
    assert await tables(conn) == {"one", "two"}
    (folder / "000009_late.up.sql").rename(folder / "000021_late.up.sql")
    (folder / "000009_late.down.sql").unlink()
    assert versions(await service.up(conn, folder)) == [21]
    assert await tables(conn) == {"one", "two", "late"}


async def test_it_can_be_taken_for_applied(conn: Connection, folder: Path) -> None:
    await service.up(conn, folder)
    write(folder, LATE)
    await conn.execute("CREATE TABLE late (id int)")
    assert await service.up(conn, folder, accept=Acceptance(skipped=True)) == []
    assert await noted(conn) == [1, 9, 20]
    assert (await service.status(conn, folder)).skipped == ()
    assert versions(await service.down(conn, folder, None)) == [20, 9, 1]
    assert await tables(conn) == set()


async def test_what_golang_migrate_applied_is_noted_and_did_not_come_late(
    conn: Connection, folder: Path
) -> None:
    await service.up(conn, folder, 1)
    # golang-migrate applies 9 and 20, and leaves no trace but the version.
    write(folder, LATE | {"000030_three.up.sql": "CREATE TABLE three (id int);"})
    await conn.execute("CREATE TABLE late (id int); CREATE TABLE two (id int)")
    await conn.execute("UPDATE schema_migrations SET version = 20")
    assert (await service.status(conn, folder)).skipped == ()
    assert versions(await service.up(conn, folder)) == [30]
    assert await noted(conn) == [1, 9, 20, 30]
    write(folder, {"000010_later.up.sql": "SELECT 1;"})
    assert [m.version for m in (await service.status(conn, folder)).skipped] == [10]


# ── beside another tool ──────────────────────────────────────────────────────

KEPT: list[tuple[str, str]] = [
    (
        "CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY);"
        "CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar);"
        "INSERT INTO schema_migrations VALUES ('20240101000000'), ('20240201000000')",
        "Rails'",
    ),
    (
        "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);"
        "INSERT INTO schema_migrations VALUES ('20240101000000')",
        "dbmate's or Rails'",
    ),
    (
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0));"
        "INSERT INTO schema_migrations VALUES (20240101000000, now())",
        "Ecto's",
    ),
    (
        "CREATE TABLE schema_migrations (inserted_at timestamp, note text, version bigint);"
        "ALTER TABLE schema_migrations DROP COLUMN note",
        "Ecto's",
    ),
    ("CREATE TABLE schema_migrations (id int, name text)", "another tool's"),
    ("CREATE TABLE schema_migrations (version bigint PRIMARY KEY)", "mattes/migrate's"),
    ("CREATE TABLE schema_migrations (filename text PRIMARY KEY)", "Sequel's"),
    (
        "CREATE TABLE schema_migrations (id bigint UNIQUE, applied timestamptz, description text)",
        "Migratus'",
    ),
    (
        "CREATE TABLE schema_migrations (version text PRIMARY KEY, statements text[], name text);"
        "INSERT INTO schema_migrations VALUES ('20240101000000', '{SELECT 1}', 'x')",
        "Supabase's",
    ),
    (
        "CREATE TABLE schema_migrations (version varchar, dirty boolean);"
        "INSERT INTO schema_migrations VALUES ('1.2', false)",
        "version that is character varying",
    ),
    (
        "CREATE TABLE schema_migrations (dirty int, version bigint)",
        "dirty that is integer",
    ),
    (
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean, by text);"
        "INSERT INTO schema_migrations VALUES (1, false, 'ann'), (2, true, 'ben')",
        "another tool's",
    ),
    (
        "CREATE TABLE schema_migrations (dirty boolean, version bigint);"
        "INSERT INTO schema_migrations VALUES (false, 1), (false, 2)",
        "more than the one row",
    ),
    (
        "CREATE TABLE theirs (version bigint, dirty boolean);"
        "INSERT INTO theirs VALUES (7, false);"
        "CREATE VIEW schema_migrations AS SELECT * FROM theirs",
        "is a view",
    ),
    (
        "CREATE TABLE schema_migrations (version bigint, dirty boolean) PARTITION BY LIST (dirty);"
        "CREATE TABLE of_it PARTITION OF schema_migrations DEFAULT;"
        "INSERT INTO schema_migrations VALUES (7, false)",
        "is a partitioned table",
    ),
    ("CREATE MATERIALIZED VIEW schema_migrations AS SELECT 1 AS version", "a materialized view"),
]


@pytest.mark.parametrize(("made", "whose"), KEPT)
async def test_another_tools_record_is_recognized_and_stays(
    conn: Connection, folder: Path, made: LiteralString, whose: str
) -> None:
    await conn.execute(made)
    there = await rows(conn, "SELECT * FROM schema_migrations")
    for verb in (service.up(conn, folder), service.status(conn, folder), service.version(conn)):
        with pytest.raises(ForeignLedger, match=whose) as refused:
            await verb
        assert "--beside" in str(refused.value.hint)
    with pytest.raises(ForeignLedger):
        await Ledger.at(conn, conn.info.dbname, "public")
    with pytest.raises(ForeignLedger):
        await service.force(conn, 1)
    assert versions(await service.up(conn, folder, 1, beside=True)) == [1]
    assert versions(await service.up(conn, folder)) == [20], "it is found by now"
    assert await rows(conn, "SELECT version, dirty FROM tenantry_schema_migrations") == [
        (20, False)
    ]
    ledger = await Ledger.at(conn, conn.info.dbname, "public")
    assert await ledger.read() == State(20)
    assert versions(await service.down(conn, folder, None)) == [20, 1]
    assert await rows(conn, "SELECT * FROM schema_migrations") == there


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("CREATE TABLE tenantry_migrations (id int, name text)", "version that is missing"),
        ("CREATE VIEW tenantry_migrations AS SELECT 1 AS version", "is a view"),
        ("CREATE TABLE tenantry_schema_migrations (version text)", "version that is text"),
        ("CREATE SEQUENCE tenantry_schema_migrations", "is a sequence"),
    ],
)
async def test_what_has_the_names_of_ours_is_not_written_to(
    conn: Connection, folder: Path, made: LiteralString, why: str
) -> None:
    await conn.execute(made)
    for verb in (service.up(conn, folder), service.status(conn, folder), service.force(conn, 1)):
        with pytest.raises(Conflict, match=why) as refused:
            await verb
        assert "Rename it" in str(refused.value.hint)
    assert await tables(conn) <= {"tenantry_schema_migrations"}
    assert await rows(conn, "SELECT to_regclass('schema_migrations')") == [(None,)]


BESIDE_IT: list[LiteralString] = [
    # The records of Flyway, Liquibase, Alembic, Django, Prisma, TypeORM and Laravel, Knex,
    # Sequelize, node-pg-migrate, goose, sqlx, MikroORM, Diesel.
    "CREATE TABLE flyway_schema_history (installed_rank int PRIMARY KEY, version text)",
    "CREATE TABLE databasechangelog (id text); CREATE TABLE databasechangeloglock (id int)",
    "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
    "CREATE TABLE django_migrations (id bigint, app text, name text, applied timestamptz)",
    'CREATE TABLE _prisma_migrations (id text); CREATE TABLE "SequelizeMeta" (name text)',
    "CREATE TABLE migrations (id serial, migration text, batch int)",
    "CREATE TABLE knex_migrations (id serial); CREATE TABLE knex_migrations_lock (is_locked int)",
    "CREATE TABLE pgmigrations (id serial, name text, run_on timestamp)",
    "CREATE TABLE goose_db_version (id serial, version_id bigint, is_applied boolean)",
    "CREATE TABLE _sqlx_migrations (version bigint); CREATE TABLE mikro_orm_migrations (id int)",
    "CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY)",
    'CREATE TABLE "Schema_Migrations" (version text)',
    "CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id int);"
    "CREATE SCHEMA atlas_schema_revisions; CREATE SCHEMA supabase_migrations;"
    "CREATE TABLE supabase_migrations.schema_migrations (version text);"
    "SET search_path = public, supabase_migrations",
]


@pytest.mark.parametrize("made", BESIDE_IT)
async def test_records_of_other_names_are_worked_beside(
    conn: Connection, folder: Path, made: LiteralString
) -> None:
    await conn.execute(made)
    assert versions(await service.up(conn, folder)) == [1, 20]
    assert await recorded(conn) == [(20, False)]
    assert versions(await service.down(conn, folder, None)) == [20, 1]


async def test_beside_golang_migrates_own_table_nothing_is_started(
    conn: Connection, folder: Path
) -> None:
    await service.up(conn, folder, 1, beside=True)
    assert await recorded(conn) == [(1, False)]
    assert (await service.force(conn, 20, beside=True)) == State(20)
    assert await rows(conn, "SELECT to_regclass('tenantry_schema_migrations')") == [(None,)]


async def test_force_begins_beside_too(conn: Connection, folder: Path) -> None:
    await conn.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    assert await service.force(conn, 1, beside=True) == State(1)
    assert versions(await service.up(conn, folder)) == [20]


async def test_golang_migrate_beside_it_is_waited_for(
    conn: Connection, folder: Path, fresh_database: str
) -> None:
    await conn.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    async with await connect(fresh_database) as other:
        key = plan.lock_key(conn.info.dbname, "public", "tenantry_schema_migrations")
        await other.execute("SELECT pg_advisory_lock(%s)", (key,))
        with pytest.raises(MigrationsLocked):
            await service.up(conn, folder, beside=True, limits=IMPATIENT)


# ── what is looked at under the lock ─────────────────────────────────────────


async def test_a_run_that_is_under_way_is_not_taken_for_one_that_failed(
    conn: Connection, folder: Path, fresh_database: str
) -> None:
    await service.up(conn, folder, 1)
    async with await connect(fresh_database) as other:
        [key, *_] = plan.lock_keys(conn.info.dbname, "public")
        await other.execute("SELECT pg_advisory_lock(%s)", (key,))
        await other.execute("UPDATE schema_migrations SET version = 20, dirty = true")
        for verb in (service.up, service.down):
            with pytest.raises(MigrationsLocked):
                await verb(conn, folder, 1, limits=IMPATIENT)
        with pytest.raises(MigrationsLocked):
            await service.force(conn, 1, limits=IMPATIENT)
        found = await service.status(conn, folder)
        assert (found.state, found.running) == (State(20, dirty=True), True)
        await other.execute("SELECT pg_advisory_unlock_all()")
    assert (await service.status(conn, folder)).running is False
    with pytest.raises(DirtyDatabase):
        await service.up(conn, folder, limits=IMPATIENT)


# ── files that fail, and large ones ──────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "CREATE DATABASE postgres;",
        "-- more\nCREATE DATABASE d TEMPLATE nothing;",
        "DROP DATABASE nothing;",
        "CREATE TABLESPACE t LOCATION '/nonexistent/tenantry';",
        "ALTER SYSTEM SET nothing = 1;",
    ],
)
async def test_a_file_of_one_statement_that_left_nothing_is_not_dirty(
    conn: Connection, tmp_path: Path, text: str
) -> None:
    write(tmp_path, {"1_one.up.sql": "CREATE TABLE one (id int);", "2_server.up.sql": text})
    with pytest.raises(MigrationFailed) as failed:
        await service.up(conn, tmp_path)
    assert failed.value.state == State(1)
    assert await recorded(conn) == [(1, False)]


async def test_a_file_of_many_statements_is_applied(conn: Connection, tmp_path: Path) -> None:
    row = "INSERT INTO many VALUES ({}, '" + "x" * 200 + "');"
    rows_ = "\n".join(map(row.format, range(6000)))
    text = f"CREATE TABLE many (id int PRIMARY KEY, v text);\n{rows_}\n"
    assert len(text) > 1024 * 1024
    write(tmp_path, {"1_many.up.sql": text, "2_more.up.sql": f"{rows_}\n"})
    with pytest.raises(MigrationFailed, match=r"2_more.up.sql, line 1: duplicate key"):
        await service.up(conn, tmp_path)
    assert await rows(conn, "SELECT count(*) FROM many") == [(6000,)]
    assert await recorded(conn) == [(1, False)]


INSERT = "INSERT INTO many VALUES ({});"
FAILING_ROWS = {
    "INSERT INTO many VALUES (5, 'again');": (0, "duplicate key"),
    "INSERT INTO many VALUES (-1, nothing);": (0, 'column "nothing" does not exist'),
    "INSERT INTO many VALUES (-1, 'x'));": (0, "syntax error"),
    "INSERT INTO many VALUES (-1, 'ö'); UPDATE many SET v = 1 / (id + 1) WHERE id = -1;": (
        0,
        "division by zero",
    ),
    "UPDATE many SET\n  v = 'x',\n  w = 1 WHERE id = 5;": (2, 'column "w"'),
}


@pytest.mark.parametrize("row", FAILING_ROWS)
@pytest.mark.parametrize("filler", ["ü", "ü" * 600])
async def test_rows_that_go_together_fail_one_by_one(
    conn: Connection, tmp_path: Path, row: str, filler: str
) -> None:
    """In a file that the parser takes, and in a large one, of which it is not asked."""
    lines = [INSERT.format(f"{i}, '{filler}'") + f" -- {i}" for i in range(2000)]
    lines.insert(1700, row)
    text = "\n".join(["CREATE TABLE many (id int PRIMARY KEY, v text);", *lines])
    write(tmp_path, {"1_many.up.sql": text})
    below, said = FAILING_ROWS[row]
    with pytest.raises(MigrationFailed) as failed:
        await service.up(conn, tmp_path)
    is_read = "'x'))" not in row or len(text) > 2**20  # else it is sent as a whole
    assert (failed.value.line, said in failed.value.detail) == (1702 + below, True)
    if is_read:
        assert " ".join(row.rsplit("; ", maxsplit=1)[-1].split()).rstrip(";") in failed.value.detail
    assert await tables(conn) == set()
    write(tmp_path, {"1_many.up.sql": text.replace(row, "UPDATE many SET v = '' WHERE id = 3;")})
    assert versions(await service.up(conn, tmp_path)) == [1]
    assert await rows(conn, "SELECT id FROM many WHERE v = ''") == [(3,)]
    assert await rows(conn, "SELECT count(*), sum(id) FROM many") == [(2000, 1999000)]


async def test_rows_go_together_only_in_a_transaction(conn: Connection, tmp_path: Path) -> None:
    lines = "\n".join(INSERT.format(i % 40) for i in range(50))
    await conn.execute("CREATE TABLE many (id int PRIMARY KEY)")
    write(tmp_path, {"1_many.up.sql": f"-- tenantry: no-transaction\n{lines}"})
    with pytest.raises(MigrationFailed, match=r"line 42: duplicate key"):
        await service.up(conn, tmp_path)
    assert await rows(conn, "SELECT count(*) FROM many") == [(40,)]


async def test_many_rows_take_few_messages(conn: Connection, tmp_path: Path) -> None:
    lines = "\n".join(map(INSERT.format, range(4000)))
    head = "CREATE TABLE many (id int, at timestamptz DEFAULT statement_timestamp());"
    write(tmp_path, {"1_many.up.sql": f"{head}\n{lines}"})
    await service.up(conn, tmp_path)
    [(count,)] = await rows(conn, "SELECT count(DISTINCT at) FROM many")
    assert count < 2000
