"""``tenantry branch``: databases made from other databases."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.cli import limits, output, times
from tenantry.cli.asking import confirm
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.connecting import labelled
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import Environment, In, Named, find, title
from tenantry.cli.operations import AcceptLosses, Wait, finish, follow, report_exceptions
from tenantry.cli.restores import replaces

app = typer.Typer(
    help="Branches: databases with another's data. `tenantry db` shows and deletes them.",
    no_args_is_help=True,
)

At = Annotated[
    str | None,
    typer.Option(
        parser=times.text_of(times.past),
        metavar="WHEN",
        help="With the data of then: 2h (ago), or a moment; default: now.",
    ),
]
Expires = Annotated[
    str | None,
    typer.Option(
        parser=times.text_of(times.future),
        metavar="WHEN",
        help="When to delete it: 12h, 7d, or a moment.",
    ),
]
Masked = Annotated[
    bool | None,
    typer.Option("--masked/--not-masked", help="Whether to do the parent's masking in it."),
]

_COLUMNS: dict[str, output.Cell] = {
    "NAME": title,
    "ENVIRONMENT": "environment",
    "DATABASE": "database_name",
    "STATUS": limits.state,
    "AS OF": lambda row: times.distance(row["branched_at"]),
    "EXPIRES": lambda row: times.distance(row["expires_at"]),
}


Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _path(database: Row) -> str:
    return f"/api/databases/{database['id']}"


@app.command()
def create(
    database: Named,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    *,
    branch_env: Annotated[
        Environment | None,
        typer.Option(metavar="ENV", help="The branch's environment (development)."),
    ] = None,
    at: At = None,
    plan: Annotated[
        str | None, typer.Option(help="Its plan; default: its parent's limits.")
    ] = None,
    expires: Expires = None,
    masked: Masked = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Make a shadow database (for Prisma) beside it.")
    ] = False,
    wait: Wait = True,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Create a database with the data of another; its password is shown only once.

    Examples:

        tenantry branch create shop try-it --expires 7d

        tenantry branch create shop preview --json | jq -r .connection_string
    """
    wanted: dict[str, object] = {
        "name": name,
        "environment": branch_env,
        "at": at,
        "plan": plan,
        "expires_at": expires,
        "masked": masked,
        "shadow": shadow or None,
    }
    with connect() as api:
        parent = find(api, database, env)
        row = api.post(
            f"{_path(parent)}/branches", {k: v for k, v in wanted.items() if v is not None}
        )
        # Show the password first: it is not shown again, whatever happens next.
        if not as_json:
            output.facts(labelled(row))
            output.secret("password     ", row["password"])
        if wait:
            row["operation"] = follow(api, row["operation"]["id"])
    if as_json:
        output.as_json(row)
    elif wait:
        report_exceptions(row["operation"]["result"])
        how = row["operation"]["result"]["method"]
        output.done(f"{title(row)} ({row['environment']}) is {title(parent)}'s branch, by {how}")
    else:
        output.done(
            f"{title(row)} is being made: tenantry operation watch {row['operation']['id']}"
        )


@app.command("list")
def list_branches(database: Named, env: In = None, as_json: Json = False) -> None:
    """List a database's branches, newest first.

    Example:

        tenantry branch list shop
    """
    with connect() as api:
        row = find(api, database, env)
        page = api.rows(f"{_path(row)}/branches")
    output.listing(page, _COLUMNS, empty=f"{title(row)} has no branches.", in_json=as_json)


@app.command()
def diff(branch: Named, *, env: In = None, as_json: Json = False) -> None:
    """Show how a branch's schema differs from its parent's; rows are not compared.

    Example:

        tenantry branch diff try-it
    """
    with connect() as api:
        row = _branch(api, branch, env)
        page = api.rows(f"/api/databases/{row['parent_id']}/branches/{row['id']}/diff")
    output.listing(
        page,
        {"": "status", "KIND": "kind", "NAME": "name", "PARENT": "parent", "BRANCH": "branch"},
        empty=f"The schema of {title(row)} is that of its parent.",
        in_json=as_json,
    )


def _branch(api: Api, branch: str, env: Environment | None) -> Row:
    """Return a branch. Raises Conflict for a database without a parent."""
    row = find(api, branch, env)
    if row["parent_id"] is None:
        raise Conflict(
            f"{title(row)} has no parent.", hint="It is no branch, or its parent is deleted."
        )
    return row


@app.command()
def reset(
    branch: Named,
    *,
    at: At = None,
    masked: Masked = None,
    accept_losses: AcceptLosses = False,
    yes: Yes = False,
    wait: Wait = True,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Reset a branch to its parent's state. Its connection strings stay valid.

    The previous contents are retained for a while. Asks first on a terminal; elsewhere --yes is
    required.

    Example:

        tenantry branch reset try-it
    """
    wanted = {"at": at, "masked": masked, "accept_losses": accept_losses or None}
    with connect() as api:
        row = _branch(api, branch, env)
        if not yes:
            confirm("Replace it?", consequence=replaces(row), as_json=as_json)
        operation = api.post(
            f"/api/databases/{row['parent_id']}/branches/{row['id']}/reset",
            {k: v for k, v in wanted.items() if v is not None},
        )
        _finish(api, operation, f"{title(row)} is as its parent", wait=wait, as_json=as_json)


@app.command()
def promote(
    branch: Named,
    *,
    accept_losses: AcceptLosses = False,
    yes: Yes = False,
    wait: Wait = True,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Replace the parent's contents with a branch's; the previous ones are retained for a while.

    Asks first on a terminal; elsewhere --yes is required.

    Example:

        tenantry branch promote try-it
    """
    with connect() as api:
        row = find(api, branch, env)
        if not yes and row["parent_id"] is not None:
            said = replaces(api.get(f"/api/databases/{row['parent_id']}"))
            confirm("Replace it?", consequence=said, as_json=as_json)
        operation = api.post(f"{_path(row)}/promote", {"accept_losses": accept_losses})
        said = f"{title(row)} is in its parent's place"
        _finish(api, operation, said, wait=wait, as_json=as_json)


def _finish(api: Api, operation: Row, said: str, *, wait: bool, as_json: bool) -> None:
    def done(result: Row) -> None:
        report_exceptions(result)
        output.done(f"{said}; what was there is kept as {result['replaced']}")

    finish(api, operation, wait=wait, as_json=as_json, started="Started", done=done)


@app.command()
def masking(
    database: Named,
    *,
    file: Annotated[
        Path | None,
        typer.Option(help="A file with the SQL to do in each branch from now on; - is stdin."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Have nothing done in them.")] = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Show or set the SQL that masks a database's branches before clients can connect.

    Example:

        tenantry branch masking shop --file masking.sql
    """
    if file is not None and remove:
        raise typer.BadParameter("--file and --remove exclude each other.")
    with connect() as api:
        path = f"{_path(find(api, database, env))}/masking"
        if file is None and not remove:
            found = api.get(path)
        else:
            found = api.put(path, {"sql": None if file is None else _read(file)})
    if as_json:
        output.as_json(found)
    elif file is not None or remove:
        output.done("Masking set" if found["sql"] else "Masking removed")
    elif found["sql"] is None:
        output.note("Branches of this database are not masked.")
    else:
        for line in found["sql"].splitlines():
            output.line(line)


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput.of("file", f"cannot be read: {error}") from error
