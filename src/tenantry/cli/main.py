"""``tenantry``: the program."""

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

import tenantry
from tenantry.cli import door

# Where each command is, in the order in which --help tells them.
COMMANDS = {
    "up": "platform:up",
    "down": "platform:down",
    "status": "platform:status",
    "doctor": "platform:doctor",
    "logs": "logs:logs",
    "restore": "restores:restore",
    "login": "session:login",
    "logout": "session:logout",
    "password": "session:password",
    "totp": "totp:app",
    "audit": "audit:audit",
    "pooler": "pooler:pooler",
    "recover": "recovery:recover",
    "import": "imports:import_database",
    "service": "platform:service",
    "uninstall": "uninstalling:uninstall",
    "cluster": "clusters:app",
    "db": "databases:app",
    "whitelist": "whitelist:app",
    "role": "roles:app",
    "extension": "extensions:app",
    "blueprint": "blueprints:app",
    "branch": "branches:app",
    "backup": "backups:app",
    "plan": "limits:app",
    "pool": "pool:app",
    "key": "keys:app",
    "migrate": "migrate:app",
    "operation": "operations:app",
    "tls": "tls:app",
    "user": "users:app",
}


def program(*wanted: str) -> typer.Typer:
    """The program, with these commands or with all of them, which take a second to import."""
    app = typer.Typer(
        name="tenantry",
        help="Postgres for many tenants, on servers you own.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running, 130 interrupted. "
        "TENANTRY_URL and TENANTRY_API_KEY name another machine's platform.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # they show local variables, secrets among them
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_options)
    for name in wanted or COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(f"tenantry.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tenantry {tenantry.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """The entry point."""
    wanted = [word for word in (sys.argv[1:] or _completed())[:1] if word in COMMANDS]
    door.enter(program(*wanted), "tenantry")


def _completed() -> list[str]:
    """The words after the program's name in the command line that a shell wants completed."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return line.split()[1:]
