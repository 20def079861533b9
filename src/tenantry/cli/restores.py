"""``tenantry restore``: a database as it was at another moment."""

from typing import Annotated, Literal

import typer

from tenantry.base.ids import parse_id
from tenantry.base.sizes import readable
from tenantry.cli import operations, output, times
from tenantry.cli.client import connect
from tenantry.cli.door import Json
from tenantry.cli.finding import In, Named, find, title


def _to(text: str) -> str:
    if text in {"latest", "previous"} or parse_id(text):
        return text
    return times.past(text, words="latest, previous, the id of a backup, ").isoformat()


_COLUMNS: dict[str, output.Cell] = {
    "ID": "id",
    "DATABASE": "database_name",
    "REPLACED": lambda row: times.distance(row["replaced_at"]),
    "DROPPED": lambda row: times.distance(row["expires_at"]),
    "SIZE": lambda row: readable(row["size_bytes"]),
}


def restore(
    database: Named,
    *,
    to: Annotated[
        str,
        typer.Option(
            parser=_to,
            metavar="WHEN",
            help="A moment, a time of today, or how long ago (90s, 20m, 3h); latest; previous, "
            "which puts back what the last restore in place has replaced; or the id of a backup "
            "or of a replaced one.",
        ),
    ],
    into: Annotated[
        Literal["new", "in-place"] | None,
        typer.Option("--as", help="A new database beside it (the default), or in its place."),
    ] = None,
    friendly_name: Annotated[
        str | None, typer.Option(help="What people call the new one, in any words.")
    ] = None,
    accept_losses: operations.AcceptLosses = False,
    wait: operations.Wait = True,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Have a database back as it was at any second that is backed up.

    Its neighbours notice nothing. In place, what was there is kept for a while, and can be put
    back. What PostgreSQL does not build again is listed; in place, nothing is replaced then unless
    with --accept-losses.

    Examples:

        tenantry restore shop --to 2026-11-21T13:59:59+01:00

        tenantry restore shop --to 20m --as in-place

        tenantry restore shop --to previous
    """
    wanted: dict[str, object] = {"to": to}
    if into is not None:
        wanted["as"] = into.replace("-", "_")
    if friendly_name is not None:
        wanted["friendly_name"] = friendly_name
    if accept_losses:
        wanted["accept_losses"] = True
    with connect() as api:
        row = find(api, database, env)
        begun = api.post(f"/api/databases/{row['id']}/restore", wanted)
        done = operations.follow(api, begun["id"]) if wait else begun
    if as_json:
        output.as_json(done)
        return
    if not wait:
        output.done(f"Restoring {title(row)}: tenantry operation watch {done['id']}")
        return
    result = done["result"]
    operations.tell_exceptions(result)
    if "replaced" in result:
        output.done(f"{title(row)} is restored; what it was is kept as {result['replaced']}")
        return
    name = result["database_name"]
    output.done(f"{title(row)} is restored as {name}")
    output.note(f"Nobody has its password yet: tenantry db rotate-password {name}")


def replaced(database: Named, env: In = None, as_json: Json = False) -> None:
    """List what restores in place have replaced, and when it is dropped.

    Example:

        tenantry db replaced shop
    """
    with connect() as api:
        row = find(api, database, env)
        found = api.rows(f"/api/databases/{row['id']}/replaced").rows
    if as_json:
        output.as_json(found)
        return
    output.table(found, _COLUMNS, empty="Nothing is kept of it.")
