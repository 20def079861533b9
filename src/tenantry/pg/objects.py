"""Roles and databases of a cluster: idempotent ensure and drop, as the platform's own role.

None of this connects to a database that a tenant has ever used.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.errors import InvalidInput
from tenantry.base.events import (
    DatabaseCopied,
    DatabaseCreated,
    DatabaseDropped,
    RoleCreated,
    RoleDropped,
    RoleRetained,
    emit,
)
from tenantry.pg import instance_roles
from tenantry.pg.catalog import (
    MANAGED,
    DatabaseState,
    Login,
    defaults_set,
)
from tenantry.pg.connections import ADMIN, OWNER, Address, connect, fetch_value
from tenantry.pg.hardening import TEMPLATE
from tenantry.pg.names import arrival_roles, is_additional, sql_tenants_role
from tenantry.pg.replacing import admit, close_database

_COPY_MS = "1000"
_DROP_ATTEMPTS = 40
_DROP_PAUSE_SECONDS = 0.05


async def role_exists(connection: AsyncConnection[TupleRow], name: str) -> bool:
    found = await fetch_value(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    return found is not None


async def database_exists(connection: AsyncConnection[TupleRow], name: str) -> bool:
    found = await fetch_value(connection, "SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    return found is not None


async def ensure_role(connection: AsyncConnection[TupleRow], name: str) -> bool:
    """Create a role that cannot log in, unless it exists. Returns whether it was created.

    Raises Conflict if the tenant of an instance has created a role of this name.
    """
    await instance_roles.require_free(connection, name)
    if await role_exists(connection, name):
        return False
    await connection.execute(
        sql.SQL(
            "CREATE ROLE {} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
            " NOBYPASSRLS CONNECTION LIMIT 0"
        ).format(sql.Identifier(name))
    )
    await admit_anywhere(connection, [name])
    emit(RoleCreated(name))
    return True


async def admit_anywhere(connection: AsyncConnection[TupleRow], names: Sequence[str]) -> None:
    """Admit roles from every address: none of them has an allowlist.

    Others may admit the same roles at the same time. For a connection that commits by itself.
    """
    wanted = {name: arrival_roles(name) for name in names}
    for role in {role for roles in wanted.values() for role in roles}:
        if not await role_exists(connection, role):
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                await connection.execute(
                    sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role))
                )
    for name, roles in wanted.items():
        with suppress(psycopg.errors.UniqueViolation):
            await connection.execute(
                sql.SQL("GRANT {} TO {}").format(
                    sql.SQL(", ").join(map(sql.Identifier, roles)), sql.Identifier(name)
                )
            )


async def admit_by_list(connection: AsyncConnection[TupleRow], names: Sequence[str]) -> None:
    """Admit roles from the networks of their allowlists only."""
    for name in names:
        for role in arrival_roles(name):
            if await role_exists(connection, role):
                await connection.execute(
                    sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), sql.Identifier(name))
                )


async def open_role(
    connection: AsyncConnection[TupleRow], name: str, *, verifier: str, max_connections: int
) -> None:
    """Let a role log in with the password behind ``verifier``, up to ``max_connections`` times."""
    await connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {}").format(
            sql.Identifier(name), sql.Literal(verifier), sql.Literal(max_connections)
        )
    )


async def set_verifier(connection: AsyncConnection[TupleRow], name: str, verifier: str) -> None:
    """Change a role's password to the one behind ``verifier``."""
    await connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier))
    )


async def set_connection_limit(
    connection: AsyncConnection[TupleRow], name: str, max_connections: int
) -> None:
    """Set how many sessions a role may have; sessions that are open stay."""
    await connection.execute(
        sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(
            sql.Identifier(name), sql.Literal(max_connections)
        )
    )


async def configure_databases(
    connection: AsyncConnection[TupleRow], names: Sequence[str], state: DatabaseState
) -> None:
    """Set these defaults and this connection limit for new sessions in databases.

    They belong to the database, not to a role: they hold for each of its roles, and what a tenant
    sets for its own role is left alone. Raises InvalidInput for a value that the server does not
    accept; then nothing is changed.
    """
    statements = []
    # Each RESET writes to a catalog that all databases share, even where nothing is set.
    there = await defaults_set(connection, names)
    for name in names:
        alter = sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(name))
        statements.append(
            alter + sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(state.connection_limit))
        )
        for parameter in MANAGED:
            if (value := state.defaults.get(parameter)) is not None:
                change = sql.SQL("SET {} = {}").format(
                    sql.Identifier(parameter), sql.Literal(value)
                )
            elif (name, parameter) in there:
                change = sql.SQL("RESET {}").format(sql.Identifier(parameter))
            else:
                continue
            statements.append(alter + change)
    # All in one message, which PostgreSQL takes for one transaction.
    try:
        await connection.execute(sql.SQL("; ").join(statements))
    except psycopg.errors.InvalidParameterValue as error:
        raise InvalidInput(f"The server refuses it: {error.diag.message_primary}.") from None


async def close_to_new_sessions(
    connection: AsyncConnection[TupleRow], names: Sequence[str]
) -> None:
    """Admit only superusers to databases; sessions that are open stay."""
    for name in names:
        await connection.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(sql.Identifier(name))
        )


async def open_to_new_sessions(connection: AsyncConnection[TupleRow], names: Sequence[str]) -> None:
    """Undo ``close_to_new_sessions`` for databases that had no limit."""
    for name in names:
        await connection.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(sql.Identifier(name))
        )


async def close_role(connection: AsyncConnection[TupleRow], name: str) -> None:
    """Revoke a role's login and password. Its open sessions stay until they are ended."""
    await connection.execute(
        sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL CONNECTION LIMIT 0").format(
            sql.Identifier(name)
        )
    )


async def let_in(connection: AsyncConnection[TupleRow], name: str) -> None:
    """Let a role log in with the password and the limit that it has."""
    await connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(name)))


async def set_login(connection: AsyncConnection[TupleRow], name: str, login: Login) -> None:
    """Set exactly these login rights of a role. For a superuser."""
    await connection.execute(
        sql.SQL("ALTER ROLE {} {} PASSWORD {} CONNECTION LIMIT {}").format(
            sql.Identifier(name),
            sql.SQL("LOGIN" if login.can_login else "NOLOGIN"),
            sql.Literal(login.verifier),
            sql.Literal(login.max_connections),
        )
    )


async def roles_with_large_settings(connection: AsyncConnection[TupleRow], most: int) -> set[str]:
    """Return the tenants' roles that have set more than ``most`` bytes, in a database or for all.

    Settings are stored in a catalog that all databases share, and read at each login.
    """
    cursor = await connection.execute(
        sql.SQL("""
        SELECT DISTINCT r.rolname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
        WHERE {is_tenants} AND pg_column_size(s.setconfig) > %s
        """).format(is_tenants=sql_tenants_role("r.rolname")),
        (most,),
    )
    return {role for (role,) in await cursor.fetchall()}


async def reset_settings(connection: AsyncConnection[TupleRow], role: str) -> None:
    """Reset the settings that a role has made for itself, everywhere and in each database."""
    cursor = await connection.execute(
        """
        SELECT d.datname FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
        WHERE s.setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)
        """,
        (role,),
    )
    for (database,) in await cursor.fetchall():
        where = sql.SQL("IN DATABASE {} ").format(sql.Identifier(database)) if database else None
        await connection.execute(
            sql.SQL("ALTER ROLE {} {}RESET ALL").format(sql.Identifier(role), where or sql.SQL(""))
        )


async def grant_database(connection: AsyncConnection[TupleRow], name: str, *, tenant: str) -> None:
    """Let one role use a database: connect, create, and temporary tables."""
    await _revoke_standing(connection, name)
    await admit(connection, name, tenant)


async def _revoke_standing(connection: AsyncConnection[TupleRow], name: str) -> None:
    """Revoke the rights on a new database of PUBLIC and its owner, whose members could enter."""
    for grantee in (sql.SQL("PUBLIC"), sql.Identifier(OWNER)):
        await connection.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(sql.Identifier(name), grantee)
        )


async def ensure_database(
    connection: AsyncConnection[TupleRow], address: Address, name: str, *, tenant: str
) -> None:
    """Create an empty, hardened database for ``tenant``, owned by the platform.

    The role gets CONNECT, CREATE and TEMPORARY and owns schema ``public``; PUBLIC and the owner
    have nothing. A database that exists and admits the role is not entered: it may have been used.
    Must not be called for a closed one (``close_database``) that a tenant has used.
    """
    if not await database_exists(connection, name):
        # A process that has lost the row's lock with the control cluster may still be creating it.
        with suppress(psycopg.errors.UniqueViolation, psycopg.errors.DuplicateDatabase):
            await connection.execute(
                # A new database is open to everybody until that has been revoked.
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} ALLOW_CONNECTIONS false").format(
                    sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(TEMPLATE)
                )
            )
            emit(DatabaseCreated(name))
    if not await _is_open(connection, name, tenant):
        await _revoke_standing(connection, name)
        await _allow_connections(connection, name)
        # To give a schema away, a role must be a member of the new owner, or a superuser. No role
        # may be a member of several tenants' roles, and no tenant has ever been in this database.
        async with connect(address, user=ADMIN, dbname=name) as inside:
            await inside.execute(
                sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(tenant))
            )
    await grant_database(connection, name, tenant=tenant)


async def _allow_connections(connection: AsyncConnection[TupleRow], name: str) -> None:
    await connection.execute(
        sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))
    )


async def _is_open(connection: AsyncConnection[TupleRow], name: str, role: str) -> bool:
    """Whether a role was granted CONNECT, by name."""
    found = await fetch_value(
        connection,
        """
        SELECT 1 FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a
            JOIN pg_roles r ON r.oid = a.grantee
        WHERE d.datname = %s AND r.rolname = %s AND a.privilege_type = 'CONNECT'
        """,
        (name, role),
    )
    return found is not None


async def rename_database(connection: AsyncConnection[TupleRow], name: str, after: str) -> None:
    """Rename a database without sessions."""
    await connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
            sql.Identifier(name), sql.Identifier(after)
        )
    )


async def copy_database(
    connection: AsyncConnection[TupleRow],
    source: str,
    name: str,
    *,
    tenant: str | None,
    clone: bool = False,
) -> bool:
    """Copy a database block by block, unless it has sessions. Returns whether that is done.

    With ``clone`` the copy shares its blocks with the source, where server and file system can
    (``catalog.can_clone``, ``files.shares_blocks``): else the server copies them. Meanwhile nobody
    can connect to the source; so the copy is cancelled after a second, and nothing is left of it.
    Nobody can connect to the copy either before it is closed to all but ``tenant``, or to all
    without one.
    """
    wanted = {"statement_timeout": _COPY_MS} | ({"file_copy_method": "clone"} if clone else {})
    before = {
        name: await fetch_value(connection, "SELECT current_setting(%s)", (name,))
        for name in wanted
    }
    await _set(connection, wanted)
    try:
        await connection.execute(
            sql.SQL(
                "CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY {} ALLOW_CONNECTIONS false"
            ).format(
                sql.Identifier(name),
                sql.Identifier(OWNER),
                sql.Identifier(source),
                sql.Identifier("file_copy" if clone else "wal_log"),
            )
        )
    except psycopg.OperationalError:  # it has sessions, or it takes too long
        return False
    finally:
        await _set(connection, before)
    if tenant is None:
        await close_database(connection, name)
    else:
        await grant_database(connection, name, tenant=tenant)
    await _allow_connections(connection, name)
    emit(DatabaseCopied(name))
    return True


async def _set(connection: AsyncConnection[TupleRow], values: Mapping[str, object]) -> None:
    for name, value in values.items():
        await connection.execute("SELECT set_config(%s, %s, false)", (name, value))


async def drop_database(connection: AsyncConnection[TupleRow], name: str) -> bool:
    """Drop a database and end its sessions. Returns whether it existed."""
    if not await database_exists(connection, name):
        return False
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    for remaining in reversed(range(_DROP_ATTEMPTS)):
        try:
            await connection.execute(drop)
            break
        except psycopg.errors.InsufficientPrivilege:
            # FORCE ends no superuser's session. The platform's own in a database that it has just
            # created may still be ending, which takes moments.
            if not remaining:
                raise
            await asyncio.sleep(_DROP_PAUSE_SECONDS)
    emit(DatabaseDropped(name))
    return True


async def drop_role(connection: AsyncConnection[TupleRow], name: str) -> bool:
    """Drop a role whose databases are gone. Returns whether this call dropped it.

    Any tenant may GRANT what is its own to any role, and PostgreSQL then keeps that role for as
    long as the grant exists. A locked role that only another tenant's grant refers to does no harm;
    nobody must be able to delay a deletion with it, and a later pass tries again.
    """
    if not await role_exists(connection, name):
        return False
    # The role itself last: what a crash leaves is found by its name.
    going = [name]
    if not is_additional(name):
        going[:0] = arrival_roles(name)
    try:
        for each in going:
            await connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(each)))
    except psycopg.errors.DependentObjectsStillExist:
        await close_role(connection, name)
        emit(RoleRetained(name))
        return False
    emit(RoleDropped(name))
    return True


async def vacuum_catalog(connection: AsyncConnection[TupleRow], name: str) -> None:
    """Vacuum a catalog. Raises LockNotAvailable after the connection's lock_timeout."""
    await connection.execute(sql.SQL("VACUUM pg_catalog.{}").format(sql.Identifier(name)))
