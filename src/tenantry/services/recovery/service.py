"""``tenantry recover``: restores an installation from its repository alone, in an empty home.

Invariants. Nothing that exists is overwritten: a home with clusters is refused, except for those of
this same recovery, which continues where it was cut off. Until all of it is complete the file
``recovery.json`` exists, and nothing is served (``require_complete``).
"""

import datetime as dt
import os
from pathlib import Path

from pydantic import ValidationError

from tenantry.base import settings as settings_module
from tenantry.base.errors import Conflict, MachineError
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.control import audit, operations, sessions
from tenantry.control import clusters as cluster_rows
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.pg import archiving, repositories
from tenantry.pg.pgbackrest_output import Backup, Contents
from tenantry.pg.repositories import LocalRepository, Repository, Stanza
from tenantry.services import home_files
from tenantry.services.cluster_restores import plan, recovering
from tenantry.services.cluster_restores.model import Differences
from tenantry.services.cluster_restores.recovering import Say, Show
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL, FIRST
from tenantry.services.control_schema import ensure_control_schema
from tenantry.services.local_parts import LocalParts
from tenantry.services.recovery.model import Found, Progress, Recovered
from tenantry.services.repository.plan import missing_segments
from tenantry.services.repository.service import Repositories
from tenantry.services.side_clusters.model import OutsideWindow

_SPARE = 1.1  # of what the clusters take: the log that is replayed needs room, too


def remote_names() -> list[str]:
    """Return the names by which remote repositories can be specified."""
    return [kind.name for kind in repositories.REMOTE_KINDS]


def source_of(settings: Settings, named: str) -> Repository:
    """Return the repository of a remote one's name, or of a folder.

    Raises MachineError if there is none.
    """
    if named in remote_names():
        for place in repositories.remote(settings):
            if place.name == named:
                return place
        prefix = f"TENANTRY_BACKUP_{named.upper()}_"
        needed = [
            each.name
            for each in settings.variables()
            if each.is_required and each.name.startswith(prefix)
        ]
        raise MachineError(
            f"The settings have no repository {named}.", hint=f"Set {', '.join(needed)}."
        )
    folder = Path(named).absolute()
    if not (folder / "backup").is_dir() or not (folder / "archive").is_dir():
        raise MachineError(
            f"{folder} is not a repository: it has no folders backup and archive.",
            hint="Name the folder that TENANTRY_BACKUP_DIR named, or "
            f"{' or '.join(remote_names())}.",
        )
    if not os.access(folder / "archive", os.W_OK) or not os.access(folder / "backup", os.W_OK):
        raise MachineError(
            f"{folder} cannot be written by the platform's user; archiving has to go on there.",
            hint=f"As root: chown -R tenantry: {folder}",
        )
    return LocalRepository(folder)


def require_complete(settings: Settings) -> None:
    """Raise Conflict while a recovery into this home is not complete."""
    progress = _read(Home(settings.home))
    if progress is not None:
        raise Conflict(
            f"The recovery of {settings.home} from {progress.source} is not complete.",
            hint="The same tenantry recover goes on where it was.",
        )


def _read(home: Home) -> Progress | None:
    try:
        return Progress.model_validate_json(home.recovery.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise MachineError(
            f"{home.recovery} is damaged.", hint="Empty the home, and begin again."
        ) from error


class Recovery:
    """One recovery, from a repository into the home of these settings."""

    def __init__(
        self, settings: Settings, source: Repository, key: Secret, *, to: dt.datetime | None
    ) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._source = source
        self._key = key
        self._to = to
        self._pgbackrest = Repositories(settings).pgbackrest

    # ── looking ──────────────────────────────────────────────────────────────

    async def look(self) -> Found:
        """Return what would be restored. Changes nothing but pgBackRest's configuration.

        Raises Conflict if the home has clusters already, WrongKey, MachineError and InvalidInput if
        the recovery is not possible.
        """
        Repositories(self._settings).require_enabled()
        self._require_place()
        in_progress = _read(self._home)
        self._require_free(in_progress)
        self._configure()
        contents = {each.stanza: each for each in await self._contents()}
        chosen = self._choose(contents)
        kept = await self._fetch(contents[CONTROL])
        lacking = {
            name: await self._lacking(contents[name], backup) for name, backup in chosen.items()
        }
        found = Found(
            str(self._source), contents, chosen, lacking, kept is not None, in_progress is not None
        )
        self._require_room(found, in_progress)
        return found

    def _choose(self, contents: dict[str, Contents]) -> dict[str, Backup]:
        """Return the backup of each cluster to begin with, in the order of their restores.

        Which further clusters there are is read from the control cluster once it is restored. One
        that has no backup from before the requested time was added later, and one without any was
        added, or stopped, before its first.
        """
        needed = (CONTROL, FIRST)
        chosen = {}
        backed_up = {name for name, each in contents.items() if each.backups}
        for name in (*needed, *sorted(backed_up - {*needed})):
            try:
                chosen[name] = plan.candidates(self._of(contents, name), self._to)[0]
            except OutsideWindow:
                if name in needed:
                    raise
        return chosen

    def _require_place(self) -> None:
        here = self._settings
        if isinstance(self._source, LocalRepository) and here.backup.dir not in {
            None,
            self._source.path,
        }:
            raise Conflict(
                f"TENANTRY_BACKUP_DIR is {here.backup.dir}, and not {self._source.path}.",
                hint="Backups go on where they are recovered from: set it to that folder.",
            )

    def _require_free(self, in_progress: Progress | None) -> None:
        if (
            in_progress is None
            and self._home.clusters.exists()
            and any(self._home.clusters.iterdir())
        ):
            raise Conflict(
                f"There are clusters in {self._settings.home}; a recovery never overwrites any.",
                hint="Recover into an empty TENANTRY_HOME, or move these away first.",
            )
        if in_progress is not None and (in_progress.source, in_progress.to) != (
            str(self._source),
            self._to,
        ):
            when = "the end of the log" if in_progress.to is None else f"{in_progress.to:%F %T} UTC"
            raise Conflict(
                f"A recovery from {in_progress.source} to {when} has begun in"
                f" {self._settings.home}.",
                hint="Complete it by the same command, or empty the home and begin again.",
            )

    def _require_room(self, found: Found, in_progress: Progress | None) -> None:
        if in_progress is None:
            files.require_room(
                self._settings.home,
                int(found.size * _SPARE),
                what="The recovery",
                hint="Set TENANTRY_HOME to a larger disk.",
            )

    def _configure(self) -> None:
        stanzas = [
            Stanza(each.name, each.data, each.address) for each in Fleet(self._settings).every
        ]
        files.ensure_folder(self._home.pgbackrest)
        self._pgbackrest.ensure_configuration([self._source], stanzas, self._key)

    async def _contents(self) -> list[Contents]:
        await home_files.check_key(self._pgbackrest, self._key)
        found = await self._pgbackrest.info(repository=1)
        for each in found:
            if each.problem is not None:
                raise MachineError(
                    f"{self._source} cannot be read: {each.problem}",
                    hint="It is damaged, or the key is that of another repository.",
                )
        return found

    async def _lacking(self, contents: Contents, backup: Backup) -> int:
        if contents.archive is None or contents.wal is None:
            return 0
        names = await self._pgbackrest.segments(
            contents.stanza, contents.archive, repository=contents.repository
        )
        return len(
            missing_segments(
                names,
                since=backup.wal_start,
                until=contents.wal[1],
                segment_bytes=archiving.SEGMENT_BYTES,
            )
        )

    def _of(self, contents: dict[str, Contents], cluster: str) -> Contents:
        if cluster not in contents:
            raise MachineError(
                f"{self._source} holds nothing of the cluster {cluster}.",
                hint="Is it the right repository, and is all of it there?",
            )
        return contents[cluster]

    async def _fetch(self, control: Contents) -> home_files.HomeFiles | None:
        if control.system_id is None:
            return None
        return await home_files.fetch(self._pgbackrest, control.system_id, self._key)

    # ── restoring ────────────────────────────────────────────────────────────

    async def carry_out(self, found: Found, *, say: Say, show: Show) -> Recovered:
        """Restore everything, and leave it stopped, ready for ``tenantry up``.

        Raises TenantryError where it cannot continue; called again, it continues from there.
        """
        progress = _read(self._home) or Progress(source=found.source, to=self._to)
        self._save(progress)
        emit(StepDone("recover", "begun", found.source))
        for folder in self._home.private_folders:
            files.ensure_folder(folder)
        kept = await self._put_back_files(found, say)
        emit(StepDone("recover", "files", found.source))
        try:
            for name in found.chosen:
                if name == FIRST:
                    await self._learn_fleet(say)
                if progress.of(name) is None and self._is_known(name):
                    await self._bring_back(name, found, progress, say=say, show=show)
            differences = await self._reconcile(progress, say)
            emit(StepDone("recover", "reconciled", found.source))
        finally:
            for cluster in reversed(Fleet(self._settings).every):
                await cluster.stop()
        self._home.recovery.unlink()
        return Recovered(progress.reached, kept, differences)

    def _save(self, progress: Progress) -> None:
        files.write_atomically(self._home.recovery, progress.model_dump_json(indent=2))

    async def _put_back_files(self, found: Found, say: Say) -> list[str]:
        files.ensure_file(self._home.backup_key, self._key.reveal() + "\n")
        kept = await self._fetch(found.contents[CONTROL])
        written: list[str] = []
        if kept is None:
            say("The repository holds no files of the home: clients need the new ca.crt.")
        else:
            if isinstance(self._source, LocalRepository):
                kept.settings["TENANTRY_BACKUP_DIR"] = str(self._source.path)
            written = kept.put_back(self._home)
            say(f"Put back {', '.join(written) or 'nothing of the home: it is there'}.")
        # The ports and the domain are among them.
        self._settings = settings_module.load()
        self._configure()
        LocalParts(self._settings).certificates.ensure_some()
        return written

    async def _bring_back(
        self, name: str, found: Found, progress: Progress, *, say: Say, show: Show
    ) -> None:
        contents = found.contents[name]
        backups = plan.candidates(contents, self._to)
        say(f"Restoring {name} from the backup {backups[0].label}")
        label = await recovering.restore(
            self._pgbackrest,
            Repositories(self._settings).cluster(name),
            backups,
            self._to or "latest",
            say=say,
            show=show,
        )
        if label is not None:
            progress.backups[name] = label
            self._save(progress)
        say(f"{name} reads its log")
        # Looked up again: only now its version of PostgreSQL is known.
        cluster = Repositories(self._settings).cluster(name)
        if await recovering.recover(Fleet(self._settings), cluster, say=say):
            progress.ended_early.append(name)
            self._save(progress)
        progress.reached.append(
            await recovering.reached(
                cluster,
                contents,
                progress.backups.get(name, backups[0].label),
                ended_early=name in progress.ended_early,
                whole=self._to is None,
            )
        )
        self._save(progress)
        emit(StepDone("recover", "reached", name))

    async def _learn_fleet(self, say: Say) -> None:
        """Read from the restored control cluster which further clusters there are."""
        fleet = Fleet(self._settings)
        await recovering.recover(fleet, fleet.control, say=say)
        await ensure_control_schema(fleet)
        async with ControlStore(fleet.control.address) as store:
            await fleet.ensure_members(store)
        self._configure()

    def _is_known(self, name: str) -> bool:
        return any(each.name == name for each in Fleet(self._settings).every)

    async def _reconcile(self, progress: Progress, say: Say) -> Differences:
        """Make the control database and the shared clusters agree, without losing anything."""
        say("Comparing the databases with what the control database knows")
        fleet = Fleet(self._settings)
        for cluster in fleet.every:  # after a crash they may be down
            if cluster.data.exists():
                await recovering.recover(fleet, cluster, say=say)
            else:
                say(f"There is no backup of {cluster.name}: what was on it is lost.")
        await ensure_control_schema(fleet)
        async with (
            ControlStore(fleet.control.address) as store,
            store.transaction(audit.PLATFORM) as tx,
        ):
            found = {row.name: row for row in await cluster_rows.every(tx)}
            differences = await recovering.reconcile(tx, fleet.of_tenants, found)
            await sessions.end_all(tx)
            await operations.cancel_all(tx)
            await audit.record(
                tx,
                audit.PLATFORM,
                "platform.recovered",
                resource_kind="platform",
                details={
                    "from": progress.source,
                    "clusters": [each.model_dump(mode="json") for each in progress.reached],
                    "missing": differences.missing,
                    "unmanaged": differences.unmanaged,
                    "closed": differences.closed,
                },
            )
        return differences
