"""``tenantry cluster``: the PostgreSQL clusters and their physical backups."""

from typing import Annotated, Literal

import typer

from tenantry.base.sizes import readable
from tenantry.cli import naming, operations, output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import ClusterNamed, find_cluster

app = typer.Typer(
    help="The PostgreSQL servers, and the backups of all that is in them.", no_args_is_help=True
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_COLUMNS: dict[str, output.Cell] = {
    "LABEL": "label",
    "TYPE": "type",
    "REPOSITORY": "repository",
    "AGE": lambda row: times.distance(row["finished_at"]),
    "SIZE": lambda row: readable(row["size_bytes"]),
    "STORED": lambda row: readable(row["stored_bytes"]),
    "STATE": lambda row: "damaged" if row["damaged"] else "left behind" if row["left"] else "ok",
}


def _state(repository: Row) -> str:
    """Return a repository's state, with its problem if it has one."""
    states = {"ok": "ok", "none": "no backup yet", "unknown": "unknown"}
    state = states[repository["state"]]
    return f"{state}: {repository['problem']}" if repository["problem"] else state


def _cluster_state(row: Row) -> str:
    if not row["ready"]:
        return "being added"
    return "ready" if row["wanted"] == "running" else str(row["wanted"])


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the clusters, and how many databases are on each."""
    with connect() as api:
        found = api.get("/api/clusters")
    if as_json:
        output.as_json(found)
        return
    output.table(
        found,
        {
            "NAME": "name",
            "KIND": "kind",
            "VERSION": "version",
            "PORT": lambda row: "" if row["kind"] == "control" else str(row["port"]),
            "DATABASES": lambda row: (
                ""
                if row["kind"] == "control"
                else f"{row['databases']} of {row['max_databases']:,}"
            ),
            "STATE": _cluster_state,
        },
        empty="There is no cluster.",
    )


@app.command()
def add(
    called: naming.Argument = None,
    *,
    kind: Annotated[
        Literal["shared"], typer.Option("--kind", help="shared: for many tenants.")
    ] = "shared",
    name: Annotated[
        str | None, typer.Option("--name", help="By default shared-2, shared-3 and so on.")
    ] = None,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Add a cluster to this machine, on a port of TENANTRY_INSTANCE_PORTS.

    New databases are placed on the shared cluster that has most free connections. The machine's
    memory is divided equally: the others give their part up when they are next started.

    Example:

        tenantry cluster add
    """
    with connect() as api:
        row = api.post("/api/clusters", {"kind": kind, "name": naming.one_of(called, name)})
        operations.finish(
            api,
            row,
            wait=wait,
            as_json=as_json,
            started="The cluster is being added",
            done=lambda made: output.done(
                f"{made['name']} takes databases, on port {made['port']}"
            ),
        )


@app.command()
def backups(name: ClusterNamed, as_json: Json = False) -> None:
    """List a cluster's physical backups, and from which moment on it can be restored.

    Example:

        tenantry cluster backups shared-1
    """
    with connect() as api:
        held = api.get(f"/api/clusters/{find_cluster(api, name)['id']}/backups")
    if as_json:
        output.as_json(held)
        return
    first = "the first one is being made" if held["in_progress"] else "nothing can be restored"
    none = f"There is no backup of {name} in these repositories: {first}."
    if not held["backups"] and any(each["state"] == "unknown" for each in held["repositories"]):
        none = f"Whether there are backups of {name} is not known."
    output.table(held["backups"], _COLUMNS, empty=none, spare=("STORED", "REPOSITORY"))
    output.heading("Repositories")
    output.table(
        held["repositories"],
        {
            "NUMBER": "number",
            "PLACE": "place",
            "RESTORABLE FROM": "restorable_from",
            "STATE": _state,
        },
        empty="",
    )


@app.command()
def backup(
    name: ClusterNamed,
    kind: Annotated[
        Literal["full", "diff", "incr"],
        typer.Option("--type", help="All, or what changed since the last full one, or the last."),
    ] = "incr",
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Back up a cluster into every repository.

    Example:

        tenantry cluster backup shared-1 --type full
    """
    with connect() as api:
        path = f"/api/clusters/{find_cluster(api, name)['id']}/backups"
        row = api.post(path, {"type": kind})
        operations.finish(
            api,
            row,
            wait=wait,
            as_json=as_json,
            started=f"{name} is being backed up",
            done=lambda _: output.done(f"{name} is backed up"),
        )


@app.command()
def verify(name: ClusterNamed, wait: operations.Wait = True, as_json: Json = False) -> None:
    """Read all backups and WAL of a cluster. Exit code 1 if anything is damaged.

    Example:

        tenantry cluster verify shared-1
    """
    with connect() as api:
        row = api.post(f"/api/clusters/{find_cluster(api, name)['id']}/backups/verify", {})
        operations.finish(
            api,
            row,
            wait=wait,
            as_json=as_json,
            started=f"The backups of {name} are being read",
            done=lambda _: output.done(f"The backups of {name} are whole"),
        )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A cluster: control, shared-1")],
) -> None:
    """Open psql on a cluster as its superuser, over its local socket.

    Arguments after the name go to psql: tenantry cluster psql shared-1 -c 'select 1'
    """
    from tenantry.cli import cluster_restores  # noqa: PLC0415 (it loads the services)

    cluster_restores.psql(name, context.args)


@app.command()
def restore(
    name: ClusterNamed,
    to: Annotated[
        str,
        typer.Option(
            parser=times.text_of(times.past, times.LATEST),
            metavar="WHEN",
            help=f"A moment, such as 2031-12-31T18:00+01:00, or 90m ago, or {times.LATEST}.",
        ),
    ] = times.LATEST,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and be lost.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Restore a whole cluster from its backups, to a moment or to the end of its WAL.

    While the platform is up, a shared cluster that is restored to a moment keeps serving until its
    replacement is ready. The replaced cluster is retained until it is discarded.

    Example:

        tenantry cluster restore shared-1 --to 2031-12-31T18:00+01:00
    """
    from tenantry.cli import cluster_restores  # noqa: PLC0415 (it loads the services)

    cluster_restores.restore(name, to=to, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command()
def retained(as_json: Json = False) -> None:
    """List the replaced clusters that are retained, and their disk usage.

    Example:

        tenantry cluster retained
    """
    from tenantry.cli import cluster_restores  # noqa: PLC0415 (it loads the services)

    cluster_restores.retained(as_json=as_json)


@app.command()
def discard(
    name: ClusterNamed,
    which: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which one; all of them without.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Delete retained clusters that a restore has replaced. This cannot be undone.

    Example:

        tenantry cluster discard shared-1 before-20311231T170211Z
    """
    from tenantry.cli import cluster_restores  # noqa: PLC0415 (it loads the services)

    cluster_restores.discard(name, which, yes=yes)
