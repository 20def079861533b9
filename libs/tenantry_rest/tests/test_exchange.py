"""Statements in one round trip: their results, their failures, and what is left of them."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import AsyncConnection, pq
from psycopg.rows import TupleRow
from rest_server import Server

from tenantry_rest.exchange import Statement, exchange

Connection = AsyncConnection[TupleRow]
BEGIN, COMMIT = Statement(b"BEGIN"), Statement(b"COMMIT")


@pytest.fixture(params=[None, 0], ids=["not prepared", "prepared"])
async def connection(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(
        server.dsn(), autocommit=True, prepare_threshold=request.param
    ) as made:
        yield made


def values(result: pq.abc.PGresult) -> list[bytes | None]:
    return [result.get_value(0, column) for column in range(result.nfields)]


async def test_each_statement_has_a_result(connection: Connection) -> None:
    for _ in range(2):
        given = ["é", None, "1"]
        results = await exchange(
            connection,
            [
                BEGIN,
                Statement(b"SELECT $1::text, $2::text, $3::int", given),
                Statement(b"SELECT $1::bytea, $2::text[]", [b"\x00", ["a", "b,c"]]),
                Statement(b"SELECT 258::int4", binary=True),
                COMMIT,
            ],
        )
        assert [values(each) for each in results] == [
            [],
            ["é".encode(), None, b"1"],
            [b"\\x00", b'{a,"b,c"}'],
            [b"\x00\x00\x01\x02"],
            [],
        ]
        assert connection.info.transaction_status == pq.TransactionStatus.IDLE


async def test_much_goes_both_ways(connection: Connection) -> None:
    """More than the buffers of the socket and of libpq have."""
    large = "x" * 5_000_000
    some = [Statement(b"SELECT $1::text", [large]) for _ in range(4)]
    results = await exchange(connection, some)
    assert [values(each) for each in results] == [[large.encode()]] * 4


async def test_a_failure_is_the_statements(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await exchange(
            connection, [BEGIN, Statement(b"SELECT 1/0"), Statement(b"SELECT 2"), COMMIT]
        )
    assert connection.info.transaction_status == pq.TransactionStatus.INERROR
    await connection.rollback()
    [result] = await exchange(connection, [Statement(b"SELECT 3")])
    assert values(result) == [b"3"]


async def test_what_is_cancelled_no_longer_runs(server: Server, connection: Connection) -> None:
    sleep = Statement(b"SELECT pg_sleep(600) AS exchanged")
    task = asyncio.create_task(exchange(connection, [BEGIN, sleep, COMMIT]))
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%AS exchanged' AND pid <> "
    count = f"{query} pg_backend_pid() AND state = 'active'"
    while not await asyncio.to_thread(server.value, count):
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.value(count) == 0
    if not connection.closed:
        await connection.rollback()
        [result] = await exchange(connection, [Statement(b"SELECT 3")])
        assert values(result) == [b"3"]


async def test_notifications_are_discarded(connection: Connection) -> None:
    """As they come: neither libpq nor psycopg holds what a function sends to itself."""
    much = b"SELECT pg_notify('c', n || repeat('x', 7000)) FROM generate_series(1, 2000) n"
    await exchange(connection, [BEGIN, Statement(b"LISTEN c"), Statement(much), COMMIT])
    assert connection.pgconn.notifies() is None
    if connection.prepare_threshold is None:
        assert [each async for each in connection.notifies(timeout=0)] == []


async def test_what_is_cancelled_while_it_is_sent_no_longer_runs(
    server: Server, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that sleeps reads nothing; psycopg goes on with the generator by None."""
    sleep = Statement(b"SELECT pg_sleep(600) AS sending")
    more = Statement(b"SELECT $1::text", ["x" * 20_000_000])
    task = asyncio.create_task(exchange(connection, [sleep, more]))
    count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%AS sending' AND pid <>"
    while not await asyncio.to_thread(server.value, f"{count} pg_backend_pid()"):
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "TypeError" not in caplog.text


async def test_a_server_that_ends_the_connection_says_why(connection: Connection) -> None:
    end = Statement(b"SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(psycopg.OperationalError) as raised:
        await exchange(connection, [BEGIN, end, Statement(b"SELECT pg_sleep(600)"), COMMIT])
    assert connection.closed
    assert raised.value.sqlstate in {"57P01", None}
    with pytest.raises(psycopg.OperationalError):
        await exchange(connection, [BEGIN])
