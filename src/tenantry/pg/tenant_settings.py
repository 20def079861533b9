"""Settings of a tenant's own sessions, for a visitor that runs the tenant's functions.

A function that names another one without its schema finds it by the search path. PostgreSQL calls
the functions of a table's indexes even to plan a count of its rows.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import role_settings, visitors
from tenantry.pg.connections import Address
from tenantry.pg.visitors import Visitor

Connection = AsyncConnection[TupleRow]
Settings = Mapping[str, str]

USUAL: Settings = {"search_path": '"$user", public'}
# Values are the same text in each session, and each text is one value, whatever a role has set.
EXACT: Settings = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "array_nulls": "on",
    "transform_null_equals": "off",
}
# Settings that decide what functions do, and not limits or logging.
_DECIDES = {
    "datestyle",
    "default_text_search_config",
    "intervalstyle",
    "lc_numeric",
    "lc_time",
    "search_path",
    "timezone",
    "xmlbinary",
}


def deciding(settings: Settings) -> dict[str, str]:
    """Return those of a role's settings that may change what functions do."""
    return {name: value for name, value in settings.items() if name.lower() in _DECIDES}


async def settings_of(address: Address, role: str, database: str) -> dict[str, str]:
    """Return the initial settings of a role's sessions that decide what its functions do."""
    set_for_it = await role_settings.of_login(address, role, database)
    found = {**USUAL} | deciding(set_for_it)
    own = sql.Identifier(role).as_string()
    return found | {"search_path": found["search_path"].replace('"$user"', own)}


async def with_all_schemas(inside: Connection, settings: Settings) -> dict[str, str]:
    """Return the settings with all schemas of a database at the end of the search path.

    A session may have set another path for itself than its role has.
    """
    cursor = await inside.execute(
        """
        SELECT quote_ident(nspname) FROM pg_namespace
        WHERE NOT starts_with(nspname, 'pg_') AND nspname <> 'information_schema' ORDER BY 1
        """
    )
    schemas = [name for (name,) in await cursor.fetchall()]
    return {**settings} | {"search_path": ", ".join([settings["search_path"], *schemas])}


@asynccontextmanager
async def reading(visitor: Visitor, database: str, settings: Settings) -> AsyncIterator[Connection]:
    """Open a session to read tables: names resolve in pg_catalog first, then as the tenant's."""
    async with visitors.connect_as(visitor, database) as inside:
        longer = await with_all_schemas(inside, settings)
    longer["search_path"] = f"pg_catalog, {longer['search_path']}"
    async with visitors.connect_as(visitor, database, longer) as inside:
        yield inside
