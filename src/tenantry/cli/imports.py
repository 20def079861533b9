"""``tenantry import``: a database from elsewhere into an empty one."""

import sys
from os import environ
from pathlib import Path
from typing import Annotated, Any

import typer

from tenantry.base.errors import InvalidInput, TenantryError
from tenantry.cli import output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.door import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.operations import StatementTimeout, Wait, follow

VARIABLE = "TENANTRY_IMPORT_FROM"
_MOST_SHOWN = 40
_UNMAPPED = "unmapped_roles"


def import_database(
    database: Named,
    *,
    file: Annotated[
        Path | None,
        typer.Option(help="A dump of pg_dump's: custom, tar or plain, gzipped or not; no server."),
    ] = None,
    schema: Annotated[
        list[str] | None, typer.Option(help="Only this schema; may be given again.")
    ] = None,
    exclude_table: Annotated[
        list[str] | None,
        typer.Option(metavar="SCHEMA.TABLE", help="Not this table; may be given again."),
    ] = None,
    map_role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="The database's login NEW stands for the source's role OLD in policies and grants;"
            " may be given again.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=4, help="How many tables at once.")] = 2,
    statement_timeout: StatementTimeout = None,
    env: In = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Copy a database from another PostgreSQL server, or from a dump, into an empty one.

    Asks for the connection string, which would else stay in your shell's history; or takes it
    from TENANTRY_IMPORT_FROM, or without a terminal from standard input.

    Examples:

        tenantry import shop

        tenantry import shop --file shop.sql.gz --map-role authenticated=app
    """
    if file is not None and (schema or exclude_table):
        raise InvalidInput.of("--file", "is read as it is: choose its contents with pg_dump.")
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/import"
        if file is None:
            wanted: Row = {
                "from": connection_string(),
                "schemas": schema or [],
                "exclude_tables": exclude_table or [],
                "map_roles": dict(map(_pair, map_role or [])),
                "jobs": jobs,
            }
            if statement_timeout is not None:
                wanted["statement_timeout_seconds"] = statement_timeout
            operation = _begin(api, path, wanted)
        else:
            operation = _send(
                api,
                path,
                file,
                jobs=jobs,
                statement_timeout_seconds=statement_timeout,
                map_role=map_role or [],
            )
        if wait:
            operation = follow(api, operation["id"])
    if as_json:
        output.as_json(operation)
        return
    if not wait:
        output.note(f"It has begun: tenantry operation watch {operation['id']}")
        return
    show_result(title(row), operation["result"])


def connection_string() -> str:
    """Where to import from, from wherever it leaves no trace.

    Raises InvalidInput if there is none.
    """
    if found := environ.get(VARIABLE, "").strip():
        return found
    if sys.stdin.isatty():
        return str(typer.prompt("Connection string", hide_input=True, err=True)).strip()
    if found := sys.stdin.readline().strip():
        return found
    raise InvalidInput.of(VARIABLE, "is not set, and standard input has no connection string.")


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.rpartition("=")
    if not equals or not old or not new:
        raise InvalidInput.of("--map-role", f"must be OLD=NEW, and is {text}.")
    return old, new


def _begin(api: Api, path: str, wanted: Row) -> Row:
    """Begin an import; on a terminal, ask before policies are left out for their roles."""
    if not sys.stdin.isatty():
        row: Row = api.post(path, wanted)
        return row
    try:
        row = api.post(path, {**wanted, "unmapped_roles": "refuse"})
    except TenantryError as error:
        if _UNMAPPED not in {each.code for each in error.fields}:
            raise
        output.note(str(error))
        output.note("With --map-role OLD=NEW a login of this database stands for a role.")
        typer.confirm("Leave these roles out?", abort=True, err=True)
        row = api.post(path, wanted)
    return row


def _send(api: Api, path: str, file: Path, **query: Any) -> Row:
    try:
        with file.open("rb") as dump:
            row: Row = api.upload(path, dump, **query)
    except OSError as error:
        raise InvalidInput.of("--file", f"{file} cannot be read: {error.strerror}.") from None
    return row


def show_result(where: str, result: Row) -> None:
    """Tell what came of an import."""
    tables = result["tables"]
    output.done(f"{where} has {len(tables):,} tables with {result['rows']:,} rows")
    for difference in result.get("differences", [])[:_MOST_SHOWN]:
        output.note(f"Differs: {output.plain(difference)}")
    for item in result["left_out"][:_MOST_SHOWN]:
        output.note(f"Left out: {output.plain(item)}")
