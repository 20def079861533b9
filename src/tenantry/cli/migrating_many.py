"""``tenantry migrate up`` over many databases: which are meant, and what came of it in each."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput
from tenantry.cli import output
from tenantry.cli.asking import confirm, require_terminal
from tenantry.cli.client import Api, OperationFailed, Row, connect
from tenantry.cli.finding import find, title
from tenantry.cli.migrating import send
from tenantry.cli.operations import follow, note_empty
from tenantry.services.migrations.folder import load

SEVERAL = 2
_SHOWN = 10  # names in a question
_NONE = "none"  # in place of a blueprint
_SELECTORS = {
    "environment": "environment",
    "owner": "owner_email",
    "blueprint": "blueprint",
    "tag": "tags",
}

Every = Annotated[
    bool, typer.Option("--all", help="All databases that the selectors fit, as one operation.")
]
Named = Annotated[
    list[str] | None,
    typer.Option(
        "--database",
        metavar="NAME|URL",
        help="A Tenantry database by name, through the API; or any by its connection string, which "
        "may also be in TENANTRY_DATABASE_URL, where nobody sees its password in the list of "
        "processes. Given more than once, or with --all: these, by name, as one operation.",
    ),
]
Selectors = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="With --all: environment=…, owner=…, blueprint=… or tag=…; blueprint=none are those"
        " without. Of several tags a database has to have all.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="With --all: all but this one. It may be repeated."),
]
Parallel = Annotated[int, typer.Option(min=1, max=32, help="With --all: how many at a time.")]
Canary = Annotated[
    int, typer.Option(min=0, help="With --all: so many go first, and all must succeed.")
]
MaxFailures = Annotated[
    int, typer.Option(min=0, help="With --all: after more of them no other one is started.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --all: show which databases are meant; run nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", help="With --all: do not ask.")]


@dataclass(frozen=True, slots=True)
class Choice:
    """The databases that are meant, as they were written; names may need an environment."""

    selectors: Sequence[str]
    named: Sequence[str]
    excluded: Sequence[str]
    environment: str | None

    def fields(self, api: Api) -> Row:
        """Return the API's fields. Raises InvalidInput, NotFound."""
        found = selected(self.selectors)
        environment = found.get("environment", self.environment)
        if self.environment not in {None, environment}:
            raise InvalidInput("--env and --selector name different environments.")
        if environment is not None:
            found["environment"] = environment
        if self.named:
            found["database_ids"] = [_id(api, name, environment) for name in self.named]
        if self.excluded:
            found["exclude_ids"] = [_id(api, name, environment) for name in self.excluded]
        return found


@dataclass(frozen=True, slots=True)
class Asking:
    """How the command goes on: whether it runs anything, asks, waits, and how it reports."""

    dry_run: bool
    yes: bool
    wait: bool
    as_json: bool

    def is_to_ask(self, choice: Choice) -> bool:
        """Whether to ask first: at a terminal always, and of everything also where none is."""
        everything = not choice.selectors and not choice.named
        return not self.yes and (everything or (sys.stdin.isatty() and not self.as_json))


def _id(api: Api, name: str, environment: str | None) -> str:
    if "://" in name or "=" in name:
        raise InvalidInput("Of many databases each is named by its name, not by its string.")
    return str(find(api, name, environment)["id"])


def selected(selectors: Sequence[str]) -> Row:
    """Parse selectors such as ``environment=production`` into the API's fields.

    Raises InvalidInput for an unknown one, and for a repeated one that is no tag.
    """
    found: Row = {}
    for each in selectors:
        key, equals, value = each.partition("=")
        name = _SELECTORS.get(key)
        repeated = name in found and name != "tags"
        if name is None or not equals or not value or repeated:
            raise InvalidInput.of(
                "selector",
                f"{each} is not one of environment=…, owner=… and blueprint=…, each once, or tag=…",
            )
        found[name] = [*found.get(name, ()), value] if name == "tags" else value
    if found.get("blueprint") == _NONE:
        found["blueprint"] = None
        found["without_blueprint"] = True
    return found


def run(path: Path, choice: Choice, asked: Row, asking: Asking) -> None:
    """Migrate the databases that are meant, or show them. Exit with 1 if any failed."""
    if asking.dry_run:
        with connect() as api:
            _show(_meant(api, choice.fields(api)), as_json=asking.as_json)
        return
    scripts = load(path)  # what is wrong with the folder is said before anybody is asked
    note_empty([each.up.name for each in scripts if each.up and each.up.is_empty])
    is_to_ask = asking.is_to_ask(choice)
    if is_to_ask:
        require_terminal(as_json=asking.as_json)
    with connect() as api:
        fields = choice.fields(api)
        if is_to_ask:
            _confirm(_meant(api, fields))
        operation = send(api, "/api/migrations", path, asked | fields)
        failure: OperationFailed | None = None
        if asking.wait:
            try:
                operation = follow(api, operation["id"])
            except OperationFailed as error:
                failure = error
                operation = api.get(f"/api/operations/{operation['id']}")
        rows = api.rows(f"/api/migrations/{operation['id']}").rows
    if asking.as_json:
        output.as_json({"operation": operation, "databases": rows})
    else:
        _report(operation, rows, waited=asking.wait)
    if failure is not None:
        raise failure
    if asking.wait and _count(rows, "failed"):
        raise typer.Exit(1)


def _meant(api: Api, fields: Row) -> list[Row]:
    """Return the databases that a run would migrate."""
    body = {key: value for key, value in fields.items() if value is not None} | {"dry_run": True}
    found: list[Row] = api.post("/api/migrations", body)["databases"]
    return found


def _show(rows: list[Row], *, as_json: bool) -> None:
    if as_json:
        output.as_json(rows)
        return
    columns: dict[str, output.Cell] = {
        "NAME": title,
        "ENVIRONMENT": "environment",
        "OWNER": "owner_email",
        "BLUEPRINT": "blueprint",
    }
    output.table(rows, columns, empty="No database fits.")
    output.note(f"{output.count(len(rows), 'database')} would be migrated; nothing was run.")


def _confirm(rows: Sequence[Row]) -> None:
    names = ", ".join(f"{title(row)} ({row['environment']})" for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more: --dry-run shows them" if len(rows) > _SHOWN else ""
    owners = len({row["owner_email"] for row in rows})
    of = f" of {owners} customers" if owners > 1 else ""
    confirm(
        "Migrate it?" if len(rows) == 1 else "Migrate them all?",
        consequence=f"{output.count(len(rows), 'database')}{of}: {names}{more}.",
    )


def _report(operation: Row, rows: list[Row], *, waited: bool) -> None:
    is_over = operation["finished_at"] is not None
    shown = [
        row | {"status": "not begun"} if is_over and row["status"] == "pending" else row
        for row in rows
    ]
    output.table(shown, _TARGETS, empty="No database fits.")
    if not waited:
        output.done(f"Started: operation {operation['id']}")
    elif operation["status"] == "succeeded":
        failed = _count(rows, "failed")
        migrated, skipped = _count(rows, "succeeded"), _count(rows, "skipped")
        gone = f"; {skipped} had been deleted" if skipped else ""
        if failed:
            of = output.count(len(rows), "database")
            output.note(f"✗ {migrated} of {of} migrated, {failed} failed{gone}", style="red")
        else:
            are = "is" if migrated == 1 else "are"
            output.done(f"{output.count(migrated, 'database')} {are} migrated{gone}")


def _count(rows: Sequence[Row], status: str) -> int:
    return sum(row["status"] == status for row in rows)


_TARGETS: dict[str, output.Cell] = {
    "NAME": title,
    "ENVIRONMENT": "environment",
    "STATUS": "status",
    "VERSION": "version",
    "STEPS": "steps",
    "ERROR": lambda row: (row["error"] or {}).get("detail"),
}
