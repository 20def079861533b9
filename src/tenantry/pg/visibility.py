"""Limit the sessions, locks and counters that a tenant can see to those of its own databases.

PostgreSQL shows everybody the sessions of all databases. In tenants' databases the views of
``pg_catalog`` that do so (``pg_stat_activity``, ``pg_locks``, ``pg_stat_database`` and others) are
therefore replaced by ones of the same columns that show the rows of those databases that the login
may connect to. They read SECURITY DEFINER functions, which PostgreSQL never inlines, so that no
condition or function of a tenant's is applied to other rows. EXECUTE on the functions that
PostgreSQL's own views read is revoked. All of it is in ``pg_catalog``, which pg_dump leaves out and
no tenant can change.

``tenantry_template`` has it, and so has every database that is copied from it; ``ensure`` updates
those that are older.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.events import VisibilityLimited, emit
from tenantry.pg.connections import ADMIN, Address, connect, fetch_value

Connection = AsyncConnection[TupleRow]

_LOCK_SECONDS = 2  # a tenant's open transaction may hold the lock of a view that it has read

_BY_DATABASE = ("pg_stat_database", "pg_stat_database_conflicts")
# Of other roles' sessions, PostgreSQL shows only some columns in these ...
_MASKED = (
    "pg_stat_activity",
    "pg_stat_progress_analyze",
    "pg_stat_progress_cluster",
    "pg_stat_progress_copy",
    "pg_stat_progress_create_index",
    "pg_stat_progress_vacuum",
)
_OF_OTHERS = (
    "datid", "datname", "pid", "usesysid", "usename", "application_name", "backend_xid",
    "backend_xmin", "query",
)  # fmt: skip
# ... and nothing in these.
_ONLY_OWN = ("pg_stat_gssapi", "pg_stat_ssl")
VIEWS = (*_BY_DATABASE, *_MASKED, *_ONLY_OWN, "pg_locks")

# The functions that the template has in addition to PostgreSQL's own.
FUNCTIONS = (
    "pg_catalog.pg_blocking_pids(integer)",
    "pg_catalog.tenantry_sessions()",
    *(f"pg_catalog.tenantry_{view}()" for view in sorted(VIEWS)),
)

_DEFINER = sql.SQL("SECURITY DEFINER SET search_path = pg_catalog, pg_temp")
# The role that this connection was opened as. Not current_user, which is the definer here, nor
# session_user, which in autovacuum is the superuser while it runs an index's function.
_LOGIN = sql.SQL(
    """(SELECT r.oid, r.rolsuper FROM pg_catalog.pg_authid r
        JOIN pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a ON a.usesysid = r.oid
    ) l (oid, is_superuser)"""
)
# A superuser's VACUUM runs functions of indexes, too: so it may see no more than the tenant.
_MAY_CONNECT = sql.SQL(
    """CASE WHEN l.is_superuser THEN v.datid = (SELECT d.oid FROM pg_catalog.pg_database d
            WHERE d.datname = pg_catalog.current_database())
        ELSE pg_catalog.has_database_privilege(l.oid, v.datid, 'CONNECT') END"""
)

# pg_blocking_pids has a fixed oid, by which the server finds its code whatever the catalog says. So
# it gets another name, and its own name goes to a function that checks whose sessions it lists.
_BASE = sql.SQL(
    """
    CREATE OR REPLACE FUNCTION pg_catalog.tenantry_sessions()
        RETURNS TABLE (pid int, permitted boolean) LANGUAGE sql STABLE {definer}
    BEGIN ATOMIC
        SELECT v.pid, NOT l.is_superuser
            AND coalesce(pg_catalog.pg_has_role(l.oid, v.usesysid, 'USAGE'), false)
        FROM pg_catalog.pg_stat_get_activity(NULL) v, {login} WHERE {may_connect};
    END;
    UPDATE pg_catalog.pg_proc SET proname = 'pg_blocking_pids_of_all'
        WHERE prosrc = 'pg_blocking_pids' AND oid < 16384;
    CREATE OR REPLACE FUNCTION pg_catalog.pg_blocking_pids(integer) RETURNS integer[]
        LANGUAGE plpgsql STRICT VOLATILE {definer}
    AS $$ BEGIN
        IF EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity($1)) AND NOT EXISTS (
            SELECT FROM pg_catalog.tenantry_sessions() s WHERE s.pid = $1) THEN
            RAISE insufficient_privilege USING MESSAGE =
                pg_catalog.format('permission denied to examine process %s', $1);
        END IF;
        RETURN ARRAY(SELECT b.pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids_of_all($1))
            b (pid) WHERE b.pid IN (SELECT s.pid FROM pg_catalog.tenantry_sessions() s));
    END $$;
    """
).format(definer=_DEFINER, login=_LOGIN, may_connect=_MAY_CONNECT)

_VIEW = sql.SQL(
    """
    CREATE OR REPLACE FUNCTION {function}() RETURNS TABLE ({columns})
        LANGUAGE sql {volatility} {definer}
    BEGIN ATOMIC
        {before} SELECT {values} FROM ({definition}) v {rows};
    END;
    CREATE OR REPLACE VIEW {view} AS SELECT * FROM {function}();
    """
)

# Neither psql nor pg_dump needs any of these. (pg_dump reads pg_shdescription and
# pg_db_role_setting: they stay open, as pg_roles and pg_database do.) pg_logical_emit_message
# reveals nothing: it writes up to 1 GB of write-ahead log that belongs to no database's relations.
_CLOSED = sql.SQL(
    r"""
    SELECT oid FROM pg_catalog.pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
      AND (proname LIKE 'pg\_stat\_get\_backend\_%' OR proname LIKE 'pg\_stat\_get\_db\_%'
        OR proname IN (
            'pg_stat_get_activity', 'pg_stat_get_progress_info', 'pg_stat_get_subscription',
            'pg_stat_get_replication_slot', 'pg_get_replication_slots', 'pg_lock_status',
            'pg_blocking_pids_of_all', 'pg_safe_snapshot_blocking_pids',
            'pg_isolation_test_session_is_blocked', 'pg_tablespace_size',
            'pg_logical_emit_message', 'tenantry_sessions'))
    """
)

# A dump repeats changed rights on the system's own objects, and no tenant could restore it. So that
# pg_dump takes them for the initial rights, they are recorded as initdb records its own.
_RIGHTS = sql.SQL(
    """
    GRANT SELECT ON pg_catalog.pg_locks, pg_catalog.pg_stat_activity, pg_catalog.pg_stat_database
        TO PUBLIC;
    DO $$
    DECLARE closed pg_catalog.oid;
    BEGIN
        FOR closed IN {closed} LOOP
            EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC',
                closed::pg_catalog.regprocedure);
        END LOOP;
    END $$;
    WITH changed (objoid, classoid, acl) AS (
        SELECT oid, 'pg_class'::regclass, relacl FROM pg_catalog.pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace
          AND relname IN ('pg_locks', 'pg_stat_activity', 'pg_stat_database')
        UNION ALL
        SELECT oid, 'pg_proc'::regclass, proacl FROM pg_catalog.pg_proc WHERE oid IN ({closed})
    ), noted AS (
        UPDATE pg_catalog.pg_init_privs i SET initprivs = acl FROM changed c
        WHERE (i.objoid, i.classoid, i.objsubid) = (c.objoid, c.classoid, 0)
        RETURNING i.objoid
    )
    INSERT INTO pg_catalog.pg_init_privs (objoid, classoid, objsubid, privtype, initprivs)
    SELECT objoid, classoid, 0, 'i', acl FROM changed
    WHERE objoid NOT IN (SELECT objoid FROM noted);
    """
).format(closed=_CLOSED)


@dataclass(frozen=True, slots=True)
class Visibility:
    """The statements that limit what is visible in a database, and a mark that identifies them."""

    statements: str

    @property
    def mark(self) -> str:
        return hashlib.sha256(self.statements.encode()).hexdigest()


def _view(name: str, definition: str, columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """Redefine a view over a function that leaves out the rows of others.

    ``definition`` is PostgreSQL's own; ``columns`` are names and types.
    """
    now = name == "pg_locks"
    return _VIEW.format(
        function=sql.Identifier("pg_catalog", f"tenantry_{name}"),
        view=sql.Identifier("pg_catalog", name),
        columns=sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), _trusted(kind))
            for column, kind in columns
        ),
        definer=_DEFINER,
        volatility=sql.SQL("VOLATILE" if now else "STABLE"),
        # Sessions are as of the transaction's first look, and locks as of now: the process ID of a
        # session that has ended may be another tenant's by then.
        before=sql.SQL("SELECT pg_catalog.pg_stat_clear_snapshot();" if now else ""),
        values=sql.SQL(", ").join(_value(name, column) for column, _ in columns),
        definition=_trusted(definition),
        rows=_rows(name),
    )


def _trusted(text: str) -> sql.SQL:
    """Return SQL that PostgreSQL has written, of objects of its own."""
    return sql.SQL(text)


def _value(view: str, column: str) -> sql.Composed:
    value = sql.Identifier("v", column)
    if view not in _MASKED or (column in _OF_OTHERS and column != "query"):
        return sql.Composed([value])
    otherwise = "'<insufficient privilege>'" if column == "query" else "NULL"
    return sql.SQL("CASE WHEN s.permitted THEN {} ELSE {} END").format(value, sql.SQL(otherwise))


def _rows(view: str) -> sql.Composed:
    if view in _BY_DATABASE:
        return sql.SQL(", {} WHERE {}").format(_LOGIN, _MAY_CONNECT)
    permitted = sql.SQL("AND s.permitted" if view in _ONLY_OWN else "")
    return sql.SQL("JOIN pg_catalog.tenantry_sessions() s ON s.pid = v.pid {}").format(permitted)


async def wanted(maintenance: Connection) -> Visibility:
    """Return the statements and the mark for tenants' databases of a cluster.

    ``maintenance`` is in database ``postgres``, where the views are PostgreSQL's own.
    """
    cursor = await maintenance.execute(
        """
        SELECT c.relname, rtrim(pg_get_viewdef(c.oid), ';'),
            array_agg(a.attname::text ORDER BY a.attnum),
            array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname = ANY (%s)
        GROUP BY c.oid, c.relname ORDER BY c.relname
        """,
        (list(VIEWS),),
    )
    views = [
        _view(name, definition, list(zip(columns, kinds, strict=True)))
        for name, definition, columns, kinds in await cursor.fetchall()
    ]
    return Visibility(sql.Composed([_BASE, *views, _RIGHTS]).as_string(maintenance))


async def mark_of(session: Connection) -> str | None:
    """Return the mark in a session's database; None if nothing was done there."""
    found = await fetch_value(
        session,
        "SELECT pg_catalog.obj_description("
        "pg_catalog.to_regprocedure('pg_catalog.tenantry_sessions()'), 'pg_proc')",
    )
    return found if isinstance(found, str) else None


async def ensure(address: Address, database: str, wanted: Visibility) -> bool:
    """Limit what is visible in a database. Returns whether anything was changed.

    The bootstrap superuser does it, the only role that can. In a database that a tenant has used,
    none of its code runs: only objects of ``pg_catalog`` are named, and definitions run nothing.

    Raises psycopg.errors.LockNotAvailable while an open transaction has read one of the views.
    """
    async with connect(address, user=ADMIN, dbname=database, lock_seconds=_LOCK_SECONDS) as admin:
        if await mark_of(admin) == wanted.mark:
            return False
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("SET allow_system_table_mods = on")
        async with admin.transaction():
            await admin.execute(wanted.statements.encode())
            await admin.execute(
                sql.SQL("COMMENT ON FUNCTION pg_catalog.tenantry_sessions() IS {}").format(
                    sql.Literal(wanted.mark)
                )
            )
    emit(VisibilityLimited(database))
    return True
