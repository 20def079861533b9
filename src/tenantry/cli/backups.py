"""``tenantry backup``: create, download, verify and delete logical backups of one database."""

from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import quote

import typer

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.ids import parse_id
from tenantry.base.sizes import readable
from tenantry.cli import backup_schedules, drills, entry_point, operations, output, times
from tenantry.cli.asking import confirm
from tenantry.cli.client import Api, ApiError, Row, connect
from tenantry.cli.downloading import ensure_file
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

app = typer.Typer(
    help="Backups: a database as a file of pg_dump's, made now or by the clock.",
    no_args_is_help=True,
)

BackupNamed = Annotated[
    str,
    typer.Argument(metavar="BACKUP", help="Its id, its file's name, or latest."),
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
    """Return the named database; by id also a deleted one that has left backups."""
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
        hint=f"`tenantry backup list {database['database_name']}` shows its backups.",
    )


@app.command()
def create(
    database: Named,
    *,
    kind: backup_schedules.Kind = None,
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
    """Create a backup without interrupting the database.

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


def _restorable(reported: Row) -> str:
    """Return which moments `tenantry restore` can restore, from the API's answer to a list."""
    match reported["restorable"]:
        case "ok":
            ends = (times.local(reported[f"restorable_{end}"]) for end in ("from", "until"))
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
    output.listing(
        page,
        _COLUMNS,
        empty=f"{title(row)} has no backup.",
        in_json=as_json,
        spare=("POSTGRESQL", "PART", "ORIGIN"),
    )
    output.note(_restorable(page.about))


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
    *,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; its own name else.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write it to, by its own name.")
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Download a backup's file and verify its hash. Only you can read the file.

    The file appears under its name once it is complete; an existing file is never overwritten. An
    interrupted download is resumed when the command is run again; a complete one is not repeated.

    Examples:

        tenantry backup download shop latest --output shop.dump

        tenantry backup download shop --into /srv/copies
    """
    if to and into:
        raise typer.BadParameter("say --output or --into, not both.")
    if into and not into.is_dir():
        raise InvalidInput(
            f"There is no folder {into}.",
            hint="It is not made, as it may be on a disk that is not mounted.",
        )
    with connect() as api:
        owner = _database(api, database, env)
        row = _find(api, owner, backup)
        target = to or (into or Path()) / _plain_name(row["file_name"])
        path, sha256 = _path(owner, row, "/download"), row["sha256"] or ""

        def fetch(file: BinaryIO, start: int) -> None:
            with operations.progress("downloads") as report:
                api.download(path, file, report, start=start, etag=sha256)

        fetched = ensure_file(target, fetch, size=row["size_bytes"] or 0, sha256=sha256)
    if as_json:
        output.as_json({"file": str(target), **row})
        return
    output.line(str(target))
    what = "as they were sent" if fetched else "were there already"
    output.done(f"{readable(row['size_bytes'])}, {what}")


def _plain_name(name: str) -> str:
    """Return the platform's file name. Raises InvalidInput if it leads to another folder."""
    if Path(name).name != name:
        raise InvalidInput(
            f"The backup is called “{name}”, which is no file's name.",
            hint="Name the file with --output.",
        )
    return name


@app.command()
def delete(
    database: Named,
    backup: BackupNamed,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Delete a backup and its file permanently. Asks first; elsewhere --yes is required."""
    with connect() as api:
        owner = _database(api, database, env)
        row = _find(api, owner, backup)
        if not yes:
            gone = f"{row['file_name']} will be gone for ever."
            confirm("Delete it?", consequence=gone, as_json=as_json)
        answer = api.delete(_path(owner, row))
    if as_json:
        output.as_json(answer)
        return
    output.done(f"{row['file_name']} is deleted")


@app.command()
def verify(
    database: Named, backup: BackupNamed = "latest", env: In = None, as_json: Json = False
) -> None:
    """Compare a backup's file on the server with its hash. Exit code 1 if it is damaged."""
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
        raise typer.Exit(entry_point.FAILED)


app.command("schedule")(backup_schedules.schedule)
app.command("defaults")(backup_schedules.defaults)
app.command()(drills.drill)
app.command()(drills.proofs)
