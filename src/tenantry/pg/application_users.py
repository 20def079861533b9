"""The tables of application users, which enabling them creates in a tenant's database.

They are the tenant's own, in its schema ``auth``, with the names of columns that migrations written
for Supabase refer to. Row-level security is on, without policies: besides their owner, only a role
that bypasses it reads them, whatever default privileges give to others.
"""

from typing import LiteralString

from psycopg import sql

from tenantry.pg.api_roles import ANONYMOUS, AUTHENTICATED, Connection
from tenantry.pg.connections import fetch_value

TABLES: dict[str, LiteralString] = {
    "users": """
        id pg_catalog.uuid PRIMARY KEY,
        email pg_catalog.text UNIQUE,
        encrypted_password pg_catalog.text,
        email_confirmed_at pg_catalog.timestamptz,
        last_sign_in_at pg_catalog.timestamptz,
        banned_until pg_catalog.timestamptz,
        raw_app_meta_data pg_catalog.jsonb NOT NULL
            DEFAULT '{"provider": "email", "providers": ["email"]}',
        raw_user_meta_data pg_catalog.jsonb NOT NULL DEFAULT '{}',
        created_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
        updated_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now()
    """,
    "sessions": """
        id pg_catalog.uuid PRIMARY KEY,
        user_id pg_catalog.uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
        refresh_token_counter pg_catalog.int8 NOT NULL DEFAULT 0,
        method pg_catalog.text NOT NULL,
        created_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
        refreshed_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now()
    """,
    "one_time_tokens": """
        token_hash pg_catalog.bytea PRIMARY KEY,
        user_id pg_catalog.uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
        token_type pg_catalog.text NOT NULL,
        created_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
        UNIQUE (user_id, token_type)
    """,
}
_INDEX: LiteralString = "CREATE INDEX sessions_user_id_idx ON auth.sessions (user_id, refreshed_at)"


class ForeignTable(Exception):
    """A table of the schema ``auth`` is another application's."""


async def prepare(inside: Connection, tenant: str) -> None:
    """Create the tables, as their tenant, where they are missing.

    Those that exist are left as they are. Raises ForeignTable if one of them lacks a column that is
    needed.
    """
    await inside.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(tenant)))
    there = await _columns(inside)
    for name, definition in TABLES.items():
        if name not in there:
            await _create(inside, name, definition)
            continue
        if missing := _names(definition) - there[name]:
            raise ForeignTable(f"auth.{name} has no column {min(missing)}")
    if "sessions" not in there:
        await inside.execute(_INDEX)
    await inside.execute("RESET ROLE")


async def are_owned(inside: Connection) -> bool:
    """Whether there is a table ``auth.users``, of the session's roles."""
    found = await fetch_value(
        inside,
        """
        SELECT pg_has_role(c.relowner, 'USAGE')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'auth' AND c.relname = 'users' AND c.relkind = 'r'
        """,
    )
    return bool(found)


async def _columns(inside: Connection) -> dict[str, set[str]]:
    cursor = await inside.execute(
        """
        SELECT c.relname, a.attname FROM pg_catalog.pg_attribute a
            JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'auth' AND c.relname = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped
        """,
        (list(TABLES),),
    )
    found: dict[str, set[str]] = {}
    for table, column in await cursor.fetchall():
        found.setdefault(table, set()).add(column)
    return found


async def _create(inside: Connection, name: str, definition: LiteralString) -> None:
    table = sql.Identifier("auth", name)
    others = sql.SQL(", ").join(map(sql.Identifier, (ANONYMOUS, AUTHENTICATED)))
    for statement in (
        sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(definition)),
        sql.SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(table, others),
        sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(table),
    ):
        await inside.execute(statement)


def _names(definition: str) -> set[str]:
    """Return the names of the columns in a table's definition."""
    lines = [line.strip() for line in definition.strip().splitlines()]
    return {line.partition(" ")[0] for line in lines if line[0].islower()}
