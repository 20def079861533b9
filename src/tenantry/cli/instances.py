"""Instances on the command line: ``tenantry db start``, ``stop``, ``restart``, and versions."""

from typing import Annotated

import typer

from tenantry.cli import operations, output
from tenantry.cli.asking import confirm
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.connecting import show_opened
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.operations import follow


def show_created(api: Api, row: Row, *, in_json: bool) -> None:
    """Show a new instance when it can be used; as JSON at once."""
    if in_json:
        output.as_json(row)
        return
    # Before it is there: the password is not shown again.
    output.note(f"{row['container_name']} is being created")
    show_opened(row)
    if (detail := row["connection"]["host_detail"]) is not None:
        output.note(detail, style="yellow")
    if row["size_limits"] == "none":
        output.note("This machine does not enforce its size: see tenantry doctor", style="yellow")
    follow(api, row["operation_id"])
    output.done(f"{title(row)} ({row['environment']}) is ready: {row['database_name']}")


def left_out(api: Api, row: Row) -> str:
    """Return a sentence on the databases beside one on an instance, which work on it leaves out."""
    if row.get("container_name") is None:
        return ""
    beside = api.get(f"/api/databases/{row['id']}/stats")["unmanaged"]
    return f" The databases beside it stay as they are: {', '.join(beside)}." if beside else ""


def facts(row: Row) -> list[tuple[str, object]]:
    """Return an instance's name, version and size, a line each; nothing of another database."""
    if row.get("container_name") is None:
        return []
    return [
        ("instance", row["container_name"]),
        ("version", f"PostgreSQL {row['version']}, run by the driver {row['driver']}"),
        ("processors", "all" if row["cpus"] is None else row["cpus"]),
        ("memory", f"{row['memory_mb']:,} MiB"),
        ("suspended", _suspension(row)),
    ]


def _suspension(row: Row) -> str:
    if row["auto_suspend_seconds"] is None:
        return "never"
    direct = {"wake": "wake it, too", "refuse": "are refused"}[row["auto_suspend_direct"]]
    return f"after {row['auto_suspend_seconds']:,} s without a session; direct ones {direct}"


def start(
    database: Named, env: In = None, wait: operations.Wait = True, as_json: Json = False
) -> None:
    """Start a database's instance.

    Example:

        tenantry db start shop
    """
    _change(database, env, "start", "started", wait=wait, as_json=as_json)


def stop(
    database: Named,
    env: In = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Stop a database's instance: all its sessions end, and nobody can connect.

    Data and backups stay. Asks on a terminal; otherwise --yes is required.

    Example:

        tenantry db stop shop --yes
    """
    if not yes:
        confirm("All its sessions end. Stop it?", as_json=as_json)
    _change(database, env, "stop", "stopped", wait=wait, as_json=as_json)


def restart(
    database: Named, env: In = None, wait: operations.Wait = True, as_json: Json = False
) -> None:
    """Stop a database's instance, which ends all its sessions, and start it again.

    Example:

        tenantry db restart shop
    """
    _change(database, env, "restart", "restarted", wait=wait, as_json=as_json)


def _change(
    database: str, env: str | None, verb: str, done: str, *, wait: bool, as_json: bool
) -> None:
    with connect() as api:
        row = find(api, database, env)
        operations.finish(
            api,
            api.post(f"/api/databases/{row['id']}/{verb}"),
            wait=wait,
            as_json=as_json,
            started=f"{title(row)} is being {done}",
            done=lambda _: output.done(f"{title(row)} is {done}"),
        )


def add_commands(app: typer.Typer) -> None:
    """Add the commands on instances to ``tenantry db``."""
    for command in (start, stop, restart):
        app.command()(command)


def versions(as_json: Json = False) -> None:
    """List the versions of PostgreSQL that instances can have.

    Example:

        tenantry versions
    """
    with connect() as api:
        found = api.get("/api/versions")
    if as_json:
        output.as_json(found)
        return
    output.table(
        found,
        {
            "VERSION": "major",
            "RELEASE": "minor",
            "PACKAGE": "offered",
            "STATE": lambda row: "installed" if row["installed"] else "can be installed",
            "MAINTAINED UNTIL": "end_of_life",
        },
        empty="There is no PostgreSQL here.",
    )
