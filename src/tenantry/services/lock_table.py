"""Protection of the lock table, which all sessions of a cluster share, from a single session.

PostgreSQL limits the size of the table, but not a session's share of it: ``SELECT
pg_advisory_lock(i) FROM generate_series(1, 1000000) i`` fills it in a tenth of a second, and until
that session ends nobody can log in, not even a superuser ("out of shared memory"). The functions
cannot be revoked, since migration tools need them. So a session that holds more than a quarter of
the table is terminated, and its role may not connect until the next reconciliation pass. The same
applies to a visitor that dumps a database with too many tables, each of which it has to lock.

All of this must work while no lock is free. Any new statement may need one, to look up a role; an
open cursor does not. Nor do /proc, which shows a session's role, and kill(2).
"""

import asyncio
import contextlib
import os
import signal

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Unavailable
from tenantry.base.events import SessionsEnded, emit
from tenantry.base.pausing import pause
from tenantry.host import processes
from tenantry.pg import catalog, names, objects, session_ending
from tenantry.pg.connections import PLATFORM, Address, connect

_LOOK_SECONDS = 0.5
_LOOKS = 1200  # before a new cursor, as an old one keeps shared catalogs from being vacuumed
_PART = 4
_TRIES = 100  # to log in, once the sessions have ended that held the locks


async def keep_free(address: Address, postmaster: int | None) -> None:
    """For ten minutes, end sessions that hold too many locks of a local cluster's lock table.

    Raises Unavailable if the server does not answer or stops answering.
    """
    try:
        async with connect(address, user=PLATFORM) as server, server.transaction():
            held = await catalog.lock_holders(server, part=_PART)
            for _ in range(_LOOKS):
                await held.execute("FETCH 1 FROM holders")
                for pid in (await held.fetchall())[0][0] or []:
                    await _end(address, postmaster, pid)
                await pause(_LOOK_SECONDS)
    except psycopg.OperationalError as error:
        raise Unavailable(f"The lock table is not watched: {error}".strip()) from error


def _username(pid: int) -> str | None:
    """Return the tenant's role or visitor of a backend, from its title; None for other backends.

    The title is "postgres: user database …".
    """
    words = " ".join(processes.command_line(pid)).split()
    # Visitors too: pg_dump locks every table of a database.
    return next(
        (word for word in words[1:3] if names.is_tenants_role(word) or names.is_visitor(word)), None
    )


async def _end(address: Address, postmaster: int | None, pid: int) -> None:
    username = _username(pid)
    if username is None:
        return
    # All sessions of that role at once: the next would take the locks that this one releases.
    for backend in processes.children(postmaster):
        if _username(backend) == username:
            with contextlib.suppress(ProcessLookupError):
                os.kill(backend, signal.SIGTERM)
    emit(SessionsEnded("too many locks", username))
    if names.is_visitor(username):
        return  # the operation that made it fails, and drops it
    for _ in range(_TRIES):
        await asyncio.sleep(_LOOK_SECONDS / 10)
        with contextlib.suppress(Unavailable, psycopg.OperationalError):  # until they are gone
            async with connect(address, user=PLATFORM, lock_seconds=1) as server:
                await _shut(server, username)
                return


async def _shut(server: AsyncConnection[TupleRow], username: str) -> None:
    # First, since one of them may block the following statement.
    await session_ending.end_sessions(server, username)
    # From PostgreSQL 16 on visitors belong to a superuser, and they are dropped soon in any case.
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        await objects.set_connection_limit(server, username, 0)
    await session_ending.end_sessions(server, username)
