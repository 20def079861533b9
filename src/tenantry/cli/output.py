"""What people see: tables, facts, spinners, errors. For scripts, the API's data as JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tenantry.base.errors import TenantryError
from tenantry.base.sizes import readable
from tenantry.cli.client import ApiError, Page, Row

Cell = str | Callable[[Row], object]

_UNLIMITED = 100_000  # columns, where no terminal has an edge
_EMOJI_JOINERS = "\u200c\u200d"


def error_console() -> Console:
    """Where what is said beside the result goes."""
    return _console(stderr=True)


def load() -> None:
    """Load what printing takes and loads only then: for a program that deletes its own files."""
    console = error_console()
    with console.capture():
        console.print("✓ …")


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNLIMITED
    return console


def plain(value: object) -> str:
    """A value as text that a terminal takes for text.

    Names come from strangers: an escape sequence in one would act on the
    reader's terminal, and a bidirectional control would reorder the row.
    """
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)}={plain(inner)}" for key, inner in value.items())
    return "".join(
        c if c.isprintable() or c in _EMOJI_JOINERS else c.encode("unicode_escape").decode()
        for c in str(value)
    )


def size(count: float | None) -> str | None:
    """Bytes for a cell; what is not known yet stays None."""
    return None if count is None else readable(count)


def as_json(data: object) -> None:
    """Print ``data`` as JSON; in ASCII, so that every terminal and locale takes it."""
    typer.echo(json.dumps(data, indent=2))


def as_json_line(data: object) -> None:
    """Print ``data`` as one line of JSON, in ASCII as well."""
    typer.echo(json.dumps(data))


def table(rows: Sequence[Row], columns: Mapping[str, Cell], *, empty: str) -> None:
    """Print rows under titled columns, numbers to the right; say ``empty`` when there are none."""
    if not rows:
        note(empty)
        return
    sheet = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    lines = [[_value(row, cell) for cell in columns.values()] for row in rows]
    for index, title in enumerate(columns):
        numbers = all(isinstance(line[index], int | float) for line in lines)
        sheet.add_column(
            title, justify="right" if numbers else "left", overflow="fold", no_wrap=numbers
        )
    for line in lines:
        sheet.add_row(*(Text(plain(value)) for value in line))
    _console().print(sheet)


def listing(
    page: Page, columns: Mapping[str, Cell], *, empty: str, in_json: bool, first: str = "first"
) -> None:
    """Print the rows of a list, as JSON or as a table, and say whether there are more."""
    if in_json:
        as_json(page.rows)
    else:
        table(page.rows, columns, empty=empty)
    if page.more:
        note(f"These are the {first} {len(page.rows)}; --all shows every one.")


def _value(row: Row, cell: Cell) -> object:
    return row.get(cell) if isinstance(cell, str) else cell(row)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print one thing's properties, a line each, those without a value left out."""
    known = [(label, value) for label, value in pairs if value is not None]
    width = max((len(label) for label, _ in known), default=0)
    console = _console()
    for label, value in known:
        line = Text(f"{label:<{width}}  ", style="dim").append(Text(plain(value), style="none"))
        # A connection string that was wrapped could not be copied.
        console.print(line, soft_wrap=True)


def line(text: str) -> None:
    """Print one line, unbroken and unstyled, for a person or for ``$(…)``."""
    typer.echo(plain(text))


def heading(text: str) -> None:
    """Print the title of what follows, an empty line before it."""
    _console().print(Text(f"\n{text}", style="bold"))


def note(text: str, *, style: str = "dim") -> None:
    """Say something beside the result, on standard error."""
    _console(stderr=True).print(Text(text, style=style))


def done(text: str) -> None:
    """Say that a change has been made."""
    note(f"✓ {text}", style="green")


def secret(label: str, text: str, *, last: bool = True) -> None:
    """Print a secret that nobody can ever show again, and say so with the last one."""
    _console().print(Text(f"{label}  ").append(text, style="bold yellow"), soft_wrap=True)
    if last:
        note(
            "It is shown this once and stored nowhere: put it into a safe place now.",
            style="yellow",
        )


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Turn a spinner on standard error while the block runs, if a terminal is there."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(f"{text} …")):
        yield


def failure(error: TenantryError) -> None:
    """Say what happened, why, and what to do next, on standard error."""
    problem: Mapping[str, Any] = error.problem if isinstance(error, ApiError) else {}
    title = str(problem.get("title") or error.title).rstrip(".")
    said = Text("Error: ", style="bold red").append(f"{title}.", style="bold")
    body = [error.detail] if error.detail else []
    body += [
        f"{wrong.field}: {wrong.message}"
        for wrong in error.fields
        if f"{wrong.field}: {wrong.message}" != error.detail
    ]
    if error.hint:
        body.append(f"→ {error.hint}")
    console = _console(stderr=True)
    console.print(said)
    for paragraph in body:
        for text in paragraph.splitlines():
            console.print(Padding(Text(plain(text)), (0, 0, 0, 2), expand=False))
