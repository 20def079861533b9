"""The verbs against a real PostgreSQL: golang-migrate's behaviours one by one."""

import zipfile
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from migrating import Connection, connect, recorded, rows, tables, versions, write
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.services.migrations import service
from tenantry.services.migrations.model import (
    Acceptance,
    BadMigrations,
    DirtyDatabase,
    EditedMigrations,
    LimitShort,
    MigrationFailed,
    MigrationNotFound,
    State,
)

# A gap, a version without a down file and one without an up file.
FILES = {
    "000001_one.up.sql": "CREATE TABLE one ()",
    "000001_one.down.sql": "DROP TABLE one",
    "000003_three.up.sql": "CREATE TABLE three ()",
    "000004_four.up.sql": "CREATE TABLE four ()",
    "000004_four.down.sql": "DROP TABLE four",
    "000005_five.down.sql": "CREATE TABLE five_went_down ()",
    "000007_seven.up.sql": "CREATE TABLE seven ()",
    "000007_seven.down.sql": "DROP TABLE seven",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FILES)


# golang-migrate's table


async def test_the_table_is_golang_migrates(conn: Connection, folder: Path) -> None:
    await service.up(conn, folder)
    assert await rows(
        conn,
        "SELECT attname, atttypid::regtype::text, attnotnull FROM pg_attribute "
        "WHERE attrelid = 'schema_migrations'::regclass AND attnum > 0 ORDER BY attnum",
    ) == [("version", "bigint", True), ("dirty", "boolean", True)]
    assert await rows(
        conn,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = 'schema_migrations'::regclass AND contype = 'p'",
    ) == [("PRIMARY KEY (version)",)]


async def test_a_database_of_golang_migrates_is_taken_over(conn: Connection, folder: Path) -> None:
    await conn.execute(
        "CREATE TABLE schema_migrations (version bigint not null primary key, "
        "dirty boolean not null); INSERT INTO schema_migrations VALUES (4, false)"
    )
    assert versions(await service.up(conn, folder)) == [5, 7]
    assert await tables(conn) == {"seven"}


async def test_the_table_is_where_new_tables_go(conn: Connection, folder: Path) -> None:
    await conn.execute(
        'CREATE SCHEMA "odd ""name"; SET search_path = nowhere, "odd ""name", public'
    )
    await service.up(conn, folder, 1)
    assert await rows(conn, 'SELECT version FROM "odd ""name".schema_migrations') == [(1,)]
    assert await service.version(conn) == State(1)


async def test_without_a_schema_there_is_nowhere_to_keep_it(conn: Connection, folder: Path) -> None:
    await conn.execute("SET search_path = nowhere")
    with pytest.raises(Conflict, match="no schema"):
        await service.up(conn, folder)


# up, down, goto


async def test_up_applies_all_and_then_nothing(conn: Connection, folder: Path) -> None:
    assert versions(await service.up(conn, folder)) == [1, 3, 4, 5, 7]
    assert await recorded(conn) == [(7, False)]
    assert await tables(conn) == {"one", "three", "four", "seven"}
    assert await service.up(conn, folder) == []
    assert await recorded(conn) == [(7, False)]


async def test_up_n_applies_n(conn: Connection, folder: Path) -> None:
    assert versions(await service.up(conn, folder, 2)) == [1, 3]
    assert await recorded(conn) == [(3, False)]
    assert await tables(conn) == {"one", "three"}
    assert await service.up(conn, folder, 0) == []


async def test_up_n_beyond_the_end_applies_what_is_there_and_says_so(
    conn: Connection, folder: Path
) -> None:
    await service.goto(conn, folder, 4)
    with pytest.raises(LimitShort, match="1 short") as failure:
        await service.up(conn, folder, 3)
    assert failure.value.short == 1
    assert await recorded(conn) == [(7, False)]
    with pytest.raises(LimitShort, match="2 short"):
        await service.up(conn, folder, 2)


async def test_down_n_undoes_n(conn: Connection, folder: Path) -> None:
    await service.up(conn, folder)
    assert versions(await service.down(conn, folder, 2)) == [7, 5]
    assert await recorded(conn) == [(4, False)]
    assert await tables(conn) == {"one", "three", "four", "five_went_down"}


async def test_after_the_last_down_the_table_is_empty(conn: Connection, folder: Path) -> None:
    await service.up(conn, folder)
    assert versions(await service.down(conn, folder, None)) == [7, 5, 4, 3, 1]
    assert await recorded(conn) == []
    assert await service.version(conn) == State()
    assert await tables(conn) == {"three", "five_went_down"}  # 3 has no down file
    assert await service.down(conn, folder, None) == []


async def test_down_n_beyond_the_start_undoes_what_is_there_and_says_so(
    conn: Connection, folder: Path
) -> None:
    await service.up(conn, folder, 1)
    with pytest.raises(LimitShort, match=r"1 short.*clean at no version"):
        await service.down(conn, folder, 2)
    assert await recorded(conn) == []
    with pytest.raises(LimitShort, match="1 short"):
        await service.down(conn, folder, 1)


async def test_goto_goes_up_down_and_nowhere(conn: Connection, folder: Path) -> None:
    assert versions(await service.goto(conn, folder, 4)) == [1, 3, 4]
    assert versions(await service.goto(conn, folder, 1)) == [4, 3]
    assert await recorded(conn) == [(1, False)]
    assert await service.goto(conn, folder, 1) == []
    with pytest.raises(MigrationNotFound, match="version 2"):
        await service.goto(conn, folder, 2)
    assert await recorded(conn) == [(1, False)]


async def test_version_zero_and_timestamps_are_versions(conn: Connection, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "0_zero.up.sql": "CREATE TABLE zero ()",
            "0_zero.down.sql": "DROP TABLE zero",
            "20170412214116_then.up.sql": "CREATE TABLE stamped ()",
            "9223372036854775807_last.up.sql": "CREATE TABLE last ()",
        },
    )
    await service.up(conn, folder, 1)
    assert await recorded(conn) == [(0, False)]
    assert versions(await service.up(conn, folder)) == [20170412214116, 9223372036854775807]
    await service.down(conn, folder, None)
    assert await recorded(conn) == []


async def test_duplicates_are_refused_before_the_database_is_touched(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path, {"1_a.up.sql": "CREATE TABLE a ()", "01_b.up.sql": "CREATE TABLE b ()"}
    )
    with pytest.raises(BadMigrations, match="version 1"):
        await service.up(conn, folder)
    assert await rows(conn, "SELECT to_regclass('schema_migrations')") == [(None,)]


async def test_a_folder_that_lacks_the_databases_version_is_refused(
    conn: Connection, folder: Path
) -> None:
    await service.force(conn, 2)
    for verb in (service.up(conn, folder), service.down(conn, folder, 1)):
        with pytest.raises(MigrationNotFound, match="version 2"):
            await verb
    assert await recorded(conn) == [(2, False)]


async def test_a_missing_folder_and_an_empty_one_are_reported_apart(
    conn: Connection, tmp_path: Path
) -> None:
    with pytest.raises(BadMigrations, match="nowhere cannot be read: No such file"):
        await service.up(conn, tmp_path / "nowhere")
    (tmp_path / "README.md").write_text("no migration")
    (tmp_path / "1_folder.up.sql").mkdir()
    with pytest.raises(MigrationNotFound, match="no migration file"):
        await service.up(conn, tmp_path)


async def test_a_folder_may_be_a_package_resource(conn: Connection, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        for name, text in FILES.items():
            packed.writestr(f"migrations/{name}", text)
    with zipfile.ZipFile(tmp_path / "packed.zip") as packed:
        await service.up(conn, zipfile.Path(packed, "migrations/"))
    assert await recorded(conn) == [(7, False)]


# version, status, force, dirty


async def test_looking_changes_nothing(conn: Connection, folder: Path) -> None:
    assert await service.version(conn) == State()
    status = await service.status(conn, folder)
    assert [m.version for m in status.pending] == [1, 3, 4, 5, 7]
    assert await rows(conn, "SELECT to_regclass('schema_migrations')") == [(None,)]


async def test_status_shows_what_is_in_force(conn: Connection, folder: Path) -> None:
    await service.up(conn, folder, 2)
    status = await service.status(conn, folder)
    assert [(m.version, m.title) for m in status.applied] == [(1, "one"), (3, "three")]
    assert [m.version for m in status.pending] == [4, 5, 7]


async def test_force_records_any_version_and_runs_nothing(conn: Connection) -> None:
    assert await service.force(conn, 4) == State(4)
    assert await recorded(conn) == [(4, False)]
    assert await service.force(conn, 2) == State(2)
    assert await service.force(conn, -1) == State()
    assert await recorded(conn) == []
    assert await tables(conn) == set()
    for impossible in (-2, 2**63):
        with pytest.raises(InvalidInput, match="must be from -1 to"):
            await service.force(conn, impossible)


@pytest.mark.parametrize(("version", "state"), [(3, State(3, True)), (-1, State(None, True))])
async def test_a_dirty_database_refuses_everything_but_force(
    conn: Connection, folder: Path, version: int, state: State
) -> None:
    await service.force(conn, 3)
    await conn.execute("UPDATE schema_migrations SET version = %s, dirty = true", [version])
    for verb in (
        service.up(conn, folder),
        service.up(conn, folder, 1),
        service.down(conn, folder, 1),
        service.down(conn, folder, None),
        service.goto(conn, folder, 4),
    ):
        with pytest.raises(DirtyDatabase, match=f"Dirty database version {version}"):
            await verb
    assert await recorded(conn) == [(version, True)]
    assert await tables(conn) == set()
    assert await service.version(conn) == state
    assert (await service.status(conn, folder)).state == state
    await service.force(conn, 4)
    assert versions(await service.up(conn, folder)) == [5, 7]


# What a file may hold


async def test_a_file_is_many_statements_sent_as_they_are(conn: Connection, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": """
                CREATE TABLE t (a text);
                CREATE FUNCTION f(n int) RETURNS int LANGUAGE plpgsql AS $$
                BEGIN
                    RETURN n % 3;  -- a percent sign; and semicolons
                END $$;
                INSERT INTO t VALUES ('100 %s'), (f(5)::text), ('ünï;cödé'), ($q${}$q$);
            """,
            "2_empty.up.sql": "",
            "3_comment.up.sql": "-- nothing to do\n",
        },
    )
    await service.up(conn, folder)
    assert await rows(conn, "SELECT a FROM t") == [("100 %s",), ("2",), ("ünï;cödé",), ("{}",)]
    assert await recorded(conn) == [(3, False)]


async def test_the_connections_own_ways_do_not_matter(fresh_database: str, tmp_path: Path) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "CREATE TABLE a (); CREATE TABLE b ()"})
    async with await psycopg.AsyncConnection.connect(
        fresh_database,
        autocommit=True,
        row_factory=dict_row,
        cursor_factory=psycopg.AsyncRawCursor,
        prepare_threshold=0,  # everything at once, and two statements cannot be
    ) as conn:
        await service.up(conn, folder)
        assert await service.version(conn) == State(1)


async def test_a_tenants_own_role_is_enough(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE a (i int)",
            "2_b.up.sql": "-- tenantry: no-transaction\nCREATE INDEX CONCURRENTLY i ON a (i)",
            "2_b.down.sql": "DROP INDEX i",
        },
    )
    database = conn.info.dbname
    await conn.execute(f"CREATE ROLE {database} LOGIN; GRANT CREATE ON SCHEMA public TO {database}")
    async with await connect(make_conninfo(fresh_database, user=database)) as tenant:
        await service.up(tenant, folder)
        await service.down(tenant, folder, 1)
        assert await recorded(tenant) == [(1, False)]
    await conn.execute(f"DROP OWNED BY {database}; DROP ROLE {database}")


async def test_files_are_utf_8_whatever_the_connection_speaks(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path, {"1_a.up.sql": "CREATE TABLE t (a text); INSERT INTO t VALUES ('ü 名')"}
    )
    await conn.execute("SET client_encoding = latin1")
    await service.up(conn, folder)
    assert await rows(conn, "SHOW client_encoding") == [("LATIN1",)]
    assert await rows(conn, "SELECT convert_to(a, 'UTF8') FROM t") == [("ü 名".encode(),)]


async def test_a_connection_in_a_transaction_is_refused(fresh_database: str, folder: Path) -> None:
    async with await psycopg.AsyncConnection.connect(fresh_database) as conn:
        with pytest.raises(ValueError, match="autocommit"):
            await service.up(conn, folder)
        await conn.set_autocommit(True)
        async with conn.transaction():
            with pytest.raises(ValueError, match="idle"):
                await service.up(conn, folder)


async def test_each_file_begins_as_the_run_began(conn: Connection, tmp_path: Path) -> None:
    """The first is the head of a pg_dump, and what else files change on their way."""
    folder = write(
        tmp_path,
        {
            "1_dump.up.sql": "SELECT pg_catalog.set_config('search_path', '', false);"
            "SET row_security = off; SET check_function_bodies = false;"
            "SET client_min_messages = warning; SET default_transaction_read_only = on;"
            "CREATE TABLE public.a ();",
            "2_role.up.sql": "SET ROLE pg_monitor; SELECT 1",
            "3_after.up.sql": "CREATE TABLE b (); CREATE TABLE seen AS SELECT current_user::text, "
            "current_setting('row_security') || current_setting('check_function_bodies')",
        },
    )
    await service.up(conn, folder)
    assert await recorded(conn) == [(3, False)]
    assert await tables(conn) == {"a", "b", "seen"}
    [(me,)] = await rows(conn, "SELECT session_user::text")
    assert await rows(conn, "TABLE seen") == [(me, "onon")]
    assert await rows(conn, "SHOW search_path") == [('"$user", public',)]
    assert await rows(conn, "SELECT current_user::text") == [(me,)]


async def test_windows_line_ends_do_not_matter(conn: Connection, tmp_path: Path) -> None:
    text = "\ufeff-- tenantry: no-transaction\r\nCREATE TABLE a (\r\n  i int\r\n);\r\n"
    (tmp_path / "1_a.up.sql").write_bytes(text.encode())
    (tmp_path / "2_b.up.sql").write_bytes(b"CREATE TABLE b ();\r\n\r\nSELECT 1/0;\r\n")
    with pytest.raises(MigrationFailed) as failure:
        await service.up(conn, tmp_path)
    assert (failure.value.line, failure.value.state) == (3, State(1))


async def test_a_statement_that_cannot_run_in_a_transaction(
    conn: Connection, tmp_path: Path
) -> None:
    files = {
        "1_a.up.sql": "CREATE TABLE t (i int)",
        "2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON t (i)",
    }
    folder = write(tmp_path, files)
    await service.up(conn, folder)
    assert await recorded(conn) == [(2, False)]
    assert await rows(conn, "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [
        (True,)
    ]


# The journal


async def test_what_was_applied_is_kept_beside(conn: Connection, folder: Path) -> None:
    await service.up(conn, folder, 3)
    found = await service.status(conn, folder)
    assert {version: (each.file, each.sha256) for version, each in found.journal.items()} == {
        1: ("000001_one.up.sql", sha256(FILES["000001_one.up.sql"].encode()).hexdigest()),
        3: ("000003_three.up.sql", sha256(FILES["000003_three.up.sql"].encode()).hexdigest()),
        4: ("000004_four.up.sql", sha256(FILES["000004_four.up.sql"].encode()).hexdigest()),
    }
    await service.down(conn, folder, 1)
    assert set((await service.status(conn, folder)).journal) == {1, 3}
    await service.force(conn, 1)
    assert set((await service.status(conn, folder)).journal) == {1}


async def test_an_edited_file_is_found_and_can_be_accepted(conn: Connection, folder: Path) -> None:
    await service.up(conn, folder, 2)
    write(folder, {"000001_one.up.sql": "CREATE TABLE one (i int)"})
    assert [each.version for each in (await service.status(conn, folder)).edited] == [1]
    with pytest.raises(EditedMigrations, match="000001_one"):
        await service.up(conn, folder)
    assert await recorded(conn) == [(3, False)]
    await service.up(conn, folder, accept=Acceptance(edited=True))
    assert await recorded(conn) == [(7, False)]
    assert (await service.status(conn, folder)).edited == ()


async def test_golang_migrates_own_steps_leave_no_false_alarm(
    conn: Connection, folder: Path
) -> None:
    """It knows nothing of the journal, and goes down and up beside it."""
    await service.up(conn, folder, 3)
    await conn.execute("UPDATE schema_migrations SET version = 3")
    write(folder, {"000004_four.up.sql": "SELECT 4"})
    assert versions(await service.up(conn, folder, 1)) == [4]
    assert (await service.status(conn, folder)).edited == ()


async def test_files_need_no_folder(conn: Connection) -> None:
    files = {name: text.encode() for name, text in FILES.items()}
    assert versions(await service.up(conn, files, 1)) == [1]
