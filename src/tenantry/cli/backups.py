"""``tenantry backup``: logical backups of one database, made, fetched and looked after."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import typer

from tenantry.base.errors import Conflict, InvalidInput, NotFound
from tenantry.base.ids import parse_id
from tenantry.base.sizes import readable
from tenantry.cli import door, drills, operations, output, times
from tenantry.cli.client import Api, ApiError, Row, connect
from tenantry.cli.door import Json
from tenantry.cli.finding import In, Named, find, title

app = typer.Typer(
    help="Backups: a database as a file of pg_dump's, made now or by the clock.",
    no_args_is_help=True,
)

Format = Literal["custom", "plain"]
BackupNamed = Annotated[
    str,
    typer.Argument(metavar="BACKUP", help="Its id, its file's name, or latest."),
]
Kind = Annotated[
    Format | None,
    typer.Option("--format", help="custom, for pg_restore (unless said); plain, SQL for psql."),
]

_COLUMNS: dict[str, output.Cell] = {
    "FILE": "file_name",
    "STATUS": "status",
    "PART": "part",
    "ORIGIN": "origin",
    "SIZE": lambda row: output.size(row["size_bytes"]),
    "POSTGRESQL": "postgres_version",
    "AGE": lambda row: times.distance(row["created_at"]),
}


def _database(api: Api, text: str, env: str | None) -> Row:
    """The database named; by its id also one that is gone and has left backups."""
    try:
        return find(api, text, env)
    except ApiError as error:
        if error.problem.get("code") != "not_found":
            raise
        return {"id": text, "database_name": text}


def _path(database: Row, backup: Row | None = None, end: str = "") -> str:
    path = f"/api/databases/{database['id']}/backups"
    return path if backup is None else f"{path}/{quote(str(backup['id']), safe='')}{end}"


def _find(api: Api, database: Row, text: str) -> Row:
    if parse_id(text):
        row: Row = api.get(_path(database, {"id": text}))
        return row
    for backup in api.rows(_path(database)).rows:
        if text == backup["file_name"] or (text == "latest" and backup["status"] == "ready"):
            return backup
    raise NotFound(
        f"{title(database)} has no backup called “{text}”.",
        hint=f"`tenantry backup list {title(database)}` shows its backups.",
    )


@app.command()
def create(
    database: Named,
    *,
    kind: Kind = None,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="The definitions, without the rows.")
    ] = False,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="The rows, without the definitions.")
    ] = False,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    wait: operations.Wait = True,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Make a backup now, while the database goes on.

    Example:

        tenantry backup create shop --description "before the migration"
    """
    if schema_only and data_only:
        raise typer.BadParameter("say --schema-only or --data-only, not both.")
    part = "schema" if schema_only else "data" if data_only else "all"
    wanted: dict[str, object] = {"format": kind or "custom", "part": part}
    if description is not None:
        wanted["description"] = description
    with connect() as api:
        row = find(api, database, env)
        operation = api.post(_path(row), wanted)
        if not wait:
            if as_json:
                output.as_json(operation)
                return
            output.line(operation["id"])
            output.done(f"{title(row)} is being backed up")
            return
        ended = operations.follow(api, operation["id"])
        backup = api.get(_path(row, {"id": ended["result"]["backup_id"]}))
    if as_json:
        output.as_json(backup)
        return
    output.line(backup["file_name"])
    output.done(f"{title(row)} is backed up, {readable(backup['size_bytes'])}")


def _restorable(told: Row) -> str:
    """What `tenantry restore` can bring back, by what the API tells with a list."""
    match told["restorable"]:
        case "ok":
            ends = (times.local(told[f"restorable_{end}"]) for end in ("from", "until"))
            return "`tenantry restore` brings back every second from {} to {}.".format(*ends)
        case "none":
            return "`tenantry restore` can bring back no second of it: no backup reaches it yet."
        case "unknown":
            return (
                "Which seconds `tenantry restore` can bring back is not known: the repository "
                "cannot be read. On the server, `tenantry doctor` says why."
            )
        case _:
            return "`tenantry restore` can bring back no second: physical backups are off."


@app.command("list")
def list_backups(
    database: Named,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 50,
    env: In = None,
    as_json: Json = False,
) -> None:
    """List a database's backups, newest first.

    Example:

        tenantry backup list shop
    """
    with connect() as api:
        row = _database(api, database, env)
        page = api.rows(_path(row), limit=limit)
    output.listing(page, _COLUMNS, empty=f"{title(row)} has no backup.", in_json=as_json)
    output.note(_restorable(page.told))


@app.command()
def show(
    database: Named, backup: BackupNamed = "latest", env: In = None, as_json: Json = False
) -> None:
    """Show one backup."""
    with connect() as api:
        row = _find(api, (owner := _database(api, database, env)), backup)
    if as_json:
        output.as_json(row)
        return
    output.facts(
        [
            ("database", title(owner)),
            ("file", row["file_name"]),
            ("status", row["status"]),
            ("damage", row["damage"]),
            ("description", row["description"]),
            ("format", row["format"]),
            ("part", row["part"]),
            ("origin", row["origin"]),
            ("size", output.size(row["size_bytes"])),
            ("sha256", row["sha256"]),
            ("PostgreSQL", row["postgres_version"]),
            ("made", row["finished_at"]),
            ("verified", row["verified_at"]),
            ("id", row["id"]),
        ]
    )


@app.command()
def download(
    database: Named,
    backup: BackupNamed = "latest",
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; its own name else.")
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Fetch a backup's file. It is compared with its hash, and readable by you alone.

    Example:

        tenantry backup download shop latest --output shop.dump
    """
    with connect() as api:
        owner = _database(api, database, env)
        row = _find(api, owner, backup)
        target = to or Path(row["file_name"])
        if target.exists():
            raise Conflict(f"{target} is there already.", hint="Name another file with --output.")
        beside = target.with_name(f"{target.name}.part")
        try:
            beside.touch(0o600)
            with beside.open("wb") as file, operations.progress("downloads") as tell:
                api.download(_path(owner, row, "/download"), file, tell)
            beside.rename(target)
        except OSError as error:
            raise InvalidInput(f"{target} cannot be written: {error.strerror}.") from None
        finally:
            beside.unlink(missing_ok=True)
    if as_json:
        output.as_json({"file": str(target), **row})
        return
    output.line(str(target))
    output.done(f"{readable(row['size_bytes'])}, as they were sent")


@app.command()
def delete(database: Named, backup: BackupNamed, env: In = None, as_json: Json = False) -> None:
    """Delete a backup and its file, for ever."""
    with connect() as api:
        owner = _database(api, database, env)
        row = _find(api, owner, backup)
        answer = api.delete(_path(owner, row))
    if as_json:
        output.as_json(answer)
        return
    output.done(f"{row['file_name']} is deleted")


@app.command()
def verify(
    database: Named, backup: BackupNamed = "latest", env: In = None, as_json: Json = False
) -> None:
    """Read a backup's file on the server, and compare it with its hash. Exits 1 if damaged."""
    with connect() as api:
        owner = _database(api, database, env)
        row = _find(api, owner, backup)
        operation = api.post(_path(owner, row, "/verify"))
        result = operations.follow(api, operation["id"])["result"]
    if as_json:
        output.as_json(result)
    elif result["status"] == "ready":
        output.done(f"{row['file_name']} is whole")
    else:
        output.note(f"{row['file_name']} is damaged. {result['damage']}", style="bold red")
    if result["status"] != "ready":
        raise typer.Exit(door.FAILED)


@app.command()
def schedule(
    database: Named,
    *,
    every: Annotated[
        Literal["off", "day", "week"] | None,
        typer.Option(help="day, week (on Sundays), or off."),
    ] = None,
    hour: Annotated[int | None, typer.Option(min=0, max=23, help="The hour, in UTC.")] = None,
    kind: Kind = None,
    keep_count: Annotated[
        int | None, typer.Option(min=1, help="Keep at least so many of the newest.")
    ] = None,
    keep_days: Annotated[
        int | None, typer.Option(min=0, help="Keep all that are younger than so many days.")
    ] = None,
    keep_manual_days: Annotated[
        int | None,
        typer.Option(min=0, help="Delete those made by hand after so many days; 0: never."),
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Show when a database is backed up by itself, or change it.

    Example:

        tenantry backup schedule shop --every day --hour 3 --keep-days 14
    """
    changes = {
        "every": every,
        "hour": hour,
        "format": kind,
        "keep_count": keep_count,
        "keep_days": keep_days,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if keep_manual_days is not None:
        changes["keep_manual_days"] = keep_manual_days or None
    with connect() as api:
        path = f"{_path(find(api, database, env))}/schedule"
        found = api.get(path)
        if changes:
            found = api.put(path, {**found, **changes})
    if as_json:
        output.as_json(found)
        return
    if changes:
        output.done("The schedule is changed")
    output.facts((name.replace("_", " "), value) for name, value in found.items())


app.command()(drills.drill)
app.command()(drills.proofs)
