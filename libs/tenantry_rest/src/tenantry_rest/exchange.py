"""Statements sent together, and their results: one round trip.

This is below psycopg's cursors, which take more time for a short statement than PostgreSQL does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, errors, pq, waiting
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer

from tenantry_rest.sql.fragments import Value


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with numbered placeholders; ``binary`` is the format of its result."""

    text: bytes
    values: Sequence[Value] = ()
    binary: bool = False


async def exchange(
    connection: AsyncConnection[Any], statements: Sequence[Statement]
) -> list[pq.abc.PGresult]:
    """Execute statements in a pipeline; return the result of each.

    One that fails ends the pipeline, and may leave its transaction to be rolled back. If this is
    cancelled, so is the statement that runs. Notifications are discarded.

    Raises:
        psycopg.Error: a statement failed, or the connection.
    """
    if connection.prepare_threshold is not None:  # psycopg knows which statements are prepared
        return await _by_cursors(connection, statements)
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        for each in statements:
            _send(connection, each)
        pgconn.pipeline_sync()
        results = await connection.wait(_results(pgconn))
    finally:
        if pgconn.status == pq.ConnStatus.OK:
            _leave(pgconn)
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result, connection.info.encoding)
    return results


def _send(connection: AsyncConnection[Any], statement: Statement) -> None:
    types: Sequence[int] | None = None  # PostgreSQL infers them
    formats: Sequence[pq.Format] | None = None
    values: list[Any] = []
    for value in statement.values:
        if isinstance(value, str):
            values.append(value.encode())
        elif value is None:
            values.append(None)
        else:
            dumped = Transformer(connection)
            wanted = [PyFormat.AUTO] * len(statement.values)
            values = list(dumped.dump_sequence(statement.values, wanted))
            types, formats = dumped.types, dumped.formats
            break
    form = pq.Format.BINARY if statement.binary else pq.Format.TEXT
    connection.pgconn.send_query_params(statement.text, values, types, formats, form)


def _results(pgconn: pq.abc.PGconn) -> PQGen[list[pq.abc.PGresult]]:
    """Send what is buffered, and return the results up to the end of the pipeline.

    If the server ends the connection with an error, that is the last of them.
    """
    while pgconn.flush():
        # A server that waits does not read; after a cancellation, psycopg sends None first.
        if ((yield waiting.Wait.RW) or 0) & waiting.Ready.R:
            _consume(pgconn)
    results: list[pq.abc.PGresult] = []
    while True:
        yield waiting.Wait.R
        try:
            _consume(pgconn)
        except psycopg.OperationalError:
            if _is_error(results):
                return results
            raise
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None and _is_error(results) and pgconn.status == pq.ConnStatus.BAD:
                return results
            if result is None:  # the end of the results of one statement
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)


def _consume(pgconn: pq.abc.PGconn) -> None:
    """Read what is there, and discard the notifications in it.

    A function can LISTEN and NOTIFY without end, and libpq holds what nobody asks for.
    """
    pgconn.consume_input()
    pgconn.is_busy()  # which parses it
    while pgconn.notifies() is not None:
        pass


def _is_error(results: list[pq.abc.PGresult]) -> bool:
    return bool(results) and results[-1].status == pq.ExecStatus.FATAL_ERROR


def _leave(pgconn: pq.abc.PGconn) -> None:
    try:
        pgconn.exit_pipeline_mode()
    except psycopg.OperationalError:  # results that nobody waits for any more are to come
        pgconn.finish()


async def _by_cursors(
    connection: AsyncConnection[Any], statements: Sequence[Statement]
) -> list[pq.abc.PGresult]:
    cursors = [AsyncRawCursor(connection) for _ in statements]
    async with connection.pipeline():
        for cursor, each in zip(cursors, statements, strict=True):
            await cursor.execute(each.text, each.values or None, binary=each.binary)
    return [cursor.pgresult for cursor in cursors if cursor.pgresult is not None]
