"""``tenantry db move``: to an instance, and back to a shared cluster."""

from typing import Annotated, Literal

import typer

from tenantry.base.sizes import readable
from tenantry.cli import limits, operations, output
from tenantry.cli.asking import confirm, require_terminal
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

To = Annotated[
    Literal["dedicated", "shared"],
    typer.Option(help="To an instance of its own, or to a shared cluster."),
]
Cluster = Annotated[str | None, typer.Option(help="The shared cluster. For administrators.")]
Version = Annotated[
    int | None, typer.Option(help="The instance's major version: see tenantry versions.")
]
Cpus = Annotated[float | None, typer.Option(help="The instance's processors.")]
Memory = Annotated[
    int | None,
    typer.Option(parser=limits.parse_mebibytes, metavar="SIZE", help="An instance's memory: 1GB."),
]
Driver = Annotated[str | None, typer.Option(help="What runs the instance.")]
MaxWait = Annotated[
    float, typer.Option(metavar="SECONDS", help="Undo it if clients would wait for longer.")
]
AcceptLosses = Annotated[
    bool,
    typer.Option(
        "--accept-losses",
        help="Leave behind what only an instance has, or PostgreSQL does not build again.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would do, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def move(
    database: Named,
    *,
    to: To,
    cluster: Cluster = None,
    version: Version = None,
    cpus: Cpus = None,
    memory: Memory = None,
    driver: Driver = None,
    max_wait: MaxWait = 60,
    accept_losses: AcceptLosses = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    env: In = None,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Move a database to an instance of its own, or to a shared cluster.

    Pooled clients wait while it is copied, and direct sessions end. Pooled connection strings stay,
    direct ones get another port. Asks on a terminal; otherwise --yes is required.

    Examples:

        tenantry db move shop --to dedicated --memory 1GB --dry-run

        tenantry db move shop --to shared --max-wait 30 --yes
    """
    asked: dict[str, object] = {
        "kind": to,
        "cluster": cluster,
        "version": version,
        "cpus": cpus,
        "memory_mb": memory,
        "driver": driver,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if not (yes or dry_run):
        require_terminal(as_json=as_json)
    asked |= {"max_wait_seconds": max_wait, "accept_losses": accept_losses}
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/move"
        if dry_run or not yes:
            _show(row, api.post(path, asked | {"dry_run": True}), as_json=as_json)
        if dry_run:
            return
        if not yes:
            confirm("Its direct sessions end, and pooled ones wait. Move it?")
        operations.finish(
            api,
            api.post(path, asked),
            wait=wait,
            as_json=as_json,
            started=f"{title(row)} is being moved",
            done=lambda result: _done(row, result),
        )


def _show(row: Row, found: Row, *, as_json: bool) -> None:
    if as_json:
        output.as_json(found)
        return
    where = found["cluster"] or "an instance of its own"
    basis = "by the last moves here" if found["basis"] == "measured" else "at 10 MB/s"
    output.facts(
        [
            ("database", f"{title(row)}, {readable(found['size_bytes'])}"),
            ("to", f"{where}, PostgreSQL {found['version']}"),
            ("direct", f"{found['host']}:{found['port']}"),
            ("clients wait", f"about {found['expected_wait_seconds']:.0f} s, {basis}"),
            ("undone after", f"{found['max_wait_seconds']:g} s"),
            *((f"{each['kind']} left", each["name"]) for each in found["left_out"]),
        ]
    )


def _done(row: Row, result: Row) -> None:
    output.done(
        f"{title(row)} is on {result['cluster']}, at port {result['port']};"
        f" its clients have waited for {result['waited_seconds']:.1f} s"
    )
    output.note(f"The original is retained as {result['replaced']}")


def add_commands(app: typer.Typer) -> None:
    """Add the command to ``tenantry db``."""
    app.command()(move)
