"""Additional roles of a tenant's database, and sessions in it with its tenant's rights.

``inside`` opens a session of a login that is made for it alone (see ``visitors``): a trojan
function there gets no rights by it that its tenant does not have already. And the statements here
call no functions or operators of the tenant: names are looked up in pg_catalog only.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict, Unavailable
from tenantry.pg import api_roles, catalog, names, objects, visitors
from tenantry.pg.connections import PLATFORM, Address, connect, fetch_value, is_lost
from tenantry.pg.hardening import AUTH_DATABASE

Access = Literal["read_only", "read_write"]
Connection = AsyncConnection[TupleRow]

_WAIT_SECONDS = 10  # for one statement, and for a lock of the tenant's
_VISIT_SECONDS = 600  # for all of it: a session ends even if the tenant's code keeps running in it
_BATCH = 500  # relations in one GRANT
_ATTEMPTS = 12
_PAUSE_SECONDS = 0.1  # at most, before another attempt
# The errors of a GRANT when a table is dropped or changed at the same time ("tuple concurrently
# updated" has no code of its own).
_CHANGED_MEANWHILE = (
    psycopg.errors.InternalError_,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
)

_ON_DATABASE: dict[Access, LiteralString] = {
    "read_only": "CONNECT",
    "read_write": "CONNECT, TEMPORARY",
}
_ON_TABLES: dict[Access, LiteralString] = {
    "read_only": "SELECT",
    "read_write": "SELECT, INSERT, UPDATE, DELETE",
}
_ON_SEQUENCES: dict[Access, LiteralString] = {
    "read_only": "SELECT",
    "read_write": "SELECT, USAGE, UPDATE",
}

_RELATIONS: LiteralString = """
    SELECT n.nspname, c.relname, c.relkind = 'S'
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relowner = (SELECT oid FROM pg_roles WHERE rolname = %s)
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND c.relpersistence <> 't'
"""
_SCHEMAS: LiteralString = """
    SELECT nspname FROM pg_namespace
    WHERE nspowner = (SELECT oid FROM pg_roles WHERE rolname = %s)
"""


@asynccontextmanager
async def inside(
    address: Address, database: str, roles: Sequence[str]
) -> AsyncIterator[Connection]:
    """Open a transaction in a tenant's database, with the rights of these roles of the tenant.

    Raises Conflict if the database's connections are all taken, if the tenant's own transactions
    block it for too long, or if it is dropped at this moment; Unavailable if the server does not
    answer, or ends the session.
    """
    try:
        async with (
            asyncio.timeout(_VISIT_SECONDS),
            visitors.session(address, database, roles) as session,
        ):
            for name, value in (
                ("lock_timeout", _milliseconds()),
                ("statement_timeout", _milliseconds()),
                ("default_transaction_read_only", "off"),
            ):
                await session.execute("SELECT set_config(%s, %s, false)", (name, value))
            async with session.transaction():
                yield session
    except (TimeoutError, psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
        raise busy(database) from error
    except psycopg.OperationalError as error:
        if not is_lost(error):
            raise
        raise Unavailable(
            f"The session in {database} was ended: the server was stopped, or the database closed.",
            hint="Try again in a few seconds.",
        ) from error
    except Unavailable as error:
        if (refused := refusal(database, str(error))) is not None:
            raise refused from error
        raise


def _milliseconds() -> str:
    return str(int(_WAIT_SECONDS * 1000))


def busy(database: str) -> Conflict:
    """Return the error for a database whose objects are locked by its tenant for too long."""
    return Conflict(
        f"Open transactions in {database} kept this waiting for too long.",
        hint="GET /api/databases/{id}/locks shows which session holds what: end it, and try again.",
    )


def refusal(database: str, message: str) -> Conflict | None:
    """Return the error for a login that a server has refused, if it says why with this message.

    None if that is neither that all connections are taken, nor that the database was dropped. A
    refused login has no code; the servers' messages are in English (lc_messages = C).
    """
    if "too many connections for database" in message:
        return Conflict(
            f"All connections of {database} are taken.",
            hint="Close some, or raise its max_connections, and try again.",
        )
    if f'database "{database}" does not exist' in message:
        return visitors.gone(database)
    return None


async def verifier_of(address: Address, username: str) -> str | None:
    """Return the password verifier of a tenant's role, if it can log in."""
    async with connect(address, user=PLATFORM, dbname=AUTH_DATABASE) as server:
        found = await fetch_value(server, "SELECT passwd FROM pooler.credentials(%s)", (username,))
    return None if found is None else str(found)


# ── making ───────────────────────────────────────────────────────────────────


async def admit(server: Connection, database: str, role: str, access: Access) -> None:
    """Let a role into one database, as the owner of databases."""
    await server.execute(
        sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
            sql.SQL(_ON_DATABASE[access]), sql.Identifier(database), sql.Identifier(role)
        )
    )
    if access == "read_only":
        # A safeguard only: a session can unset it, and still has no right to write.
        await server.execute(
            sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(
                sql.Identifier(role)
            )
        )


async def grant(address: Address, database: str, *, tenant: str, role: str, access: Access) -> None:
    """Give a role its rights on all present and future objects of the tenant in a database.

    Objects that the tenant creates later, in any schema, get them by its default privileges.

    Raises Conflict as ``inside``, and if the tenant changes its tables all the time.
    """
    for _ in range(_ATTEMPTS):
        try:
            async with inside(address, database, [tenant]) as session:
                await _grant(session, tenant, role, access)
                return
        except _CHANGED_MEANWHILE:  # also by another role that is made at the same time
            await asyncio.sleep(random.uniform(0, _PAUSE_SECONDS))  # noqa: S311 (no secret)
    raise busy(database)


async def _grant(session: Connection, tenant: str, role: str, access: Access) -> None:
    who = sql.Identifier(role)
    # First the default privileges, so that nothing is created in between without the rights.
    for what, rights in (
        ("SCHEMAS", "USAGE"),
        ("TABLES", _ON_TABLES[access]),
        ("SEQUENCES", _ON_SEQUENCES[access]),
    ):
        await session.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} ON {} TO {}").format(
                sql.Identifier(tenant), sql.SQL(rights), sql.SQL(what), who
            )
        )
    schemas = await (await session.execute(_SCHEMAS, (tenant,))).fetchall()
    await _grant_on(session, "USAGE", "SCHEMA", [sql.Identifier(name) for (name,) in schemas], who)
    relations = await (await session.execute(_RELATIONS, (tenant,))).fetchall()
    for what, rights, sequences in (
        ("TABLE", _ON_TABLES[access], False),
        ("SEQUENCE", _ON_SEQUENCES[access], True),
    ):
        names = [sql.Identifier(n, name) for n, name, is_one in relations if is_one is sequences]
        await _grant_on(session, rights, what, names, who)


async def _grant_on(
    session: Connection,
    rights: LiteralString,
    what: LiteralString,
    names: Sequence[sql.Identifier],
    who: sql.Identifier,
) -> None:
    for start in range(0, len(names), _BATCH):
        await session.execute(
            sql.SQL("GRANT {} ON {} {} TO {}").format(
                sql.SQL(rights),
                sql.SQL(what),
                sql.SQL(", ").join(names[start : start + _BATCH]),
                who,
            )
        )


# ── what shared roles own ────────────────────────────────────────────────────


async def give_away_shared(address: Address, database: str) -> None:
    """Give what ``anon`` and its like own in a database to its tenant, where that is anything.

    Before a dump or a copy, since neither the tenant nor its visitors may read it. Raises Conflict
    as ``inside``.
    """
    async with connect(address, user=PLATFORM) as server:
        if database not in await api_roles.databases_with_objects(server):
            return
    tenant = names.owner_of(database)
    async with inside(address, database, [tenant, *api_roles.SHARED]) as session:
        await api_roles.give_away(session, tenant)


# ── removing ─────────────────────────────────────────────────────────────────


async def lock_out(server: Connection, database: str, role: str) -> None:
    """Revoke what ``admit`` granted."""
    await server.execute(
        sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(
            sql.Identifier(database), sql.Identifier(role)
        )
    )


async def drop(server: Connection, address: Address, role: str) -> bool:
    """Drop a role. What it owns becomes its tenant's; what it was granted is revoked.

    Returns whether it is gone. If another tenant has granted it something, it stays, locked
    (``objects.drop_role``): nothing is done in that tenant's database for this one.
    """
    tenant = names.owner_role(role)
    for database in await catalog.dependencies_of(server, role):
        if names.owner_of(database) != tenant:
            continue
        async with inside(address, database, sorted({tenant, role})) as session:
            await session.execute(
                sql.SQL("REASSIGN OWNED BY {} TO {}").format(
                    sql.Identifier(role), sql.Identifier(tenant)
                )
            )
            await session.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    return await objects.drop_role(server, role)
