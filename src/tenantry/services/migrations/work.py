"""Sends the statements of a file to the server, several together where that changes nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from tenantry.pg import statements
from tenantry.pg.discarding import execute_discarding
from tenantry.pg.statements import Batch
from tenantry.services.migrations.failures import Place, quoted
from tenantry.services.migrations.ledger import Ledger, send
from tenantry.services.migrations.model import Script

# In one message. The watch over long statements (``pg.long_statements``) counts it as one.
_MOST_TOGETHER = 256
_MOST_BYTES_TOGETHER = 256 * 1024
_SHORT_SECONDS, _LONG_SECONDS = 0.1, 1.0


class _Together:
    """The number of statements sent in one message: more while they are fast."""

    def __init__(self) -> None:
        self.most = 1

    @contextmanager
    def timed(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        if took > _LONG_SECONDS:
            self.most = 1
        elif took < _SHORT_SECONDS:
            self.most = min(2 * self.most, _MOST_TOGETHER)


# Traces of statements that use several transactions and failed in between (PostgreSQL's manual:
# CREATE INDEX, REINDEX, ALTER TABLE … DETACH PARTITION).
_TRACES = """
    SELECT 'i', indexrelid FROM pg_catalog.pg_index WHERE NOT indisvalid
    UNION ALL SELECT 'p', inhrelid FROM pg_catalog.pg_inherits WHERE inhdetachpending
"""


class Work:
    """The statements of a file, and how far they were run."""

    def __init__(self, ledger: Ledger, script: Script) -> None:
        self._ledger = ledger
        self._script = script
        self._parts = script.statements
        self._transactional = script.transactional
        # Whether it surely runs in the one transaction that we begin. A file that the parser
        # refuses may contain anything.
        self.is_whole = bool(self._transactional and self._parts) and not any(
            map(statements.controls_transaction, statements.without_rows(self._parts))
        )
        self._begins = bool(self._parts) and statements.begins_transaction(self._parts[0])
        self._doing: int | None = None  # the statement of this index
        self._sent: Batch | None = None
        self._traces: set[tuple[object, ...]] = set()

    async def begin(self, *queries: sql.Composable) -> None:
        self._doing = None
        if self._transactional and self._begins:
            # The file's own BEGIN may name an isolation level.
            await execute_discarding(self._ledger.conn, self._parts[0].text.encode())
            await self._ledger.send(*queries)
        elif self._transactional:
            await self._ledger.send(sql.SQL("BEGIN"), *queries)
        else:
            self._traces = await self._look()
            await self._ledger.send(*queries)

    async def do(self) -> None:
        if not self._parts:  # comments only, or something that only the server can parse
            self._doing = 0
            await self._ensure_transaction()
            await execute_discarding(self._ledger.conn, self._script.sql.encode())
            self._doing = None
            return
        together = _Together()
        following = 1 if self._transactional and self._begins else 0  # the first is done
        while following < len(self._parts):
            await self._ensure_transaction()
            most = together.most if self._transactional else 1
            self._sent = statements.batch(
                self._parts, following, most=most, most_bytes=_MOST_BYTES_TOGETHER
            )
            self._doing = following
            with together.timed():
                await execute_discarding(self._ledger.conn, self._sent.text, self._count)
            following += self._sent.count
        self._doing = self._sent = None

    def _count(self) -> None:
        self._doing = (self._doing or 0) + 1

    async def _ensure_transaction(self) -> None:
        """Begin a transaction again after a file has ended one, as if the file were sent whole."""
        if self._transactional and self._is_idle():
            await send(self._ledger.conn, "BEGIN")

    async def end(self, *queries: sql.Composable) -> None:
        commit = () if self._is_idle() else (sql.SQL("COMMIT"),)
        await self._ledger.send(*queries, *commit)

    def _is_idle(self) -> bool:
        return self._ledger.conn.info.transaction_status == TransactionStatus.IDLE

    async def left_nothing(self) -> bool:
        """Whether a failure outside our transaction left no trace.

        So it is if only SET was run before it, or if it was in a transaction that the file begins
        with.
        """
        if self._transactional or self._doing is None or not self._parts:
            return False
        if self._begins:
            return not any(map(statements.controls_transaction, self._parts[1 : self._doing]))
        before, failed = self._parts[: self._doing], self._parts[self._doing]
        if not all(map(statements.only_sets, before)):
            return False
        return statements.leaves_nothing(failed) and await self._look() == self._traces

    async def _look(self) -> set[tuple[object, ...]]:
        return set(await (await send(self._ledger.conn, _TRACES)).fetchall())

    def at(self, error: psycopg.Error) -> Place:
        """Return where it failed: the line that PostgreSQL reports, or the statement's first."""
        if self._doing is None:
            return Place()
        position = error.diag.statement_position
        if not self._parts:
            line = statements.line_of(self._script.sql, int(position)) if position else None
            return Place(line)
        if position and self._sent is not None:
            return self._in_batch(self._sent, int(position))
        part = self._parts[min(self._doing, len(self._parts) - 1)]
        return Place(part.line, quoted(part.text))

    def _in_batch(self, sent: Batch, position: int) -> Place:
        """Return the place of a position in a message: a syntax error prevents all of it."""
        start = end = 0
        part = self._parts[sent.first]
        for i in range(sent.first, sent.first + sent.count):
            part = self._parts[i]
            start = end + (len(part.comments) if i > sent.first else 0)
            end = start + len(part.text)
            if position <= end:
                break
        within = statements.line_of(part.text, position - start)
        return Place(part.line + within - 1, quoted(part.text))
