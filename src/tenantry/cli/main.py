"""``tenantry``: the program."""

from typing import Annotated

import typer

import tenantry
from tenantry.cli import (
    audit,
    backups,
    blueprints,
    branches,
    cluster_restores,
    clusters,
    databases,
    door,
    drills,
    extensions,
    imports,
    keys,
    limits,
    migrate,
    operations,
    platform,
    pool,
    pooler,
    recovery,
    restores,
    roles,
    session,
    tls,
    users,
    whitelist,
)

app = typer.Typer(
    name="tenantry",
    help="Postgres for many tenants, on servers you own.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running, 130 interrupted. "
    "TENANTRY_URL and TENANTRY_API_KEY name another machine's platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, secrets among them
    context_settings={"help_option_names": ["--help", "-h"]},
)
platform.register(app)
drills.register(backups.app)
cluster_restores.register(clusters.app)
app.add_typer(clusters.app, name="cluster")
app.add_typer(databases.app, name="db")
app.add_typer(whitelist.app, name="whitelist")
app.add_typer(roles.app, name="role")
app.add_typer(extensions.app, name="extension")
app.add_typer(blueprints.app, name="blueprint")
app.add_typer(branches.app, name="branch")
app.add_typer(backups.app, name="backup")
app.add_typer(limits.app, name="plan")
app.add_typer(pool.app, name="pool")
app.add_typer(keys.app, name="key")
app.add_typer(migrate.app, name="migrate")
app.add_typer(operations.app, name="operation")
app.add_typer(tls.app, name="tls")
app.add_typer(users.app, name="user")
app.command()(restores.restore)
app.command()(session.login)
app.command()(session.logout)
app.command()(audit.audit)
app.command()(pooler.pooler)
app.command()(recovery.recover)
app.command("import")(imports.import_database)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tenantry {tenantry.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """The entry point."""
    door.enter(app, "tenantry")
