"""SQL that callers send: what they get, and that no statement of theirs lifts a limit."""

import asyncio
import json
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from tenants import Tenant

from tenantry.base.errors import Conflict
from tenantry.pg import sql_runs
from tenantry.pg.connections import ADMIN, connect, fetch_value
from tenantry.pg.long_statements import StatementTooLong
from tenantry.pg.sql_runs import RowChanged, StatementFailed, Wanted

READS = Wanted((), read_only=True, alone=False, seconds=30, rows=10_000, application="test")
WRITES = replace(READS, read_only=False)


async def results(tenant: Tenant, *texts: str, how: Wanted = READS) -> list[dict[str, Any]]:
    wanted = replace(how, statements=texts)
    ran = await sql_runs.run(tenant.address, tenant.databases[0], tenant.role, wanted)
    found: list[dict[str, Any]] = json.loads(ran.document)["results"]
    return found


async def failure(tenant: Tenant, *texts: str, how: Wanted = READS) -> StatementFailed:
    with pytest.raises(StatementFailed) as raised:
        await results(tenant, *texts, how=how)
    return raised.value


async def visitors(tenant: Tenant) -> object:
    async with connect(tenant.address, user=ADMIN) as admin:
        return await fetch_value(
            admin, "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, 'tenantry_visitor_')"
        )


@pytest.fixture
async def orders(tenant: Tenant) -> None:
    """A table that has three rows, and a function, an identity and a procedure that change it."""
    async with await tenant.session() as session:
        for statement in (
            "CREATE TABLE orders (id int PRIMARY KEY, v text)",
            "INSERT INTO orders SELECT i, 'v' || i FROM generate_series(1, 3) i",
            "CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY)",
            "CREATE FUNCTION wipe() RETURNS void SECURITY DEFINER LANGUAGE sql"
            " AS 'DELETE FROM orders'",
            "CREATE PROCEDURE end_it() LANGUAGE plpgsql AS 'BEGIN COMMIT; DELETE FROM orders; END'",
        ):
            await session.execute(statement.encode())


async def count(tenant: Tenant) -> object:
    async with await tenant.session() as session:
        return await fetch_value(session, "SELECT count(*) FROM orders")


# ── what a caller gets ───────────────────────────────────────────────────────


async def test_values_are_as_postgresql_writes_them(tenant: Tenant) -> None:
    [found] = await results(
        tenant,
        "SELECT 1 AS one, 9007199254740993, true, NULL::int, 1.50::numeric(10,2) AS price,"
        " '{\"a\": [1]}'::jsonb, ARRAY['a', NULL, 'b c'], '\\xdead'::bytea, 'NaN'::float8,"
        " E'ä\\n\"', current_user::text",
    )
    assert found["rows"] == [
        [1, "9007199254740993", True, None, "1.50", '{"a": [1]}', '{a,NULL,"b c"}', "\\xdead",
         "NaN", 'ä\n"', tenant.role]
    ]  # fmt: skip
    assert [each["type"] for each in found["columns"]] == [
        "integer", "bigint", "boolean", "integer", "numeric(10,2)", "jsonb", "text[]", "bytea",
        "double precision", "text", "text",
    ]  # fmt: skip
    assert [each["name"] for each in found["columns"]][:5:4] == ["one", "price"]
    assert (found["command"], found["row_count"], found["truncated"]) == ("SELECT 1", 1, False)


@pytest.mark.usefixtures("orders")
async def test_several_statements_are_one_transaction(tenant: Tenant) -> None:
    done = await results(
        tenant,
        "SET search_path = public, pg_catalog",
        "UPDATE orders SET v = 'x' WHERE id < 3",
        "SELECT v FROM orders ORDER BY id",
        "DO $$ BEGIN RAISE NOTICE 'seen'; END $$",
        "CREATE TABLE made ()",
        how=WRITES,
    )
    assert [each["command"] for each in done] == [
        "SET",
        "UPDATE 2",
        "SELECT 3",
        "DO",
        "CREATE TABLE",
    ]
    assert [each["row_count"] for each in done] == [0, 2, 3, 0, 0]
    assert done[2]["rows"] == [["x"], ["x"], ["v3"]]
    assert done[3]["notices"] == ["NOTICE:  seen"]
    failed = await failure(tenant, "DELETE FROM orders", "SELECT nothing FROM orders", how=WRITES)
    assert (failed.nth, failed.failure.sqlstate, failed.failure.position) == (1, "42703", 8)
    assert await count(tenant) == 3
    [owner] = await results(tenant, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'")
    assert owner["rows"] == [[tenant.role]]
    assert await visitors(tenant) == 0


@pytest.mark.usefixtures("orders")
async def test_what_is_about_other_rows_than_it_should_be_lasts_not(tenant: Tenant) -> None:
    one = replace(WRITES, exactly=1)
    await results(tenant, "UPDATE orders SET v = 'x' WHERE id = 1", how=one)
    for text in ("DELETE FROM orders WHERE id = 9", "DELETE FROM orders WHERE id > 1"):
        with pytest.raises(RowChanged, match="Change 2"):
            await results(tenant, "DELETE FROM orders WHERE id = 1", text, how=one)
    assert await count(tenant) == 3


@pytest.mark.usefixtures("orders")
async def test_what_takes_no_transaction_runs_alone(tenant: Tenant) -> None:
    alone = replace(WRITES, alone=True)
    assert await results(tenant, "VACUUM orders", how=alone)
    assert await results(tenant, "CALL end_it()", how=alone)
    assert await count(tenant) == 0
    assert (await failure(tenant, "VACUUM orders", how=WRITES)).failure.sqlstate == "25001"


@pytest.mark.usefixtures("orders")
async def test_more_is_cut_and_the_next_statement_runs(tenant: Tenant) -> None:
    few = replace(READS, rows=10)
    million = "generate_series(1, 1000000)"
    endless = f"SELECT 1 FROM orders CROSS JOIN {million} a CROSS JOIN {million} b"  # noqa: S608
    first, second = await results(tenant, endless, "SELECT 2", how=few)
    assert (len(first["rows"]), first["row_count"], first["truncated"]) == (10, 10, True)
    assert (second["rows"], second["truncated"]) == ([[2]], False)
    long = "INSERT INTO orders SELECT g, 'n' FROM generate_series(10, 40) g RETURNING id"
    [inserted] = await results(tenant, long, how=replace(few, read_only=False))
    assert (len(inserted["rows"]), inserted["row_count"], inserted["truncated"]) == (10, 31, True)
    assert await count(tenant) == 34


async def test_long_values_and_large_results_are_cut(tenant: Tenant) -> None:
    [found] = await results(tenant, "SELECT 1, repeat('ä', 100000)")
    assert found["cut"] == [[0, 1, 200_000]]
    assert found["rows"][0][1] == "ä" * 32_768
    first, second = await results(
        tenant, "SELECT repeat('x', 60000) FROM generate_series(1, 1000)", "SELECT 'late'"
    )
    assert first["truncated"]
    assert 100 < len(first["rows"]) < 140  # 8 MiB
    assert (second["rows"], second["truncated"]) == ([["late"]], False)


async def test_a_value_beyond_the_memory_of_the_process_is_refused(tenant: Tenant) -> None:
    with pytest.raises(Conflict, match="too large"):
        await results(tenant, "SELECT repeat('x', 300000000)")
    assert await visitors(tenant) == 0


# ── what a caller cannot do ──────────────────────────────────────────────────

# Each is refused, or changes nothing; several texts are one run.
CHANGES = [
    ["DELETE FROM orders"],
    ["COMMIT; DELETE FROM orders"],
    ["SELECT 1; DELETE FROM orders"],
    ["COMMIT", "DELETE FROM orders"],
    ["COMMIT AND CHAIN", "SET TRANSACTION READ WRITE", "DELETE FROM orders"],
    ["END", "SET default_transaction_read_only = off", "DELETE FROM orders"],
    ["RELEASE tenantry", "COMMIT", "DELETE FROM orders"],
    ["ROLLBACK TO SAVEPOINT tenantry", "SET TRANSACTION READ WRITE", "DELETE FROM orders"],
    ["SET TRANSACTION READ WRITE", "DELETE FROM orders"],
    ["SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "DELETE FROM orders"],
    ["SET default_transaction_read_only = off", "DELETE FROM orders"],
    ["RESET ALL", "DELETE FROM orders"],
    ["DISCARD ALL", "DELETE FROM orders"],
    ["SELECT set_config('transaction_read_only', 'off', false), wipe()"],
    ["SELECT wipe()"],
    ["CALL end_it()"],
    ["DO $$ BEGIN COMMIT; DELETE FROM orders; END $$"],
    ["DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true);"
     " DELETE FROM orders; END $$"],
    ["DO $$ BEGIN DELETE FROM orders; EXCEPTION WHEN OTHERS THEN"
     " SET transaction_read_only = off; DELETE FROM orders; END $$"],
    ["WITH d AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM d"],
    ["EXPLAIN ANALYZE DELETE FROM orders"],
    ["EXPLAIN ANALYZE CREATE TABLE planted AS SELECT 1"],
    ["PREPARE p AS DELETE FROM orders", "EXECUTE p"],
    ["PREPARE TRANSACTION 'later'"],
    ["SELECT * FROM orders FOR UPDATE"],
    ["TRUNCATE orders"],
    ["VACUUM FULL orders"],
    ["SELECT nextval('numbered_id_seq')"],
    ["SELECT setval('numbered_id_seq', 40)"],
    ["SELECT lo_create(4711)"],
    ["CREATE TEMP TABLE planted ()"],
    ["CREATE ROLE planted"],
    ["ALTER ROLE CURRENT_USER PASSWORD 'planted'"],
    ["ALTER ROLE SESSION_USER SET default_transaction_read_only = off"],
    ["COPY orders FROM STDIN"],
    ["COPY orders TO STDOUT"],
    ["COPY orders TO PROGRAM 'true'"],
]  # fmt: skip

STATE = """
    SELECT (SELECT array_agg(o ORDER BY id)::text FROM orders o),
        (SELECT last_value::text || is_called FROM numbered_id_seq),
        (SELECT count(*)::text FROM pg_largeobject_metadata),
        (SELECT string_agg(relname, ' ' ORDER BY oid) FROM pg_class WHERE oid >= 16384),
        (SELECT string_agg(rolname, ' ' ORDER BY oid) FROM pg_roles),
        (SELECT count(*)::text FROM pg_prepared_xacts)
"""


@pytest.mark.usefixtures("orders")
async def test_nothing_is_changed_by_what_is_read_only(tenant: Tenant) -> None:
    async with await tenant.session() as session:
        cursor = await session.execute(STATE)
        before = await cursor.fetchall()
        unrefused = []
        for texts in CHANGES:
            try:
                await results(tenant, *texts)
            except (StatementFailed, Conflict):
                pass
            else:
                unrefused.append(texts)
            cursor = await session.execute(STATE)
            assert await cursor.fetchall() == before, texts
    # PostgreSQL 15 takes these even so; they are rolled back.
    assert {text for [text] in unrefused} <= {
        "EXPLAIN ANALYZE CREATE TABLE planted AS SELECT 1",
        "SELECT lo_create(4711)",
    }


@pytest.mark.usefixtures("orders")
async def test_each_of_them_changes_something_where_that_is_asked_for(tenant: Tenant) -> None:
    """Else the test above would show nothing."""
    for texts in (CHANGES[0], ["SELECT wipe()"], ["EXPLAIN ANALYZE DELETE FROM orders"]):
        assert await count(tenant) == 3
        await results(tenant, *texts, how=WRITES)
        assert await count(tenant) == 0
        async with await tenant.session() as session:
            await session.execute("INSERT INTO orders SELECT i, '' FROM generate_series(1, 3) i")


@pytest.mark.parametrize(
    "texts",
    [
        ["SELECT pg_sleep(600)"],
        ["SET statement_timeout = 0", "SELECT pg_sleep(600)"],
        ["SELECT set_config('statement_timeout', '0', false)", "SELECT pg_sleep(600)"],
        ["DO $$ BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN"
         " PERFORM pg_sleep(600); END $$"],
        ["DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL;"
         " END; END LOOP; END $$"],
    ],
)  # fmt: skip
async def test_no_statement_lifts_the_limit_of_time(tenant: Tenant, texts: list[str]) -> None:
    with pytest.raises(StatementTooLong):
        await results(tenant, *texts, how=replace(READS, seconds=0.5))
    assert await visitors(tenant) == 0
    async with connect(tenant.address, user=ADMIN) as admin:
        left = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND datname = %s"
        assert await fetch_value(admin, left, (tenant.databases[0],)) == 0


@pytest.mark.usefixtures("orders")
async def test_what_was_committed_too_late_is_no_failure(tenant: Tenant) -> None:
    """A client that hears that it was cancelled would send it again."""
    async with await tenant.session() as session:
        await session.execute(
            b"CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            b" PERFORM pg_sleep(600); RETURN NULL;"
            b" EXCEPTION WHEN query_canceled THEN RETURN NULL; END $$"
        )
        await session.execute(
            b"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED"
            b" FOR EACH ROW EXECUTE FUNCTION late()"
        )
    await results(tenant, "INSERT INTO orders VALUES (4, 'v4')", how=replace(WRITES, seconds=0.5))
    assert await count(tenant) == 4


@pytest.mark.usefixtures("orders")
async def test_a_run_that_is_cancelled_ends_on_the_server(tenant: Tenant) -> None:
    slow = "DELETE FROM orders WHERE pg_sleep(600) IS NOT NULL"
    running = asyncio.create_task(results(tenant, slow, how=WRITES))
    async with connect(tenant.address, user=ADMIN) as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query = %s AND state = 'active'"
        end = time.monotonic() + 60
        while await fetch_value(admin, query, (slow,)) != 1:
            assert time.monotonic() < end
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        # Its session has been ended; the server takes a moment for that.
        while await fetch_value(admin, query, (slow,)) != 0:
            assert time.monotonic() < end
    assert await count(tenant) == 3
    assert await visitors(tenant) == 0


@pytest.mark.usefixtures("orders")
async def test_no_other_tenant_is_reached(tenant: Tenant) -> None:
    async with connect(tenant.address, user=ADMIN) as admin:
        await admin.execute("CREATE ROLE user_other00000000")
        try:
            for text in (
                "SET ROLE user_other00000000",
                "SET ROLE tenantry_admin",
                "SET SESSION AUTHORIZATION user_other00000000",
                "SELECT rolpassword FROM pg_authid",
                "ALTER ROLE user_other00000000 PASSWORD 'x'",
                "GRANT user_other00000000 TO CURRENT_USER",
                "SELECT pg_read_file('PG_VERSION')",
                "CREATE DATABASE planted",
            ):
                failed = await failure(tenant, text, how=WRITES)
                assert failed.failure.sqlstate in {"42501", "25001", "0LP01"}, text
            _, found = await results(tenant, "RESET ROLE", "SELECT current_user::text", how=WRITES)
            assert found["rows"] == [[tenant.role]]
        finally:
            await admin.execute("DROP ROLE user_other00000000")


@pytest.mark.usefixtures("orders")
async def test_a_full_database_says_so(tenant: Tenant) -> None:
    async with connect(tenant.address, user=ADMIN) as admin:
        limit = f'ALTER DATABASE "{tenant.databases[0]}" CONNECTION LIMIT 1'
        await admin.execute(limit.encode())
        async with await tenant.session():
            with pytest.raises(Conflict, match="All connections"):
                await results(tenant, "SELECT 1")


async def test_what_it_creates_as_its_login_becomes_its_tenants(tenant: Tenant) -> None:
    made = ["SET ROLE NONE", "DO $$ BEGIN EXECUTE format('SET ROLE %I', session_user); END $$"]
    await results(tenant, *made, "CREATE TABLE public.own ()", how=WRITES)
    async with await tenant.session() as session:
        owner = await fetch_value(
            session, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'own'"
        )
    assert owner == tenant.role
    assert await visitors(tenant) == 0


NOTICES = "DO $$ BEGIN FOR i IN 1..100 LOOP RAISE NOTICE '%', repeat(chr(1), 980); END LOOP; END $$"
WIDE = f"SELECT {', '.join(f'1 AS {chr(97 + n % 26) * 60}{n}' for n in range(1600))}"


@pytest.mark.usefixtures("orders")
async def test_what_comes_besides_rows_is_bounded_for_the_whole_run(tenant: Tenant) -> None:
    done = await results(tenant, *[NOTICES] * 20, how=WRITES)
    assert sum(len(each["notices"]) for each in done) == 100
    with pytest.raises(Conflict, match="Nothing was changed"):
        await results(tenant, "DELETE FROM orders", *[WIDE] * 40, how=WRITES)
    assert await count(tenant) == 3
    [one] = await results(tenant, WIDE)
    assert len(one["columns"]) == 1600


STARTER = """
import asyncio, sys
from pathlib import Path
from tenantry.pg import sql_runs
from tenantry.pg.connections import Address
wanted = sql_runs.Wanted(
    ["DELETE FROM orders", "SELECT pg_sleep(2)"], read_only=False, alone=False, seconds=30, rows=9,
    application="test",
)
address = Address(Path(sys.argv[1]), int(sys.argv[2]))
asyncio.run(sql_runs.run(address, sys.argv[3], sys.argv[4], wanted))
"""


@pytest.mark.usefixtures("orders")
async def test_a_run_ends_with_the_process_that_began_it(tenant: Tenant) -> None:
    address, name = tenant.address, tenant.databases[0]
    program = [sys.executable, "-c", STARTER, str(address.socket_dir), str(address.port)]
    starter = await asyncio.create_subprocess_exec(*program, name, tenant.role)
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(2)'"
    async with connect(address, user=ADMIN) as admin:
        while not await fetch_value(admin, sleeping):
            assert starter.returncode is None
            await asyncio.sleep(0.05)
        starter.kill()
        await starter.wait()
        while await fetch_value(admin, f"{sleeping} AND state <> 'idle'"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await count(tenant) == 3
