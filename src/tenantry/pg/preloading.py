"""Extensions of instances whose libraries the server loads when it starts.

Such a library runs in the server, with all that the server may do, and PostgreSQL lets only a
superuser create the extension. So which ones there are is decided by name. The superuser creates
them in a schema of the platform's, in which no tenant can have made anything: that is the whole
search path of an extension's script. Those in ``ALLOWED`` name nothing outside of it, require no
other extension, and can be in any schema. See docs/decisions/0103.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict
from tenantry.pg.connections import ADMIN, Address, connect, fetch_value
from tenantry.pg.parameters import PRELOADED, loaded_libraries

SCHEMA = "platform_extensions"
_LOCK_SECONDS = 10  # a tenant's open transaction may use what is to be dropped

# Each has the name of its library, and why the server may load it.
ALLOWED: Mapping[str, str] = {
    "pg_prewarm": "reads blocks of the instance's own tables into its memory, also after a start",
    "pg_stat_statements": "counts the instance's own statements; the platform has it loaded anyway",
}

# Why others are refused that are often asked for.
REFUSED: Mapping[str, str] = {
    "auto_explain": "writes statements with their values to the server's log, which the platform"
    " keeps free of them: POST /api/databases/{id}/explain shows plans",
    "pgaudit": "writes statements with their values to the server's log, which the platform keeps"
    " free of them: PUT /api/databases/{id}/logs/settings logs them for their owner",
    "pg_cron": "runs statements without a client, which no limit of sessions ends, and which a"
    " suspended instance misses: have a scheduler of yours connect",
    "timescaledb": "starts processes of its own in each database, and moves rows into tables that"
    " restores and branches would not find again",
    "passwordcheck": "would refuse the passwords that the platform sets, which it sees as verifiers"
    " only",
    "auth_delay": "holds connections of failed logins, which the platform limits by address",
    "sepgsql": "needs SELinux, and decides about rights beside those of PostgreSQL",
    "basic_archive": "archives the log, which is the platform's part of backups",
}

# What PUBLIC could do by the script, and nobody needs.
_REVOKED = {
    "pg_prewarm": ("autoprewarm_start_worker()", "autoprewarm_dump_now()"),
}


def libraries(parameters: Mapping[str, str]) -> list[str]:
    """Return the libraries that an owner's parameters load beside the platform's own, by name."""
    return loaded_libraries(parameters.get(PRELOADED, ""))


def with_library(parameters: Mapping[str, str], name: str) -> dict[str, str]:
    """Return parameters that also load this library."""
    return {**parameters, PRELOADED: ",".join(sorted({*libraries(parameters), name}))}


def without_library(parameters: Mapping[str, str], name: str) -> dict[str, str]:
    """Return parameters that do not load this library."""
    left = [each for each in libraries(parameters) if each != name]
    others = {key: value for key, value in parameters.items() if key != PRELOADED}
    return others | ({PRELOADED: ",".join(left)} if left else {})


async def loaded(server: AsyncConnection[TupleRow]) -> list[str]:
    """Return the libraries that a server has loaded when it was started."""
    value = await fetch_value(server, "SELECT current_setting(%s)", (PRELOADED,))
    return loaded_libraries(str(value))


async def ensure(address: Address, database: str, names: Collection[str]) -> None:
    """Have these extensions in a database of an instance, at their newest version.

    Every role of the database may use them. Raises Conflict if the tenant has a schema of that
    name, or an extension that is in the way.
    """
    async with _inside(address, database) as admin:
        await admin.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA))
        )
        await _require_ours(admin, database)
        for name in sorted(names):
            await _ensure(admin, name)
        await admin.execute(
            sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(sql.Identifier(SCHEMA))
        )


@asynccontextmanager
async def _inside(address: Address, database: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open a transaction of the superuser's in a database, full or not.

    Nothing here may call what a tenant can have made: no function, operator or cast, and no table.
    """
    async with connect(address, user=ADMIN, dbname=database, lock_seconds=_LOCK_SECONDS) as admin:
        await admin.execute("SET default_transaction_read_only = off")
        async with admin.transaction():
            yield admin


async def _require_ours(admin: AsyncConnection[TupleRow], database: str) -> None:
    """Raise Conflict unless only the superuser can have made something in the schema."""
    is_ours = await fetch_value(
        admin,
        """
        SELECT pg_get_userbyid(n.nspowner) = current_user AND NOT EXISTS (
            SELECT FROM aclexplode(n.nspacl) a
            WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner)
        FROM pg_namespace n WHERE n.nspname = %s
        """,
        (SCHEMA,),
    )
    if not is_ours:
        raise Conflict(
            f"{database} has a schema {SCHEMA} that is not the platform's.",
            hint=f"Rename it: ALTER SCHEMA {SCHEMA} RENAME TO …",
        )


async def _ensure(admin: AsyncConnection[TupleRow], name: str) -> None:
    extension = sql.Identifier(name)
    await admin.execute(
        sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}").format(
            extension, sql.Identifier(SCHEMA)
        )
    )
    if not await fetch_value(
        admin,
        """
        SELECT n.nspname = %s FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = %s
        """,
        (SCHEMA, name),
    ):
        # An administrator has created it elsewhere, where a tenant may have made something.
        return
    await admin.execute(sql.SQL("ALTER EXTENSION {} UPDATE").format(extension))
    for function in _REVOKED.get(name, ()):
        await admin.execute(
            sql.SQL("REVOKE ALL ON FUNCTION {}.{} FROM PUBLIC").format(
                sql.Identifier(SCHEMA), sql.SQL(function)
            )
        )


async def drop(address: Address, database: str, name: str) -> None:
    """Drop an extension that nothing uses. Raises psycopg's DependentObjectsStillExist."""
    async with _inside(address, database) as admin:
        await admin.execute(sql.SQL("DROP EXTENSION IF EXISTS {}").format(sql.Identifier(name)))
