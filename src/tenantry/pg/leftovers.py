"""Find the objects in a database that a new one does not have: an import needs an empty one."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import api_roles, application_users
from tenantry.pg.connections import fetch_bounded, fetch_value

_PLURALS = {
    "schema": "schemas",
    "table": "tables",
    "view": "views",
    "sequence": "sequences",
    "function": "functions",
    "type": "types",
    "large object": "large objects",
}

# For the objects of a schema of its own, only the schema is listed. Members of an extension are
# left out, and so is a schema that was created for extensions alone, or by enabling a data API.
_THERE = """
    SELECT kind, count(*)::int, (array_agg(name ORDER BY name))[1:5]
    FROM (
        SELECT 'schema' AS kind, n.oid, 'pg_namespace'::regclass AS class,
            format('%I', n.nspname) AS name
        FROM pg_namespace n
        WHERE n.nspname NOT IN ('public', 'information_schema')
          AND NOT starts_with(n.nspname, 'pg_')
          AND (NOT EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid)
               OR EXISTS (
                   SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND NOT EXISTS (
                       SELECT FROM pg_depend d
                       WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                         AND d.deptype IN ('e', 'i', 'a'))))
          AND n.nspname <> ALL ({prepared}::text[])
        UNION ALL
        SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
                   ELSE 'table' END,
            c.oid, 'pg_class'::regclass, format('%I.%I', n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relpersistence <> 't'
          AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
          AND NOT EXISTS (
              SELECT FROM pg_depend d
              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S'
                AND d.deptype IN ('a', 'i'))
        UNION ALL
        SELECT 'function', p.oid, 'pg_proc'::regclass, format('%I.%I', n.nspname, p.proname)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'public'
        UNION ALL
        SELECT 'type', t.oid, 'pg_type'::regclass, format('%I.%I', n.nspname, t.typname)
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
            LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE n.nspname = 'public' AND (t.typtype IN ('d', 'e', 'r') OR c.relkind = 'c')
        UNION ALL
        SELECT 'large object', l.oid, 'pg_largeobject'::regclass, l.oid::text
        FROM pg_largeobject_metadata l
    ) there
    WHERE NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = there.class AND d.objid = there.oid AND d.deptype = 'e')
    GROUP BY kind
"""

# Nothing but what enabling a data API, with application users or without, creates in its schema.
_PREPARED = """
    SELECT coalesce(bool_or(c.relname = 'users'), false)
    FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind <> 'i'
    WHERE n.nspname = 'auth' AND pg_has_role(n.nspowner, 'USAGE')
    GROUP BY n.oid
    HAVING coalesce(bool_and(c.relkind = 'r' AND c.relname = ANY (%s)
                             AND NOT c.relforcerowsecurity
                             AND pg_has_role(c.relowner, 'USAGE')), true)
        AND (SELECT bool_and(p.pronargs = 0 AND p.proname = ANY (%s))
             FROM pg_proc p WHERE p.pronamespace = n.oid)
        AND NOT EXISTS (SELECT FROM pg_type t
                        WHERE t.typnamespace = n.oid AND t.typtype IN ('d', 'e', 'r'))
"""
_HAS_USERS = "SELECT EXISTS (SELECT FROM auth.users)"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Objects of one kind; ``names`` are the first of them, quoted as SQL needs it."""

    kind: str
    count: int
    names: Sequence[str]

    def __str__(self) -> str:
        kind = self.kind if self.count == 1 else _PLURALS[self.kind]
        more = self.count - len(self.names)
        return f"{kind} {', '.join(self.names)}" + (f" and {more:,} more" if more else "")


async def find(session: AsyncConnection[TupleRow]) -> list[Leftovers]:
    """Return the objects in a database, schemas first; empty if it is like a new one.

    One that a data API was enabled for is like a new one, until its application has users.
    """
    prepared = ["auth"] if await _is_prepared(session) else []
    rows = await fetch_bounded(session, sql.SQL(_THERE).format(prepared=sql.Literal(prepared)))
    there = {kind: Leftovers(kind, count, names) for kind, count, names in rows}
    return [there[kind] for kind in _PLURALS if kind in there]


async def _is_prepared(session: AsyncConnection[TupleRow]) -> bool:
    """Whether the schema ``auth`` is that of a data API, without users so far."""
    made = ([*application_users.TABLES], [*api_roles.FUNCTIONS])
    has_users = await fetch_value(session, _PREPARED, made)  # a table of them
    return has_users is not None and not (has_users and await fetch_value(session, _HAS_USERS))
