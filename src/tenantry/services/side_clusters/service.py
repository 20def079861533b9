"""Restores side clusters, recovers them to exactly a moment, checks and removes them.

Each verb is idempotent: from the operation's files it knows how far an earlier try came.
"""

import asyncio
import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from tenantry.base.errors import TenantryError, Unavailable
from tenantry.base.events import (
    SideClusterRecovered,
    SideClusterRemoved,
    SideClusterRestored,
    emit,
)
from tenantry.base.home import Home
from tenantry.base.ids import parse_id
from tenantry.base.settings import Settings
from tenantry.host import commands, files
from tenantry.pg import hba, parameters
from tenantry.pg.clusters import DRIVERS, Cluster, ClusterFiles
from tenantry.pg.connections import ADMIN, LOCAL_ROLES, Address, connect, fetch_value
from tenantry.pg.drivers import PROCESS
from tenantry.pg.hardening import AUTH_DATABASE, TEMPLATE
from tenantry.pg.pgbackrest_output import Backup, BackupDamaged, RepositoryError
from tenantry.pg.reduced_backups import Unknown
from tenantry.pg.repositories import LocalRepository
from tenantry.services.clusters.fleet import identities
from tenantry.services.repository import looking
from tenantry.services.repository.service import Repositories
from tenantry.services.side_clusters import plan, recovering
from tenantry.services.side_clusters.model import (
    OutsideWindow,
    SideCluster,
    Wanted,
    Window,
)

log = structlog.get_logger()

ReportProgress = Callable[[int], Awaitable[None]]

_PORT = 5432  # a file's name only
_HOURS = 3600
_DEADLINE = 12 * _HOURS
_REPORT_SECONDS = 0.5
_OWN_BYTES = 256 * 1024**2  # of every side cluster: the log, the templates, what all share
# The log copies a database that was created after the backup from the template; and at least one
# has to be named, or all are restored.
_ALWAYS = frozenset({AUTH_DATABASE, TEMPLATE})
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ALL_TIME = dt.datetime.max.replace(tzinfo=dt.UTC)


class SideClusters:
    """All side clusters, each that of one operation."""

    def __init__(self, settings: Settings, repositories: Repositories) -> None:
        self._home = Home(settings.home)
        self._repositories = repositories

    def folder(self, operation_id: uuid.UUID) -> Path:
        """Return the folder of an operation's files; it is removed with the side cluster."""
        return self._home.scratch / str(operation_id)

    # ── before beginning ─────────────────────────────────────────────────────

    async def check(self, cluster: str, moment: dt.datetime) -> None:
        """Check that a cluster can be restored to a moment.

        Raises OutsideWindow if not, Conflict without a backup, RepositoryError if that is unknown.
        """
        if moment > dt.datetime.now(dt.UTC):
            raise OutsideWindow(
                f"{moment:%F %T} UTC is in the future.",
                hint='Ask for "latest", or for a moment that has been.',
            )
        await anext(self._candidates(cluster, moment))

    async def window(self, cluster: str) -> Window | None:
        """Return the moments to which the local repository alone can restore a cluster.

        None if it has no complete backup. Raises RepositoryError.
        """
        found = await looking.local_state(self._repositories, cluster)
        if found.problem is not None:
            raise RepositoryError(f"The repository {found.place} cannot be used: {found.problem}")
        if found.restorable_from is None or found.restorable_until is None:
            return None
        return Window(found.restorable_from, found.restorable_until)

    def require_room(self, needed: int) -> None:
        """Raise NotEnoughDisk without so many bytes for a side cluster and its copies."""
        files.require_room(
            self._home.scratch,
            needed + _OWN_BYTES,
            what="For a while this",
            hint="Make room there, and ask again. Nothing was changed.",
        )

    async def _candidates(
        self, cluster: str, moment: dt.datetime, *, label: str | None = None
    ) -> AsyncIterator[Backup]:
        """Yield the backups to begin with, the best first. Each repository is asked in its turn.

        Raises the first problem if no repository has any.
        """
        self._repositories.require_enabled()
        problems: list[TenantryError] = []
        for number in self._repositories.numbers:
            try:
                found = plan.candidates(await self._backups(cluster, number, label), moment)
            except TenantryError as error:
                problems.append(error)
            else:
                for backup in found:
                    yield backup
        if len(problems) == len(self._repositories.numbers):
            raise problems[0]

    async def _backups(self, cluster: str, number: int, label: str | None) -> list[Backup]:
        listed = await self._repositories.contents(cluster, [number])
        found = [each for contents in listed for each in contents.backups]
        place = self._repositories.places[number - 1]
        # Nothing is there yet of a cluster that was never backed up there.
        is_new = not self._repositories.has_stanza(place, cluster)
        problems = (each.problem for each in listed if not (each.absent and is_new))
        if not found and (wrong := next(filter(None, problems), None)):
            raise RepositoryError(
                f"The repository {place} cannot be read: {wrong}.",
                hint="Have it mounted, and readable with the key that is in the home; "
                "tenantry doctor shows more. Nothing was changed.",
            )
        return [each for each in found if label in {None, each.label}]

    # ── restoring and recovering ─────────────────────────────────────────────

    async def restore(
        self, operation_id: uuid.UUID, wanted: Wanted, *, report: ReportProgress | None = None
    ) -> None:
        """Restore the side cluster's files, from the best backup that can be read.

        ``report`` is called about twice a second with the bytes restored so far of the wanted
        databases. Raises OutsideWindow, RepositoryError with what to do.
        """
        if self._note(operation_id).get("wanted") == _written(wanted):
            return
        await self._restore(operation_id, wanted, (), report)

    async def _restore(
        self,
        operation_id: uuid.UUID,
        wanted: Wanted,
        oids: Collection[int],
        report: ReportProgress | None = None,
    ) -> None:
        cluster = self._cluster(operation_id, wanted.cluster)
        moment = wanted.moment if isinstance(wanted.moment, dt.datetime) else _ALL_TIME
        problems: dict[str, RepositoryError] = {}
        async for backup in self._candidates(wanted.cluster, moment, label=wanted.label):
            await cluster.remove()
            try:
                known, names = await self._fill(cluster, wanted, backup, oids, report)
                break
            except RepositoryError as error:
                log.warning("backup.unreadable", backup=backup.label, error=error.detail)
                problems[backup.label] = error
        else:
            raise _unreadable(wanted.cluster, *next(iter(problems.items())))
        await self._configure(cluster, wanted.cluster)
        note = {
            "wanted": _written(wanted),
            "boot": _boot(),
            "known": known,
            "restored": names,
            "unreadable": list(problems),
        }
        files.write_atomically(self._noted(operation_id), json.dumps(note))
        emit(SideClusterRestored(str(operation_id)))

    async def _fill(
        self,
        cluster: Cluster,
        wanted: Wanted,
        backup: Backup,
        oids: Collection[int],
        report: ReportProgress | None,
    ) -> tuple[dict[str, int], list[str]]:
        """Restore a backup's files. Return its databases with their oids, and the restored ones."""

        def choose(known: Mapping[str, int]) -> list[str]:
            return plan.names_in_backup(wanted.databases, known, oids)

        known, reduced = await self._reduced(cluster, wanted.cluster, backup, choose)
        names = choose(known)
        restore = partial(
            self._repositories.pgbackrest.restore,
            wanted.cluster,
            cluster.data,
            to=wanted.moment,
            databases=[*names, *sorted(known.keys() & _ALWAYS)],
            label=backup.label,
            repository=backup.repository,
            durable=False,
            deadline=_DEADLINE,
        )
        folders = [cluster.data / "base" / str(known[name]) for name in names]
        watching = asyncio.create_task(_watch(folders, report))
        try:
            if reduced is not None:
                try:
                    await restore(local=reduced)
                except RepositoryError as error:
                    _not_reduced(backup, error)
                    await cluster.remove()
                else:
                    return known, names
            await restore()
        finally:
            watching.cancel()
        return known, names

    async def _reduced(
        self,
        cluster: Cluster,
        origin: str,
        backup: Backup,
        choose: Callable[[Mapping[str, int]], list[str]],
    ) -> tuple[dict[str, int], Path | None]:
        """Return the databases of a backup, and a repository with it that lacks those not chosen.

        This only makes it faster: where it is not possible, the backup is restored as it is.
        """
        pgbackrest = self._repositories.pgbackrest
        place = self._repositories.places[backup.repository - 1]
        if isinstance(place, LocalRepository):
            into = cluster.folder / "repository"
            files.ensure_folder(cluster.folder)
            try:
                known = await pgbackrest.reduce(
                    origin,
                    backup.label,
                    place.path,
                    into,
                    choose=lambda known: [*choose(known), *(known.keys() & _ALWAYS)],
                )
            except (Unknown, RepositoryError, OSError) as error:
                _not_reduced(backup, error)
            else:
                return known, into
        known = await pgbackrest.databases(origin, backup.label, repository=backup.repository)
        return known, None

    async def _configure(self, cluster: Cluster, origin: str) -> None:
        listed = await commands.run([cluster.bindir / "pg_controldata", cluster.data])
        automatic = cluster.data / "postgresql.auto.conf"
        files.write_atomically(automatic, plan.recovery_settings(automatic.read_text()))
        (cluster.data / "custom.conf").unlink(missing_ok=True)
        values = plan.parameters(
            await self._at_least(origin, plan.at_least(listed.stdout)),
            socket_dir=str(cluster.address.socket_dir),
            port=cluster.address.port,
        )
        cluster.ensure_files(
            ClusterFiles(
                parameters=parameters.render(values),
                rules=hba.render(hba.side_rules(LOCAL_ROLES)),
                identities=identities(),
            )
        )

    async def _at_least(self, cluster: str, least: dict[str, int]) -> dict[str, int]:
        # They may have been raised since the backup, which only a record in the log would show.
        try:
            async with connect(self._repositories.cluster(cluster).address, user=ADMIN) as live:
                return {
                    name: max(
                        value,
                        int(str(await fetch_value(live, "SELECT current_setting(%s)", (name,)))),
                    )
                    for name, value in least.items()
                }
        except Unavailable:
            return least

    async def recover(self, operation_id: uuid.UUID, wanted: Wanted) -> SideCluster:
        """Start the side cluster, recovered to exactly the moment, with its databases.

        Raises LogMissing if the log ends before the moment, OutsideWindow if one of the databases
        did not exist then.
        """
        note = self._note(operation_id)
        if note.get("wanted") != _written(wanted) or note["boot"] != _boot():
            # After a power failure its files may be incomplete: they were not synced.
            await self._restore(operation_id, wanted, ())
            note = self._note(operation_id)
        cluster = self._cluster(operation_id, wanted.cluster)
        await recovering.recover(cluster, wanted, deadline=_DEADLINE)
        oids = await recovering.databases_at(cluster, wanted)
        lacking = {
            oid
            for oid in oids.values()
            if any(oid == each and name not in note["restored"]
                   for name, each in note["known"].items())
        }  # fmt: skip
        if lacking:
            # It had another database's name when the backup was made.
            await self._restore(operation_id, wanted, lacking)
            await recovering.recover(cluster, wanted, deadline=_DEADLINE)
        emit(SideClusterRecovered(str(operation_id)))
        return SideCluster(
            cluster.address,
            cluster.bindir,
            self.folder(operation_id),
            tuple(self._note(operation_id)["unreadable"]),
        )

    def running(self, operation_id: uuid.UUID) -> Address | None:
        """Return where an operation's side cluster listens; None if it does not run."""
        cluster = self._cluster(operation_id, None)
        return None if cluster.pid() is None else cluster.address

    # ── the end ──────────────────────────────────────────────────────────────

    async def remove(self, operation_id: uuid.UUID) -> bool:
        """Stop the side cluster and delete the operation's files. Return whether there were any."""
        folder = self.folder(operation_id)
        cluster = self._cluster(operation_id, None)
        there = folder.exists() or cluster.address.socket_dir.exists()
        await cluster.remove()
        await files.remove_folder(folder)
        if there:
            emit(SideClusterRemoved(str(operation_id)))
        return there

    def every(self) -> set[uuid.UUID]:
        """Return the operations that have files here."""
        if not self._home.scratch.exists():
            return set()
        found = {parse_id(folder.name) for folder in self._home.scratch.iterdir()}
        return {each for each in found if each is not None}

    # ── its files ────────────────────────────────────────────────────────────

    def _cluster(self, operation_id: uuid.UUID, origin: str | None) -> Cluster:
        folder = self.folder(operation_id)
        # A socket's path must be short (see base.settings).
        socket_dir = self._home.run / f"side-{operation_id.hex[:11]}"
        return Cluster(
            name="side",
            folder=folder / "cluster",
            address=Address(socket_dir, _PORT),
            bindir=Path("/") if origin is None else self._repositories.cluster(origin).bindir,
            log_dir=folder / "cluster",
            driver=DRIVERS[PROCESS],
        )

    def _noted(self, operation_id: uuid.UUID) -> Path:
        return self.folder(operation_id) / "cluster" / "restored.json"

    def _note(self, operation_id: uuid.UUID) -> dict[str, Any]:
        try:
            note: dict[str, Any] = json.loads(self._noted(operation_id).read_text())
        except FileNotFoundError:
            return {}
        return note


def _unreadable(cluster: str, label: str, error: RepositoryError) -> RepositoryError:
    """Return the error to raise where no backup can be read, for the best of them."""
    if isinstance(error, BackupDamaged):
        return BackupDamaged(
            f"The backup {label} is damaged. {error.detail}",
            hint=f"tenantry cluster verify {cluster} shows what else is. Make a new one "
            f"now (tenantry cluster backup {cluster} --type full), and ask for a moment "
            "before or after the damaged one. Nothing was changed.",
            number=error.number,
        )
    return RepositoryError(
        error.detail,
        hint="The backup cannot be read back: see tenantry doctor for the repository and "
        "its key, or restore to a moment after another backup. Nothing was changed.",
        number=error.number,
    )


def _written(wanted: Wanted) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(wanted), default=str))  # type: ignore[no-any-return]


def _boot() -> str:
    """Return the id of the machine's present boot (random(4))."""
    return _BOOT.read_text()


def _not_reduced(backup: Backup, error: Exception) -> None:
    log.warning("backup.not_reduced", backup=backup.label, error=str(error))


async def _watch(folders: Sequence[Path], report: ReportProgress | None) -> None:
    while report is not None:
        await asyncio.sleep(_REPORT_SECONDS)
        await report(await asyncio.to_thread(lambda: sum(map(files.used_bytes, folders))))
