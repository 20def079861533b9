"""Give away, or drop, all that a role owns in a database.

In batches, since each object takes a lock and all share the lock table: what failed in between must
be repeated.
"""

from typing import LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.connections import fetch_value

Connection = AsyncConnection[TupleRow]

_BATCH = 1000
# A column's sequence changes owner with its table, and cannot alone.
_GIVE_A_BATCH: LiteralString = """
    DO $$
    DECLARE each regclass;
    BEGIN
        FOR each IN
            SELECT oid FROM pg_class c
            WHERE relowner = current_user::regrole AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
              AND NOT (relkind = 'S' AND EXISTS (
                  SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
            LIMIT 300
        LOOP
            EXECUTE format(
                'ALTER TABLE %s OWNER TO %I', each, current_setting('tenantry.new_owner'));
        END LOOP;
    END $$
"""
_DROP_A_BATCH: LiteralString = """
    DO $$
    DECLARE each record;
    BEGIN
        FOR each IN
            SELECT objid, type, identity
            FROM pg_shdepend, pg_identify_object(classid, objid, 0)
            WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
              AND refobjid = current_user::regrole
              AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
              AND identity IS NOT NULL
              -- What is part of an extension, a column or a type goes with that, not alone.
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = pg_shdepend.classid
                  AND d.objid = pg_shdepend.objid AND d.deptype IN ('e', 'x', 'i'))
            LIMIT 500
        LOOP
            IF each.type = 'large object' THEN
                PERFORM lo_unlink(each.objid);
            ELSE
                BEGIN
                    EXECUTE 'DROP ' || each.type || ' IF EXISTS ' || each.identity || ' CASCADE';
                EXCEPTION WHEN dependent_objects_still_exist OR syntax_error THEN
                    NULL;  -- an aggregate of any arguments, for example: it goes in the end
                END;
            END IF;
        END LOOP;
    END $$
"""


async def count(connection: Connection, name: str) -> int:
    """Return how many objects a role owns, in all databases of a server."""
    found = await fetch_value(
        connection,
        "SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass"
        " AND deptype = 'o' AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)",
        (name,),
    )
    return int(str(found))


async def give(inside: Connection, name: str, owner: str) -> None:
    """Give all that the session's own role ``name`` owns in its database to another role.

    Its rights there are revoked.
    """
    me, to = sql.Identifier(name), sql.Identifier(owner)
    cursor = await inside.execute(
        "SELECT nspname FROM pg_namespace WHERE nspowner = current_user::regrole"
    )
    # Schemas before their contents: the new owner of a function must have rights in its schema.
    for (schema,) in await cursor.fetchall():
        await inside.execute(
            sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(schema), to)
        )
    await inside.execute("SELECT set_config('tenantry.new_owner', %s, false)", (owner,))
    await _in_batches(inside, name, _GIVE_A_BATCH)
    async with inside.transaction():
        await inside.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(me, to))
        await inside.execute(sql.SQL("DROP OWNED BY {}").format(me))


async def drop(inside: Connection, name: str) -> None:
    """Drop all that the session's own role ``name`` owns in its database, and its rights there.

    What depends on that is dropped, too.
    """
    await _in_batches(inside, name, _DROP_A_BATCH)
    await inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))


async def _in_batches(inside: Connection, name: str, do: LiteralString) -> None:
    """Run ``do`` until one transaction can take the remaining objects, or nothing changes."""
    left = await count(inside, name)
    while left > _BATCH:
        await inside.execute(do)
        before, left = left, await count(inside, name)
        if left == before:
            break
