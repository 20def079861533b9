"""``tenantry restore``: restore a database to a past state."""

import sys
from typing import Annotated, Literal

import typer

from tenantry.base.errors import InvalidInput
from tenantry.base.ids import parse_id
from tenantry.base.sizes import readable
from tenantry.cli import operations, output, times
from tenantry.cli.asking import confirm_at_terminal
from tenantry.cli.client import Row, connect
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


def restore(
    database: Named,
    *,
    to: To,
    into: Annotated[
        Literal["new", "in-place"] | None,
        typer.Option("--as", help="A new database beside it (the default), or in its place."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The new one's name: lower-case letters, digits, hyphens.")
    ] = None,
    friendly_name: Annotated[
        str | None, typer.Option(help="What people call the new one, in any words.")
    ] = None,
    accept_losses: operations.AcceptLosses = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Replace what is in service without asking.")
    ] = False,
    wait: operations.Wait = True,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Restore a database to any point in time covered by backups.

    Other databases are not affected. A restore in place has to be requested, and is confirmed on a
    terminal; the replaced contents are retained for a while, and can be restored. Objects that
    PostgreSQL cannot rebuild are listed; in place, without --accept-losses, nothing is replaced.

    Examples:

        tenantry restore shop --to 2026-11-21T13:59:59+01:00

        tenantry restore shop --to 20m --as in-place

        tenantry restore shop --to previous --as in-place
    """
    said: dict[str, object] = {
        "as": into and into.replace("-", "_"),
        "name": name,
        "friendly_name": friendly_name,
        "accept_losses": accept_losses or None,
    }
    wanted = {"to": to} | {field: value for field, value in said.items() if value is not None}
    with connect() as api:
        row = find(api, database, env)
        if "as" not in wanted and to == "previous":
            wanted["as"] = _in_place(row)
        elif into == "in-place" and not yes:
            _confirm(row)
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


def _report(row: Row, result: Row, name: str | None, named: str) -> None:
    """Report the result. ``name`` is the requested name of a new database.

    ``named`` is how the command named the database that was restored.
    """
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


def _in_place(row: Row) -> str:
    """Ask to replace the database in service, as --as in-place was not given."""
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"What was replaced goes in the place of {title(row)} as it is now; nothing was done.",
            hint="Say --as in-place to mean that.",
        )
    _confirm(row)
    return "in_place"


def _confirm(row: Row) -> None:
    """Ask for confirmation on a terminal; otherwise --as in-place is enough."""
    confirm_at_terminal(replaces(row), "Replace it?")


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
