"""``tenantry extension``: the extensions of a database."""

from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.cli import output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.operations import Wait, follow

app = typer.Typer(help="Extensions of a database.", no_args_is_help=True)

ExtensionNamed = Annotated[
    str, typer.Argument(metavar="EXTENSION", help="Its name.", show_default=False)
]

Restart = Annotated[
    bool,
    typer.Option("--restart", help="Restart the instance if it is needed: all its sessions end."),
]

_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "INSTALLED": "installed_version",
    "SCHEMA": "schema",
    "STATE": lambda row: "waits for a restart" if row["pending_restart"] else None,
    "AVAILABLE": "default_version",
    "DESCRIPTION": "description",
}


@app.command("list")
def list_extensions(database: Named, env: In = None, as_json: Json = False) -> None:
    """List a database's extensions, and those available to it.

    Example:

        tenantry extension list shop
    """
    with connect() as api:
        row = find(api, database, env)
        found = api.rows(f"/api/databases/{row['id']}/extensions").rows
    if as_json:
        output.as_json(found)
        return
    offered = [each for each in found if each["installable"] or each["installed_version"]]
    output.table(offered, _COLUMNS, empty="This server has no extensions.", spare=("STATE",))


@app.command()
def add(
    database: Named,
    extension: ExtensionNamed,
    *,
    schema: Annotated[str | None, typer.Option(help="The schema to put it in (public).")] = None,
    restart: Restart = False,
    env: In = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Install an extension in a database.

    The server of an instance has to load some when it is started: with --restart now.

    Examples:

        tenantry extension add shop pg_trgm

        tenantry extension add shop pg_prewarm --restart
    """
    wanted: dict[str, object] = {"name": extension, "restart": restart}
    wanted |= {"schema": schema} if schema else {}
    with connect() as api:
        row = find(api, database, env)
        made = api.post(f"/api/databases/{row['id']}/extensions", wanted)
        _report(
            api,
            row,
            made,
            f"{title(row)} has {made['name']} {made['installed_version'] or ''}".rstrip(),
            wait=wait,
            as_json=as_json,
        )


@app.command()
def remove(
    database: Named,
    extension: ExtensionNamed,
    *,
    restart: Restart = False,
    env: In = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Remove an extension that no object depends on.

    The server of an instance has its library loaded until it is restarted: with --restart now.

    Example:

        tenantry extension remove shop pg_trgm
    """
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/extensions/{quote(extension, safe='')}"
        gone = api.delete(f"{path}?restart=true" if restart else path)
        said = f"{title(row)} has {extension} no more"
        _report(api, row, gone, said, wait=wait, as_json=as_json)


def _report(api: Api, row: Row, changed: Row, said: str, *, wait: bool, as_json: bool) -> None:
    """Report a change; follow the restart of the instance, or name what waits for one."""
    operation_id = changed["operation_id"]
    if as_json:
        output.as_json(changed)
    elif operation_id is not None and wait:
        follow(api, operation_id)
        output.done(said)
    elif operation_id is not None:
        output.done(f"{title(row)} is being restarted: tenantry operation watch {operation_id}")
    elif changed["pending_restart"]:
        output.note(
            f"{changed['name']} waits for a restart: tenantry db restart {title(row)}",
            style="yellow",
        )
    else:
        output.done(said)
