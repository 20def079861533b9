"""``tenantry backup schedule`` and ``defaults``: when databases are backed up automatically."""

from typing import Annotated, Any, Literal

import typer

from tenantry.cli import output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import Environment, In, Named, find

Kind = Annotated[
    Literal["custom", "plain"] | None,
    typer.Option("--format", help="custom, for pg_restore (the default); plain, SQL for psql."),
]
Every = Annotated[
    Literal["off", "day", "week"] | None,
    typer.Option(help="day, week (on Sundays), or off."),
]
Hour = Annotated[int | None, typer.Option(min=0, max=23, help="The hour, in UTC.")]
KeepCount = Annotated[int | None, typer.Option(min=1, help="Keep at least so many of the newest.")]
KeepDays = Annotated[
    int | None, typer.Option(min=0, help="Keep all that are younger than so many days.")
]
KeepManualDays = Annotated[
    int | None,
    typer.Option(min=0, help="Delete those made by hand after so many days; 0: never."),
]

_FIELDS = ("every", "hour", "format", "keep_count", "keep_days", "keep_manual_days")


def _said(**options: Any) -> dict[str, Any]:
    said = {name: value for name, value in options.items() if value is not None}
    if "keep_manual_days" in said:
        said["keep_manual_days"] = said["keep_manual_days"] or None
    return said


def _changed(found: Row, changes: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in _FIELDS} | changes


def _label(field: str) -> str:
    return "hour (UTC)" if field == "hour" else field.replace("_", " ")


def _show(row: Row) -> None:
    last = row["last_attempt"]
    output.facts((_label(name), row[name]) for name in _FIELDS)
    output.facts(
        [
            ("schedule", "its own" if row["source"] == "own" else "its environment's default"),
            ("next", row["next_at"] or "never"),
            ("last", last and f"{last['status']}, {times.distance(last['begun_at'])} ago"),
            *([("error", last["error"])] if last and last["error"] else []),
        ]
    )


def schedule(
    database: Named,
    *,
    every: Every = None,
    hour: Hour = None,
    kind: Kind = None,
    keep_count: KeepCount = None,
    keep_days: KeepDays = None,
    keep_manual_days: KeepManualDays = None,
    default: Annotated[
        bool, typer.Option("--default", help="Follow its environment's default again.")
    ] = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Show a database's backup schedule, or set one of its own.

    Example:

        tenantry backup schedule shop --every day --hour 3 --keep-days 14
    """
    changes = _said(
        every=every,
        hour=hour,
        format=kind,
        keep_count=keep_count,
        keep_days=keep_days,
        keep_manual_days=keep_manual_days,
    )
    if default and changes:
        raise typer.BadParameter("--default excludes the other options.")
    with connect() as api:
        path = f"/api/databases/{find(api, database, env)['id']}/backups/schedule"
        if default:
            found = api.delete(path)
        else:
            found = api.get(path)
            if changes:
                found = api.put(path, _changed(found, changes))
    if as_json:
        output.as_json(found)
        return
    if changes or default:
        output.done("The schedule is changed")
    _show(found)


def defaults(
    environment: Annotated[
        Environment | None,
        typer.Argument(metavar="ENV", help="production, staging or development: change this one."),
    ] = None,
    *,
    every: Every = None,
    hour: Hour = None,
    kind: Kind = None,
    keep_count: KeepCount = None,
    keep_days: KeepDays = None,
    keep_manual_days: KeepManualDays = None,
    as_json: Json = False,
) -> None:
    """Show or change the schedules of databases that have none of their own.

    Examples:

        tenantry backup defaults

        tenantry backup defaults staging --every day --keep-count 7
    """
    changes = _said(
        every=every,
        hour=hour,
        format=kind,
        keep_count=keep_count,
        keep_days=keep_days,
        keep_manual_days=keep_manual_days,
    )
    if changes and environment is None:
        raise typer.BadParameter("name the environment to change.")
    with connect() as api:
        page = api.rows("/api/backup-defaults")
        if changes:
            (found,) = [row for row in page.rows if row["environment"] == environment]
            api.put(f"/api/backup-defaults/{environment}", _changed(found, changes))
            page = api.rows("/api/backup-defaults")
    if changes and not as_json:
        output.done(f"The default of {environment} is changed")
    output.listing(
        page,
        {_label(name).upper(): name for name in ("environment", *_FIELDS)},
        empty="There is no default.",
        in_json=as_json,
    )
