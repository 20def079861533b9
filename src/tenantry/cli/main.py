"""``tenantry``: the command-line program."""

import gc
import os
import sys
from collections.abc import Collection
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.models import CommandInfo

import tenantry
from tenantry.cli import entry_point

# The module of each command, by topic, in the order of --help.
TOPICS = {
    "The platform on this machine": {
        "up": "platform:up",
        "down": "platform:down",
        "status": "platform:status",
        "doctor": "platform:doctor",
        "logs": "logs:logs",
        "service": "platform:service",
        "self-update": "self_update:self_update",
        "uninstall": "uninstalling:uninstall",
    },
    "Databases": {
        "db": "databases:app",
        "whitelist": "whitelist:app",
        "role": "roles:app",
        "extension": "extensions:app",
        "data-api": "data_api:app",
        "plan": "plans:app",
        "versions": "instances:versions",
        "pool": "pool:app",
    },
    "AI cache": {
        "cache": "sites:app",
    },
    "Schemas and data": {
        "migrate": "migrate:app",
        "sql": "sql:sql",
        "rows": "table_rows:app",
        "blueprint": "blueprints:app",
        "branch": "branches:app",
        "import": "imports:import_database",
    },
    "Backups": {
        "restore": "restores:restore",
        "past": "past:app",
        "backup": "backups:app",
        "cluster": "clusters:app",
        "recover": "recovery:recover",
    },
    "Access": {
        "login": "session:login",
        "logout": "session:logout",
        "password": "session:password",
        "totp": "totp:app",
        "key": "keys:app",
        "user": "users:app",
        "customer": "customers:app",
    },
    "Looking on": {
        "console": "console:console",
        "mcp": "mcp:mcp",
        "top": "top:top",
        "alert": "alerts:app",
        "operation": "operations:app",
        "audit": "audit:audit",
        "pooler": "pooler:pooler",
        "tls": "tls:app",
    },
}
COMMANDS = {name: where for commands in TOPICS.values() for name, where in commands.items()}
# Within a group, _FIRST commands are listed first, and _LAST ones last.
_FIRST = ("create", "add", "list", "show")
_LAST = ("delete", "remove", "revoke", "discard", "uninstall")


class _ByTopic(TyperGroup):
    """A command group in the order of topics; typer itself lists groups last."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (as typer has it)
        return [name for name in COMMANDS if name in self.commands]


def program(wanted: Collection[str] = COMMANDS.keys()) -> typer.Typer:
    """Create the program with these commands; importing all of them takes a second."""
    app = typer.Typer(
        name="tenantry",
        cls=_ByTopic,
        help="Postgres for many tenants, on servers you own.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running, 130 interrupted. "
        "TENANTRY_URL and TENANTRY_API_KEY name another machine's platform. "
        "In the folder of the code: ./tenantry install-embedder, for the AI cache.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # they show local variables, secrets among them
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_options)
    for topic, commands in TOPICS.items():
        for name, where in commands.items():
            if name not in wanted:
                continue
            module, _, attribute = where.partition(":")
            found = getattr(import_module(f"tenantry.cli.{module}"), attribute)
            if isinstance(found, typer.Typer):
                found.registered_commands.sort(key=_use)
                app.add_typer(found, name=name, rich_help_panel=topic)
            else:
                app.command(name, rich_help_panel=topic)(found)
    return app


def _use(command: CommandInfo) -> tuple[int, int]:
    """Return a sort key for a command in its group's help; others keep their order."""
    name = command.name or getattr(command.callback, "__name__", "")
    if name in _FIRST:
        return 0, _FIRST.index(name)
    return (2, _LAST.index(name)) if name in _LAST else (1, 0)


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
    """Run the command line: the entry point."""
    first = (sys.argv[1:] or _completed())[:1]
    needs_one = first == ["--version"] or not COMMANDS.keys().isdisjoint(first)
    gc.disable()  # it would visit, again and again, modules that stay
    commands = program(first) if needs_one else program()
    gc.freeze()
    gc.enable()
    entry_point.enter(commands, "tenantry")


def _completed() -> list[str]:
    """Return the words after the program's name in a command line that a shell completes."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return line.split()[1:]
