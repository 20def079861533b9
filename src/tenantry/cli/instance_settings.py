"""The settings and the size of an instance: ``tenantry db settings`` and ``tenantry db resize``."""

from typing import Annotated

import typer

from tenantry.cli import limits, output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.instances import facts
from tenantry.cli.operations import Wait, follow

_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "VALUE": "value",
    "SET": "set_to",
    "DEFAULT": "default",
    "STATE": lambda row: "waits for a restart" if row["pending_restart"] else None,
    "DESCRIPTION": "description",
}

Restart = Annotated[
    bool,
    typer.Option("--restart", help="Restart the instance if it is needed: all its sessions end."),
]


def settings(
    database: Named,
    assignments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Parameters to set.", show_default=False),
    ] = None,
    *,
    reset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A parameter to have its default.")
    ] = None,
    restart: Restart = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show all that can be set, not only what is set.")
    ] = False,
    env: In = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Show or set the parameters of PostgreSQL of a database's instance.

    What needs no restart is in force at once. With --restart the rest is, too; otherwise it waits
    until the instance is restarted. If it does not start with new values, it goes on with the old.

    Examples:

        tenantry db settings shop --all

        tenantry db settings shop work_mem=16MB shared_buffers=256MB --restart

        tenantry db settings shop --reset work_mem
    """
    wanted: dict[str, str | None] = dict(map(_assignment, assignments or []))
    wanted |= dict.fromkeys(reset or [])
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/settings"
        if not wanted and not restart:
            _show(api.get(path), every=every, as_json=as_json)
            return
        found = api.patch(path, {"parameters": wanted, "restart": restart})
        if not as_json and wanted:
            output.done(f"The settings of {title(row)} are changed")
        _restarted(api, row, found, wait=wait, as_json=as_json)


def resize(
    database: Named,
    *,
    cpus: Annotated[
        str | None, typer.Option(metavar="NUMBER|all", help="How many processors it may use.")
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(parser=limits.parse_mebibytes, metavar="SIZE", help="Its memory: 2GB."),
    ] = None,
    restart: Restart = False,
    env: In = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Change the processors and the memory of a database's instance.

    It has them at once. Its shared buffers follow its memory when it is restarted: with --restart
    now.

    Example:

        tenantry db resize shop --cpus 2 --memory 2GB
    """
    size: dict[str, object] = {"memory_mb": memory} if memory is not None else {}
    if cpus is not None:
        size["cpus"] = _processors(cpus)
    if not size:
        raise typer.BadParameter("say what to change: --cpus, --memory or both.")
    with connect() as api:
        row = find(api, database, env)
        found = api.patch(f"/api/databases/{row['id']}", size | {"restart": restart})
        if not as_json:
            output.done(f"{title(row)} has another size")
            output.facts(each for each in facts(found) if each[0] in {"processors", "memory"})
        _restarted(api, row, found, wait=wait, as_json=as_json)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text} is not NAME=VALUE.")
    return name, value


def _processors(text: str) -> float | None:
    if text == "all":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter("--cpus is a number, or all.") from None


def _show(found: Row, *, every: bool, as_json: bool) -> None:
    if as_json:
        output.as_json(found)
        return
    rows = [
        each
        for each in found["settings"]
        if every or each["set_to"] is not None or each["pending_restart"]
    ]
    output.table(
        rows,
        _COLUMNS,
        empty="Nothing is set: --all shows what can be.",
        spare=("DESCRIPTION", "DEFAULT"),
    )


def _restarted(api: Api, row: Row, found: Row, *, wait: bool, as_json: bool) -> None:
    """Follow the restart of an instance, or report what waits for one."""
    operation_id = found["operation_id"]
    if as_json:
        output.as_json(found)
    elif operation_id is None:
        if waiting := found["pending_restart"]:
            output.note(
                f"For {', '.join(waiting)} it has to be restarted: tenantry db restart"
                f" {title(row)}",
                style="yellow",
            )
    elif wait:
        follow(api, operation_id)
        output.done(f"{title(row)} is restarted")
    else:
        output.done(f"{title(row)} is being restarted: tenantry operation watch {operation_id}")


def add_commands(app: typer.Typer) -> None:
    """Add the commands on settings and size to ``tenantry db``."""
    for command in (settings, resize):
        app.command()(command)
