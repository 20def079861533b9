"""``tenantry restore``: restore a database to a past state."""

import sys
from typing import Annotated, Literal

import typer

from tenantry.base.ids import parse_id
from tenantry.base.sizes import readable
from tenantry.cli import instances, operations, output, times
from tenantry.cli.asking import Unconfirmed, confirm
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title, typed


def _to(text: str) -> str:
    if text in {"latest", "previous"} or parse_id(text):
        return text
    return times.past(text, words="latest, previous, the id of a backup, ").isoformat()


To = Annotated[
    str,
    typer.Option(
        parser=_to,
        metavar="WHEN",
        help="A moment, a time of today, or how long ago (90s, 20m, 3h); latest; previous, "
        "which puts back what the last restore in place has replaced; or the id of a backup "
        "or of a replaced one.",
    ),
]

_COLUMNS: dict[str, output.Cell] = {
    "ID": "id",
    "DATABASE": "database_name",
    "REPLACED": lambda row: times.distance(row["replaced_at"]),
    "DROPPED": lambda row: times.distance(row["expires_at"]),
    "SIZE": lambda row: readable(row["size_bytes"]),
}


As = Annotated[
    Literal["new", "in-place", "rows"] | None,
    typer.Option(
        "--as",
        help="A new database beside it (the default), or in its place. Of tables: copies in a"
        " new schema (the default), or the rows that were deleted since.",
    ),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="TABLE",
        help="Only this table, as schema.table, within the database; may be repeated.",
    ),
]
Name = Annotated[
    str | None, typer.Option(help="The new one's name: lower-case letters, digits, hyphens.")
]
FriendlyName = Annotated[
    str | None, typer.Option(help="What people call the new one, in any words.")
]
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Replace what is in service, or rows, without asking."),
]


def restore(
    database: Named,
    *,
    to: To,
    into: As = None,
    table: Tables = None,
    name: Name = None,
    friendly_name: FriendlyName = None,
    accept_losses: operations.AcceptLosses = False,
    yes: Yes = False,
    wait: operations.Wait = True,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Restore a database to any point in time covered by backups.

    Other databases are not affected. A restore in place or of rows has to be requested, and
    confirmed on a terminal or by --yes; the replaced contents are retained for a while, and can be
    restored. Objects that PostgreSQL cannot rebuild are listed; in place, without --accept-losses,
    nothing is replaced.

    Examples:

        tenantry restore shop --to 2026-11-21T13:59:59+01:00

        tenantry restore shop --to 20m --as in-place

        tenantry restore shop --to previous --as in-place

        tenantry restore shop --to 20m --table public.orders
    """
    said: dict[str, object] = {
        "as": into and into.replace("-", "_"),
        "name": name,
        "friendly_name": friendly_name,
        "accept_losses": accept_losses or None,
        "tables": table,
    }
    wanted = {"to": to} | {field: value for field, value in said.items() if value is not None}
    with connect() as api:
        row = find(api, database, env)
        if "as" not in wanted and to == "previous":
            _require_in_place(row)
            wanted["as"] = "in_place"
        if not yes:
            _confirm(api, row, wanted.get("as"), as_json=as_json)
        started = api.post(f"/api/databases/{row['id']}/restore", wanted)
        named = typed(database, env)
        operations.finish(
            api,
            started,
            wait=wait,
            as_json=as_json,
            started=f"{title(row)} is being restored",
            done=lambda result: _report(row, result, name, named),
        )


def _confirm(api: Api, row: Row, into: object, *, as_json: bool) -> None:
    """Ask for consent to what a restore into this place replaces. Raises Unconfirmed."""
    if into == "in_place":
        consequence = replaces(row) + instances.left_out(api, row)
        confirm("Replace it?", consequence=consequence, as_json=as_json)
    if into == "rows":
        consequence = f"In {title(row)}, rows that were deleted since are there again."
        confirm("Bring the rows back?", consequence=consequence, as_json=as_json)


def _report(row: Row, result: Row, name: str | None, named: str) -> None:
    """Report the result. ``name`` is the requested name of a new database.

    ``named`` is how the command named the database that was restored.
    """
    if "restored_to" in result and result.get("as") in {"new", "rows"}:
        _report_tables(row, result)
        return
    operations.report_exceptions(result)
    if "replaced" in result:
        output.done(f"{title(row)} is restored; what it was is kept as {result['replaced']}")
        output.note(
            f"To put that back: tenantry restore {named} --to previous --as in-place. For how"
            f" long it can be: tenantry db replaced {named}"
        )
        return
    made = result["database_name"]
    called = f", called {result['name']}" if result.get("name") else ""
    output.done(f"{title(row)} is restored as {made}{called}")
    if name and not called:
        output.note(f"It has no name: another database is called {name} by now.", style="yellow")
    output.note(f"Nobody has its password yet: tenantry db rotate-password {made}")


def _report_tables(row: Row, result: Row) -> None:
    if result["as"] == "rows":
        output.done(
            f"{title(row)} has {result['inserted']:,} rows again, and {result['updated']:,} as they"
            " were"
        )
        if result["skipped"]:
            output.note(f"{result['skipped']:,} were left as they are.", style="yellow")
        return
    for each in result["tables"]:
        output.done(f"{result['schema']}.{each['table']} has {each['rows']:,} rows")


def _require_in_place(row: Row) -> None:
    """Raise Unconfirmed if --as in-place has to be given, as nobody can be asked."""
    if not sys.stdin.isatty():
        raise Unconfirmed(
            f"What was replaced goes in the place of {title(row)} as it is now; nothing was done.",
            hint="Add --as in-place --yes to do that.",
        )


def replaces(row: Row) -> str:
    """Return what happens to a database whose contents are replaced."""
    return (
        f"{title(row)} ({row['environment']}, {row['database_name']}) is replaced: its direct "
        "sessions end, and what is in it now is kept for a while."
    )


def replaced(database: Named, env: In = None, as_json: Json = False) -> None:
    """List databases that restores in place have replaced, and when each is dropped.

    Example:

        tenantry db replaced shop
    """
    with connect() as api:
        row = find(api, database, env)
        found = api.rows(f"/api/databases/{row['id']}/replaced").rows
    if as_json:
        output.as_json(found)
        return
    output.table(found, _COLUMNS, empty="Nothing is kept of it.", spare=("DATABASE",))
