"""``tenantry extension``: the extensions of a database."""

from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.cli import output
from tenantry.cli.client import connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

app = typer.Typer(help="Extensions of a database.", no_args_is_help=True)

ExtensionNamed = Annotated[
    str, typer.Argument(metavar="EXTENSION", help="Its name.", show_default=False)
]

_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "INSTALLED": "installed_version",
    "SCHEMA": "schema",
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
    output.table(offered, _COLUMNS, empty="This server has no extensions.")


@app.command()
def add(
    database: Named,
    extension: ExtensionNamed,
    *,
    schema: Annotated[str | None, typer.Option(help="The schema to put it in (public).")] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Install an extension in a database.

    Example:

        tenantry extension add shop pg_trgm
    """
    wanted = {"name": extension} | ({"schema": schema} if schema else {})
    with connect() as api:
        row = find(api, database, env)
        made = api.post(f"/api/databases/{row['id']}/extensions", wanted)
    if as_json:
        output.as_json(made)
        return
    output.done(f"{title(row)} has {made['name']} {made['installed_version']}")


@app.command()
def remove(
    database: Named, extension: ExtensionNamed, env: In = None, as_json: Json = False
) -> None:
    """Remove an extension that no object depends on.

    Example:

        tenantry extension remove shop pg_trgm
    """
    with connect() as api:
        row = find(api, database, env)
        gone = api.delete(f"/api/databases/{row['id']}/extensions/{quote(extension, safe='')}")
    if as_json:
        output.as_json(gone)
        return
    output.done(f"{title(row)} has {extension} no more")
