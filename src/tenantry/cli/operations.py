"""``tenantry operation``: list, follow and cancel operations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

import typer

from tenantry.base.sizes import readable
from tenantry.cli import output, times
from tenantry.cli.asking import confirm
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import title

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(help="Operations: long tasks, and how far they are.", no_args_is_help=True)

Identifier = Annotated[str, typer.Argument(metavar="ID", help="The operation's id.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or only begin it.")
]
AcceptLosses = Annotated[
    bool,
    typer.Option(
        "--accept-losses",
        help="Replace what is there even by what PostgreSQL does not build again in full.",
    ),
]


def pace(row: Row) -> str:
    """Return the done part of a step, its rate and the remaining time; "" if unknown."""
    done, rate, left = row["done_bytes"], row["bytes_per_second"], row["seconds_left"]
    parts = []
    if done is not None:
        of = f" of {readable(row['total_bytes'])}" if row["total_bytes"] else ""
        parts.append(f"{readable(done)}{of}")
    if rate is not None:
        parts.append(f"{readable(rate)}/s")
    if left is not None:
        parts.append(f"{left:.0f} s left")
    return ", ".join(parts)


StatementTimeout = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        metavar="SECONDS",
        help="How long each statement may take: by default what its plan grants.",
    ),
]


def about(row: Row) -> str | None:
    """Return the name of an operation's database or cluster; None if it has neither."""
    if database := row.get("database"):
        return f"{title(database)} ({database['environment'] or 'deleted'})"
    name: str | None = row.get("resource_name")
    return name


_COLUMNS: dict[str, output.Cell] = {
    "ID": "id",
    "KIND": "kind",
    "WHAT": about,
    "STATUS": "status",
    "STEP": "step",
    "DONE": lambda row: f"{row['progress']:.0%}",
    "AGE": lambda row: times.distance(row["created_at"]),
}


@app.command("list")
def list_operations(
    status: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled"] | None,
        typer.Option(help="Only those in this state."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="Show every one.")] = False,
    as_json: Json = False,
) -> None:
    """List operations, newest first.

    Example:

        tenantry operation list --status running
    """
    most = None if everything else limit
    with connect() as api:
        page = api.rows("/api/operations", limit=most, status=status, kind=kind)
    output.listing(
        page,
        _COLUMNS,
        empty="There are no operations.",
        in_json=as_json,
        first="newest",
        spare=("STEP", "DONE", "WHAT", "AGE"),
    )


@app.command()
def show(operation: Identifier, as_json: Json = False) -> None:
    """Show the progress and the result of an operation."""
    with connect() as api:
        row = api.get(_path(operation))
    _show(row, as_json=as_json)


@app.command()
def watch(operation: Identifier, as_json: Json = False) -> None:
    """Follow an operation to its end."""
    with connect() as api:
        row = follow(api, operation)
    _show(row, as_json=as_json)


@app.command()
def cancel(operation: Identifier, as_json: Json = False) -> None:
    """Cancel an operation and undo its completed steps."""
    with connect() as api:
        row = api.post(f"{_path(operation)}/cancel", {})
    if as_json:
        output.as_json(row)
        return
    output.done("It is being given up")


@app.command()
def abandon(
    operation: Identifier,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End an operation immediately, without undoing its steps. For administrators.

    This is the last resort for one that neither ends nor can be cancelled.
    """
    if not yes:
        confirm(
            f"Abandon the operation {operation}? What it has done so far is not undone.",
            as_json=as_json,
        )
    with connect() as api:
        row = api.post(f"{_path(operation)}/abandon", {})
    if as_json:
        output.as_json(row)
        return
    output.done("It was abandoned")


def follow(api: Api, operation_id: str) -> Row:
    """Wait for an operation to succeed and return it; shows a progress bar on a terminal.

    Raises OperationFailed if it failed or was cancelled.
    """
    with _bar() as bar:
        task = bar.add_task("begins", total=1.0, pace="")

        def report(row: Row) -> None:
            said = str(row["step"] or row["status"]).replace("_", " ")
            bar.update(task, description=said, completed=row["progress"], pace=pace(row))

        done = api.wait(operation_id, report)
    for label in (done["result"] or {}).get("unreadable_backups", []):
        output.note(
            f"The backup {label} cannot be read, and an older one was taken: "
            "tenantry cluster verify shows what is damaged; make a full backup now.",
            style="yellow",
        )
    return done


def finish(
    api: Api,
    operation: Row,
    *,
    wait: bool,
    as_json: bool,
    started: str,
    done: Callable[[Row], None],
) -> Row:
    """Follow an operation to its end, unless it is only to be started, and report it.

    ``done`` reports its result; ``started`` is the sentence, without its full stop, for one that is
    not followed. Return the operation. Raises as ``follow``.
    """
    if wait:
        operation = follow(api, operation["id"])
    if as_json:
        output.as_json(operation)
    elif wait:
        done(operation["result"])
    else:
        output.done(f"{started}: tenantry operation watch {operation['id']}")
    return operation


def show_steps(steps: Sequence[Row]) -> None:
    """Print a line for each file that was run, and report those that contain no statement."""
    for step in steps:
        output.line(f"{step['version']}/{step['direction']} {step['file'] or '(no file)'}")
    note_empty([str(step["file"]) for step in steps if step.get("empty")])


def note_empty(files: Sequence[str]) -> None:
    """Report files that contain no statement: they are applied, and do nothing."""
    for name in files:
        output.note(f"{name} contains no statement.", style="yellow")


def report_exceptions(result: Row) -> None:
    """Report objects that a copy lacks, or has in another form."""
    for said, remarks in (
        ("Not built again", result.get("lost")),
        ("In another form", result.get("changed")),
    ):
        for each in remarks or ():
            output.note(f"{said}: {each['object']}. {each['reason']}", style="yellow")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that sets a progress bar to bytes done of bytes in total."""
    with _bar() as bar:
        task = bar.add_task(what, total=1.0, pace="")

        def report(done: int, total: int) -> None:
            bar.update(
                task, completed=done / max(1, total), pace=f"{readable(done)} of {readable(total)}"
            )

        yield report


def _bar() -> "Progress":
    # Imported here because it takes as long as a whole command.
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[pace]}"),
        console=output.error_console(),
        transient=True,
        disable=not output.error_console().is_terminal,
    )


def _path(operation: str) -> str:
    return f"/api/operations/{quote(operation, safe='')}"


def _show(row: Row, *, as_json: bool) -> None:
    if as_json:
        output.as_json(row)
        return
    error = row["error"] or {}
    output.facts(
        [
            ("id", row["id"]),
            ("kind", row["kind"]),
            (row["resource_kind"], about(row) or row["resource_id"]),
            ("status", row["status"]),
            ("step", row["step"]),
            ("progress", f"{row['progress']:.0%}"),
            ("pace", pace(row) or None),
            ("error", error.get("detail")),
            ("hint", error.get("hint")),
            *(row["result"] or {}).items(),
            ("begun", row["started_at"]),
            ("ended", row["finished_at"]),
        ]
    )
