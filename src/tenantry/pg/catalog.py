"""What a cluster says of itself: named queries with typed rows. All read shared catalogs only."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from tenantry.pg.hardening import PLATFORM_DATABASES


@dataclass(frozen=True, slots=True)
class RoleState:
    """A tenant's role as it is."""

    name: str
    can_login: bool
    max_connections: int


@dataclass(frozen=True, slots=True)
class DatabaseUse:
    """Counters of one database since ``since`` (pg_stat_database), and its size in bytes."""

    name: str
    size_bytes: int
    connections: int
    committed: int
    rolled_back: int
    cache_hit_ratio: float | None
    since: dt.datetime | None


@dataclass(frozen=True, slots=True)
class RuleError:
    """A line of pg_hba.conf that the server cannot use."""

    line: int
    error: str


async def tenant_roles(connection: AsyncConnection[TupleRow]) -> dict[str, RoleState]:
    """Every role that is a tenant's, by name."""
    async with connection.cursor(row_factory=class_row(RoleState)) as cursor:
        await cursor.execute(
            r"""
            SELECT rolname AS name, rolcanlogin AS can_login, rolconnlimit AS max_connections
            FROM pg_roles WHERE rolname LIKE 'user\_%'
            """
        )
        return {role.name: role for role in await cursor.fetchall()}


async def tenant_databases(connection: AsyncConnection[TupleRow]) -> set[str]:
    """The names of all databases that are not the platform's own."""
    cursor = await connection.execute(
        "SELECT datname FROM pg_database WHERE datname <> ALL (%s)", (list(PLATFORM_DATABASES),)
    )
    return {name for (name,) in await cursor.fetchall()}


async def database_use(
    connection: AsyncConnection[TupleRow], names: list[str]
) -> dict[str, DatabaseUse]:
    """Size, sessions and counters of the databases named, seen from outside them."""
    async with connection.cursor(row_factory=class_row(DatabaseUse)) as cursor:
        await cursor.execute(
            """
            SELECT d.datname AS name, pg_database_size(d.oid) AS size_bytes,
                   coalesce(s.numbackends, 0) AS connections,
                   coalesce(s.xact_commit, 0) AS committed,
                   coalesce(s.xact_rollback, 0) AS rolled_back,
                   s.blks_hit::float8 / nullif(s.blks_hit + s.blks_read, 0) AS cache_hit_ratio,
                   s.stats_reset AS since
            FROM pg_database d LEFT JOIN pg_stat_database s ON s.datid = d.oid
            WHERE d.datname = ANY (%s)
            """,
            (names,),
        )
        return {use.name: use for use in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Session:
    """An open session; ``address`` is None for one by the Unix socket."""

    pid: int
    username: str
    address: str | None


async def members_of(connection: AsyncConnection[TupleRow], group: str) -> set[str]:
    """The roles that are direct members of a group."""
    cursor = await connection.execute(
        """
        SELECT pg_get_userbyid(m.member) FROM pg_auth_members m
        WHERE m.roleid = (SELECT oid FROM pg_roles WHERE rolname = %s)
        """,
        (group,),
    )
    return {name for (name,) in await cursor.fetchall()}


async def sessions_of(
    connection: AsyncConnection[TupleRow], usernames: Sequence[str]
) -> list[Session]:
    """The open sessions of these roles."""
    async with connection.cursor(row_factory=class_row(Session)) as cursor:
        await cursor.execute(
            """
            SELECT pid, usename AS username, host(client_addr) AS address
            FROM pg_stat_activity WHERE usename = ANY (%s)
            """,
            (list(usernames),),
        )
        return await cursor.fetchall()


async def rule_errors(connection: AsyncConnection[TupleRow]) -> list[RuleError]:
    """What is wrong with the rule file on disk (pg_hba_file_rules); empty if it can be loaded."""
    async with connection.cursor(row_factory=class_row(RuleError)) as cursor:
        await cursor.execute(
            "SELECT line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL"
        )
        return await cursor.fetchall()
