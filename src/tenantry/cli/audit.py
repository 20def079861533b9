"""``tenantry audit``: who did what, to which, from where, and how it ended."""

import datetime as dt
from typing import Annotated

import typer

from tenantry.base.ids import parse_id
from tenantry.cli import output, times
from tenantry.cli.client import connect
from tenantry.cli.door import Json
from tenantry.cli.finding import In, find

_COLUMNS: dict[str, output.Cell] = {
    "WHEN": lambda row: times.local(row["at"]),
    "WHO": "actor",
    "ACTION": "action",
    "WHAT": lambda row: row.get("resource_name") or row.get("resource_id"),
    "RESULT": "result",
    "FROM": "address",
    "REQUEST": "request_id",
}


def audit(
    *,
    action: Annotated[
        str | None, typer.Option(help="Only this action, such as database.create.")
    ] = None,
    resource: Annotated[
        str | None, typer.Option(help="Only this database (by name), or whatever has this id.")
    ] = None,
    env: In = None,
    since: Annotated[
        dt.datetime | None,
        typer.Option(parser=times.past, metavar="WHEN", help="Since 24h or 7d ago, or a date."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Without a limit.")] = False,
    as_json: Json = False,
    ndjson: Annotated[
        bool, typer.Option("--ndjson", help="Everything, as a JSON object a line.")
    ] = False,
) -> None:
    """Show what was done, by whom and from where, the latest first.

    Examples:

        tenantry audit --since 24h

        tenantry audit --resource shop --action database.delete --json

        tenantry audit --since 30d --ndjson > audit.ndjson
    """
    with connect() as api:
        if resource and not parse_id(resource):
            resource = str(find(api, resource, env)["id"])
        asked = {
            "action": action,
            "resource_id": resource,
            "since": since.isoformat() if since else None,
        }
        if ndjson:
            for part in api.pages("/api/audit-logs", asked):
                for row in part.rows:
                    output.as_json_line(row)
            return
        page = api.rows("/api/audit-logs", limit=None if everything else limit, **asked)
    output.listing(
        page,
        _COLUMNS,
        empty="Nothing of that kind has been done.",
        in_json=as_json,
        first="latest",
    )
