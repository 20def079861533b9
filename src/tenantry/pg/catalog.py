"""Named queries on a cluster's catalogs, with typed rows. All read shared catalogs only."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.rows import TupleRow, class_row

from tenantry.pg import instance_roles, names
from tenantry.pg.connections import ADMIN, Address, connect, fetch_value
from tenantry.pg.hardening import LOGGING, PLATFORM_DATABASES


@dataclass(frozen=True, slots=True)
class RoleState:
    """The state of a tenant's role."""

    name: str
    can_login: bool
    max_connections: int


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The defaults of all sessions in a database, by name, and its connection limit.

    A connection limit of -1 is none. The defaults are those of ``MANAGED`` that are set.
    """

    defaults: dict[str, str]
    connection_limit: int


# Of the parameters that a database can have defaults of, those that the platform sets.
MANAGED = (
    "TimeZone",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "temp_file_limit",
    *LOGGING,
)


@dataclass(frozen=True, slots=True)
class DatabaseUse:
    """Counters of one database since ``counted_since``, and its size in bytes."""

    name: str
    size_bytes: int
    connections: int
    committed: int
    rolled_back: int
    cache_hit_ratio: float | None
    blocks_read: int


@dataclass(frozen=True, slots=True)
class RuleError:
    """A line of pg_hba.conf that the server cannot use."""

    line: int
    error: str


async def tenant_roles(connection: AsyncConnection[TupleRow]) -> dict[str, RoleState]:
    """Return all tenants' roles that the platform has created, by name."""
    async with connection.cursor(row_factory=class_row(RoleState)) as cursor:
        await cursor.execute(
            sql.SQL("""
            SELECT rolname AS name, rolcanlogin AS can_login, rolconnlimit AS max_connections
            FROM pg_roles WHERE {is_tenants} AND {is_ours}
            """).format(
                is_tenants=names.sql_tenants_role("rolname"),
                is_ours=instance_roles.sql_created_by_the_platform("pg_roles.oid"),
            )
        )
        return {role.name: role for role in await cursor.fetchall()}


async def roles_with_password(connection: AsyncConnection[TupleRow]) -> set[str]:
    """Return the tenants' roles that have a password. For a superuser."""
    cursor = await connection.execute(
        sql.SQL("""
        SELECT rolname FROM pg_authid
        WHERE {is_tenants} AND rolpassword IS NOT NULL
        """).format(is_tenants=names.sql_tenants_role("rolname"))
    )
    return {name for (name,) in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Login:
    """The login rights of a tenant's role. A ``verifier`` is a secret; None is no password."""

    can_login: bool
    max_connections: int
    verifier: str | None = field(repr=False)

    @property
    def opens(self) -> bool:
        """Whether a client that knows the password can log in."""
        return self.can_login and self.verifier is not None


async def logins(connection: AsyncConnection[TupleRow]) -> dict[str, Login]:
    """Return the login rights of tenants' roles with the verifiers, by name. For a superuser."""
    cursor = await connection.execute(
        sql.SQL("""
        SELECT rolname, rolcanlogin, rolconnlimit, rolpassword FROM pg_authid
        WHERE {is_tenants} AND {is_ours}
        """).format(
            is_tenants=names.sql_tenants_role("rolname"),
            is_ours=instance_roles.sql_created_by_the_platform("pg_authid.oid"),
        )
    )
    return {name: Login(*login) for name, *login in await cursor.fetchall()}


async def roles_of(connection: AsyncConnection[TupleRow], username: str) -> list[str]:
    """Return those of a database's owner role and additional roles that exist."""
    cursor = await connection.execute(
        sql.SQL(
            "SELECT rolname FROM pg_roles WHERE (rolname = %s OR starts_with(rolname, %s))"
            " AND {is_ours} ORDER BY 1"
        ).format(is_ours=instance_roles.sql_created_by_the_platform("pg_roles.oid")),
        (username, names.beginning_of_additional(username)),
    )
    return [name for (name,) in await cursor.fetchall()]


async def databases_beside(connection: AsyncConnection[TupleRow], database: str) -> list[str]:
    """Return the databases that belong to a main one: shadow, staging, retained and others."""
    cursor = await connection.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1",
        (names.beginning_of_those_beside(database),),
    )
    return [name for (name,) in await cursor.fetchall()]


async def connectable(connection: AsyncConnection[TupleRow]) -> dict[str, set[str]]:
    """Return the tenants' roles that may connect to each database, by database."""
    cursor = await connection.execute(
        sql.SQL("""
        SELECT d.datname, array_agg(r.rolname::text)
        FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a
            JOIN pg_roles r ON r.oid = a.grantee
        WHERE a.privilege_type = 'CONNECT' AND {is_tenants}
        GROUP BY d.datname
        """).format(is_tenants=names.sql_tenants_role("r.rolname"))
    )
    return {database: set(roles) for database, roles in await cursor.fetchall()}


async def dependencies_of(connection: AsyncConnection[TupleRow], username: str) -> list[str]:
    """Return the databases in which a role owns something or has been granted something."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
        WHERE s.refclassid = 'pg_authid'::regclass
          AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)
        ORDER BY 1
        """,
        (username,),
    )
    return [name for (name,) in await cursor.fetchall()]


async def databases_with_objects_of(
    connection: AsyncConnection[TupleRow], username: str
) -> list[str]:
    """Return the databases in which a role owns something."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o'
          AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)
        ORDER BY 1
        """,
        (username,),
    )
    return [name for (name,) in await cursor.fetchall()]


async def tenant_databases(connection: AsyncConnection[TupleRow]) -> dict[str, DatabaseState]:
    """Return all databases that are not the platform's own, by name."""
    cursor = await connection.execute(
        """
        SELECT d.datname, d.datconnlimit, s.setconfig
        FROM pg_database d
        LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0
        WHERE d.datname <> ALL (%s)
        """,
        (list(PLATFORM_DATABASES),),
    )
    return {
        name: DatabaseState(
            {
                parameter: value
                for parameter, _, value in (each.partition("=") for each in defaults or ())
                if parameter in MANAGED
            },
            limit,
        )
        for name, limit, defaults in await cursor.fetchall()
    }


async def defaults_set(
    connection: AsyncConnection[TupleRow], names: Sequence[str]
) -> set[tuple[str, str]]:
    """Return which of these databases have a default of ``MANAGED``, each with that parameter."""
    cursor = await connection.execute(
        """
        SELECT d.datname, split_part(setting, '=', 1)
        FROM pg_database d
            JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0,
            unnest(s.setconfig) setting
        WHERE d.datname = ANY (%s) AND split_part(setting, '=', 1) = ANY (%s)
        """,
        (list(names), list(MANAGED)),
    )
    return {(name, parameter) for name, parameter in await cursor.fetchall()}


async def database_use(
    connection: AsyncConnection[TupleRow], names: list[str]
) -> dict[str, DatabaseUse]:
    """Return size, sessions and counters of these databases, without connecting to them."""
    async with connection.cursor(row_factory=class_row(DatabaseUse)) as cursor:
        await cursor.execute(
            """
            SELECT d.datname AS name, pg_database_size(d.oid) AS size_bytes,
                   coalesce(s.numbackends, 0) AS connections,
                   coalesce(s.xact_commit, 0) AS committed,
                   coalesce(s.xact_rollback, 0) AS rolled_back,
                   s.blks_hit::float8 / nullif(s.blks_hit + s.blks_read, 0) AS cache_hit_ratio,
                   coalesce(s.blks_read, 0) AS blocks_read
            FROM pg_database d LEFT JOIN pg_stat_database s ON s.datid = d.oid
            WHERE d.datname = ANY (%s)
            """,
            (names,),
        )
        return {use.name: use for use in await cursor.fetchall()}


async def counted_since(address: Address, name: str) -> dt.datetime | None:
    """Return since when the server counts what happens in a database; None if it is not there.

    Counters begin with a database (a restore in place makes another one of that name), and again
    when they are reset, or lost in a crash of the server: then those of the write-ahead log began
    again, too. Only a superuser may ask for the time of a file.
    """
    async with connect(address, user=ADMIN) as admin:
        found = await fetch_value(
            admin,
            """
            SELECT greatest(s.stats_reset, w.stats_reset,
                (pg_stat_file('base/' || d.oid || '/PG_VERSION', true)).modification)
            FROM pg_database d LEFT JOIN pg_stat_database s ON s.datid = d.oid, pg_stat_wal w
            WHERE d.datname = %s
            """,
            (name,),
        )
        return found if isinstance(found, dt.datetime) else None


async def shared_buffers(connection: AsyncConnection[TupleRow]) -> int:
    """Return the bytes of the server's shared buffers."""
    query = "SELECT pg_size_bytes(current_setting('shared_buffers'))"
    row = await (await connection.execute(query)).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class Activity:
    """Open sessions of a database, and its transactions since its counters began."""

    sessions: int
    transactions: int


async def activity(connection: AsyncConnection[TupleRow]) -> dict[str, Activity]:
    """Return the activity of every database, by name."""
    cursor = await connection.execute(
        "SELECT datname, numbackends, xact_commit + xact_rollback FROM pg_stat_database"
        " WHERE datname IS NOT NULL"
    )
    return {name: Activity(open_, done) for name, open_, done in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class SessionCount:
    """The number of sessions begun in a database, and whether one of a tenant is open."""

    started: int
    tenants_open: bool


async def session_counts(connection: AsyncConnection[TupleRow]) -> dict[str, SessionCount]:
    """Return the client sessions of every database, by name, since its counters began."""
    cursor = await connection.execute(
        sql.SQL("""
        SELECT d.datname, d.sessions, EXISTS (
            SELECT FROM pg_stat_activity a
            WHERE a.datid = d.datid AND a.backend_type = 'client backend'
              AND NOT {is_platforms})
        FROM pg_stat_database d WHERE d.datname IS NOT NULL
        """).format(is_platforms=names.sql_platforms("a.usename"))
    )
    return {name: SessionCount(*counted) for name, *counted in await cursor.fetchall()}


async def sizes(connection: AsyncConnection[TupleRow], names: Sequence[str]) -> dict[str, int]:
    """Return the bytes that these databases take on disk, by name. About 0.5 ms for each."""
    cursor = await connection.execute(
        "SELECT datname, pg_database_size(oid) FROM pg_database WHERE datname = ANY (%s)",
        (list(names),),
    )
    return dict(await cursor.fetchall())


@dataclass(frozen=True, slots=True)
class Session:
    """An open session from an address. Its pid can be reused, but not with the same start."""

    pid: int
    began: dt.datetime
    username: str
    address: str
    port: int = 0  # its client's; 0 where nobody asks for it


async def sessions_in(connection: AsyncConnection[TupleRow], database: str) -> int:
    """Return how many sessions a database has. Autovacuum's do not count: they give way."""
    cursor = await connection.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = %s AND backend_type <> 'autovacuum worker'",
        (database,),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def open_transactions(connection: AsyncConnection[TupleRow]) -> int:
    """Return how many tenants' sessions are in a transaction."""
    cursor = await connection.execute(
        sql.SQL("""
        SELECT count(*) FROM pg_stat_activity
        WHERE xact_start IS NOT NULL AND backend_type = 'client backend'
          AND {is_tenants}
        """).format(is_tenants=names.sql_tenants_role("usename"))
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def can_clone(connection: AsyncConnection[TupleRow]) -> bool:
    """Whether the server can clone files: from PostgreSQL 18 on, where its system can."""
    cursor = await connection.execute(
        "SELECT 'clone' = ANY (enumvals) FROM pg_settings WHERE name = 'file_copy_method'"
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def admitted_anywhere(connection: AsyncConnection[TupleRow]) -> set[str]:
    """Return the tenants' roles that are members of both their arrival roles."""
    cursor = await connection.execute(
        sql.SQL("""
        SELECT pg_get_userbyid(m.member)::text, g.rolname FROM pg_auth_members m
        JOIN pg_roles g ON g.oid = m.roleid WHERE {is_arrival}
        """).format(is_arrival=names.sql_arrival_role("g.rolname"))
    )
    found = await cursor.fetchall()
    there = set(found)
    return {
        name
        for name, _ in found
        if all((name, each) in there for each in names.arrival_roles(name))
    }


async def sessions_from_addresses(connection: AsyncConnection[TupleRow]) -> list[Session]:
    """Return the open sessions that came over the network; the others are the platform's."""
    async with connection.cursor(row_factory=class_row(Session)) as cursor:
        await cursor.execute(
            """
            SELECT pid, backend_start AS began, usename AS username,
                host(client_addr) AS address, client_port AS port
            FROM pg_stat_activity WHERE client_addr IS NOT NULL
            """
        )
        return await cursor.fetchall()


async def rule_errors(connection: AsyncConnection[TupleRow]) -> list[RuleError]:
    """Return the errors of the rule file on disk (pg_hba_file_rules); empty if it can be loaded."""
    async with connection.cursor(row_factory=class_row(RuleError)) as cursor:
        await cursor.execute(
            "SELECT line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL"
        )
        return await cursor.fetchall()


async def lock_holders(
    connection: AsyncConnection[TupleRow], *, part: int
) -> AsyncCursor[TupleRow]:
    """Declare the cursor ``holders``, in an open transaction.

    Each ``FETCH 1`` returns one row: the pids that hold at that moment more than one ``part``-th of
    the lock table (manual, section 20.12), or NULL. An open cursor has completed all look-ups of
    roles and rights, so that it needs no lock itself. (In FROM, the function would be called only
    once, for the whole result.)
    """
    cursor = connection.cursor()
    await cursor.execute(
        sql.SQL(
            """
            DECLARE holders NO SCROLL CURSOR FOR
            SELECT (SELECT array_agg(pid) FROM
                    (SELECT pid FROM (SELECT (pg_lock_status()).pid WHERE look > 0) AS lock
                     WHERE pid IS NOT NULL GROUP BY pid HAVING count(*) > {most}) AS held)
            FROM (SELECT generate_series(1, 1000000) AS look) AS looks
            """
        ).format(most=sql.Literal(await _lock_table_size(connection) // part))
    )
    return cursor


async def _lock_table_size(connection: AsyncConnection[TupleRow]) -> int:
    row = await (
        await connection.execute(
            "SELECT current_setting('max_locks_per_transaction')::int"
            " * current_setting('max_connections')::int"
        )
    ).fetchone()
    return int(row[0]) if row else 0


async def shared_catalogs(connection: AsyncConnection[TupleRow]) -> dict[str, int]:
    """Return the bytes of each catalog that all databases share, with its indexes, by name."""
    cursor = await connection.execute(
        "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
        " WHERE relisshared AND relkind = 'r'"
    )
    return dict(await cursor.fetchall())
