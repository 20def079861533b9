"""The contents of a database, as PostgreSQL's own definitions, so that two can be compared.

For a session of ``logins.inside``, which resolves names in pg_catalog: definitions name everything
with its schema, and no code of the tenant is called. Members of extensions, and the tables of
migration runners, are left out.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict
from tenantry.pg import logins
from tenantry.pg.connections import Address, fetch_bounded


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """A table, a column, a policy … ``part_of`` is the object that it belongs to, or empty."""

    kind: str
    name: str
    part_of: str = ""


Description = dict[Thing, str]

# One statement, and so one moment. Each row is a kind, a name, what it is part of, a definition.
_EVERYTHING: LiteralString = """
WITH schemas AS (
    SELECT n.oid, n.nspowner, n.nspacl, n.nspname, quote_ident(n.nspname) AS name
    FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
          AND d.objid = n.oid AND d.deptype = 'e')
),
relations AS (
    SELECT c.oid, c.relkind, c.relowner, c.relpersistence, c.reloptions, c.relrowsecurity,
        c.relforcerowsecurity, c.relacl, c.relpartbound, c.oid::regclass::text AS name
    FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace
    WHERE c.relname NOT IN ('schema_migrations', 'tenantry_migrations')
      AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
          AND d.objid = c.oid AND d.deptype = 'e')
),
functions AS (
    SELECT p.oid, p.prokind, p.proowner, p.proacl, format('%%s.%%s(%%s)', s.name,
        quote_ident(p.proname), pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc p JOIN schemas s ON s.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
          AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
),
columns AS (
    SELECT o.relkind, o.name AS relation, o.name || '.' || quote_ident(a.attname) AS name, a.*
    FROM relations o JOIN pg_attribute a ON a.attrelid = o.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped
),
-- Who may do what, besides the owner: PUBLIC, and the roles that are asked about.
granted AS (
    SELECT object, CASE acl.grantee WHEN 0 THEN 'public'
            ELSE pg_get_userbyid(acl.grantee)::text END AS grantee,
        lower(acl.privilege_type)
            || CASE WHEN acl.is_grantable THEN ' with grant option' ELSE '' END AS privilege
    FROM (
        SELECT name AS object, relacl AS rights FROM relations
        UNION ALL SELECT name, attacl FROM columns
        UNION ALL SELECT name, coalesce(proacl, acldefault('f', proowner)) FROM functions
        UNION ALL SELECT name, nspacl FROM schemas
    ) objects, aclexplode(rights) acl
)

SELECT 'schema' AS kind, name, '' AS part_of, 'owner ' || pg_get_userbyid(nspowner) AS definition
FROM schemas

UNION ALL
SELECT 'extension', quote_ident(extname), '', 'schema ' || extnamespace::regnamespace::text
FROM pg_extension WHERE extname <> 'plpgsql'

UNION ALL
SELECT CASE o.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
        WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' WHEN 'f' THEN 'foreign table'
        ELSE 'table' END,
    o.name, coalesce(owning.name, ''),
    concat_ws(', ', 'owner ' || pg_get_userbyid(o.relowner),
        CASE o.relpersistence WHEN 'u' THEN 'unlogged' END,
        'partitioned by ' || pg_get_partkeydef(o.oid),
        'child of ' || (SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)
            FROM pg_inherits WHERE inhrelid = o.oid),
        pg_get_expr(o.relpartbound, o.oid),
        'with (' || array_to_string(o.reloptions, ', ') || ')',
        CASE WHEN o.relkind IN ('v', 'm') THEN E'as\n' || pg_get_viewdef(o.oid) END,
        (SELECT format('%%s start %%s increment %%s from %%s to %%s cache %%s%%s',
            format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache,
            CASE WHEN seqcycle THEN ' cycle' END)
         FROM pg_sequence WHERE seqrelid = o.oid))
FROM relations o LEFT JOIN LATERAL (
    SELECT d.refobjid::regclass::text AS name, d.deptype FROM pg_depend d
    WHERE o.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = o.oid
      AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1
) owning ON true
-- That of an identity column goes with the column.
WHERE owning.deptype IS DISTINCT FROM 'i'

UNION ALL
SELECT 'row security', name, name,
    CASE WHEN NOT relrowsecurity THEN 'off' WHEN relforcerowsecurity THEN 'on, forced'
        ELSE 'on, but not for the owner' END
FROM relations WHERE relkind IN ('r', 'p')

UNION ALL
SELECT 'column', a.name, a.relation,
    concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> t.typcollation
            THEN 'collate ' || a.attcollation::regcollation::text END,
        CASE WHEN a.attnotnull THEN 'not null' END,
        CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity' END,
        CASE a.attgenerated WHEN '' THEN 'default ' ELSE 'generated ' END
            || pg_get_expr(f.adbin, f.adrelid))
FROM columns a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
WHERE a.relkind IN ('r', 'p', 'f', 'c')

UNION ALL
SELECT 'constraint', o.name || '.' || quote_ident(k.conname), o.name, pg_get_constraintdef(k.oid)
FROM relations o JOIN pg_constraint k ON k.conrelid = o.oid
WHERE k.contype IN ('c', 'p', 'u', 'f', 'x')

UNION ALL
SELECT 'index', i.indexrelid::regclass::text, o.name,
    pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END
FROM relations o JOIN pg_index i ON i.indrelid = o.oid
WHERE NOT EXISTS (SELECT FROM pg_constraint k
    WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))

UNION ALL
SELECT 'policy', o.name || '.' || quote_ident(p.polname), o.name,
    concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
        'for', CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert'
            WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
        'to', (SELECT string_agg(name, ', ' ORDER BY name) FROM (
            SELECT CASE role WHEN 0 THEN 'public' ELSE pg_get_userbyid(role)::text END AS name
            FROM unnest(p.polroles) role) whom),
        'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
        'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
FROM relations o JOIN pg_policy p ON p.polrelid = o.oid

UNION ALL
SELECT 'trigger', o.name || '.' || quote_ident(t.tgname), o.name,
    pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' (disabled)'
        WHEN 'R' THEN ' (on replicas only)' ELSE ' (always)' END
FROM relations o JOIN pg_trigger t ON t.tgrelid = o.oid
WHERE NOT t.tgisinternal

UNION ALL
SELECT 'rule', o.name || '.' || quote_ident(r.rulename), o.name, pg_get_ruledef(r.oid)
FROM relations o JOIN pg_rewrite r ON r.ev_class = o.oid
WHERE NOT (r.rulename = '_RETURN' AND o.relkind IN ('v', 'm'))

UNION ALL
SELECT CASE o.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
    o.name, '', 'owner ' || pg_get_userbyid(o.proowner) || E'\n' || CASE o.prokind
        WHEN 'a' THEN (SELECT format('%%s, %%s', aggtransfn, format_type(aggtranstype, NULL))
            FROM pg_aggregate WHERE aggfnoid = o.oid)
        ELSE pg_get_functiondef(o.oid) END
FROM functions o

UNION ALL
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, format_type(t.oid, NULL), '',
    concat_ws(' ', 'owner ' || pg_get_userbyid(t.typowner),
        (SELECT 'enum (' || string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
            || ')' FROM pg_enum WHERE enumtypid = t.oid),
        (SELECT 'range of ' || format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = t.oid),
        CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
        CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault,
        (SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
            FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'))
FROM pg_type t JOIN schemas s ON s.oid = t.typnamespace
WHERE t.typtype IN ('d', 'e', 'r')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
      AND d.objid = t.oid AND d.deptype = 'e')

UNION ALL
SELECT 'grant', object || ' to ' || grantee, object, string_agg(privilege, ', ' ORDER BY privilege)
FROM granted WHERE grantee = ANY (%s) GROUP BY object, grantee
"""


async def describe(session: AsyncConnection[TupleRow], roles: Collection[str]) -> Description:
    """Return all objects, and what ``roles`` and PUBLIC may do with them.

    Raises Conflict if that is more than 16 MiB.
    """
    rows = await fetch_bounded(session, _EVERYTHING, ([*roles, "public"],))
    return {Thing(kind, name, part_of): definition for kind, name, part_of, definition in rows}


async def read(address: Address, database: str, owner: str, roles: Collection[str]) -> Description:
    """Describe a database as its owner role sees it. Raises Conflict, Unavailable."""
    try:
        async with logins.inside(address, database, [owner]) as session:
            return await describe(session, roles)
    except psycopg.Error as error:
        raise Conflict(
            f"The contents of the database cannot be read: {error.diag.message_primary or error}",
            hint="Somebody changes it now. Try again.",
        ) from error


def renamed(description: Description, old: str, new: str) -> Description:
    """Return the description with role ``old``, and objects named after it, renamed to ``new``."""
    return {
        Thing(thing.kind, thing.name.replace(old, new), thing.part_of.replace(old, new)): (
            definition.replace(old, new)
        )
        for thing, definition in description.items()
    }


Status = Literal["missing", "extra", "changed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between what is expected of a database and what is there.

    Definitions are in PostgreSQL's words. ``drift`` is false for an object that was only added.
    """

    kind: str
    name: str
    status: Status
    expected: str | None
    found: str | None
    drift: bool


def differences(expected: Description, there: Description) -> list[Difference]:
    """Return the differences between the expected objects and those there, by kind and name.

    If an object as a whole is missing or extra, its parts are not listed. Objects that were added
    are listed, but are no drift.
    """
    wanted, had = {thing.name for thing in expected}, {thing.name for thing in there}
    found: list[Difference] = []
    for thing in sorted(expected.keys() | there.keys()):
        want, have = expected.get(thing), there.get(thing)
        if want == have or (thing.part_of and (thing.part_of in wanted) != (thing.part_of in had)):
            continue
        status: Status = "extra" if want is None else "missing" if have is None else "changed"
        drift = status != "extra" or thing.part_of in wanted
        found.append(Difference(thing.kind, thing.name, status, want, have, drift))
    return found
