"""The ``tenantry cluster`` commands that act on this machine itself: restores, and psql."""

import asyncio
import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.settings import Settings
from tenantry.cli import operations, output, recovery, times
from tenantry.cli.asking import confirm
from tenantry.cli.client import connect
from tenantry.cli.entry_point import local_settings
from tenantry.cli.finding import find_cluster
from tenantry.control.store import DATABASE
from tenantry.host import files, identity
from tenantry.pg.connections import ADMIN
from tenantry.services import supervisor
from tenantry.services.cluster_restores import service
from tenantry.services.cluster_restores.model import Differences, Report, Wanted
from tenantry.services.cluster_restores.service import ClusterRestore
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL
from tenantry.services.recovery.service import require_complete


def restore(name: str, *, to: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Restore a whole cluster. ``to`` is a moment, or ``LATEST``."""
    here = local_settings()
    moment = None if to == times.LATEST else dt.datetime.fromisoformat(to)
    service.folders_of(here, name)
    require_complete(here)
    pid = supervisor.running_pid(here)
    if pid is not None and not dry_run and (name == CONTROL or moment is None):
        raise Conflict(
            f"Tenantry runs in {here.home} (pid {pid}).",
            hint="Stop it first: tenantry down. Only a shared cluster can be restored while it is "
            "up, and only to a moment. --dry-run shows what would be done.",
        )
    identity.become_service_user()
    if pid is not None:
        _look(here, name, moment, as_json=as_json, is_all=dry_run)
        if moment is not None and not dry_run:
            _ask_for(here, name, moment, yes=yes, as_json=as_json)
        return
    with _alone(here):
        wanted = _look(here, name, moment, as_json=as_json, is_all=dry_run)
        if dry_run:
            return
        if not yes:
            confirm(f"Restore {name}?", as_json=as_json)
        with recovery.reporting() as (say, show):
            report = asyncio.run(ClusterRestore(here, name).carry_out(wanted, say=say, show=show))
    _report(here, report, as_json=as_json)


def _ask_for(here: Settings, name: str, moment: dt.datetime, *, yes: bool, as_json: bool) -> None:
    if not yes:
        confirm(f"Restore {name}?", as_json=as_json)
    with connect() as api:
        path = f"/api/clusters/{find_cluster(api, name)['id']}/restore"
        row = operations.follow(api, api.post(path, {"to": moment.isoformat()})["id"])
    _report(here, Report.model_validate(row["result"]), as_json=as_json, is_up=True)


@contextmanager
def _alone(here: Settings) -> Iterator[None]:
    with supervisor.only_one(here):
        # A killed supervisor leaves its children for a moment, and the daemons for tenants.
        asyncio.run(_clear(here))
        yield


async def _clear(here: Settings) -> None:
    await supervisor.end_leftovers(here)
    await supervisor.stop_daemons(here)
    await service.settle(here)


def _look(
    here: Settings, name: str, moment: dt.datetime | None, *, as_json: bool, is_all: bool
) -> Wanted:
    restoring = ClusterRestore(here, name)

    async def look() -> tuple[Wanted, list[str] | None]:
        wanted = await restoring.look(moment)
        return wanted, [] if moment is None else await restoring.made_since(moment)

    wanted, made = asyncio.run(look())
    backup = wanted.backups[0]
    if as_json and is_all:
        output.as_json(
            {
                "cluster": name,
                "to": None if moment is None else moment.isoformat(),
                "backup": backup.label,
                "size_bytes": wanted.size,
                "made_since": made,
            }
        )
    elif not as_json:
        output.facts(
            [
                ("cluster", name),
                (
                    "to",
                    "the end of its log" if moment is None else times.exact(moment),
                ),
                (
                    "that is",
                    None if moment is None else f"{times.distance(moment.isoformat())} ago",
                ),
                ("from backup", f"{backup.label}, of {times.local(backup.stopped)}"),
                ("takes", f"about {output.size(wanted.size)}, beside what is there"),
                ("afterwards", "the old cluster is kept until tenantry cluster discard"),
            ]
        )
        _warn_of(made)
    return wanted


def _warn_of(made: list[str] | None) -> None:
    if made is None:
        output.note("It is unknown which databases were created since: control does not start.")
    elif made:
        output.note(f"{', '.join(made)} were made since, and would be gone", style="red")


def _report(here: Settings, report: Report, *, as_json: bool, is_up: bool = False) -> None:
    if as_json:
        output.as_json(report.model_dump(mode="json", exclude={"operation_id", "in_service"}))
        return
    output.done(f"{report.cluster} is back, as it was at {recovery.moment_of(report.reached)}")
    recovery.warn_of(Differences(report.missing, report.unmanaged, report.closed))
    if report.locked:
        output.note(
            f"{', '.join(report.locked)} had been revoked or changed since, and stay locked",
            style="yellow",
        )
    if report.old_unreadable:
        output.note(
            "The old cluster does not start, so that only the audit log could show what has been "
            "revoked since; what tenants have changed by themselves is as it was at that moment.",
            style="yellow",
        )
    if report.retained:
        folder = service.folders_of(here, report.cluster).cluster.folder / report.retained
        output.note(f"The old cluster is kept in {folder}")
    if is_up:
        output.note("A full backup begins by itself")
    else:
        output.note("Now: tenantry up, which makes a full backup", style="bold")


def retained(*, as_json: bool) -> None:
    """List the clusters that restores of whole clusters have replaced."""
    rows = [
        {
            "cluster": each.cluster,
            "name": each.name,
            "replaced_at": each.since.isoformat(),
            "size_bytes": files.used_bytes(each.path),
            "path": str(each.path),
        }
        for each in service.every_retained(local_settings())
    ]
    if as_json:
        output.as_json(rows)
        return
    output.table(
        rows,
        {
            "CLUSTER": "cluster",
            "NAME": "name",
            "REPLACED": lambda row: times.distance(row["replaced_at"]),
            "SIZE": lambda row: output.size(row["size_bytes"]),
            "PATH": "path",
        },
        empty="No old cluster is retained.",
    )


def discard(name: str, which: str | None, *, yes: bool) -> None:
    """Delete the replaced versions of a cluster, or one of them by its name."""
    here = local_settings()
    folders = service.folders_of(here, name)
    found = [each for each in folders.retained() if which in {None, each.name}]
    if not found:
        raise NotFound(
            f"{name} has no retained folder{'' if which is None else f' named {which}'}.",
            hint="tenantry cluster retained lists what is.",
        )
    identity.become_service_user()
    if not yes:
        confirm(f"Delete {', '.join(each.name for each in found)} for good?")
    for each in found:
        asyncio.run(service.discard(here, each))
        output.done(f"{each.name} is deleted")


def psql(name: str, arguments: list[str]) -> None:
    """Replace this process with psql on a cluster, as its superuser. Raises NotFound."""
    cluster = Fleet(local_settings()).named(name)
    program = cluster.bindir / "psql"
    words = [f"--host={cluster.address.socket_dir}", f"--port={cluster.address.port}"]
    words += [f"--username={ADMIN}", "--no-password"]
    usual = DATABASE if name == CONTROL else "postgres"
    dbname = [] if _names_database(arguments) else [f"--dbname={usual}"]
    os.execv(program, [str(program), *words, *dbname, *arguments])  # noqa: S606 (psql becomes this)


def _names_database(arguments: list[str]) -> bool:
    return any(word.startswith(("-d", "--dbname")) for word in arguments)
