"""``tenantry migrate``: run golang-migrate files on databases."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput, TenantryError
from tenantry.cli import migrating_many as many
from tenantry.cli import output
from tenantry.cli.asking import confirm
from tenantry.cli.client import Row
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In
from tenantry.cli.migrating import Order, Target, how, number, target
from tenantry.cli.operations import StatementTimeout, Wait, show_steps
from tenantry.host import files
from tenantry.services.migrations import lint as linting
from tenantry.services.migrations import plan as planning
from tenantry.services.migrations.folder import load
from tenantry.services.migrations.model import (
    DEFAULT_LIMITS,
    Acceptance,
    Direction,
    Limits,
    Migration,
)

app = typer.Typer(
    help="Migrations: golang-migrate's files, brought to one database or to many.",
    no_args_is_help=True,
)

Folder = Annotated[
    Path,
    typer.Option(
        "--path", metavar="FOLDER", help="Where the files are.", file_okay=False, exists=True
    ),
]
DEFAULT_FOLDER = Path("migrations")
On = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="NAME|URL",
        help="A Tenantry database by name, through the API; or any by its connection string, "
        "which may also be in TENANTRY_DATABASE_URL, where nobody sees its password in the list "
        "of processes.",
    ),
]
LockTimeout = Annotated[
    float, typer.Option(min=0.001, help="Seconds that a statement waits for a lock.")
]
Retries = Annotated[
    int, typer.Option(min=0, help="How often a file is tried again that did not get a lock.")
]
Accept = Annotated[
    bool,
    typer.Option("--accept-edited", help="Take files for applied that were edited since then."),
]
AcceptSkipped = Annotated[
    bool,
    typer.Option(
        "--accept-skipped",
        help="Take files for applied that came after later ones had been, and never ran.",
    ),
]
Beside = Annotated[
    bool,
    typer.Option(
        "--beside",
        help="Where schema_migrations is another tool's table, begin a record beside it.",
    ),
]
Many = Annotated[int | None, typer.Argument(parser=number, metavar="[N]", show_default=False)]


@app.command()
def up(
    n: Many = None,
    *,
    path: Folder = DEFAULT_FOLDER,
    database: many.Named = None,
    env: In = None,
    every: many.Every = False,
    selector: many.Selectors = None,
    exclude: many.Exclude = None,
    parallel: many.Parallel = 4,
    canary: many.Canary = 1,
    max_failures: many.MaxFailures = 0,
    dry_run: many.DryRun = False,
    lock_timeout: LockTimeout = DEFAULT_LIMITS.lock_timeout,
    statement_timeout: StatementTimeout = None,
    retries: Retries = DEFAULT_LIMITS.retries,
    accept_edited: Accept = False,
    accept_skipped: AcceptSkipped = False,
    beside: Beside = False,
    yes: many.Yes = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Run the next N migrations. Default: all that are pending.

    Examples:

        tenantry migrate up --path migrations --database shop

        tenantry migrate up --all --selector environment=production --selector blueprint=none
    """
    limits = Limits(lock_timeout, statement_timeout, retries)
    accept = Acceptance(accept_edited, accept_skipped)
    named = database or []
    if not every and len(named) < many.SEVERAL:
        if selector or exclude or dry_run:
            raise InvalidInput("--selector, --exclude and --dry-run go with --all.")
        order = Order("up", accept, n=n, beside=beside)
        _run(target(named[0] if named else None, env), order, path, limits, as_json)
        return
    if n is not None:
        raise InvalidInput("N is for one database; many are migrated to the last file.")
    choice = many.Choice(selector or [], named, exclude or [], env)
    fleet = {"parallel": parallel, "canary": canary, "max_failures": max_failures}
    asked = how(limits, accept, beside=beside) | fleet
    many.run(path, choice, asked, many.Asking(dry_run=dry_run, yes=yes, wait=wait, as_json=as_json))


@app.command()
def down(
    n: Many = None,
    *,
    path: Folder = DEFAULT_FOLDER,
    database: On = None,
    env: In = None,
    lock_timeout: LockTimeout = DEFAULT_LIMITS.lock_timeout,
    statement_timeout: StatementTimeout = None,
    retries: Retries = DEFAULT_LIMITS.retries,
    accept_edited: Accept = False,
    accept_skipped: AcceptSkipped = False,
    yes: Annotated[bool, typer.Option("--yes", help="Undo all without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Undo the last N migrations. Default: all of them.

    Example:

        tenantry migrate down 1
    """
    if n is None and not yes:
        confirm("Undo every migration there is?", as_json=as_json)
    limits = Limits(lock_timeout, statement_timeout, retries)
    _run(
        target(database, env),
        Order("down", Acceptance(accept_edited, accept_skipped), n=n),
        path,
        limits,
        as_json,
    )


@app.command()
def goto(
    version: Annotated[int, typer.Argument(min=0, metavar="VERSION", show_default=False)],
    *,
    path: Folder = DEFAULT_FOLDER,
    database: On = None,
    env: In = None,
    lock_timeout: LockTimeout = DEFAULT_LIMITS.lock_timeout,
    statement_timeout: StatementTimeout = None,
    retries: Retries = DEFAULT_LIMITS.retries,
    accept_edited: Accept = False,
    accept_skipped: AcceptSkipped = False,
    beside: Beside = False,
    as_json: Json = False,
) -> None:
    """Migrate up or down to a version.

    Example:

        tenantry migrate goto 3
    """
    accept = Acceptance(accept_edited, accept_skipped)
    order = Order("goto", accept, version=version, beside=beside)
    limits = Limits(lock_timeout, statement_timeout, retries)
    _run(target(database, env), order, path, limits, as_json)


def _run(at: Target, order: Order, path: Path, limits: Limits, as_json: bool) -> None:
    done = at.run(order, path, limits)
    if as_json:
        output.as_json(done)
        return
    show_steps(done["steps"])
    output.done(_stands(done))


_UNDER_WAY = "Another run is under way."


def _stands(row: Row) -> str:
    version = "no version" if row["version"] is None else f"version {row['version']}"
    return f"{'dirty' if row['dirty'] else 'clean'} at {version}"


# -1 is a version, not an option.
@app.command(context_settings={"ignore_unknown_options": True})
def force(
    version: Annotated[int, typer.Argument(min=-1, metavar="VERSION", show_default=False)],
    *,
    database: On = None,
    env: In = None,
    beside: Beside = False,
    as_json: Json = False,
) -> None:
    """Record that a database is clean at a version, or with -1 before the first. Runs no file.

    Examples:

        tenantry migrate force 3

        tenantry migrate force -1
    """
    done = target(database, env).force(version, beside=beside)
    if as_json:
        output.as_json(done)
        return
    output.done(_stands(done))


@app.command()
def version(*, database: On = None, env: In = None, as_json: Json = False) -> None:
    """Show the migration version of a database.

    Example:

        tenantry migrate version
    """
    row = target(database, env).status(None)
    reported = {"version": row["version"], "dirty": row["dirty"]}
    if as_json:
        output.as_json(reported)
        return
    output.line("none" if row["version"] is None else str(row["version"]))
    if row["running"]:
        output.note(_UNDER_WAY)
    elif row["dirty"]:
        output.note("It is dirty: a file stopped in the middle.", style="yellow")


@app.command()
def status(
    *,
    path: Folder = DEFAULT_FOLDER,
    database: On = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Show which migrations are applied, pending, edited since they were applied, or skipped.

    Example:

        tenantry migrate status
    """
    row = target(database, env).status(path)
    if as_json:
        output.as_json(row)
        return
    output.table(
        row["migrations"],
        {"VERSION": "version", "TITLE": "title", "STATE": "state", "APPLIED": "applied_at"},
        empty="The folder has no migrations.",
    )
    output.note(_UNDER_WAY if row["running"] else _stands(row).capitalize())
    if not row["known"]:
        output.note("The folder does not have that version.", style="yellow")
    if any(each["state"] == "skipped" for each in row["migrations"]):
        output.note("What is skipped came after later ones were applied, and never ran.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    path: Annotated[
        Path, typer.Option("--path", metavar="FOLDER", help="Where the files are.", file_okay=False)
    ] = DEFAULT_FOLDER,
    as_json: Json = False,
) -> None:
    """Create the two empty files of a new migration, with the version after the last.

    Example:

        tenantry migrate create add_site_tags
    """
    there = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    made = planning.next_files(there, name, dt.datetime.now(dt.UTC))
    path.mkdir(parents=True, exist_ok=True)
    for each in made:
        files.ensure_file(path / each, "", mode=0o644)
    paths = [str(path / each) for each in made]
    if as_json:
        output.as_json(paths)
        return
    for each in paths:
        output.line(each)


@app.command()
def lint(*, path: Folder = DEFAULT_FOLDER, as_json: Json = False) -> None:
    """Report statements that are dangerous in production. Exit code 1 if there are any.

    A comment above a statement disables a rule: `-- tenantry: allow RULE`.

    Example:

        tenantry migrate lint --path migrations
    """
    found = linting.check(load(path))
    if as_json:
        output.as_json([_finding(each) for each in found])
    else:
        _report(found)
    if found:
        raise typer.Exit(1)
    output.done("Nothing found")


def _finding(found: linting.Finding) -> Row:
    return {
        "file": found.file,
        "line": found.line,
        "rule": found.rule.id,
        "object": found.object,
        "what": found.rule.what,
        "why": found.rule.why,
        "instead": found.rule.instead,
    }


def _report(found: list[linting.Finding]) -> None:
    for each in found:
        output.line(f"{each.file}:{each.line}: {each.rule.id}: {each.rule.what} ({each.object})")
        output.line(f"    {each.rule.why[0].upper()}{each.rule.why[1:]}.")
        output.line(f"    Instead: {each.rule.instead}.")


@app.command()
def plan(
    n: Many = None,
    *,
    path: Folder = DEFAULT_FOLDER,
    database: On = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Show what `up` would run, whether in a transaction, and lint's findings. Runs nothing.

    Example:

        tenantry migrate plan
    """
    row = target(database, env).status(path)
    if row["running"]:
        raise TenantryError(_UNDER_WAY, hint="Try again when it is over.")
    if row["dirty"]:
        raise TenantryError(
            f"The database is {_stands(row)}: nothing can be run.",
            hint="See what the file left, and force the version that the schema then really has.",
        )
    if not row["known"]:
        raise InvalidInput("The folder does not have the version at which the database stands.")
    pending = {each["version"] for each in row["migrations"] if each["state"] == "pending"}
    steps = [each for each in load(path) if each.version in pending][:n]
    if as_json:
        output.as_json([_planned(each) for each in steps])
        return
    output.table(
        [_planned(each) for each in steps],
        {
            "VERSION": "version",
            "FILE": "file",
            "STATEMENTS": "statements",
            "TRANSACTION": "transaction",
            "FINDINGS": lambda step: len(step["findings"]) or None,
        },
        empty="Nothing to do.",
    )
    _report(linting.check(Migration(each.version, each.title, up=each.up) for each in steps))


def _planned(migration: Migration) -> Row:
    script = migration.up
    return {
        "version": migration.version,
        "file": script.name if script else None,
        "statements": len(script.statements) or None if script else 0,
        "transaction": script.transactional if script else None,
        "findings": [_finding(each) for each in linting.check_script(script, Direction.UP)]
        if script
        else [],
    }
