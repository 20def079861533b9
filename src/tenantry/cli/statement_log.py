"""``tenantry db logs`` and ``tenantry db log-settings``: the log of a database's statements."""

import datetime as dt
import time
from typing import Annotated, Literal

import typer

from tenantry.cli import output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

Statements = Literal["none", "ddl", "mod", "all"]
Kind = Literal["statement", "duration", "error", "notice"]

_LOOK_SECONDS = 1.0
_PAGE = 1000
_FIRST = "00000000-00000000"


def logs(
    database: Named,
    *,
    env: In = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Only statements, durations, errors or notices.")
    ] = None,
    since: times.Since = None,
    until: Annotated[
        dt.datetime | None,
        typer.Option(parser=times.past, metavar="WHEN", help="Before that moment."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--lines", "-n", min=1, help="How many of the last entries to show.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show log entries of a database's statements, oldest first.

    `tenantry db log-settings` sets what is logged. Passwords and the like are removed. With --json
    each entry is a line.

    Examples:

        tenantry db logs shop -f

        tenantry db logs shop --since 24h --kind error --json | jq -r .sqlstate
    """
    asked = {
        "kind": kind,
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
    }
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/logs"
        newest = api.rows(path, limit=limit, **asked).rows
        for entry in reversed(newest):
            _show(entry, as_json=as_json)
        if not newest and not follow:
            _say_why(row)
        last = newest[0]["id"] if newest else _FIRST
        while follow:
            time.sleep(_LOOK_SECONDS)
            for entry in api.rows(path, limit=_PAGE, after=last, **asked).rows:
                last = entry["id"]
                _show(entry, as_json=as_json)


def _say_why(row: Row) -> None:
    """Explain why there may be no entry."""
    if _is_off(row["log"]):
        output.note(f"Nothing is logged of {title(row)}: see `tenantry db log-settings`.")
        return
    output.note(
        f"There is no such entry of {title(row)} ({summary(row['log'])}). Sessions that were open"
        " before that was set log as they did; a new entry takes a moment to be here."
    )


_OFF: Row = {"statements": "none", "min_duration_ms": None, "errors": False}


def _is_off(settings: Row) -> bool:
    return settings | _OFF == settings


def _show(entry: Row, *, as_json: bool) -> None:
    if as_json:
        output.as_json_line(entry)
        return
    said = [times.local(entry["time"]), entry["kind"].upper()]
    said += [entry[name] for name in ("role", "application", "client_address") if entry[name]]
    if entry["duration_ms"] is not None:
        said.append(f"{entry['duration_ms']:.3f} ms")
    said += [entry[name] for name in ("sqlstate", "message", "statement") if entry[name]]
    output.line("  ".join(said))


StatementsLogged = Annotated[
    Statements | None,
    typer.Option(help="Log these: ddl, mod (ddl, and what changes rows), all, or none."),
]
MinDuration = Annotated[
    int | None,
    typer.Option(
        min=-1,
        max=3_600_000,
        help="Log statements that run so many milliseconds, with their duration; -1: none.",
    ),
]
Errors = Annotated[
    bool | None, typer.Option("--errors/--no-errors", help="Log statements that fail.")
]
KeepDays = Annotated[
    int | None,
    typer.Option(
        min=0, max=3650, help="Keep entries for so many days; 0: as long as those of the audit."
    ),
]


def log_settings(
    database: Named,
    *,
    env: In = None,
    statements: StatementsLogged = None,
    min_duration_ms: MinDuration = None,
    errors: Errors = None,
    keep_days: KeepDays = None,
    off: Annotated[bool, typer.Option("--off", help="Log nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Show or change which statements of a database are logged for its owner.

    Changes apply to new sessions, and soon to pooled ones. Omitted settings stay unchanged.

    Examples:

        tenantry db log-settings shop --statements ddl --errors

        tenantry db log-settings shop --min-duration-ms 1000 --keep-days 30

        tenantry db log-settings shop --off
    """
    said = {
        "statements": statements,
        "min_duration_ms": min_duration_ms,
        "errors": errors,
        "keep_days": keep_days,
    }
    changes: dict[str, object] = {name: value for name, value in said.items() if value is not None}
    if off and changes:
        raise typer.BadParameter("--off goes with no other option.")
    for name, least in (("min_duration_ms", -1), ("keep_days", 0)):
        if changes.get(name) == least:
            changes[name] = None
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/logs/settings"
        settings = api.get(path)
        if off or changes:
            there = {name: settings[name] for name in said}
            settings = api.put(path, there | (_OFF if off else changes))
            if not as_json:
                what = "nothing" if _is_off(settings) else "this"
                output.done(f"{title(row)} logs {what} from now on")
    if as_json:
        output.as_json(settings)
        return
    output.facts(facts(settings))


def facts(settings: Row) -> list[tuple[str, object]]:
    """Return the log settings as labelled values."""
    return [
        ("statements", settings["statements"]),
        ("slow statements", _slow(settings["min_duration_ms"])),
        ("errors", settings["errors"]),
        ("kept", _kept(settings["keep_days"])),
        *([("paused until", times.local(paused))] if (paused := settings["paused_until"]) else []),
    ]


def _kept(days: int | None) -> str:
    return "as long as the audit" if days is None else f"{days} days"


def _slow(least: int | None) -> str:
    if least is None:
        return "no"
    return f"from {least} ms on" if least else "all, with their duration"


def summary(settings: Row) -> str | None:
    """Summarize the log settings; None if nothing is logged."""
    if _is_off(settings):
        return None
    return ", ".join(f"{label}: {output.plain(value)}" for label, value in facts(settings))
