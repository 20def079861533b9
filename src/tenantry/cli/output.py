"""Output for people: tables, facts, spinners, errors. For scripts, the API's data as JSON.

rich takes half as long to import as a whole command runs, so it is loaded only for animations.
"""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from tenantry.base.errors import TenantryError
from tenantry.base.sizes import readable
from tenantry.cli import times
from tenantry.cli.client import ApiError, Page, Row
from tenantry.cli.words import Words, commands

if TYPE_CHECKING:
    from rich.console import Console

Cell = str | Callable[[Row], object]

_EMOJI_JOINERS = "\u200c\u200d"
_GAP = "  "
_PROSE = 24  # longer values with spaces may be wrapped or cut
_PLAIN_TERMINALS = {"dumb", "unknown"}
_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "bold red": "1;31",
    "green": "32",
    "yellow": "33",
    "bold yellow": "1;33",
}


def error_console() -> "Console":
    """Return the console on standard error for spinners and progress bars."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def window() -> tuple[int, int] | None:
    """Return the columns and lines of the terminal on standard output; None if there is none."""
    room = _room(sys.stdout)
    if room is None or os.environ.get("TERM") in _PLAIN_TERMINALS:
        return None
    return room, shutil.get_terminal_size().lines


@contextmanager
def live() -> Iterator[Callable[[Sequence[str]], None]]:
    """Yield a function that shows lines on the terminal, in place of those it showed before."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as shown:

        def show(lines: Sequence[str]) -> None:
            text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
            shown.update(text, refresh=True)

        yield show


def load() -> None:
    """Import what printing loads lazily, for a program that deletes its own files."""
    console = error_console()
    with console.capture(), console.status("…"):
        console.print("✓ …")


def plain(value: object) -> str:
    """Format a value as plain text that is safe for a terminal.

    Names come from other users: an escape sequence in one would act on the reader's terminal,
    and a bidirectional control would reorder the row.
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
    """Format bytes for a cell; None if not known yet."""
    return None if count is None else readable(count)


def as_json(data: object) -> None:
    """Print ``data`` as JSON; in ASCII, which every terminal and locale can show."""
    _print(json.dumps(data, indent=2))


def as_json_line(data: object) -> None:
    """Print ``data`` as one line of JSON, also in ASCII."""
    _print(json.dumps(data))


def table(
    rows: Sequence[Row], columns: Mapping[str, Cell], *, empty: str, spare: Sequence[str] = ()
) -> None:
    """Print rows under titled columns, numbers aligned right; print ``empty`` if there are none.

    On a terminal that is too narrow, a last column of prose is wrapped, other prose is cut, and
    then columns are omitted, which is reported: those of ``spare`` in its order, then from the
    right. A name or an id is never cut. In a pipe everything is printed, one row per line.
    """
    if not rows:
        note(empty)
        return
    lines, left_out = lay_out(rows, columns, room=_room(sys.stdout), spare=spare)
    for number, text in enumerate(lines):
        _print(text if number else _styled(text, "bold", sys.stdout))
    if left_out:
        note(f"No room for {', '.join(left_out)}: a wider terminal or --json shows them.")


def lay_out(
    rows: Sequence[Row],
    columns: Mapping[str, Cell],
    *,
    room: int | None,
    spare: Sequence[str] = (),
    wrap: bool = True,
) -> tuple[list[str], list[str]]:
    """Return the lines of a table, its titles first, and the titles of omitted columns.

    ``room`` is the width of the terminal; None has room for all. Without ``wrap`` a last column of
    prose is cut, too, so that each row is one line.
    """
    sheet = {title: [_value(row, cell) for row in rows] for title, cell in columns.items()}
    gone: list[str] = []
    while (lines := _laid_out(sheet, room, wrap=wrap)) is None:
        gone += [next(each for each in _leaving(sheet, spare) if each in sheet)]
        del sheet[gone[-1]]
    return lines, [title for title in columns if title in gone]


def _leaving(sheet: Mapping[str, Sequence[object]], spare: Sequence[str]) -> list[str]:
    """Return the columns in the order in which they are omitted."""
    first, *others = sheet
    *others, last = others
    is_prose = _is_prose([last, *map(_text, sheet[last])])
    return [*spare, *([] if is_prose else [last]), *reversed(others), last, first]


def _is_prose(column: Sequence[str]) -> bool:
    return max(map(_width, column)) > _PROSE and any(" " in text for text in column)


def _laid_out(
    sheet: Mapping[str, Sequence[object]], room: int | None, *, wrap: bool = True
) -> list[str] | None:
    """Return the lines of a table, its titles first; None if it is wider than ``room``."""
    right = [all(isinstance(each, int | float) for each in sheet[title]) for title in sheet]
    texts = {title: [title, *map(_text, values)] for title, values in sheet.items()}
    columns = list(texts.values())
    widths = [max(map(_width, column)) for column in columns]
    over = 0 if room is None else sum(widths) + len(_GAP) * (len(widths) - 1) - room
    prose = list(map(_is_prose, columns))
    shortens = over > 0 and prose[-1]
    if shortens:
        cut = min(over, widths[-1] - _PROSE)
        widths[-1], over = widths[-1] - cut, over - cut
    for at in range(len(widths) - 1):
        if over > 0 and prose[at]:
            cut = min(over, widths[at] - _PROSE)
            widths[at], over = widths[at] - cut, over - cut
    if over > 0 and len(widths) > 1:
        return None
    lines = []
    for cells in zip(*columns, strict=True):
        *firsts, last = cells
        parts = [_cut(last, widths[-1])]
        if shortens and wrap:
            parts = _wrapped(last, widths[-1])
        before = [
            _padded(_cut(text, width), width, right=number)
            for text, width, number in zip(firsts, widths, right, strict=False)
        ]
        before_blank = [" " * width for width in widths[:-1]]
        for index, part in enumerate(parts):
            start = before_blank if index else before
            end = _padded(part, widths[-1], right=right[-1])
            lines.append(_GAP.join([*start, end]).rstrip())
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _cut(text: str, width: int) -> str:
    if _width(text) > width:
        text = f"{text[:width]}…"
    while _width(text) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def _padded(text: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415

    return cell_len(text)


def _print(text: str, *, err: bool = False) -> None:
    typer.echo(text, err=err, color=True)


def _room(stream: TextIO) -> int | None:
    """Return the width of the terminal in columns; None if there is no terminal."""
    if not stream.isatty():
        return None
    with_variable = shutil.get_terminal_size((0, 0)).columns if "COLUMNS" in os.environ else 0
    try:
        return with_variable or os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def _styled(text: str, style: str, stream: TextIO) -> str:
    """Return the text with colours, if the stream shows them and the user wants them."""
    shown = stream.isatty() and os.environ.get("TERM") not in _PLAIN_TERMINALS
    wanted = not os.environ.get("NO_COLOR") and style in _STYLES
    if wanted and (shown or os.environ.get("FORCE_COLOR")):
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
    return text


def listing(
    page: Page,
    columns: Mapping[str, Cell],
    *,
    empty: str,
    in_json: bool,
    first: str = "first",
    spare: Sequence[str] = (),
) -> None:
    """Print the rows of a list, as JSON or as a table, and report whether there are more."""
    if in_json:
        as_json(page.rows)
    else:
        table(page.rows, columns, empty=empty, spare=spare)
    if page.more:
        note(f"These are the {first} {len(page.rows)}; --all shows every one.")


def count(number: int, one: str) -> str:
    """Return a number with its noun, which is regular: ``1 row``, ``1,200 rows``."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _value(row: Row, cell: Cell) -> object:
    return row.get(cell) if isinstance(cell, str) else cell(row)


def _text(value: object) -> str:
    """Format a value for people: moments in the local time zone."""
    return plain(times.local(value) if times.is_moment(value) else value)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print the properties of one thing, a line each; those without a value are left out."""
    known = [(label, value) for label, value in pairs if value is not None]
    width = max((len(label) for label, _ in known), default=0)
    for label, value in known:
        # A wrapped connection string could not be copied.
        _print(_styled(f"{label:<{width}}", "dim", sys.stdout) + _GAP + _text(value))


def line(text: str) -> None:
    """Print one line, unwrapped and unstyled, for people and for ``$(…)``."""
    _print(plain(text))


def heading(text: str) -> None:
    """Print a title after an empty line."""
    _print("\n" + _styled(plain(text), "bold", sys.stdout))


def note(text: str, *, style: str = "dim") -> None:
    """Print a note on standard error."""
    _say(text, style=style)


def ongoing(text: str) -> str:
    """Return the report of a step: "Starting the pooler …"; a sentence ends with its full stop."""
    return text if text.endswith(".") else f"{text} …"


def _say(text: str, *, style: str, indent: str = "") -> None:
    room = _room(sys.stderr)
    for part in text.splitlines():
        wrapped = [part] if room is None else _wrapped(part, max(_PROSE, room - len(indent)))
        for each in wrapped:
            _print((indent + _styled(plain(each), style, sys.stderr)).rstrip(), err=True)


def done(text: str) -> None:
    """Report that a change has been made."""
    note(f"✓ {text}", style="green")


def secret(label: str, text: str, *, last: bool = True, several: bool = False) -> None:
    """Print a secret that is never shown again; the last of ``several`` adds the warning."""
    _print(f"{label}{_GAP}{_styled(plain(text), 'bold yellow', sys.stdout)}")
    if last:
        it_is, it = ("They are", "them") if several else ("It is", "it")
        note(
            f"{it_is} shown this once and stored nowhere: put {it} into a safe place now.",
            style="yellow",
        )


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner on standard error while the block runs, if there is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with error_console().status(ongoing(plain(text))):
        yield


def failure(error: TenantryError, words: Words) -> None:
    """Report an error on standard error: what happened, why, and what to do next."""
    problem: Mapping[str, Any] = error.problem if isinstance(error, ApiError) else {}
    title = str(problem.get("title") or error.title).rstrip(".")
    said = _styled("Error: ", "bold red", sys.stderr)
    _print(said + _styled(f"{plain(title)}.", "bold", sys.stderr), err=True)
    detail = words.text(error.detail) if error.fields else commands(error.detail)
    body = [detail] if detail else []
    for wrong in error.fields:
        # The problem of a single field is already the detail.
        if f"{wrong.field}: {wrong.message}" == error.detail:
            body = []
        # The body as a whole is no option: its problem is a sentence of its own.
        label = words.field(wrong.field)
        body.append(words.text(wrong.message if label == "body" else f"{label}: {wrong.message}"))
    if error.hint:
        body.append(f"→ {words.text(error.hint)}")
    for paragraph in body:
        _say(paragraph, style="none", indent="  ")
