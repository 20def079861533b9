"""Extensions of a tenant's database, with the rights of its tenant and no more.

PostgreSQL reports which ones a role that is not a superuser may create: those whose control file
has ``trusted``. All functions but ``installed`` work in a session of ``logins.inside``.
"""

from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.connections import fetch_bounded

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension that the server has; with ``installed_version``, the database has it too.

    One that ``preloads`` has a library that the server loads when it is started; with
    ``pending_restart`` it does, or does no more, from its next start on.
    """

    name: str
    description: str | None
    default_version: str
    installable: bool
    installed_version: str | None
    schema: str | None
    preloads: bool = False
    pending_restart: bool = False


async def every(session: Connection) -> list[Extension]:
    """Return all extensions that the server has, by name."""
    rows = await fetch_bounded(
        session,
        """
        SELECT a.name, a.comment AS description, a.default_version,
               coalesce(v.trusted, false) AS installable,
               e.extversion AS installed_version, n.nspname AS schema
        FROM pg_available_extensions a
            LEFT JOIN pg_available_extension_versions v
                ON v.name = a.name AND v.version = a.default_version
            LEFT JOIN pg_extension e ON e.extname = a.name
            LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
        ORDER BY a.name
        """,
    )
    return [Extension(*row) for row in rows]


async def installed(server: Connection) -> set[str]:
    """Return the names of the extensions that a server has the files of."""
    cursor = await server.execute("SELECT name FROM pg_catalog.pg_available_extensions")
    return {name for (name,) in await cursor.fetchall()}


async def create(session: Connection, name: str, *, schema: str, tenant: str) -> None:
    """Create an extension, and those that it requires, owned by the tenant."""
    await _be(session, tenant)
    await session.execute(
        sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
            sql.Identifier(name), sql.Identifier(schema)
        )
    )
    await session.execute("RESET ROLE")


async def drop(session: Connection, name: str, *, tenant: str) -> None:
    """Drop an extension that nothing uses."""
    await _be(session, tenant)
    await session.execute(sql.SQL("DROP EXTENSION {}").format(sql.Identifier(name)))
    await session.execute("RESET ROLE")


async def _be(session: Connection, tenant: str) -> None:
    """Switch to the tenant's role, so that new objects belong to it and not to the visitor."""
    await session.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(tenant)))
