"""``tenantry db``: create, list, show, change and delete databases."""

from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput
from tenantry.cli import (
    advice,
    attributes,
    blueprints,
    connecting,
    customers,
    data_api,
    env_file,
    imports,
    instance_settings,
    instances,
    limits,
    listing,
    marks,
    metrics,
    moves,
    naming,
    output,
    queries,
    restores,
    sessions,
    statement_log,
    tables,
    vacuuming,
)
from tenantry.cli.asking import require_terminal
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.connecting import labelled, show_opened, strings_of
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import Environment, In, Named, find, title
from tenantry.cli.listing import Env, last_used
from tenantry.cli.operations import follow
from tenantry.cli.times import distance

app = typer.Typer(help="Databases: create, look at, change, connect, delete.", no_args_is_help=True)
app.command("list")(listing.list_databases)
app.command("url")(connecting.url)
app.command("env")(env_file.env)
app.command("vacuum")(vacuuming.vacuum)
app.command("analyze")(vacuuming.analyze)
app.command("reindex")(vacuuming.reindex)
app.command("create-index")(vacuuming.create_index)
app.command("sessions")(sessions.sessions)
app.command("locks")(sessions.locks)
app.command("cancel")(sessions.cancel)
app.command("terminate")(sessions.terminate)
app.command("tables")(tables.tables)
app.command("indexes")(tables.indexes)
app.command("metrics")(metrics.metrics)
app.command("advice")(advice.advice)
app.command("queries")(queries.queries)
app.command("explain")(queries.explain)
app.command("replaced")(restores.replaced)
app.command("mark")(marks.mark)
app.command("marks")(marks.marks)
app.command("unmark")(marks.unmark)
app.command("timeline")(marks.timeline)
app.command("logs")(statement_log.logs)
app.command("log-settings")(statement_log.log_settings)
# All words after the database's name are psql's, also those that start with a dash.
app.command("psql", context_settings={"allow_interspersed_args": False})(connecting.psql)

_FOLLOWS = {
    "name": "Commands know it by the new name from now on; connection strings stay as they are.",
    "environment": "Connection strings, data, limits and logins stay as they are. It is listed in "
    "the new environment, and `--env` and `--selector environment=…` find it there. Without a "
    "backup schedule of its own it follows the new environment's (`tenantry backup defaults`).",
    "plan": "The plan's limits hold for it now, but for those that it has of its own "
    "(`tenantry db update --reset` gives one back). Open sessions go on as they are.",
    "owner_email": "The owner's keys and users see it now, with its backups.",
}


Name = Annotated[str | None, typer.Option(help="Lower-case letters, digits and hyphens.")]
Owner = Annotated[str | None, typer.Option(help="The e-mail address of its owner.")]
NoShadow = Annotated[
    bool, typer.Option("--no-shadow", help="Make no shadow database (for Prisma) beside it.")
]
Import = Annotated[
    bool,
    typer.Option(
        "--import", help="Copy another database into it; its connection string is asked for."
    ),
]
BlueprintName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Give it this schema: see `tenantry blueprint list`."),
]
OnCluster = Annotated[
    str | None,
    typer.Option(help="The cluster to create it on (administrators). By default the freest."),
]
Dedicated = Annotated[
    bool, typer.Option("--dedicated", help="Give it a cluster of its own, an instance.")
]
Version = Annotated[
    int | None, typer.Option(help="An instance's version: see `tenantry versions`.")
]
Cpus = Annotated[float | None, typer.Option(help="How many processors an instance may use.")]
Memory = Annotated[
    int | None,
    typer.Option(parser=limits.parse_mebibytes, metavar="SIZE", help="An instance's memory: 1GB."),
]
Driver = Annotated[
    str | None, typer.Option(metavar="DRIVER", help="What runs an instance: process, docker.")
]


@app.command()
@attributes.options(on_create=True)
def create(
    called: naming.Argument = None,
    *,
    name: Name = None,
    env: Env = None,
    owner: Owner = None,
    new_customer: customers.NewCustomer = False,
    chosen: attributes.Chosen,
    no_shadow: NoShadow = False,
    import_: Import = False,
    blueprint: BlueprintName = None,
    seeds: blueprints.Seeds = None,
    cluster: OnCluster = None,
    dedicated: Dedicated = False,
    version: Version = None,
    cpus: Cpus = None,
    memory: Memory = None,
    driver: Driver = None,
    as_json: Json = False,
) -> None:
    """Create a database, and show its connection strings and its password once.

    Examples:

        tenantry db create --name shop --env production --owner ann@example.com

        tenantry db create --name shop --env staging --json | jq -r .connection_string

        tenantry db create --name shop --blueprint hosting --seeds development

        tenantry db create --name shop --dedicated --memory 1GB
    """
    name = naming.required(called, name)
    wanted = {
        "name": name,
        "environment": env,
        "owner_email": owner,
        "shadow": False if no_shadow else None,
        "import_from": imports.connection_string() if import_ else None,
        "blueprint": blueprint,
        "seeds": seeds,
        "cluster": cluster,
        "kind": "dedicated" if dedicated else None,
        "version": version,
        "cpus": cpus,
        "memory_mb": memory,
        "driver": driver,
    }
    if not dedicated and {version, cpus, memory, driver} != {None}:
        raise typer.BadParameter(
            "--version, --cpus, --memory and --driver are of instances: add --dedicated."
        )
    with connect() as api:
        said = {field: value for field, value in wanted.items() if value is not None}

        def request(body: Row) -> Row:
            with output.waiting(f"Creating {name}"):
                row: Row = api.post("/api/databases", body)
            return row

        row = customers.send(request, said | chosen, new=new_customer)
        if dedicated:
            instances.show_created(api, row, in_json=as_json)
            return
        _show_created(api, row, has_blueprint=blueprint is not None, in_json=as_json)


def _show_created(api: Api, row: Row, *, has_blueprint: bool, in_json: bool) -> None:
    """Show a new database, and follow what gives it its contents."""
    if in_json:
        output.as_json(row)
    else:
        output.done(f"{title(row)} ({row['environment']}) is ready: {row['database_name']}")
        show_opened(row)
    if has_blueprint:
        if not in_json:
            blueprints.show_roles(row["roles"])
            if (made := row.get("data_api")) is not None:
                data_api.show_opened(made)
        blueprints.finish(api, row)
    elif not in_json and (operation := row.get("operation_id")):
        imports.show_result(title(row), follow(api, operation)["result"])


@app.command()
def show(database: Named, env: In = None, as_json: Json = False) -> None:
    """Show one database, with its connection strings (the password hidden).

    Example:

        tenantry db show shop --env production
    """
    with connect() as api:
        row = find(api, database, env)
        # The list's rows may be shorter than the one row asked for.
        row = api.get(f"/api/databases/{row['id']}")
        strings = {} if as_json else strings_of(api, row)
    if as_json:
        output.as_json(row)
        return
    output.facts(
        [
            ("name", row.get("name")),
            ("friendly name", row.get("friendly_name")),
            ("environment", row.get("environment")),
            ("owner", row.get("owner_email")),
            ("status", limits.state(row)),
            ("missing since", row.get("missing_since")),
            ("fails", row.get("status_detail")),
            ("kind", row.get("kind")),
            *instances.facts(row),
            *limits.facts(row),
            *attributes.facts(row),
            ("logged", statement_log.summary(row["log"])),
            ("created", row.get("created_at")),
            ("password", _password(row)),
            ("last used", last_used(row)),
            ("blueprint", _blueprint(row)),
            ("parent", row.get("parent_id")),
            ("branched", row.get("branched_at")),
            ("id", row["id"]),
            ("database", row["database_name"]),
            ("username", row.get("username")),
            *labelled(strings),
        ]
    )


@app.command()
@attributes.options(on_create=False)
def update(
    database: Named,
    *,
    env: In = None,
    chosen: attributes.Chosen,
    untag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="A tag to remove. It may be repeated.")
    ] = None,
    reset: limits.Reset = None,
    new_name: Annotated[str | None, typer.Option(help="The name it shall have.")] = None,
    new_env: Annotated[
        Environment | None, typer.Option(metavar="ENV", help="The environment to move it to.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option(help="Whose it shall be, by e-mail address, if it is nobody's.")
    ] = None,
    new_customer: customers.NewCustomer = False,
    as_json: Json = False,
) -> None:
    """Change a database's attributes and limits.

    Examples:

        tenantry db update shop --env staging --max-connections 40

        tenantry db update shop --plan premium --reset max-connections

        tenantry db update shop --pool-mode session

        tenantry db update shop --tag wordpress --untag trial
    """
    labels: dict[str, object] = {
        "name": new_name,
        "environment": new_env,
        "owner_email": owner,
    }
    changes = {field: value for field, value in labels.items() if value is not None}
    changes |= chosen | dict.fromkeys(reset or [])
    if not changes and not untag:
        raise typer.BadParameter("say what to change: see `tenantry db update --help`.")
    with connect() as api:
        found = find(api, database, env)
        path = f"/api/databases/{found['id']}"
        if untag or "tags" in changes:
            changes["tags"] = sorted({*found["tags"], *chosen.get("tags", ())} - {*(untag or ())})
        row = customers.send(lambda body: api.patch(path, body), changes, new=new_customer)
    if as_json:
        output.as_json(row)
        return
    output.done(f"{title(row)} is changed")
    of_plan = changes.keys() & {"plan", *limits.OPTIONS}
    output.facts(attributes.fact(row, field) for field in sorted(changes.keys() - of_plan))
    if changes.get("rotate_password_days"):
        output.facts([("the first time", row["password_rotates_at"])])
    if of_plan:
        output.facts(limits.facts(row))
    for field in _FOLLOWS.keys() & changes.keys():
        output.note(_FOLLOWS[field])


@app.command()
def delete(
    database: Named,
    *,
    env: In = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_backups: Annotated[
        bool, typer.Option("--keep-backups", help="Leave its logical backups.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete a database with its shadow and roles, and end their sessions. This cannot be undone.

    Asks for the name on a terminal; otherwise --yes is required.

    Example:

        tenantry db delete shop --env development
    """
    with connect() as api:
        row = find(api, database, env)
        if not yes:
            _confirm(row, as_json=as_json)
        with output.waiting(f"Deleting {title(row)}"):
            path = f"/api/databases/{row['id']}"
            answer = api.delete(f"{path}?keep_backups=true" if keep_backups else path)
            if answer["status"] == "deleting":
                api.wait(answer["operation_id"])
    if as_json:
        output.as_json(answer)
        return
    output.done(f"{title(row)} ({row['environment']}) is deleted")


def _confirm(row: Row, *, as_json: bool) -> None:
    name = title(row)
    require_terminal(as_json=as_json)
    output.note(
        f"{name} ({row['environment']}, {row['database_name']}, of "
        f"{output.plain(row.get('owner_email'))}) and all its data will be gone for ever.",
        style="bold",
    )
    if typer.prompt("Type its name to delete it", err=True) != name:
        raise InvalidInput(f"That is not its name, so {name} was not deleted.")


@app.command("rotate-password")
def rotate_password(database: Named, env: In = None, as_json: Json = False) -> None:
    """Set a new password for a database and show it once. The old one stops working.

    Example:

        tenantry db rotate-password shop
    """
    with connect() as api:
        row = find(api, database, env)
        with output.waiting(f"Changing the password of {title(row)}"):
            row = api.post(f"/api/databases/{row['id']}/rotate-password")
    if as_json:
        output.as_json(row)
        return
    output.done(f"{title(row)} has a new password")
    show_opened(row)


@app.command()
def stats(database: Named, env: In = None, as_json: Json = False) -> None:
    """Show a database's size, connections, cache hits and transactions.

    Example:

        tenantry db stats shop --json | jq .size_bytes
    """
    with connect() as api:
        figures = api.get(f"/api/databases/{find(api, database, env)['id']}/stats")
    if as_json:
        output.as_json(figures)
        return
    hits = figures.get("cache_hit_ratio")
    used = f"{figures.get('active_connections')} of {figures.get('max_connections')}"
    output.facts(
        [
            ("database", figures["database_name"]),
            ("status", figures.get("status")),
            ("size", figures.get("size_pretty")),
            ("connections", used),
            *((each, figures.get(each)) for each in ("cpu", "memory", "uptime")),
            ("also there", ", ".join(figures.get("unmanaged", [])) or None),
            *((k.replace("_", " "), v) for k, v in figures.items() if k.startswith("pooled")),
            ("cache hits", None if hits is None else f"{hits:.1%}"),
            ("committed", figures.get("transactions_committed")),
            ("rolled back", figures.get("transactions_rolled_back")),
            ("counted since", figures.get("stats_since")),
        ]
    )


def _password(row: Row) -> str:
    changed = f"changed {distance(row['password_changed_at'])} ago"
    rotates = row["password_rotates_at"]
    return changed if rotates is None else f"{changed}, replaced {distance(rotates)}"


def _blueprint(row: Row) -> str | None:
    has = row.get("blueprint")
    return f"{has['name']}@{has['version']}" if has else None


instances.add_commands(app)
instance_settings.add_commands(app)
moves.add_commands(app)
