"""``tenantry blueprint``: versioned schemas for databases."""

import shlex
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, find, title
from tenantry.cli.operations import StatementTimeout, follow, show_steps

app = typer.Typer(
    help="Blueprints: schemas to begin with, in versions.",
    no_args_is_help=True,
)

On = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="DATABASE",
        help="Its name, its database name (tenant_…) or its id.",
        show_default=False,
    ),
]
Seeds = Annotated[
    str | None, typer.Option(metavar="NAME", help="Rows to begin with, such as development.")
]

_ENVIRONMENTS = ("development", "staging", "production")  # in the order of upgrades

_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "VERSION": "version",
    "SEEDS": "seeds",
    "DESCRIPTION": "description",
}


def require(api: Api, name: str) -> None:
    """Raise NotFound unless there is a blueprint of this name."""
    names = [str(row["name"]) for row in api.rows("/api/blueprints").rows]
    if name not in names:
        raise NotFound(
            f"There is no blueprint {name}.",
            hint=did_you_mean(name, names) or "`tenantry blueprint list` shows them.",
        )


@app.command("list")
def list_blueprints(as_json: Json = False) -> None:
    """List the available blueprints.

    Example:

        tenantry blueprint list
    """
    with connect() as api:
        page = api.rows("/api/blueprints")
    output.listing(page, _COLUMNS, empty="There are no blueprints.", in_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show a blueprint: its README, versions, roles, extensions, data API and migrations.

    Example:

        tenantry blueprint show hosting
    """
    with connect() as api:
        row = api.get(f"/api/blueprints/{quote(name, safe='')}")
    if as_json:
        output.as_json(row)
        return
    output.facts(
        [
            ("name", row["name"]),
            ("title", row["title"]),
            *((f"version {each['version']}", each["summary"]) for each in row["versions"]),
            ("logins", [f"{each['name']} ({each['access']})" for each in row["roles"]]),
            ("data api", _data_api(row["data_api"]) if row["data_api"] else None),
            ("extensions", row["extensions"]),
            ("seeds", row["seeds"]),
            ("isolation", _check(row["isolation"]) if row["isolation"] else None),
            ("migrations", [f"{each['version']} {each['title']}" for each in row["migrations"]]),
        ]
    )
    for line in ("", *row["readme"].splitlines()):
        output.line(line)


def _data_api(of: Row) -> str:
    """Return what the data API of a new database serves."""
    users = ", with application users" if of["auth"] else ""
    return f"schemas {', '.join(of['schemas'])}, from version {of['since']} on{users}"


def _check(options: Row) -> str:
    """Return the command that verifies the isolation of customers, with these options."""
    words = ["tenantry_rls", "check", "URL"]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name}"] if each is True else [f"--{name}", str(each)]
    return shlex.join(words)


@app.command()
def apply(
    blueprint: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER",
            help="Of the catalogue (hosting, hosting@1), or a folder by a path with a slash "
            "(./our-schema).",
            show_default=False,
        ),
    ],
    *,
    database: On,
    env: In = None,
    seeds: Seeds = None,
    name: Annotated[
        str | None, typer.Option(help="What a folder's blueprint is called; the folder's name.")
    ] = None,
    statement_timeout: StatementTimeout = None,
    as_json: Json = False,
) -> None:
    """Apply a blueprint to a database, with the rights of its owner role.

    Examples:

        tenantry blueprint apply hosting --database shop --seeds development

        tenantry blueprint apply ./our-schema --database shop
    """
    asked: Row = {
        "blueprint": blueprint,
        "seeds": seeds,
        "statement_timeout_seconds": statement_timeout,
    }
    if "/" in blueprint or blueprint in {".", ".."}:
        folder = Path(blueprint)
        asked |= _folder(folder, name or folder.resolve().name)
    elif name is not None:
        raise InvalidInput("--name is for a folder of your own, which has a slash: ./our-schema.")
    with connect() as api:
        done = _bring(api, find(api, database, env), asked, as_json=as_json)
    if as_json:
        output.as_json(done)


@app.command()
def upgrade(
    *,
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="DATABASE", help="One database, by its name or id."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            "--all",
            metavar="NAME",
            help="Every database that has this blueprint, one after the other.",
        ),
    ] = None,
    to: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The version; default: the newest.")
    ] = None,
    env: In = None,
    statement_timeout: StatementTimeout = None,
    as_json: Json = False,
) -> None:
    """Upgrade a database, or many, to a later version of their blueprint.

    With --all, development is upgraded before staging, and staging before production; the first
    failure stops the run. Run the command again to continue: upgraded databases are left unchanged.

    Examples:

        tenantry blueprint upgrade --database shop

        tenantry blueprint upgrade --all hosting --env staging
    """
    if (database is None) is (every is None):
        raise typer.BadParameter("say either --database or --all.")
    asked: Row = {"version": to, "statement_timeout_seconds": statement_timeout}
    with connect() as api:
        if database is not None:
            done = [_bring(api, find(api, database, env), asked, as_json=as_json)]
        else:
            rows = api.rows(
                "/api/databases", status="active", blueprint=every, environment=env
            ).rows
            rows.sort(key=lambda row: (_ENVIRONMENTS.index(row["environment"]), title(row)))
            done = [_bring(api, row, asked, as_json=as_json) for row in rows]
    if as_json:
        output.as_json(done if database is None else done[0])
    elif not done:
        output.note(f"No database has the blueprint {every}.")


@app.command()
def diff(*, database: On, env: In = None, as_json: Json = False) -> None:
    """Compare a database with its blueprint. Exit code 1 if it has drifted.

    Example:

        tenantry blueprint diff --database shop
    """
    with connect() as api:
        row = find(api, database, env)
        with output.waiting("Making the blueprint, to compare"):
            found = api.get(f"/api/databases/{row['id']}/blueprint/diff")
    if as_json:
        output.as_json(found)
    else:
        for each in found["differences"]:
            beside = "" if each["drift"] else " (beside the blueprint)"
            output.line(f"{each['status']} {each['kind']} {each['name']}{beside}")
            if each["status"] == "changed":
                _definition("expected", each["expected"])
                _definition("found", each["found"])
    if found["drifted"]:
        raise typer.Exit(1)
    output.done(f"{title(row)} is as {found['name']} makes it")


def _definition(label: str, text: str) -> None:
    first, *more = text.splitlines() or [""]
    output.line(f"    {label + ':':<9} {first}")
    for line in more:
        output.line(f"              {line}")


def _folder(folder: Path, name: str) -> Row:
    """Return a custom blueprint's folder as the API takes it. Raises BadBlueprint."""
    # Imported here because no other command needs it.
    from tenantry.services.blueprints import model  # noqa: PLC0415

    files = model.read(folder)
    model.parse(name, files)
    return {
        "blueprint": name,
        "manifest": files.pop(model.MANIFEST),
        "files": [{"name": path, "sql": text} for path, text in files.items()],
    }


def _bring(api: Api, database: Row, asked: Row, *, as_json: bool) -> Row:
    said = {key: value for key, value in asked.items() if value is not None}
    started = api.post(f"/api/databases/{database['id']}/blueprint", said)
    if not as_json:
        show_roles(started["roles"])
    done = follow(api, started["id"])
    if not as_json:
        came = done["result"]
        show_steps(came["steps"])
        output.done(f"{title(database)} is at version {came['version']} of {came['blueprint']}")
    return done | {"roles": started["roles"]}


def finish(api: Api, row: Row) -> None:
    """Follow the blueprint of a new database to its end, if the answer came before that."""
    if row["blueprint"] is None:
        follow(api, row["operation_id"])


def show_roles(roles: list[Row]) -> None:
    """Print the roles that a blueprint has created, with their passwords."""
    for role in roles:
        strings = {
            f"{role['name']} direct": role["connection_string"],
            f"{role['name']} pooled": role["connection_string_pooled"],
        }
        output.facts(strings.items())
        last = role is roles[-1]
        output.secret(f"{role['name']} password", role["password"], last=last, several=True)
