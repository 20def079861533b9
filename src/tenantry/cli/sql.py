"""``tenantry sql``: run statements in a database, with the rights of its owner role."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import limits, output
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find
from tenantry.cli.times import distance

_SHOWN = 80  # characters of a text in a list

Text = Annotated[
    list[str] | None,
    typer.Option("--command", "-c", metavar="SQL", help="What to run; may be repeated."),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", help="A file with what to run; - is standard input.", exists=False
    ),
]
Writes = Annotated[
    bool | None,
    typer.Option(
        "--write/--read-only",
        help="Whether it may change something. Default: not in production.",
        show_default=False,
    ),
]

Saved = Annotated[
    str | None, typer.Option(metavar="NAME", help="Run the text that you saved by this name.")
]
Save = Annotated[
    str | None, typer.Option(metavar="NAME", help="Save the text by a name, and do not run it.")
]
Texts = Annotated[
    bool, typer.Option("--texts", help="List what you have saved, and run in the console.")
]


def sql(
    database: Named,
    *,
    command: Text = None,
    file: File = None,
    write: Writes = None,
    timeout: Annotated[
        int | None,
        typer.Option(parser=limits.parse_time, metavar="TIME", help="At most so long: 10s."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="At most so many rows of each result.")
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: NULL is an empty field.")
    ] = False,
    saved: Saved = None,
    save: Save = None,
    texts: Texts = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Run statements with the rights of the owner role, as one transaction.

    It takes a key with the scope data:read, and data:write to change something. A run may take 30
    seconds, and return 10,000 rows of each statement and 8 MiB in all. Ctrl-C cancels it.

    Examples:

        tenantry sql shop -c "SELECT * FROM orders ORDER BY id DESC LIMIT 20"

        tenantry sql shop --file fix.sql --write

        tenantry sql shop -c "TABLE orders" --csv > orders.csv

        tenantry sql shop --saved "top customers"
    """
    if texts or save is not None:
        _show_texts(database, env, save, None if save is None else asked(command, file), as_json)
        return
    body: dict[str, object] = {} if saved is not None else {"sql": asked(command, file)}
    if write is not None:
        body["read_only"] = not write
    if timeout is not None:
        body["timeout_ms"] = timeout
    if limit is not None:
        body["max_rows"] = limit
    with connect() as api:
        path = f"/api/databases/{find(api, database, env)['id']}/sql"
        if saved is not None:
            body["sql"] = _saved(api.rows(f"{path}/texts").rows, saved)
        found = api.post(path, body, repeat=False)
    if as_json:
        output.as_json(found)
        return
    for result in found["results"]:
        show(result, as_csv=as_csv)


def _show_texts(
    database: str, env: str | None, name: str | None, text: str | None, as_json: bool
) -> None:
    """List the texts of the caller, of which one may be saved first."""
    with connect() as api:
        path = f"/api/databases/{find(api, database, env)['id']}/sql/texts"
        if name is not None:
            api.put(path, {"name": name, "sql": text})
        found = api.rows(path).rows
    if as_json:
        output.as_json(found)
        return
    columns: dict[str, output.Cell] = {
        "NAME": "name",
        "USED": lambda row: distance(row["used_at"]),
        "SQL": lambda row: " ".join(row["sql"].split())[:_SHOWN],
    }
    output.table(found, columns, empty="Nothing is saved, and nothing has run in the console.")


def _saved(texts: list[Row], name: str) -> str:
    for each in texts:
        if each["name"] == name:
            return str(each["sql"])
    names = [str(each["name"]) for each in texts if each["name"]]
    meant = did_you_mean(name, names) or "tenantry sql DATABASE --texts lists them."
    raise InvalidInput.of("saved", f"you have saved nothing as “{name}”. {meant}")


def asked(command: list[str] | None, file: Path | None) -> str:
    """Return what to run. Raises InvalidInput."""
    if command and file is not None:
        raise InvalidInput.of("file", "and --command exclude each other")
    if command:
        return ";\n".join(command)
    if file is not None and str(file) != "-":
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput.of("file", f"{file} cannot be read: {error}") from None
    if file is None and sys.stdin.isatty():
        raise InvalidInput(
            "There is nothing to run.", hint='Give it with -c "SELECT …", or in a file with --file.'
        )
    return sys.stdin.read()


def show(result: Row, *, as_csv: bool) -> None:
    """Print the result of one statement."""
    names = [each["name"] for each in result["columns"]]
    if as_csv and names:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows([[_written(value) for value in row] for row in result["rows"]])
    elif names:
        columns = {
            name if names.count(name) == 1 else f"{name} ({at + 1})": str(at)
            for at, name in enumerate(names)
        }
        rows = [
            {str(at): "NULL" if each is None else _written(each) for at, each in enumerate(row)}
            for row in result["rows"]
        ]
        output.table(rows, columns, empty="No rows.")
    for text in result["notices"]:
        output.note(text)
    output.note(f"{result['command']}, {result['duration_ms']:,.1f} ms")
    if result["truncated"]:
        more = output.count(len(result["rows"]), "row")
        output.note(f"There are more than {more}: those are left out.", style="yellow")
    if result["cut"]:
        output.note("Values of more than 64 KiB are cut.", style="yellow")


def _written(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
