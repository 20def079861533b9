"""The statements that the data API sends for requests, as scripts of pgbench."""

from collections.abc import Mapping, Sequence

import psycopg

from tenantry_rest import Authenticator, Config, HttpRequest, Schema, load_schema
from tenantry_rest.plan.planning import make_plan
from tenantry_rest.request.model import parse_request
from tenantry_rest.schema.model import RoleSettings
from tenantry_rest.sql.fragments import Rendered
from tenantry_rest.sql.statements import settings_statement, statements_of
from tenantry_rest.transaction import settings

MOST_BYTES = 16 * 1024 * 1024


async def pgbench_scripts(
    environment: Mapping[str, str], asked: Sequence[HttpRequest]
) -> list[str]:
    """Return a script for each request, to the database that an environment of libpq names."""
    config = Config(
        db_schemas=("public",), db_max_bytes=MOST_BYTES, jwt_secret=environment["JWT_SECRET"]
    )
    async with await psycopg.AsyncConnection.connect(
        host=environment["PGHOST"],
        port=environment["PGPORT"],
        user=environment["PGUSER"],
        password=environment["PGPASSWORD"],
        dbname=environment["PGDATABASE"],
        autocommit=True,
        prepare_threshold=None,
    ) as connection:
        schema = await load_schema(connection, config)
    authenticator = Authenticator(config)
    return [_script(each, schema, config, authenticator) for each in asked]


def _script(http: HttpRequest, schema: Schema, config: Config, authenticator: Authenticator) -> str:
    """A transaction in a pipeline."""
    caller = authenticator.caller(http.header("authorization"))
    request = parse_request(http, config)
    plan = make_plan(request, schema, config)
    given = settings(request, caller, config, RoleSettings(), None)
    statements = [settings_statement(given)]
    statements += [each.render() for each in statements_of(plan, request, config)]
    mode = "READ ONLY" if plan.read_only else "READ WRITE"
    lines = [f"BEGIN ISOLATION LEVEL READ COMMITTED {mode}"]
    lines += map(_inlined, statements)
    return "\n".join(
        ["\\startpipeline", *(f"{line};" for line in [*lines, "COMMIT"]), "\\endpipeline", ""]
    )


def _inlined(rendered: Rendered) -> str:
    """A statement with its parameters in it, and without colons: those begin variables."""
    text, values = rendered
    found = text.decode()
    for number in range(len(values), 0, -1):
        value = values[number - 1]
        given = value.decode() if isinstance(value, bytes) else value
        found = found.replace(f"${number}", _literal(given))
    return found


def _literal(value: object) -> str:
    assert value is None or isinstance(value, str)
    if value is None:
        return "NULL"
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace(":", "\\x3A")
    return f" E'{escaped}'"
