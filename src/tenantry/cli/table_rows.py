"""``tenantry rows``: change rows of a table, and copy them as CSV."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlencode

import typer

from tenantry.base.errors import InvalidInput
from tenantry.cli import output, streams
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find

app = typer.Typer(help="Rows of a table: change them, copy them as CSV.", no_args_is_help=True)

TableNamed = Annotated[
    str, typer.Argument(metavar="TABLE", help="Its name, or SCHEMA.TABLE.", show_default=False)
]
_SECONDS = 660.0  # a copy may take ten minutes


def _table(text: str) -> Row:
    """Return a table's name and its schema, which is all before the first dot."""
    schema, dot, name = text.partition(".")
    return {"schema": schema, "table": name} if dot else {"schema": "public", "table": text}


@app.command()
def change(
    database: Named,
    table: TableNamed,
    *,
    file: Annotated[
        Path, typer.Option("--file", "-f", help="A file with the changes; - is standard input.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the statements, and change nothing.")
    ] = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Insert, update and delete rows, as one transaction, each of exactly one row.

    The file has JSON: a list of changes with action (insert, update, delete), key (the primary
    key), values, and, so that a row that has been changed meanwhile is left alone, its xmin. It
    takes a key with the scopes data:read and data:write.

    Example:

        echo '[{"action": "update", "key": {"id": 7}, "values": {"status": "paid"}}]' |
        tenantry rows change shop orders --file -
    """
    try:
        changes = json.loads(sys.stdin.read() if streams.is_standard(file) else file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput.of("file", f"{file} cannot be read: {error}") from None
    # What the console shows has its table, too.
    changes = changes.get("changes", changes) if isinstance(changes, dict) else changes
    body: Row = {**_table(table), "changes": changes, "dry_run": dry_run}
    with connect() as api:
        found = api.post(f"/api/databases/{find(api, database, env)['id']}/rows", body)
    if as_json:
        output.as_json(found)
        return
    if dry_run:
        for line in str(found["sql"]).splitlines():
            output.line(line)
    output.note("Nothing was changed." if dry_run else f"Rows changed: {found['rows']:,}.")


@app.command("import")
def load(
    database: Named,
    table: TableNamed,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="A CSV file; - is standard input.")],
    env: In = None,
    as_json: Json = False,
) -> None:
    """Insert the rows of a CSV file, all or none; its first line names the columns.

    An empty field is NULL, and "" an empty text. It takes a key with the scopes data:read and
    data:write.

    Example:

        tenantry rows import shop orders --file orders.csv
    """
    with connect() as api:
        path = f"/api/databases/{find(api, database, env)['id']}/rows/csv"
        try:
            with streams.reading(file) as content:
                found = api.upload(
                    path,
                    content,
                    media_type="text/csv",
                    seconds=_SECONDS,
                    repeat=False,
                    **_table(table),
                )
        except OSError as error:
            raise InvalidInput.of("file", f"{file} cannot be read: {error.strerror}") from None
    if as_json:
        output.as_json(found)
        return
    output.note(f"Rows inserted: {found['rows']:,}.")


@app.command()
def export(
    database: Named,
    table: TableNamed,
    *,
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The file to write; - is standard output.")
    ],
    column: Annotated[str, typer.Option(help="Only rows whose value of it passes --test.")] = "",
    test: Annotated[
        Literal["is", "is_not", "less", "greater", "contains", "empty", "filled"],
        typer.Option(help="How --value is compared with it."),
    ] = "is",
    value: Annotated[str, typer.Option(help="What it is compared with.")] = "",
    env: In = None,
) -> None:
    """Write the rows of a table or view to a CSV file. It takes a key with the scope data:read.

    Example:

        tenantry rows export shop orders --file paid.csv --column status --value paid
    """
    chosen = {"column": column, "test": test, "value": value}
    query = urlencode({**_table(table), **{name: each for name, each in chosen.items() if each}})
    with connect() as api:
        path = f"/api/databases/{find(api, database, env)['id']}/rows/csv?{query}"
        try:
            with streams.writing(file) as target:
                api.download(path, target, lambda _done, _total: None)
        except OSError as error:
            raise InvalidInput.of("file", f"{file} cannot be written: {error.strerror}") from None
    if not streams.is_standard(file):
        output.note(f"Written to {file}.")
