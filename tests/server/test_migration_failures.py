"""Migrations that fail, wait for a lock or are killed: the dirty mark shows the truth, no
migration runs twice, and no wait is without an end."""

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest
from migrating import (
    IMPATIENT,
    Connection,
    advisory_locks,
    connect,
    recorded,
    rows,
    tables,
    versions,
    write,
)

from tenantry.services.migrations import plan, service
from tenantry.services.migrations.model import (
    DEFAULT_LIMITS,
    DirtyDatabase,
    Limits,
    MigrationFailed,
    MigrationsLocked,
    State,
)

# Failures: the dirty mark shows the truth


async def failure_of(
    conn: Connection, folder: Path, limits: Limits = DEFAULT_LIMITS
) -> MigrationFailed:
    with pytest.raises(MigrationFailed) as failure:
        await service.up(conn, folder, limits=limits)
    return failure.value


async def test_a_failing_file_is_taken_back_and_the_database_stays_clean(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE a ()",
            "2_b.up.sql": "CREATE TABLE b ();\n-- ünï 名\nINSERT INTO b\nVALUES (nonsense);\n",
            "3_c.up.sql": "CREATE TABLE c ()",
        },
    )
    failure = await failure_of(conn, folder)
    assert (failure.file, failure.line, failure.state) == ("2_b.up.sql", 4, State(1))
    assert failure.detail == (
        '2_b.up.sql, line 4: column "nonsense" does not exist. The statement is: '
        "INSERT INTO b VALUES (nonsense). The database is clean at version 1."
    )
    assert failure.hint
    assert await recorded(conn) == [(1, False)]
    assert await tables(conn) == {"a"}
    assert await advisory_locks(conn) == []
    write(tmp_path, {"2_b.up.sql": "CREATE TABLE b ()"})
    assert versions(await service.up(conn, folder)) == [2, 3]


async def test_a_failing_first_file_leaves_no_version(conn: Connection, tmp_path: Path) -> None:
    failure = await failure_of(
        conn, write(tmp_path, {"1_a.up.sql": "CREATE TABLE a ();\n\nSELECT 1/0;\nSELECT 2"})
    )
    assert failure.detail == (
        "1_a.up.sql, line 3: division by zero. The statement is: SELECT 1/0. "
        "The database is clean at no version."
    )
    assert await recorded(conn) == []
    assert await tables(conn) == set()


async def test_a_failing_down_file_stays_where_it_was(conn: Connection, tmp_path: Path) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "CREATE TABLE a ()", "1_a.down.sql": "DROP TABLE a, b"})
    await service.up(conn, folder)
    with pytest.raises(MigrationFailed, match=r'1_a\.down\.sql, line 1: table "b" does not exist'):
        await service.down(conn, folder, 1)
    assert await recorded(conn) == [(1, False)]
    assert await tables(conn) == {"a"}


async def test_a_failure_that_waits_for_the_commit_is_the_files(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE p (i int PRIMARY KEY); CREATE TABLE c (i int "
            "REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (7)"
        },
    )
    failure = await failure_of(conn, folder)
    assert "violates foreign key constraint" in failure.detail
    assert "Key (i)=(7) is not present" in failure.detail
    assert (failure.line, failure.state) == (None, State())
    assert await tables(conn) == set()


async def test_a_failing_file_without_a_transaction_leaves_the_database_dirty(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE t (i int); INSERT INTO t VALUES (1), (1)",
            "2_b.up.sql": "-- tenantry: no-transaction\n"
            "CREATE UNIQUE INDEX CONCURRENTLY i ON t (i)",
            "2_b.down.sql": "DROP INDEX i",
        },
    )
    failure = await failure_of(conn, folder)
    assert failure.state == State(2, dirty=True)
    assert "dirty at version 2" in failure.detail
    assert await recorded(conn) == [(2, True)]
    # Dirty it is: the broken index is there.
    assert await rows(conn, "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [
        (False,)
    ]
    with pytest.raises(DirtyDatabase):
        await service.up(conn, folder)


async def test_the_last_down_without_a_transaction_is_dirty_at_no_version(
    conn: Connection, tmp_path: Path
) -> None:
    """golang-migrate then keeps a row with version -1."""
    folder = write(
        tmp_path, {"1_a.up.sql": "", "1_a.down.sql": "-- tenantry: no-transaction\nnonsense"}
    )
    await service.up(conn, folder)
    with pytest.raises(MigrationFailed, match="dirty at no version"):
        await service.down(conn, folder, 1)
    assert await recorded(conn) == [(-1, True)]


async def test_a_file_with_its_own_transaction_is_taken_at_its_word(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "BEGIN; CREATE TABLE a (); COMMIT;"})
    await service.up(conn, folder)
    assert await recorded(conn) == [(1, False)]
    assert await tables(conn) == {"a"}


@pytest.mark.parametrize("end", ["COMMIT;", ""])
async def test_a_failure_in_a_files_own_transaction_has_its_line_and_leaves_nothing(
    conn: Connection, tmp_path: Path, end: str
) -> None:
    """golang-migrate's documentation has one write BEGIN and COMMIT around several statements."""
    folder = write(tmp_path, {"1_a.up.sql": f"BEGIN;\nCREATE TABLE a ();\n\nSELECT 1/0;\n{end}\n"})
    failure = await failure_of(conn, folder)
    assert (failure.line, failure.state) == (4, State())
    assert "The statement is: SELECT 1/0." in failure.detail
    assert await tables(conn) == set()


async def test_what_a_files_own_transaction_took_back_is_clean(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE t (i int)",
            "2_b.up.sql": "BEGIN;\nINSERT INTO t VALUES (1);\n"
            "CREATE INDEX CONCURRENTLY i ON t (i);\nCOMMIT;",
        },
    )
    failure = await failure_of(conn, folder)
    assert (failure.line, failure.state) == (3, State(1))
    assert "without BEGIN" in (failure.hint or "")
    assert await rows(conn, "SELECT * FROM t") == []
    write(tmp_path, {"2_b.up.sql": "BEGIN; SELECT 1; COMMIT; VACUUM nowhere"})
    assert (await failure_of(conn, folder)).state == State(2, dirty=True)


async def test_a_files_own_isolation_level_holds(conn: Connection, tmp_path: Path) -> None:
    text = (
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE;"
        "CREATE TABLE t AS SELECT current_setting('transaction_isolation') AS level; COMMIT"
    )
    await service.up(conn, write(tmp_path, {"1_a.up.sql": text}))
    assert await rows(conn, "SELECT level FROM t") == [("serializable",)]


async def test_what_follows_a_files_own_commit_is_one_transaction_too(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {"1_a.up.sql": "CREATE TABLE a ();\nCOMMIT;\nCREATE TABLE b ();\nSELECT 1/0;\n"},
    )
    failure = await failure_of(conn, folder)
    assert (failure.line, failure.state) == (4, State(1, dirty=True))
    assert await tables(conn) == {"a"}
    await service.force(conn, -1)
    write(tmp_path, {"1_a.up.sql": "COMMIT; BEGIN; CREATE TABLE b (); COMMIT; CREATE TABLE c ()"})
    await service.up(conn, folder)
    assert await tables(conn) == {"a", "b", "c"}
    assert await recorded(conn) == [(1, False)]


async def test_a_failure_after_a_files_own_commit_is_dirty(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path, {"1_a.up.sql": "CREATE TABLE a (); COMMIT; CREATE TABLE b (); SELECT 1/0"}
    )
    failure = await failure_of(conn, folder)
    assert failure.state == State(1, dirty=True)
    assert await recorded(conn) == [(1, True)]
    assert await tables(conn) == {"a"}


@pytest.mark.parametrize("end", ["", "CREATE TABLE b ();", "BEGIN; CREATE TABLE b ();"])
async def test_a_file_that_rolls_back_is_not_recorded_as_applied(
    conn: Connection, tmp_path: Path, end: str
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": f"CREATE TABLE a (); ROLLBACK; {end}"})
    failure = await failure_of(conn, folder)
    assert "ROLLBACK" in failure.detail
    assert await recorded(conn) == [(1, True)]
    assert failure.state == await service.version(conn)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("CREATE TABLE a ();\n\\i more.sql\n", 2, "psql's own commands"),
        ("\\set ON_ERROR_STOP on\nCREATE TABLE a ();", 1, "psql's own commands"),
        ("CREATE TABLE a (i int);\nCOPY a (i) FROM stdin;\n1\n\\.\n", 3, "INSERT"),
        ("CREATE TABLE a ();\nCREATE TABEL b ();", 2, "Correct the file"),
        (
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';\nCALL p();",
            2,
            "no-transaction above",
        ),
    ],
)
async def test_a_hint_says_what_to_do(
    conn: Connection, tmp_path: Path, text: str, line: int, expected: str
) -> None:
    failure = await failure_of(conn, write(tmp_path, {"1_a.up.sql": text}))
    assert (failure.line, failure.state) == (line, State())
    assert expected in (failure.hint or "")


async def test_a_new_value_of_an_enum_belongs_into_the_next_file(
    conn: Connection, tmp_path: Path
) -> None:
    await conn.execute("CREATE TYPE e AS ENUM ('a')")
    write(tmp_path, {"1_a.up.sql": "ALTER TYPE e ADD VALUE 'b';\nSELECT 'b'::e;"})
    failure = await failure_of(conn, tmp_path)
    assert (failure.line, failure.state) == (2, State())
    assert "in the next file" in str(failure.hint)


async def test_a_failure_in_a_block_names_its_line_too(conn: Connection, tmp_path: Path) -> None:
    text = (
        "DO $$\nBEGIN\n  RAISE EXCEPTION 'no % left', 1 USING DETAIL = 'why', HINT = 'ask';\nEND $$"
    )
    failure = await failure_of(conn, write(tmp_path, {"1_a.up.sql": text}))
    assert failure.detail.startswith(
        "1_a.up.sql, line 1: no 1 left. why. "
        "In PL/pgSQL function inline_code_block line 3 at RAISE. The statement is: DO $$ BEGIN "
    )
    assert failure.hint == "ask. Correct the file and run it again."


async def test_a_file_that_drops_the_record_is_taken_back(conn: Connection, tmp_path: Path) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "\n\nDROP SCHEMA public CASCADE; CREATE SCHEMA public"})
    failure = await failure_of(conn, folder)
    assert failure.detail.startswith('1_a.up.sql: relation "public.schema_migrations" does not')
    assert await recorded(conn) == []


@pytest.mark.parametrize("direction", ["FROM STDIN", "TO STDOUT"])
async def test_a_file_cannot_copy_from_or_to_the_client(
    conn: Connection, fresh_database: str, tmp_path: Path, direction: str
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": f"CREATE TABLE a (i int); COPY a {direction};"})
    failure = await failure_of(conn, folder)
    assert "COPY" in failure.detail
    assert "INSERT" in (failure.hint or "")
    async with await connect(fresh_database) as other:
        assert await service.version(other) == State()
        assert await tables(other) == set()
        await service.force(other, 1)  # the lock is free


async def test_a_lost_connection_is_reported_and_taken_back(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(
        tmp_path, {"1_a.up.sql": "CREATE TABLE a (); SELECT pg_terminate_backend(pg_backend_pid())"}
    )
    failure = await failure_of(conn, folder)
    assert "terminating connection" in failure.detail
    assert failure.state is None
    async with await connect(fresh_database) as other:
        assert await recorded(other) == []
        assert await tables(other) == set()


async def test_a_cancelled_run_is_taken_back_and_the_connection_goes_on(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "CREATE TABLE a (); SELECT pg_sleep(60)"})
    run = asyncio.create_task(service.up(conn, folder))
    async with await connect(fresh_database) as other:
        await _until(other, "PgSleep")
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert await advisory_locks(other) == []
    assert await service.version(conn) == State()
    assert await tables(conn) == set()


@pytest.mark.parametrize(
    "text",
    [
        "DROP INDEX CONCURRENTLY nowhere",
        "-- tenantry: no-transaction\nCREATE TABLE t ()",
        "CREATE INDEX CONCURRENTLY i ON t (nothing)",
        "VACUUM nowhere",
        "SET lock_timeout = '1s';\nSHOW lock_timeout;\nCREATE INDEX CONCURRENTLY i ON t (nothing)",
        "SET maintenance_work_mem = '64MB'; DROP DATABASE nothing; CREATE DATABASE postgres;",
        "-- tenantry: no-transaction\nALTER TYPE nothing ADD VALUE 'a'; ALTER TYPE n ADD VALUE 'b'",
    ],
)
async def test_a_failure_that_left_nothing_leaves_the_database_clean(
    conn: Connection, tmp_path: Path, text: str
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "CREATE TABLE t (i int)", "2_b.up.sql": text})
    failure = await failure_of(conn, folder)
    assert failure.state == State(1)
    assert await recorded(conn) == [(1, False)]
    write(tmp_path, {"2_b.up.sql": "CREATE INDEX CONCURRENTLY i ON t (i)"})
    assert versions(await service.up(conn, folder)) == [2]


async def test_statements_without_a_transaction_are_sent_one_by_one(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE t (i int);\nCREATE INDEX CONCURRENTLY i ON t (i);\n"
            "-- ü\nSELECT\n  1/0"
        },
    )
    failure = await failure_of(conn, folder)
    # The table and the index are there.
    assert (failure.line, failure.state) == (4, State(1, dirty=True))
    assert await tables(conn) == {"t"}


# Locks and timeouts


async def _until(look: Connection, waits_for: str, *, ended: bool = False) -> None:
    """Wait until some session of the database waits for this, or none does any more.

    The server sends no event of it. ``look`` is in no transaction, which would freeze its view.
    """
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event = %s"
    )
    async with asyncio.timeout(10):
        while True:
            [(sessions,)] = await (await look.execute(query, [waits_for])).fetchall()
            if bool(sessions) != ended:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("which", [0, 1], ids=["its command line", "its library"])
async def test_a_run_of_golang_migrates_keeps_us_away(
    conn: Connection, fresh_database: str, tmp_path: Path, which: int
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "CREATE TABLE a ()"})
    async with await connect(fresh_database) as golang_migrate:
        key = plan.lock_keys(golang_migrate.info.dbname, "public")[which]
        await golang_migrate.execute("SELECT pg_advisory_lock(%s)", [key])
        for verb in (
            service.up(conn, folder, limits=IMPATIENT),
            service.force(conn, 1, limits=IMPATIENT),
        ):
            with pytest.raises(MigrationsLocked, match=r"not done in 0\.1 s"):
                await verb
        assert await advisory_locks(conn) == [(key,)]
        assert await service.version(conn) == State()
        await golang_migrate.execute("SELECT pg_advisory_unlock(%s)", [key])
        await service.up(conn, folder, limits=IMPATIENT)


async def test_we_keep_golang_migrate_away_and_can_still_be_looked_at(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "", "2_b.up.sql": "SELECT pg_advisory_lock(42)"})
    async with await connect(fresh_database) as other, await connect(fresh_database) as look:
        await other.execute("SELECT pg_advisory_lock(42)")
        run = asyncio.create_task(service.up(conn, folder))
        await _until(look, "advisory")
        await look.execute("SET lock_timeout = '1s'")
        for key in plan.lock_keys(look.info.dbname, "public"):
            assert await rows(look, f"SELECT pg_try_advisory_lock({key})") == [(False,)]
        assert await service.version(look) == State(1)
        assert (await service.status(look, folder)).state == State(1)
        await other.execute("SELECT pg_advisory_unlock(42)")
        assert versions(await run) == [1, 2]


async def test_a_cancelled_wait_leaves_no_lock_behind(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": ""})
    async with await connect(fresh_database) as other:
        by_url, by_connection = plan.lock_keys(other.info.dbname, "public")
        await other.execute("SELECT pg_advisory_lock(%s)", [by_connection])
        run = asyncio.create_task(service.up(conn, folder))
        await _until(other, "advisory")
        assert sorted(await advisory_locks(other)) == sorted([(by_url,), *[(by_connection,)] * 2])
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert await advisory_locks(other) == [(by_connection,)]
    assert versions(await service.up(conn, folder)) == [1]


async def test_eight_runs_at_once_apply_each_migration_once(
    fresh_database: str, tmp_path: Path
) -> None:
    """The second file would deadlock with those who wait, were they to wait long."""
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 100)",
            "2_b.up.sql": "-- tenantry: no-transaction\nCREATE INDEX CONCURRENTLY i ON t (i)",
            **{f"{v}_c.up.sql": "INSERT INTO t VALUES (0)" for v in range(3, 20)},
        },
    )
    async with contextlib.AsyncExitStack() as stack:
        conns = [await stack.enter_async_context(await connect(fresh_database)) for _ in range(8)]
        runs = await asyncio.gather(*(service.up(conn, folder) for conn in conns))
        assert sorted(map(len, runs)) == [0] * 7 + [19]
        assert await rows(conns[0], "SELECT count(*) FROM t") == [(117,)]
        assert await recorded(conns[0]) == [(19, False)]
        assert await advisory_locks(conns[0]) == []


async def test_an_index_is_built_beside_a_run_that_waits(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    """Held open in the middle of the build, so that it surely meets the one who waits."""
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE t (i int)",
            "2_b.up.sql": "-- tenantry: no-transaction\nCREATE INDEX CONCURRENTLY i ON t (i)",
        },
    )
    await service.up(conn, folder, 1)
    async with contextlib.AsyncExitStack() as stack:
        writer, waiter, look = [
            await stack.enter_async_context(await connect(fresh_database)) for _ in range(3)
        ]
        async with writer.transaction():
            await writer.execute("INSERT INTO t VALUES (1)")
            building = asyncio.create_task(service.up(conn, folder))
            await _until(look, "virtualxid")
            waiting = asyncio.create_task(service.up(waiter, folder))
            await _until(look, "advisory")
        assert versions(await building) == [2]
        assert await waiting == []


async def test_a_table_lock_is_waited_for_in_short_bits(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(
        tmp_path, {"1_a.up.sql": "CREATE TABLE t ()", "2_b.up.sql": "ALTER TABLE t ADD i int"}
    )
    await service.up(conn, folder, 1)
    async with await connect(fresh_database) as other, await connect(fresh_database) as look:
        async with other.transaction():
            await other.execute("SELECT * FROM t")
            failure = await failure_of(conn, folder, IMPATIENT)
            assert "2_b.up.sql, line 1: canceling statement due to lock timeout." in failure.detail
            assert failure.state == State(1)
            patient = Limits(lock_timeout=0.2, retries=5, back_off=0.2)
            run = asyncio.create_task(service.up(conn, folder, limits=patient))
            await _until(look, "relation")
            await _until(look, "relation", ended=True)
        assert versions(await run) == [2]
    assert await recorded(conn) == [(2, False)]


async def test_a_file_that_loses_a_deadlock_is_tried_again(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE t (); CREATE TABLE u ()",
            "2_b.up.sql": "LOCK TABLE t; LOCK TABLE u; ALTER TABLE u ADD i int",
        },
    )
    await service.up(conn, folder, 1)
    await conn.execute("SET deadlock_timeout = '50ms'")
    async with await connect(fresh_database) as other, await connect(fresh_database) as look:
        async with other.transaction():
            await other.execute("LOCK TABLE u")
            await other.execute("SET LOCAL deadlock_timeout = '1min'")
            run = asyncio.create_task(service.up(conn, folder, limits=Limits(back_off=0.01)))
            await _until(look, "relation")
            await other.execute("LOCK TABLE t")  # granted when the file gives way
        assert versions(await run) == [2]


async def test_a_lock_timeout_after_a_files_own_commit_is_not_tried_again(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "CREATE TABLE t (); CREATE TABLE log (i int)"})
    await service.up(conn, folder)
    write(
        tmp_path,
        {"2_b.up.sql": "INSERT INTO log VALUES (1); COMMIT; DROP TABLE t"},
    )
    async with await connect(fresh_database) as other, other.transaction():
        await other.execute("SELECT * FROM t")
        failure = await failure_of(conn, folder, IMPATIENT)
    assert failure.state == State(2, dirty=True)
    assert await rows(conn, "SELECT i FROM log") == [(1,)]


async def test_a_statement_that_takes_too_long_is_taken_back(
    conn: Connection, tmp_path: Path
) -> None:
    folder = write(tmp_path, {"1_a.up.sql": "CREATE TABLE a (); SELECT pg_sleep(60)"})
    failure = await failure_of(conn, folder, Limits(statement_timeout=0.05))
    assert "canceling statement due to statement timeout" in failure.detail
    assert await tables(conn) == set()


async def test_each_file_has_the_runs_limits_and_the_connection_its_own(
    conn: Connection, tmp_path: Path
) -> None:
    seen = (
        "CREATE TABLE IF NOT EXISTS seen (lock text, statement text); INSERT INTO seen VALUES "
        "(current_setting('lock_timeout'), current_setting('statement_timeout'));"
    )
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": f"{seen} SET lock_timeout = 0; SET statement_timeout = 0",
            "2_b.up.sql": seen,
            "3_c.up.sql": "nonsense",
        },
    )
    await conn.execute("SET lock_timeout = '7s'; SET statement_timeout = '8s'")
    await failure_of(conn, folder, Limits(lock_timeout=2, statement_timeout=3))
    assert await rows(conn, "SELECT * FROM seen") == [("2s", "3s"), ("2s", "3s")]
    assert await rows(conn, "SHOW lock_timeout") == [("7s",)]
    assert await rows(conn, "SHOW statement_timeout") == [("8s",)]
    assert await rows(conn, "SHOW client_connection_check_interval") == [("0",)]


# Crashes

RUN_AND_REPORT = """
import asyncio, pathlib, sys
import psycopg
from tenantry.services.migrations import service

async def main(dsn, folder):
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        conn.add_notice_handler(lambda notice: print(notice.message_primary, flush=True))
        await service.up(conn, pathlib.Path(folder))

asyncio.run(main(*sys.argv[1:]))
"""


async def _kill_in_the_middle(dsn: str, folder: Path) -> None:
    """Run ``up`` in a process of its own until a file says "halfway", and kill it there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN_AND_REPORT, dsn, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while await process.stdout.readline() != b"halfway\n":
                assert not process.stdout.at_eof()
    finally:
        process.kill()
        await process.wait()


async def test_killed_in_the_middle_of_a_file_it_runs_again(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    halfway = "DO $$ BEGIN RAISE NOTICE 'halfway'; END $$; SELECT pg_sleep(600)"
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "CREATE TABLE a ()",
            "2_b.up.sql": f"CREATE TABLE b (); {halfway}",
            "3_c.up.sql": "CREATE TABLE c ()",
        },
    )
    await _kill_in_the_middle(fresh_database, folder)
    assert await recorded(conn) == [(1, False)]
    (folder / "2_b.up.sql").write_text("CREATE TABLE b ()")
    # The server notices the death within a second, whatever the statement still had to do.
    assert versions(await service.up(conn, folder)) == [2, 3]
    assert await recorded(conn) == [(3, False)]
    assert await tables(conn) == {"a", "b", "c"}


async def test_killed_in_the_middle_of_a_file_without_a_transaction_it_is_dirty(
    conn: Connection, fresh_database: str, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        {
            "1_a.up.sql": "-- tenantry: no-transaction\nDO $$ BEGIN CREATE TABLE a (); COMMIT; "
            "RAISE NOTICE 'halfway'; PERFORM pg_sleep(600); END $$",
        },
    )
    await _kill_in_the_middle(fresh_database, folder)
    with pytest.raises(DirtyDatabase, match="version 1"):
        await service.up(conn, folder)
    assert await tables(conn) == {"a"}
