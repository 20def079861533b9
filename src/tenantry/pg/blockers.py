"""Getting on with what a tenant's open transaction keeps from its lock."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.events import Changed, emit

_Result = TypeVar("_Result")
_TRIES = 4  # a client that comes back at once may be in the way once more


async def without_blockers(
    server: AsyncConnection[TupleRow], do: Callable[[], Awaitable[_Result]]
) -> _Result:
    """Do something on a cluster, and end the sessions of tenants that keep it from a lock.

    For what must not wait for a tenant: shutting roles out, limits, removing databases. ``do``
    works on ``server``, whose lock_timeout bounds each try. Raises LockNotAvailable.
    """
    for _ in range(_TRIES - 1):
        try:
            return await do()
        except psycopg.errors.LockNotAvailable:
            await _end_holders(server)
    return await do()


async def _end_holders(server: AsyncConnection[TupleRow]) -> None:
    """End the transactions of tenants that hold a lock on a shared object or a catalog of roles.

    Whose lock it was cannot be told any more once the wait for it has ended. A transaction that
    changes roles, or settings of databases, is short, unless somebody means to hold others up.
    """
    cursor = await server.execute(
        """
        SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
        WHERE starts_with(a.usename, 'user_') AND a.xact_start < clock_timestamp() - interval '1s'
          AND EXISTS (
              SELECT FROM pg_locks l
              WHERE l.pid = a.pid AND l.granted AND l.database = 0
                AND (l.locktype = 'object' AND l.classid = 'pg_database'::regclass
                       AND l.objid <> coalesce(a.datid, 0)
                  OR l.locktype = 'object' AND l.classid = 'pg_authid'::regclass
                  OR l.locktype = 'relation' AND l.mode <> 'AccessShareLock' AND l.relation IN (
                      'pg_authid'::regclass, 'pg_auth_members'::regclass,
                      'pg_db_role_setting'::regclass, 'pg_database'::regclass)))
        """
    )
    if cursor.rowcount:
        emit(Changed("blockers.ended", str(cursor.rowcount)))
