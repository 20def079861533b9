"""The watch over the file of statements' texts, which all tenants of a cluster share.

pg_stat_statements stores each statement whole, up to a gigabyte, in a file that no quota counts and
that it reads into memory. Beyond 64 MiB, the statements of the database that has most of it are
forgotten, and no others of it are recorded for an hour; if that does not help, all are forgotten.
"""

import time
from contextlib import suppress
from functools import partial

import psycopg

from tenantry.base.errors import TenantryError
from tenantry.base.events import SessionsEnded, StatementsForgotten, emit
from tenantry.pg import session_ending, statement_statistics
from tenantry.pg.blockers import without_blockers
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import PLATFORM, connect

MOST_BYTES = 64 * 1024 * 1024
_MOST_TO_READ = 1024 * 1024 * 1024  # reading the texts takes that much memory in the server
_UNTRACKED_SECONDS = 3600.0
_TIDY_SECONDS = 60.0
_LOCK_SECONDS = 2


class StatementTexts:
    """The watch over one local cluster. One for the worker's process."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._texts = cluster.data / "pg_stat_tmp" / "pgss_query_texts.stat"
        self._over_before = False
        self._untracked: dict[str, float] = {}
        self._tidied = 0.0

    async def look(self) -> None:
        """Make room if the file is too large; each minute, forget what has been dropped.

        Raises Unavailable if the server does not answer.
        """
        size = self._size()
        if size > MOST_BYTES:
            await self._make_room(size)
        self._over_before = size > MOST_BYTES
        if time.monotonic() - self._tidied > _TIDY_SECONDS:
            self._tidied = time.monotonic()
            await self._tidy()

    def _size(self) -> int:
        try:
            return self._texts.stat().st_size
        except FileNotFoundError:  # the library is not loaded yet
            return 0

    async def _make_room(self, size: int) -> None:
        async with connect(
            self._cluster.address, user=PLATFORM, lock_seconds=_LOCK_SECONDS
        ) as server:
            largest = None
            if size <= _MOST_TO_READ:
                largest = await statement_statistics.largest_texts(server)
            if largest is not None and largest[1] > size // 2:
                database = largest[0]
                # Its sessions end even if the setting has to wait for the next look.
                with suppress(psycopg.errors.LockNotAvailable, psycopg.InternalError):
                    turn_off = partial(statement_statistics.track, server, database, on=False)
                    await without_blockers(server, turn_off, databases=[database])
                    self._untracked[database] = time.monotonic()
                ended = await session_ending.end_sessions_in(server, [database], before=None)
                emit(SessionsEnded("statement texts", database, ended))
                await statement_statistics.reset(server, [database])
            # Otherwise the server itself makes the file smaller as it adds the next statement.
            if largest is None or self._over_before:
                await statement_statistics.reset_all(server)
                emit(StatementsForgotten("all databases"))

    async def _tidy(self) -> None:
        async with connect(
            self._cluster.address, user=PLATFORM, lock_seconds=_LOCK_SECONDS
        ) as server:
            now = time.monotonic()
            for database in await statement_statistics.untracked(server):
                # One that this process does not know of was turned off by an earlier one.
                since = self._untracked.setdefault(database, now)
                if now - since > _UNTRACKED_SECONDS:
                    await statement_statistics.track(server, database, on=True)
                    del self._untracked[database]
            with suppress(TenantryError):
                await statement_statistics.reset_dropped(server)
