"""``tenantry audit``: the audit log, with actors, targets, addresses and results."""

import datetime as dt
from typing import Annotated, Literal

import typer

from tenantry.base.ids import parse_id
from tenantry.cli import output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, find


def _what(row: Row) -> object:
    """Return the name of an entry's target."""
    return row.get("resource_title") or row["resource_name"] or row["resource_kind"]


def _details(row: Row) -> dict[str, object]:
    """Return an entry's other details, without ids and unknown values."""
    reported = {
        name: value
        for name, value in row["details"].items()
        if value not in (None, "", []) and not name.endswith("_id")
    }
    if reported.get("count") == len(reported.get("networks", [])):
        del reported["count"]
    return reported


_COLUMNS: dict[str, output.Cell] = {
    "WHEN": lambda row: times.local(row["at"]),
    "WHO": "actor",
    "ACTION": "action",
    "WHAT": _what,
    "RESULT": "result",
    "FROM": "address",
    "DETAILS": lambda row: _details(row) or None,
}
_WIDE: dict[str, output.Cell] = {
    **_COLUMNS,
    "NAME": "resource_name",
    "RESOURCE": "resource_id",
    "DETAILS": lambda row: row["details"] or None,
    "REQUEST": "request_id",
    "ID": "id",
}


Result = Annotated[
    Literal["ok", "accepted", "refused", "failed"] | None,
    typer.Option(help="Only what ended so; accepted is what was only started."),
]
Until = Annotated[
    dt.datetime | None,
    typer.Option(parser=times.past, metavar="WHEN", help="Until 1h or 7d ago, or a date."),
]


def audit(
    *,
    action: Annotated[
        str | None, typer.Option(help="Only this action, such as database.create.")
    ] = None,
    resource: Annotated[
        str | None, typer.Option(help="Only this database (by name), or whatever has this id.")
    ] = None,
    env: In = None,
    actor: Annotated[
        str | None, typer.Option(help="Only what this user (an e-mail address) or key has done.")
    ] = None,
    result: Result = None,
    since: times.Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Without a limit.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="With all ids and details.")] = False,
    as_json: Json = False,
    ndjson: Annotated[
        bool, typer.Option("--ndjson", help="Everything, as a JSON object a line.")
    ] = False,
) -> None:
    """List what was done, by whom and from where, newest first.

    Examples:

        tenantry audit --since 24h

        tenantry audit --resource shop --action database.delete --json

        tenantry audit --actor ann@example.com --result refused --until 1d

        tenantry audit --since 30d --ndjson > audit.ndjson
    """
    with connect() as api:
        if resource and not parse_id(resource):
            resource = str(find(api, resource, env)["id"])
        asked = {
            "action": action,
            "resource_id": resource,
            "actor": actor,
            "result": result,
            "since": since.isoformat() if since else None,
            "until": until.isoformat() if until else None,
        }
        if ndjson:
            for part in api.pages("/api/audit-logs", asked):
                for row in part.rows:
                    output.as_json_line(row)
            return
        page = api.rows("/api/audit-logs", limit=None if everything else limit, **asked)
    output.listing(
        page,
        _WIDE if wide else _COLUMNS,
        empty="Nothing of that kind has been done.",
        in_json=as_json,
        first="latest",
        spare=("FROM", "DETAILS", "WHO"),
    )
