"""``tenantry db vacuum-full``: give back the disk space of deleted rows."""

from functools import partial
from typing import Annotated

import typer

from tenantry.base.errors import NotFound
from tenantry.base.sizes import readable
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import entry_point, limits, operations, output
from tenantry.cli.client import Page, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title


def vacuum_full(
    database: Named,
    *,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="SCHEMA.TABLE", help="Only this table; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be given back; change nothing.")
    ] = False,
    lock_timeout: Annotated[
        int | None,
        typer.Option(
            parser=limits.parse_time, metavar="TIME", help="How long to wait for each table: 5s."
        ),
    ] = None,
    env: In = None,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Rewrite tables to give back the space of deleted rows. Each is locked meanwhile.

    Default without --table: those that would give back a tenth of their size or more.

    Examples:

        tenantry db vacuum-full shop --dry-run

        tenantry db vacuum-full shop --table public.events
    """
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/vacuum-full"
        if dry_run:
            _show_estimate(row, api.rows(path), table or [], as_json=as_json)
            return
        asked: dict[str, object] = {"tables": table or []}
        if lock_timeout is not None:
            asked["lock_timeout_seconds"] = lock_timeout / 1000
        operation = api.post(path, asked)
        ended = operations.finish(
            api,
            operation,
            wait=wait,
            as_json=as_json,
            started=f"The tables of {title(row)} are being rewritten",
            done=partial(_report, row),
        )
    if wait and ended["result"]["skipped"]:
        raise typer.Exit(entry_point.FAILED)


def _show_estimate(row: Row, page: Page, tables: list[str], *, as_json: bool) -> None:
    if tables:
        page.rows[:] = [_named(page.rows, each) for each in tables]
    output.listing(
        page,
        {
            "TABLE": "table",
            "SIZE": lambda each: output.size(each["size_bytes"]),
            "WOULD RETURN": lambda each: (
                "unknown" if each["returned_bytes"] is None else readable(each["returned_bytes"])
            ),
        },
        empty=f"{title(row)} has no tables.",
        in_json=as_json,
    )


def _report(row: Row, result: Row) -> None:
    """Report the result."""
    for each in result["tables"]:
        before, after = readable(each["before_bytes"]), readable(each["after_bytes"])
        output.note(f"{each['table']}: {before}, now {after}")
    for each in result["skipped"]:
        output.note(f"{each['table']} is as it was. {each['reason']}", style="yellow")
    if result["tables"]:
        output.done(f"{title(row)}: {readable(max(0, result['returned_bytes']))} given back")
    else:
        output.note(
            f"Nothing was rewritten: no table of {title(row)} is known to give back a tenth of"
            " its size. --dry-run shows what each would; --table rewrites one all the same."
        )


def _named(rows: list[Row], name: str) -> Row:
    """Return the table of this name. Raises NotFound."""
    for each in rows:
        if each["table"] == name:
            return each
    meant = did_you_mean(name, [str(each["table"]) for each in rows])
    raise NotFound(
        f"The database's owner has no table {name}.", hint=meant or "Name it as schema.table."
    )
