"""Inside a database that is a copy: transfer the objects of one tenant's roles to another role.

All of it is done by a visitor (see ``visitors``), who is a member of the roles concerned and of
nothing else. So ``DROP OWNED``, which would also revoke what these roles have outside this
database, cannot do so: the databases themselves are not theirs.
"""

from collections import defaultdict
from collections.abc import Collection
from typing import LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

Connection = AsyncConnection[TupleRow]

_PUBLIC = sql.SQL("PUBLIC")
_KINDS: dict[str, LiteralString] = {
    "r": "TABLES",
    "S": "SEQUENCES",
    "f": "ROUTINES",
    "T": "TYPES",
    "n": "SCHEMAS",
    "L": "LARGE OBJECTS",
}


async def hand_over(
    inside: Connection, *, first: str, others: Collection[str], new_owner: str
) -> None:
    """Make ``new_owner`` the owner of all that ``first`` or ``others`` own, in one transaction.

    ``new_owner`` also takes over the grants to ``first``, its default privileges, and its place in
    policies. The others lose their grants, and policies no longer name them; a policy for nobody
    else is dropped. None of the old roles is referred to in this database afterwards.
    """
    old = [first, *others]
    async with inside.transaction():
        # First, since the new owner of an object needs rights in its schema.
        await _give_schemas(inside, old, new_owner)
        await inside.execute(
            sql.SQL("REASSIGN OWNED BY {} TO {}").format(_names(old), sql.Identifier(new_owner))
        )
        await _grant_by_default(inside, first, new_owner)
        await _rename_in_policies(inside, first, others, new_owner)
        # One after the other: PostgreSQL 15 fails where one's default privileges name another.
        for role in (*others, first):
            await inside.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))


async def copy_settings(
    admin: Connection, *, first: str, source: str, new_owner: str, target: str
) -> None:
    """Copy to ``new_owner`` the settings of ``first``, those for all databases and for the source.

    As the superuser, in the maintenance database: there is no statement that copies settings, lists
    and quotes included. A tenant can only set what any session may.
    """
    async with admin.transaction():
        await admin.execute(
            "DELETE FROM pg_db_role_setting"
            " WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)",
            (new_owner,),
        )
        await admin.execute(
            """
            INSERT INTO pg_db_role_setting (setdatabase, setrole, setconfig)
            SELECT CASE WHEN s.setdatabase = 0 THEN 0
                        ELSE (SELECT oid FROM pg_database WHERE datname = %s) END,
                   (SELECT oid FROM pg_roles WHERE rolname = %s), s.setconfig
            FROM pg_db_role_setting s
            WHERE s.setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)
              AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = %s))
            """,
            (target, new_owner, first, source),
        )


def _names(roles: Collection[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, roles))


async def _give_schemas(inside: Connection, old: Collection[str], new_owner: str) -> None:
    cursor = await inside.execute(
        "SELECT nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = ANY (%s)", (list(old),)
    )
    for (schema,) in await cursor.fetchall():
        await inside.execute(
            sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(
                sql.Identifier(schema), sql.Identifier(new_owner)
            )
        )


async def _grant_by_default(inside: Connection, first: str, new_owner: str) -> None:
    """Give role ``new_owner`` the default privileges that ``first`` has."""
    cursor = await inside.execute(
        """
        SELECT d.defaclobjtype, n.nspname, a.grantee = 0, a.privilege_type, a.is_grantable
        FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
            LEFT JOIN LATERAL aclexplode(d.defaclacl) a ON a.grantee IN (0, d.defaclrole)
        WHERE d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = %s)
        """,
        (first,),
    )
    granted: dict[tuple[str, str | None], list[tuple[bool, str, bool]]] = defaultdict(list)
    for kind, schema, public, privilege, grantable in await cursor.fetchall():
        rights = granted[kind, schema]
        if privilege is not None:
            rights.append((public, privilege, grantable))
    for (kind, schema), rights in granted.items():
        what = sql.SQL(_KINDS[kind])
        alter = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {}").format(sql.Identifier(new_owner))
        if schema is None:
            # Entries for all schemas replace the built-in ones; those for one schema add to them.
            await inside.execute(
                sql.SQL("{} REVOKE ALL ON {} FROM PUBLIC, {}").format(
                    alter, what, sql.Identifier(new_owner)
                )
            )
        else:
            alter += sql.SQL(" IN SCHEMA {}").format(sql.Identifier(schema))
        for public, privilege, grantable in rights:
            await inside.execute(
                sql.SQL("{} GRANT {} ON {} TO {}{}").format(
                    alter,
                    sql.SQL(privilege),  # one of PostgreSQL's keywords
                    what,
                    _PUBLIC if public else sql.Identifier(new_owner),
                    sql.SQL(" WITH GRANT OPTION" if grantable else ""),
                )
            )


async def _rename_in_policies(
    inside: Connection, first: str, others: Collection[str], new_owner: str
) -> None:
    cursor = await inside.execute(
        """
        SELECT n.nspname, c.relname, p.polname,
               ARRAY(SELECT pg_get_userbyid(role)::text FROM unnest(p.polroles) role)
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (SELECT oid FROM pg_roles WHERE rolname = %s) = ANY (p.polroles)
        """,
        (first,),
    )
    for schema, table, policy, roles in await cursor.fetchall():
        kept = [new_owner, *(role for role in roles if role not in {first, new_owner, *others})]
        await inside.execute(
            sql.SQL("ALTER POLICY {} ON {} TO {}").format(
                sql.Identifier(policy), sql.Identifier(schema, table), _names(kept)
            )
        )
