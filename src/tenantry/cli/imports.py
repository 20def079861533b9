"""``tenantry import``: import an external database into an empty one."""

import sys
from functools import partial
from os import environ
from pathlib import Path
from typing import Annotated, Any

import typer

from tenantry.base.errors import InvalidInput
from tenantry.base.sizes import readable
from tenantry.cli import output, streams
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.operations import StatementTimeout, Wait, finish

VARIABLE = "TENANTRY_IMPORT_FROM"
_MOST_SHOWN = 40
_PREVIEW_SECONDS = 960.0  # the timeout of the preview of a large dump


File = Annotated[
    Path | None,
    typer.Option(
        help="A dump of pg_dump's: custom, tar or plain, gzipped or not; - is standard input."
    ),
]
Schemas = Annotated[list[str] | None, typer.Option(help="Only this schema; may be given again.")]
ExcludedTables = Annotated[
    list[str] | None,
    typer.Option(metavar="SCHEMA.TABLE", help="Not this table; may be given again."),
]
MappedRoles = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OLD=NEW",
        help="The database's login NEW stands for the source's role OLD in policies and grants;"
        " may be given again.",
    ),
]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview", help="Show tables, extensions and roles of the source; import nothing."
    ),
]
AcceptLosses = Annotated[
    bool,
    typer.Option("--accept-losses", help="Go on without what PostgreSQL does not build again."),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Leave out roles that are not here without asking.")
]


def import_database(
    database: Named,
    *,
    file: File = None,
    schema: Schemas = None,
    exclude_table: ExcludedTables = None,
    map_role: MappedRoles = None,
    jobs: Annotated[int, typer.Option(min=1, max=4, help="How many tables at once.")] = 2,
    preview: Preview = False,
    accept_losses: AcceptLosses = False,
    yes: Yes = False,
    statement_timeout: StatementTimeout = None,
    env: In = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Import a database from another PostgreSQL server, or from a dump, into an empty one.

    Asks for the connection string, which would otherwise stay in your shell's history; or takes it
    from TENANTRY_IMPORT_FROM, or without a terminal from standard input. On a terminal it then asks
    which role of the database replaces each role that policies or grants name.

    Examples:

        tenantry import shop

        tenantry import shop --file shop.sql.gz --map-role authenticated=app
    """
    if file is not None and (schema or exclude_table):
        raise InvalidInput.of("--file", "is read as it is: choose its contents with pg_dump.")
    how: Row = {"jobs": jobs, "accept_losses": accept_losses}
    if statement_timeout is not None:
        how["statement_timeout_seconds"] = statement_timeout
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/import"
        mapped = dict(map(_pair, map_role or []))
        source: Row = {}
        if file is None:
            source = {
                "from": connection_string(),
                "schemas": schema or [],
                "exclude_tables": exclude_table or [],
            }
        if preview or (sys.stdin.isatty() and not yes):
            found = _preview(api, path, file, source)
            if preview:
                show_preview(found, as_json=as_json)
                return
            mapped = _asked(found, mapped)
            source = source or {"upload_id": found["upload_id"]}
        operation = _begin(api, path, file, source, {**how, "map_roles": mapped})
        finish(
            api,
            operation,
            wait=wait,
            as_json=as_json,
            started="Started",
            done=partial(show_result, title(row)),
        )


def connection_string() -> str:
    """Return the connection string to import from, without leaving a trace of it.

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


def _preview(api: Api, path: str, file: Path | None, source: Row) -> Row:
    """Return the preview of an import; a dump file is uploaded for it."""
    if file is not None:
        return _send(api, f"{path}/preview", file, seconds=_PREVIEW_SECONDS)
    row: Row = api.post(f"{path}/preview", source)
    return row


def _asked(found: Row, mapped: dict[str, str]) -> dict[str, str]:
    """Return the role that replaces each role of the source; ask for those without a mapping."""
    unknown = [
        role
        for role in found["roles"]
        if role["login"] is None
        and role["name"] not in mapped
        # What the source's role owns passes to the owner role and needs no grants.
        and (role["policies"] or (role["grants"] and not role["owns"]))
    ]
    if not unknown:
        return mapped
    output.note(f"Roles that this database does not have. Its logins: {_words(found['logins'])}.")
    answers = dict(mapped)
    for role in unknown:
        name = output.plain(role["name"])
        counts = f"{role['policies']} policies, {role['grants']} grants"
        while login := str(
            typer.prompt(
                f"Login for {name} ({counts}); nothing leaves it out",
                default="",
                show_default=False,
                err=True,
            )
        ).strip():
            if login in found["logins"]:
                answers[role["name"]] = login
                break
            output.note(f"There is no login {output.plain(login)}.")
    return answers


def _words(names: list[str]) -> str:
    return ", ".join(output.plain(name) for name in names) or "none"


def _begin(api: Api, path: str, file: Path | None, source: Row, how: Row) -> Row:
    if file is None or source:
        operation: Row = api.post(path, {**source, **how})
        return operation
    mapped = [f"{old}={new}" for old, new in how.pop("map_roles").items()]
    return _send(api, path, file, **how, map_role=mapped)


def _send(api: Api, path: str, file: Path, **asked: Any) -> Row:
    try:
        with streams.reading(file) as dump:
            row: Row = api.upload(path, dump, **asked)
    except OSError as error:
        raise InvalidInput.of("--file", f"{file} cannot be read: {error.strerror}.") from None
    return row


_TABLES: dict[str, output.Cell] = {
    "TABLE": lambda row: f"{row['schema']}.{row['name']}",
    "SIZE": lambda row: None if row["size_bytes"] is None else readable(row["size_bytes"]),
}
_ROLES: dict[str, output.Cell] = {
    "ROLE": "name",
    "POLICIES": "policies",
    "GRANTS": "grants",
    "OWNS": "owns",
    "LOGIN": "login",
}


def show_preview(found: Row, *, as_json: bool) -> None:
    """Print the preview of an import."""
    if as_json:
        output.as_json(found)
        return
    output.table(found["tables"], _TABLES, empty="It has no tables.")
    output.table(found["roles"], _ROLES, empty="It names no roles.")
    output.note(f"PostgreSQL {output.plain(found['version'])}, {readable(found['size_bytes'])}")
    output.note(f"Schemas: {_words(found['schemas'])}")
    output.note(f"Extensions: {_words([each['name'] for each in found['extensions']])}")
    for each in found["extensions"]:
        if not each["available"]:
            used = f", with what needs it: {_words(each['used_by'])}" if each["used_by"] else ""
            output.note(f"Cannot be here, and is left out: {output.plain(each['name'])}{used}")
    output.note(f"Roles that can stand for others: {_words(found['logins'])}")
    _warn(found)


def show_result(where: str, result: Row) -> None:
    """Print the result of an import."""
    tables = result["tables"]
    if tables:
        rows = output.count(result["rows"], "row")
        output.done(f"{where} has {output.count(len(tables), 'table')} with {rows}")
    _warn(result)
    for difference in result.get("differences", [])[:_MOST_SHOWN]:
        output.note(f"Differs: {output.plain(difference)}")
    for item in result["left_out"][:_MOST_SHOWN]:
        output.note(f"Left out: {output.plain(item)}")


def _warn(reported: Row) -> None:
    for warning in reported.get("warnings", []):
        output.note(f"! {output.plain(warning)}", style="yellow")
