"""CSV to and from tables of a tenant: what lasts, and what is too large."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict

import pytest
from tenants import Tenant

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.host import children
from tenantry.pg import copies, copy_program, sql_runs
from tenantry.pg.connections import ADMIN, connect, fetch_value
from tenantry.pg.copies import Table
from tenantry.pg.copy_program import Task

INTO = "COPY orders (id, v) FROM STDIN (FORMAT csv)"
OUT = "COPY (SELECT * FROM orders ORDER BY id) TO STDOUT (FORMAT csv)"


@pytest.fixture
async def table(tenant: Tenant) -> Table:
    async with await tenant.session() as session:
        await session.execute("CREATE TABLE orders (id int PRIMARY KEY, v text)")
    return Table(tenant.address, tenant.databases[0], tenant.role)


async def pieces(*found: bytes | Exception) -> AsyncIterator[bytes]:
    for each in found:
        if isinstance(each, Exception):
            raise each
        yield each


async def out(table: Table, statement: str = OUT) -> bytes:
    return b"".join([piece async for piece in copies.out(table, statement)])


async def test_rows_are_copied_in_and_out(table: Table) -> None:
    assert await copies.into(table, INTO, pieces(b"1,a\n2", b',"b,', b"", b'c"\n3,\n')) == 3
    assert await out(table) == b'1,a\n2,"b,c"\n3,\n'
    with pytest.raises(InvalidInput, match="line 2") as refused:
        await copies.into(table, INTO, pieces(b"4,d\n1,again\n"))
    assert refused.value.about["sqlstate"] == "23505"
    assert len((await out(table)).splitlines()) == 3


async def test_a_file_without_its_end_leaves_nothing(table: Table) -> None:
    with pytest.raises(ConnectionError):
        await copies.into(table, INTO, pieces(b"1,a\n", ConnectionError("gone")))
    async with (
        sql_runs.as_owner(
            table.address,
            table.database,
            table.role,
            read_only=False,
            seconds=60,
            application="tenantry rows",
        ) as conninfo,
        children.talking(copy_program, memory=sql_runs.MEMORY_BYTES, deadline=60) as talk,
    ):
        task = json.dumps(asdict(Task(conninfo.reveal(), INTO, True)))
        talk.stdin.write(task.encode() + b"\n" + (4).to_bytes(4, "big") + b"1,a\n")
        talk.stdin.close()  # as if the one that sends it were killed
        assert b"cut off" in await talk.stderr
    assert await out(table) == b""


async def test_a_row_beyond_the_memory_of_the_process_is_refused(table: Table) -> None:
    with pytest.raises(Conflict, match="too large"):
        await out(table, "COPY (SELECT repeat('x', 300000000)) TO STDOUT (FORMAT csv)")


async def test_an_export_changes_nothing(tenant: Tenant, table: Table) -> None:
    async with await tenant.session() as session:
        await session.execute(
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS"
            " 'INSERT INTO orders VALUES (1) RETURNING id'"
        )
        with pytest.raises(InvalidInput, match="read-only"):
            await out(table, "COPY (SELECT f()) TO STDOUT (FORMAT csv)")
        assert await fetch_value(session, "SELECT count(*) FROM orders") == 0
    with pytest.raises(InvalidInput):
        await out(table, "COPY (TABLE nothing) TO STDOUT (FORMAT csv)")


async def test_values_are_exact_whatever_the_database_has_set(tenant: Tenant, table: Table) -> None:
    """A date, a number, an interval and bytes are copied out and in as the same values."""
    async with connect(tenant.address, user=ADMIN) as admin:
        for name, value in (
            ("DateStyle", "German, DMY"),
            ("TimeZone", "Pacific/Auckland"),
            ("IntervalStyle", "sql_standard"),
            ("extra_float_digits", "-10"),
            ("bytea_output", "escape"),
        ):
            for whose in (f"ROLE {tenant.role}", f"DATABASE {tenant.databases[0]}"):
                await admin.execute(f"ALTER {whose} SET {name} = '{value}'".encode())
    async with await tenant.session() as session:
        await session.execute(
            "CREATE TABLE exact (d date, t timestamptz, i interval, f float8, b bytea)"
        )
    line = b"2026-02-01,2026-02-01 10:00:00+00,-1 days +02:00:00,0.1234567890123456,\\x00ff\n"
    into = "COPY exact FROM STDIN (FORMAT csv)"
    assert await copies.into(table, into, pieces(line)) == 1
    assert await out(table, "COPY exact TO STDOUT (FORMAT csv)") == line
