"""``tenantry db mark``, ``marks``, ``unmark`` and ``timeline``: named moments of a database."""

from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.cli import output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

_MARKS: dict[str, output.Cell] = {
    "ID": "id",
    "AT": lambda row: times.local(row["at"]),
    "AGE": lambda row: times.distance(row["at"]),
    "LABEL": "label",
}
_EVENTS: dict[str, output.Cell] = {
    "AT": lambda row: times.local(row["at"]),
    "AGE": lambda row: times.distance(row["at"]),
    "WHAT": "kind",
    "LABEL": "label",
}


def mark(
    database: Named,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="What happens at that moment.")],
    *,
    at: Annotated[
        str | None,
        typer.Option(
            parser=times.text_of(times.past), metavar="WHEN", help="By default now: 20m, 14:30."
        ),
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Mark a moment of a database, such as a deployment, to find it when something has gone wrong.

    Example:

        tenantry db mark shop "deploy $(git rev-parse --short HEAD)"
    """
    body = {"label": label} | ({} if at is None else {"at": at})
    with connect() as api:
        row = find(api, database, env)
        made = api.post(f"/api/databases/{row['id']}/marks", body)
    if as_json:
        output.as_json(made)
        return
    output.done(f"{title(row)} has a mark at {times.local(made['at'])}")


def marks(database: Named, env: In = None, as_json: Json = False) -> None:
    """List the marks of a database, newest first.

    Example:

        tenantry db marks shop
    """
    found = _found(database, env, "marks")
    if as_json:
        output.as_json(found)
        return
    output.table(found, _MARKS, empty="It has no marks.")


def unmark(
    database: Named,
    mark: Annotated[str, typer.Argument(metavar="ID", help="The mark's id.")],
    env: In = None,
    as_json: Json = False,
) -> None:
    """Delete a mark.

    Example:

        tenantry db unmark shop 0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5
    """
    with connect() as api:
        row = find(api, database, env)
        gone = api.delete(f"/api/databases/{row['id']}/marks/{quote(mark, safe='')}")
    if as_json:
        output.as_json(gone)
        return
    output.done(f"{title(row)} has the mark {gone['label']} no more")


def timeline(database: Named, env: In = None, as_json: Json = False) -> None:
    """List marks, migrations, backups, restores and the like, newest first.

    Example:

        tenantry db timeline shop
    """
    found = _found(database, env, "timeline")
    if as_json:
        output.as_json(found)
        return
    output.table(found, _EVENTS, empty="Nothing is known of it.")


def _found(database: str, env: str | None, what: str) -> list[Row]:
    with connect() as api:
        return api.rows(f"/api/databases/{find(api, database, env)['id']}/{what}").rows
