"""Replace one database by another, by name: whole, in one transaction.

All of it is done in the maintenance database, as the superuser, which alone may move settings, and
without entering either database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.errors import MachineError, Unavailable
from tenantry.base.events import DatabaseBroughtBack, DatabaseReplaced, DatabaseSetAside, emit
from tenantry.pg import names
from tenantry.pg.connections import ADMIN, Address, connect, fetch_value

_TRIES = 20
_PAUSE_SECONDS = 0.1
_IN_TIME = "SET LOCAL lock_timeout = '5s'"
_UNLIMITED = -1
_MAINTENANCE = 2  # sessions of visitors, to remove objects and rights of roles that are dropped

Connection = AsyncConnection[TupleRow]


async def close_database(server: Connection, name: str) -> None:
    """Admit no role to a database, not even its owner, unless ``admit`` admits it afterwards."""
    database = sql.Identifier(name)
    # First, since an owner and PUBLIC have default rights that no catalog row shows before.
    await server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for grantee in await _grantees(server, name):
        await server.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, sql.Identifier(grantee))
        )


async def admit(server: Connection, name: str, role: str) -> None:
    """Grant one role the rights of a tenant in a database."""
    await server.execute(
        sql.SQL("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {} TO {}").format(
            sql.Identifier(name), sql.Identifier(role)
        )
    )


async def admitted(server: Connection, name: str) -> dict[str, list[str]]:
    """Return the tenants' roles that have rights on a database, with these rights."""
    cursor = await server.execute(
        sql.SQL("""
        SELECT r.rolname, array_agg(a.privilege_type)
        FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a
            JOIN pg_roles r ON r.oid = a.grantee
        WHERE d.datname = %s AND {is_tenants} GROUP BY r.rolname
        """).format(is_tenants=names.sql_tenants_role("r.rolname")),
        (name,),
    )
    return dict(await cursor.fetchall())


async def admit_these(server: Connection, name: str, rights: Mapping[str, Sequence[str]]) -> None:
    """Grant roles the rights on a database that ``admitted`` has returned, if they still exist."""
    cursor = await server.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", ([*rights],)
    )
    there = {role for (role,) in await cursor.fetchall()}
    for role, privileges in rights.items():
        if role not in there:
            continue
        await server.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
                sql.SQL(", ").join(map(sql.SQL, privileges)),  # PostgreSQL's keywords
                sql.Identifier(name),
                sql.Identifier(role),
            )
        )


async def _grantees(server: Connection, name: str) -> list[str]:
    cursor = await server.execute(
        """
        SELECT DISTINCT r.rolname FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a
            JOIN pg_roles r ON r.oid = a.grantee
        WHERE d.datname = %s
        """,
        (name,),
    )
    return [role for (role,) in await cursor.fetchall()]


async def replace(
    address: Address, *, service: str, incoming: str, outgoing: str, connection_limit: int
) -> None:
    """Rename ``service`` to ``outgoing``, and ``incoming`` to ``service``.

    Who may connect, how often, and the roles' settings there stay with the name ``service``.
    Sessions in either are ended. Both renames are one transaction: after any failure there is
    exactly one database named ``service``, whole. If it was done already, nothing changes.

    Raises Unavailable if new sessions keep coming in.
    """
    async with connect(address, user=ADMIN) as admin:
        if not await _is_there(admin, incoming):
            if await _is_there(admin, service) and await _is_there(admin, outgoing):
                return
            raise MachineError(f"There is no {incoming} to be put in the place of {service}.")
        exchange = partial(_exchange, admin, service, incoming, outgoing, connection_limit)
        await _while_nobody_is_in(admin, service, (service, incoming), exchange)
    emit(DatabaseReplaced(service))


async def set_aside(address: Address, *, service: str, aside: str) -> None:
    """Rename a database while nobody is in it, and close it: who knows its name does not get in.

    If it was done already, nothing changes. Raises Unavailable if new sessions keep coming in.
    """
    async with connect(address, user=ADMIN) as admin:
        if await _is_there(admin, aside) and not await _is_there(admin, service):
            return

        async def work() -> None:
            async with admin.transaction():
                await admin.execute(_IN_TIME)
                await _rename(admin, service, aside)
                await close_database(admin, aside)
                await _limit(admin, aside, _UNLIMITED)

        await _while_nobody_is_in(admin, service, (service,), work)
    emit(DatabaseSetAside(service))


async def bring_back(
    address: Address,
    *,
    service: str,
    aside: str,
    rights: Mapping[str, Sequence[str]],
    connection_limit: int,
) -> None:
    """Undo ``set_aside``, and grant these rights on the database, in one transaction.

    If it is not aside, nothing changes.
    """
    async with connect(address, user=ADMIN) as admin:
        if not await _is_there(admin, aside):
            return

        async def work() -> None:
            async with admin.transaction():
                await admin.execute(_IN_TIME)
                await _rename(admin, aside, service)
                await admit_these(admin, service, rights)
                await _limit(admin, service, connection_limit)

        await _while_nobody_is_in(admin, aside, (aside,), work)
    emit(DatabaseBroughtBack(service))


async def retain(address: Address, *, aside: str, retained: str) -> None:
    """Give a database that is set aside the name under which it is retained."""
    async with connect(address, user=ADMIN) as admin:
        if not await _is_there(admin, aside):
            return

        async def work() -> None:
            async with admin.transaction():
                await admin.execute(_IN_TIME)
                await _rename(admin, aside, retained)
                await _limit(admin, retained, _MAINTENANCE)

        await _while_nobody_is_in(admin, aside, (aside,), work)


async def _while_nobody_is_in(
    admin: Connection, closed: str, emptied: tuple[str, ...], work: Callable[[], Awaitable[None]]
) -> None:
    """Do ``work``, which renames, once no session is left in the databases ``emptied``.

    Raises Unavailable if sessions keep coming into ``closed``.
    """
    # New sessions are refused from here on; after a crash, reconciliation undoes it.
    await _limit(admin, closed, 0)
    for _ in range(_TRIES):
        await _end_all(admin, emptied)
        try:
            await work()
        except psycopg.errors.ObjectInUse:
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        return
    raise Unavailable(f"Sessions in {closed} do not end.", hint="It is tried again.")


async def _rename(admin: Connection, before: str, after: str) -> None:
    await admin.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
            sql.Identifier(before), sql.Identifier(after)
        )
    )


async def _limit(admin: Connection, name: str, connections: int) -> None:
    await admin.execute(
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
            sql.Identifier(name), sql.Literal(connections)
        )
    )


async def _is_there(admin: Connection, name: str) -> bool:
    found = await fetch_value(admin, "SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    return found is not None


async def _end_all(admin: Connection, names: tuple[str, ...]) -> None:
    for _ in range(_TRIES):
        ended = await fetch_value(
            admin,
            """
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = ANY (%s) AND backend_type = 'client backend'
            """,
            (list(names),),
        )
        if not ended:
            return
        await asyncio.sleep(_PAUSE_SECONDS / 4)


async def _exchange(
    admin: Connection, service: str, incoming: str, outgoing: str, connection_limit: int
) -> None:
    async with admin.transaction():
        await admin.execute(_IN_TIME)
        granted = await admitted(admin, service)
        for before, after in ((service, outgoing), (incoming, service)):
            await _rename(admin, before, after)
        await close_database(admin, service)
        await admit_these(admin, service, granted)
        await close_database(admin, outgoing)
        for name, limit in ((service, connection_limit), (outgoing, _MAINTENANCE)):
            await _limit(admin, name, limit)
        # There is no statement that copies settings, lists and quotes included.
        await admin.execute(
            "DELETE FROM pg_db_role_setting"
            " WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)",
            (service,),
        )
        await admin.execute(
            """
            UPDATE pg_db_role_setting
            SET setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)
            WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)
            """,
            (service, outgoing),
        )
