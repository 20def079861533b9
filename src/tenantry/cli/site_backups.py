"""``tenantry cache backup``, ``backups`` and ``restore``: the backups of a site."""

from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput
from tenantry.base.ids import parse_id
from tenantry.base.sizes import readable
from tenantry.cli import operations, output, times
from tenantry.cli.asking import confirm
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding_sites import Named, find, of_deleted

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Backup = Annotated[str, typer.Argument(metavar="BACKUP", help="Its id.", show_default=False)]

_COLUMNS: dict[str, output.Cell] = {
    "ID": "id",
    "STATUS": "status",
    "ORIGIN": "origin",
    "KEYS": "keys",
    "SIZE": lambda row: output.size(row["size_bytes"]),
    "AGE": lambda row: times.distance(row["created_at"]),
}


def _id(text: str) -> str:
    if parse_id(text) is None:
        raise InvalidInput(
            f"“{text}” is not the id of a backup.", hint="`tenantry cache backups SITE` shows them."
        )
    return text


def backup(site: Named, *, wait: operations.Wait = True, as_json: Json = False) -> None:
    """Back up a site that keeps its data, while it serves.

    Sites with the persistence aof are also backed up each night.

    Example:

        tenantry cache backup shop
    """
    with connect() as api:
        row = find(api, site)
        started = api.post(f"/api/sites/{row['id']}/backups")

        def report(result: Row) -> None:
            output.line(result["backup_id"])
            output.done(f"The site {row['name']} is backed up, {readable(result['size_bytes'])}")
            for place, why in result["lacking"].items():
                output.note(f"It is not in {place}: {why}", style="yellow")

        operations.finish(
            api,
            started,
            wait=wait,
            as_json=as_json,
            started=f"The site {row['name']} is being backed up",
            done=report,
        )


def backups(
    site: Named,
    *,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List the backups of a site, newest first; by its id also those of a deleted one.

    Example:

        tenantry cache backups shop
    """
    with connect() as api:
        page = api.rows(f"/api/sites/{of_deleted(api, site)}/backups", limit=limit)
    output.listing(page, _COLUMNS, empty="It has no backup.", in_json=as_json, first="newest")


def restore(
    site: Named,
    *,
    backup: Annotated[
        str | None, typer.Option(metavar="ID", help="Which backup. Default: the newest.")
    ] = None,
    yes: Yes = False,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Put the data of a backup in service. What the site has now is lost.

    Its Redis is started again for that; if the restore fails, it has what it had before. Asks on a
    terminal; otherwise --yes is required.

    Example:

        tenantry cache restore shop --backup 0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5
    """
    wanted = {} if backup is None else {"backup_id": _id(backup)}
    with connect() as api:
        row = find(api, site)
        if not yes:
            confirm(
                f"Restore the site {row['name']}?",
                consequence="What it has now is lost, and its clients are disconnected.",
                as_json=as_json,
            )
        started = api.post(f"/api/sites/{row['id']}/restore", wanted)
        operations.finish(
            api,
            started,
            wait=wait,
            as_json=as_json,
            started=f"The site {row['name']} is being restored",
            done=lambda result: output.done(
                f"The site {row['name']} is restored, {result['keys']:,} keys"
            ),
        )


def delete_backup(site: Named, backup: Backup, *, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a backup of a site permanently.

    Asks on a terminal; otherwise --yes is required.

    Example:

        tenantry cache delete-backup shop 0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5 --yes
    """
    with connect() as api:
        path = f"/api/sites/{of_deleted(api, site)}/backups/{_id(backup)}"
        if not yes:
            confirm(f"Delete the backup {backup} of {site}?", as_json=as_json)
        gone = api.delete(path)
    if as_json:
        output.as_json(gone)
        return
    output.done(f"The backup {backup} is deleted")
