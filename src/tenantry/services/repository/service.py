"""Sets the repositories up: pgBackRest's configuration, and a stanza for each cluster."""

import asyncio
import datetime as dt
import json
import secrets as random
from collections.abc import Iterable
from pathlib import Path

import structlog

from tenantry.base.errors import Conflict, MachineError, TenantryError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.host import backup_engines, files
from tenantry.pg import archiving, repositories
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import ADMIN, connect
from tenantry.pg.pgbackrest import PgBackRest
from tenantry.pg.pgbackrest_output import Backup, Contents, RepositoryError, explained, read_error
from tenantry.pg.repositories import LocalRepository, Repository, Stanza
from tenantry.pg.repository_files import RepositoryFiles
from tenantry.services.clusters import suspending
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.repository import plan

log = structlog.get_logger()

_NOT_IN_USE = (
    "it is not in use: the settings were changed since the platform was started, or it could not "
    "be set up. tenantry down and tenantry up set it up, or say what is in the way."
)
_KEY_BYTES = 32
_POLL_SECONDS = 0.05
_ASK_SECONDS = 30.0
_TRIES = 3  # after so many PostgreSQL does not retry archive_command for a minute


class Repositories:
    """The local repository, which is number 1, and the remote ones in the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._fleet = Fleet(settings)
        self.pgbackrest = PgBackRest(
            backup_engines.program(settings.engines_dir), self._home.pgbackrest
        )

    @property
    def enabled(self) -> bool:
        return self._settings.backups

    def require_enabled(self) -> None:
        """Raise Conflict where physical backups are switched off."""
        if not self.enabled:
            raise Conflict(
                "Physical backups are off on this server.",
                hint="Set TENANTRY_BACKUPS=on, then: tenantry down; tenantry up",
            )

    @property
    def places(self) -> tuple[Repository, ...]:
        """The repositories, in the order of their numbers from 1 on."""
        local = LocalRepository(self._settings.repository_dir)
        return (local, *repositories.remote(self._settings))

    @property
    def clusters(self) -> list[Cluster]:
        """The clusters that are backed up. A stanza has its cluster's name."""
        return self._fleet.every

    def cluster(self, name: str) -> Cluster:
        """Return the cluster of that name. Raises NotFound."""
        return self._fleet.named(name)

    async def ensure_awake(self, cluster_name: str) -> None:
        """Wake an instance that is suspended, to be backed up. Raises MachineError."""
        await suspending.ensure_awake(self._fleet, cluster_name)

    # ── setting up ───────────────────────────────────────────────────────────

    def ensure_files(self) -> bool:
        """Create the key, the configuration and the local folder. Return whether that changed any.

        Raises MachineError if the key of a repository is gone, or its folder cannot be written;
        RepositoryError if the folder does not exist any more.
        """
        if not self.enabled:
            return False
        key = self._ensure_key()
        stanzas = [Stanza(each.name, each.data, each.address) for each in self.clusters]
        # First: even if the folder cannot be used, nothing is written to the previous one.
        changed = self.pgbackrest.ensure_configuration(self.places, stanzas, key)
        folder = self._settings.repository_dir
        if not self._known.get(str(folder)):
            try:
                files.ensure_folder(folder)
            except OSError as error:
                raise MachineError(
                    f"The backups' folder {folder} cannot be used: {error.strerror}.",
                    hint="Mount its disk. As root, install -d -o tenantry -m 700 FOLDER gives it to"
                    " the platform's user.",
                ) from error
        return changed

    def _ensure_key(self) -> Secret:
        path = self._home.backup_key
        try:
            return Secret(path.read_text().strip())
        except FileNotFoundError:
            pass
        folder = self._settings.repository_dir
        if _holds_something(folder):
            raise MachineError(
                f"There are backups in {folder}, but their key {path} is gone.",
                hint="Put back the copy that was kept elsewhere. Without it they cannot be read: "
                "then move them away, and new ones are made.",
            )
        key = Secret(random.token_hex(_KEY_BYTES))
        files.write_atomically(path, key.reveal() + "\n", mode=0o600)
        return key

    @property
    def _known_file(self) -> Path:
        return self._home.pgbackrest / "known.json"

    @property
    def _known(self) -> dict[str, list[str]]:
        """The stanzas that were created, by the repository that they are in.

        pgBackRest creates a missing stanza again wherever it is configured, and so would begin an
        empty repository below the mount point of a disk that is not mounted.
        """
        try:
            found: dict[str, list[str]] = json.loads(self._known_file.read_text())
        except FileNotFoundError:
            return {}
        return found

    async def ensure_stanzas(self) -> None:
        """Create the stanza of every cluster in every repository; the clusters have to run.

        Raises RepositoryError if a repository does not exist any more, or refuses one.
        """
        if not self.enabled:
            return
        known = self._known
        self.require_local()
        places = [str(place) for place in self.places]
        names = [
            each.name
            for each in self._fleet.wanted
            if any(each.name not in known.get(place, []) for place in places)
        ]
        if names:
            await asyncio.gather(*(self.pgbackrest.create_stanza(name) for name in names))
            made = {place: sorted({*known.get(place, []), *names}) for place in places}
            files.write_atomically(self._known_file, json.dumps(known | made))

    def has_stanza(self, place: Repository, cluster_name: str) -> bool:
        """Whether a cluster's stanza was once created in a repository."""
        return cluster_name in self._known.get(str(place), [])

    def log_folder(self, cluster_name: str) -> Path:
        """Return the folder of a cluster's log in the local repository."""
        return self._settings.repository_dir / "archive" / cluster_name

    def require_local(self) -> None:
        """Raise RepositoryError if the local repository was created, and is gone or unreadable."""
        folder = self._settings.repository_dir
        for name in self._known.get(str(folder), []):
            try:
                (self.log_folder(name) / "archive.info").stat()
            except (FileNotFoundError, NotADirectoryError):
                raise RepositoryError(
                    f"The repository {folder} is gone: there is nothing of {name} in it.",
                    hint="Mount its disk, or put it back. If it is lost for good, remove "
                    f"{self._known_file}: the next minute begins a new one.",
                ) from None
            except OSError as error:
                raise RepositoryError(
                    f"The repository {folder} cannot be read: {error.strerror}.",
                    hint="Give the platform's user the right to it.",
                ) from error

    def files_in(self, number: int) -> RepositoryFiles:
        """Return what reads and writes files of ours in a repository.

        Raises RepositoryError if it is the local one, and is gone: files would be written below
        the mount point of a disk that is not mounted, or seem to be deleted.
        """
        if number == 1:
            self.require_local()
        return RepositoryFiles(self.pgbackrest, number)

    @property
    def moved(self) -> bool:
        """Whether backups were made in a place that the settings no longer name."""
        return bool(self._known.keys() - {str(place) for place in self.places})

    def left_behind(self) -> list[tuple[str, str]]:
        """Return the places that are new in the settings, each with the one that it replaces.

        What is in those cannot be reached from the new ones, unless it is copied.
        """
        known = self._known
        now = [str(place) for place in self.places]
        before = [place for place in known if place not in now]
        return [
            (new, old)
            for new in now
            if new not in known
            for old in before
            if _is_folder(old) == _is_folder(new)
        ]

    # ── archiving ────────────────────────────────────────────────────────────

    async def secure(self, cluster_name: str, *, deadline: float = 60.0) -> dt.datetime:
        """Archive everything that a cluster has committed up to now into the local repository.

        Return a moment to which it can be restored: nothing committed before this call is missing
        there. Takes a tenth of a second.

        Raises Unavailable if it is not archived after ``deadline`` seconds, or archiving fails;
        Conflict where backups are off.
        """
        self.require_enabled()
        async with connect(self.cluster(cluster_name).address, user=ADMIN) as admin:
            before = await archiving.archiver(admin)
            moment, segment = await archiving.close_segment(admin)
            give_up = asyncio.get_running_loop().time() + deadline
            while (now := await archiving.archiver(admin)).last_archived[: len(segment)] < segment:
                failing = now.failures >= before.failures + _TRIES
                if failing or asyncio.get_running_loop().time() > give_up:
                    why = self.complaint(cluster_name) or "it takes too long"
                    raise Unavailable(
                        f"The write-ahead log of {cluster_name} is not in the repository: {why}",
                        hint="See tenantry doctor; nothing was changed.",
                    )
                await asyncio.sleep(_POLL_SECONDS)
        return moment

    # ── what is in them ──────────────────────────────────────────────────────

    @property
    def numbers(self) -> range:
        """The numbers of the repositories."""
        return range(1, len(self.places) + 1)

    async def contents(
        self,
        cluster_name: str,
        numbers: Iterable[int] | None = None,
        *,
        deadline: float = _ASK_SECONDS,
    ) -> list[Contents]:
        """Return what repositories (default: all) hold of a cluster, or the problem of each."""
        asked = self.numbers if numbers is None else numbers
        return await asyncio.gather(
            *(self._contents(cluster_name, number, deadline) for number in asked)
        )

    async def held(self, cluster_name: str, number: int) -> Contents:
        """Return what a repository holds of a cluster. Raises RepositoryError if it is unknown."""
        found = await self._ask(cluster_name, number, _ASK_SECONDS)
        if found.problem is not None:
            place = self.places[number - 1]
            raise RepositoryError(f"The repository {place} cannot be used: {found.problem}")
        return found

    async def _contents(self, name: str, number: int, deadline: float) -> Contents:
        try:
            return await self._ask(name, number, deadline)
        except TenantryError as error:
            return Contents(name, number, str(error), (), None, None)

    async def _ask(self, name: str, number: int, deadline: float) -> Contents:
        """Return what a repository holds; never what is in another place, or another cluster's."""
        if not self.pgbackrest.knows(number, self.places[number - 1]):
            return Contents(name, number, _NOT_IN_USE, (), None, None)
        (found,) = await self.pgbackrest.info(repository=number, stanza=name, deadline=deadline)
        own = self.cluster(name).system_id()
        if None in {own, found.system_id} or own == found.system_id:
            return found
        why = f"it holds another cluster's backups under this name (of system {found.system_id})"
        return Contents(name, number, why, (), None, found.system_id)

    @property
    def is_read(self) -> bool:
        """Whether an operation is restoring something, or recovering it, right now."""
        scratch, clusters = self._home.scratch, self._home.clusters
        return any((*scratch.glob("*/cluster"), *clusters.glob("*/restored")))

    async def expire(
        self, cluster_name: str, *, window: dt.timedelta, numbers: Iterable[int] | None = None
    ) -> list[Backup]:
        """Delete what no moment of the window needs from repositories (default: all).

        Return the deleted backups. Raises RepositoryBusy while a backup is being made,
        RepositoryError.
        """
        removed: list[Backup] = []
        now = dt.datetime.now(dt.UTC)
        for held in await self.contents(cluster_name, numbers):
            if held.problem is not None:
                continue
            gone = plan.expired(held.backups, now=now, window=window)
            there = {backup.label for backup in held.backups}
            for backup in gone:
                await self.pgbackrest.expire(cluster_name, backup.label, repository=held.repository)
                there.discard(backup.label)
                emit(StepDone("cluster.expire", "backup", backup.label))
            if there:
                await self.pgbackrest.expire_wal(
                    cluster_name, keep_backups=len(there), repository=held.repository
                )
                emit(StepDone("cluster.expire", "log", cluster_name))
            removed += gone
        return removed

    async def missing(self, held: Contents, *, until: str | None = None) -> int:
        """Return how many segments of the log are missing from a repository's first backup on.

        ``until`` is the last that is required, by default the last that was archived.

        Raises Unavailable if the cluster does not answer, RepositoryError.
        """
        if not held.backups or held.archive is None:
            return 0
        if until is None:  # read first: what is archived later is not required
            async with connect(self.cluster(held.stanza).address, user=ADMIN) as admin:
                until = (await archiving.archiver(admin)).last_archived[:24]
        names = await self.pgbackrest.segments(
            held.stanza, held.archive, repository=held.repository
        )
        since = min(backup.wal_start for backup in held.backups)
        last = max(backup.wal_stop for backup in held.backups)
        return len(
            plan.missing_segments(
                names,
                since=since,
                until=max(until, last) if plan.is_segment(until) else last,
                segment_bytes=archiving.SEGMENT_BYTES,
            )
        )

    async def remove(self, cluster_name: str) -> None:
        """Delete all that is of a deleted cluster in every repository. Raises RepositoryError."""
        known = {  # first: what is known to be in a repository must be there
            place: [name for name in names if name != cluster_name]
            for place, names in self._known.items()
        }
        files.write_atomically(self._known_file, json.dumps(known))
        for number in self.numbers:
            await self.pgbackrest.remove_stanza(cluster_name, repository=number)

    def complaint(self, cluster_name: str) -> str | None:
        """Return what was wrong when a segment was last archived; None if nothing was."""
        try:
            said = self.pgbackrest.complaint(cluster_name).read_text(errors="replace")
        except OSError:
            return None
        reason = read_error(said)[1]
        return explained(reason) if reason else None


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise MachineError(
            f"The backups' folder {folder} cannot be read: {error.strerror}.",
            hint="Mount its disk. As root, chown -R tenantry: FOLDER gives it to that user.",
        ) from error


def _is_folder(place: str) -> bool:
    return place.startswith("/")


async def ensure_ready(found: Repositories) -> str | None:
    """Create the files and stanzas; return what prevents it, if anything does.

    Tenants are served all the same: what cannot be archived waits, and alerts report it.
    """
    try:
        found.ensure_files()
        await found.ensure_stanzas()
    except TenantryError as error:
        log.warning("repository.not_ready", error=str(error))
        return str(error)
    return None
