"""Statements of a tenant's whose answers are kept nowhere."""

import resource
from typing import Any

import psycopg
import pytest

from tenantry.pg import discarding
from tenantry.pg.discarding import execute_discarding

Conn = psycopg.AsyncConnection[Any]


def memory() -> int:
    """The most that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def test_rows_take_no_memory(conn: Conn) -> None:
    before = memory()
    await execute_discarding(
        conn, b"SELECT repeat('x', 10000) FROM generate_series(1, 20000); SELECT 1"
    )
    assert memory() - before < 64
    assert await (await conn.execute("SELECT 1")).fetchone() == (1,)


async def test_one_large_row_ends_the_session(conn: Conn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discarding, "MOST_ROW_BYTES", 32 * 1024 * 1024)
    async with await psycopg.AsyncConnection.connect(conn.info.dsn, autocommit=True) as other:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="a row of more"):
            await execute_discarding(other, b"SELECT repeat('x', 900000000)")
        assert other.closed


async def test_a_large_row_that_was_read_at_once_ends_the_session(
    conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discarding, "MOST_ROW_BYTES", 100)
    async with await psycopg.AsyncConnection.connect(conn.info.dsn, autocommit=True) as other:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="a row of more"):
            await execute_discarding(other, b"SELECT repeat('x', 50), repeat('x', 60)")
        assert other.closed


async def test_the_first_error_is_raised_and_the_session_goes_on(conn: Conn) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await execute_discarding(conn, b"SELECT 1; SELECT 1 / 0; SELECT nothing")
    async with conn.transaction():
        await execute_discarding(conn, b"SELECT 1")


async def test_nobody_copies(conn: Conn) -> None:
    async with await psycopg.AsyncConnection.connect(conn.info.dsn, autocommit=True) as other:
        with pytest.raises(psycopg.ProgrammingError, match="COPY"):
            await execute_discarding(other, b"COPY pg_class TO STDOUT")
