"""Statements that must not wait for the locks of a tenant's open transaction."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.events import BlockersEnded, ReconciliationFailed, emit
from tenantry.pg import names

_Result = TypeVar("_Result")
_TRIES = 6  # a client that reconnects at once may block once more


async def without_blockers(
    server: AsyncConnection[TupleRow],
    do: Callable[[], Awaitable[_Result]],
    *,
    roles: Sequence[str] = (),
    databases: Sequence[str] = (),
) -> _Result:
    """Do something to roles or databases of a cluster, and end the sessions that block it.

    For what must not wait for a tenant: revoking access, limits, removing databases. ``do`` works
    on ``server``, whose lock_timeout bounds each try. Only sessions that hold a lock on one of
    these ``roles`` or ``databases`` are ended. Raises LockNotAvailable, InternalError.
    """
    for _ in range(_TRIES - 1):
        try:
            return await do()
        # A role that changes its own row all the time makes others fail with InternalError ("tuple
        # concurrently updated").
        except (psycopg.errors.LockNotAvailable, psycopg.InternalError):
            await _end_holders(server, roles, databases)
    return await do()


async def unless_blocked(
    server: AsyncConnection[TupleRow],
    what: str,
    do: Callable[[], Awaitable[object]],
    *,
    roles: Sequence[str] = (),
    databases: Sequence[str] = (),
) -> bool:
    """Restore ``what`` of a standing role ``without_blockers``. Returns whether that is done.

    If it is blocked all the same, that is reported: the pass goes on, and the next one tries again.
    """
    try:
        await without_blockers(server, do, roles=roles, databases=databases)
    except (psycopg.errors.LockNotAvailable, psycopg.InternalError) as error:
        emit(ReconciliationFailed("standing_roles.restore", what, str(error)))
        return False
    return True


async def _end_holders(
    server: AsyncConnection[TupleRow], roles: Sequence[str], databases: Sequence[str]
) -> None:
    """End the transactions of tenants that hold a lock on one of these roles or databases.

    Which lock was waited for cannot be found out after the wait. Sessions of other roles are ended
    only if their transaction is older than a second: a transaction that names a role is short,
    unless it is meant to block others.
    """
    cursor = await server.execute(
        sql.SQL("""
        SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
        WHERE {is_tenants}
          AND (a.usename = ANY (%(roles)s)
               OR a.xact_start < clock_timestamp() - interval '1s')
          AND EXISTS (
              SELECT FROM pg_locks l
              WHERE l.pid = a.pid AND l.granted AND l.database = 0
                AND (l.locktype = 'object' AND l.classid = 'pg_database'::regclass
                       AND l.objid <> coalesce(a.datid, 0)
                       AND l.objid IN (SELECT oid FROM pg_database WHERE datname = ANY (%(names)s))
                  OR l.locktype = 'object' AND l.classid = 'pg_authid'::regclass
                       AND l.objid IN (SELECT oid FROM pg_roles WHERE rolname = ANY (%(roles)s))
                  -- A role's own row is changed by nobody else but the platform; that of a role
                  -- that tenants share, by any session of a data API's login.
                  OR (a.usename = ANY (%(roles)s) OR {is_authenticator})
                       AND l.locktype = 'relation' AND l.mode <> 'AccessShareLock'
                       AND l.relation IN (
                           'pg_authid'::regclass, 'pg_auth_members'::regclass,
                           'pg_db_role_setting'::regclass, 'pg_database'::regclass)))
        """).format(
            is_tenants=names.sql_tenants_role("a.usename"),
            is_authenticator=names.sql_authenticator("a.usename"),
        ),
        {"roles": list(roles), "names": list(databases)},
    )
    if cursor.rowcount:
        emit(BlockersEnded(str(cursor.rowcount)))
