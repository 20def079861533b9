"""``tenantry past``: look at a database as it was, compare it with now, and bring rows back."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from tenantry.base.errors import NotFound
from tenantry.cli import output, sql, times
from tenantry.cli.asking import confirm, require_terminal
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.operations import Wait, finish

app = typer.Typer(
    help="The past: look at a database as it was, and bring lost rows back.", no_args_is_help=True
)

Moment = Annotated[
    str,
    typer.Option(
        "--to",
        parser=times.text_of(times.past),
        metavar="WHEN",
        help="A moment, a time of today, or how long ago (90s, 20m, 3h).",
    ),
]
TableNamed = Annotated[
    str, typer.Argument(metavar="TABLE", help='As schema.table, or one in public: "a.b" has a dot.')
]

_TABLES: dict[str, output.Cell] = {
    "SCHEMA": "schema",
    "TABLE": "table",
    "THEN": lambda row: row["then_why"] or f"{row['then']:,}",
    "NOW": lambda row: row["now_why"] or f"{row['now']:,}",
}
_SKIPPED: dict[str, output.Cell] = {
    "KEY": lambda row: ", ".join(row["key"]),
    "LEFT AS IT IS, SINCE IT": lambda row: row["reason"].replace("_", " "),
}
_SHOWN = 20


@app.command("open")
def open_past(
    database: Named, *, to: Moment, wait: Wait = True, env: In = None, as_json: Json = False
) -> None:
    """Make a database readable as it was, for 15 minutes, and count its rows then and now.

    Nothing of the database changes. Another past of it that is open is ended.

    Example:

        tenantry past open shop --to 20m
    """
    with connect() as api:
        row = find(api, database, env)
        started = api.post(f"/api/databases/{row['id']}/past", {"to": to})
        finish(
            api,
            started,
            wait=wait,
            as_json=as_json,
            started=f"The past of {title(row)} is being restored",
            done=lambda result: _report_open(api, row, result),
        )


def _report_open(api: Api, row: Row, result: Row) -> None:
    output.done(
        f"{title(row)} as it was at {times.local(result['moment'])} can be read until"
        f" {times.local(result['expires_at'])}"
    )
    _count(api, row, result["past_id"], as_json=False)


@app.command("tables")
def tables(database: Named, env: In = None, as_json: Json = False) -> None:
    """Count the rows of each table then and now.

    Example:

        tenantry past tables shop
    """
    with connect() as api:
        row = find(api, database, env)
        _count(api, row, _opened(api, row), as_json=as_json)


def _count(api: Api, row: Row, past: str, *, as_json: bool) -> None:
    found = api.rows(f"/api/databases/{row['id']}/past/{past}/tables").rows
    if as_json:
        output.as_json(found)
        return
    output.table(found, _TABLES, empty="There are no tables.")


@app.command("sql")
def run_sql(
    database: Named,
    *,
    command: sql.Text = None,
    file: sql.File = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Run statements in the database as it was, read-only.

    Example:

        tenantry past sql shop -c "SELECT * FROM orders WHERE id = 7"
    """
    body = {"sql": sql.asked(command, file), "read_only": True}
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/past/{_opened(api, row)}/sql"
        found = api.post(path, body, repeat=False)
    if as_json:
        output.as_json(found)
        return
    for result in found["results"]:
        sql.show(result, as_csv=False)


@app.command("compare")
def compare(database: Named, table: TableNamed, env: In = None, as_json: Json = False) -> None:
    """Compare a table with what it was, and show the first rows that differ.

    Example:

        tenantry past compare shop public.orders
    """
    with connect() as api:
        row = find(api, database, env)
        path, found = _compared(api, row, table)
        page = api.get(f"{path}/rows", limit=_SHOWN)
    if as_json:
        output.as_json({**found, "rows": page["rows"]})
        return
    _show(found, page)


@app.command("bring-back")
def bring_back(
    database: Named,
    table: TableNamed,
    *,
    only: Annotated[
        Literal["deleted", "changed"] | None,
        typer.Option(help="Only the rows that were deleted, or those that were changed."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Bring the rows of a table back that were deleted or changed since, in one transaction.

    They are shown first. Rows that change meanwhile are left as they are; none is deleted.

    Example:

        tenantry past bring-back shop public.orders --only deleted
    """
    kinds = ["deleted", "changed"] if only is None else [only]
    if not yes:
        require_terminal(as_json=as_json)
    with connect() as api:
        row = find(api, database, env)
        path, found = _compared(api, row, table)
        wanted = sum(found["counts"][kind] for kind in kinds)
        if not yes and wanted:
            _show(found, api.get(f"{path}/rows", limit=_SHOWN, kind=only))
            confirm(f"Bring {wanted:,} rows of {table} back?")
        done = api.post(f"{path}/bring-back", {"kinds": kinds}, repeat=False)
    if as_json:
        output.as_json(done)
        return
    output.done(f"{done['inserted']:,} rows are inserted again, {done['updated']:,} as they were")
    if done["altered"]:
        output.note(f"{done['altered']:,} of them were altered by a trigger.", style="yellow")
    if done["skipped"]:
        output.note(f"{done['skipped']:,} were left as they are:", style="yellow")
        output.table(done["rows"], _SKIPPED, empty="")


@app.command("end")
def end(database: Named, env: In = None, as_json: Json = False) -> None:
    """End the past of a database before it expires.

    Example:

        tenantry past end shop
    """
    with connect() as api:
        row = find(api, database, env)
        gone = api.delete(f"/api/databases/{row['id']}/past/{_opened(api, row)}")
    if as_json:
        output.as_json(gone)
        return
    output.done(f"The past of {title(row)} is closed")


def _opened(api: Api, row: Row) -> str:
    """Return the id of the past session that can be read."""
    found = api.rows(f"/api/databases/{row['id']}/past").rows
    opened = [str(each["id"]) for each in found if each["expires_at"] is not None]
    if not opened:
        raise NotFound(
            f"No past of {title(row)} can be read now.",
            hint="Open one first: tenantry past open DATABASE --to WHEN.",
        )
    return opened[0]


def _compared(api: Api, row: Row, table: str) -> tuple[str, Row]:
    path = f"/api/databases/{row['id']}/past/{_opened(api, row)}/comparisons"
    found: Row = api.post(path, {"table": table}, repeat=False)
    return f"{path}/{found['id']}", found


def _show(found: Row, page: Mapping[str, Any]) -> None:
    counts = found["counts"]
    names = [each["name"] for each in found["columns"]]
    columns: dict[str, output.Cell] = {"": "kind"}
    columns |= {f"{name} ": str(at) for at, name in enumerate(names)}
    output.table([_one_row(each) for each in page["rows"]], columns, empty="No row differs.")
    output.note(
        f"{counts['deleted']:,} deleted, {counts['changed']:,} changed, {counts['added']:,} added,"
        f" {counts['same']:,} the same"
    )
    if found["moved"]:
        output.note(
            f"{found['moved']:,} of the deleted rows have the values of added ones: if their keys"
            " were changed, they will be there twice.",
            style="yellow",
        )
    if found["blocked"]:
        output.note(found["blocked"], style="yellow")


def _one_row(row: Row) -> dict[str, str]:
    """Return a difference, each value as it was, and as it is where that is something else."""
    then, now = row["then"], row["now"]
    shown = {"kind": row["kind"]}
    for at, value in enumerate(then or now or []):
        text = _written(value)
        if then is not None and now is not None and now[at] != value:
            text += f" → {_written(now[at])}"
        shown[str(at)] = text
    return shown


def _written(value: str | None) -> str:
    return "NULL" if value is None else value
