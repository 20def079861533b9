"""Having the repositories: known to pgBackRest, with a stanza for each cluster, and up to date."""

import asyncio
import datetime as dt
import secrets as random

import structlog

from tenantry.base.errors import Conflict, MachineError, TenantryError, Unavailable
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.host import files, packages
from tenantry.pg import archiving
from tenantry.pg.clusters import ProcessCluster
from tenantry.pg.connections import ADMIN, connect
from tenantry.pg.pgbackrest import (
    LocalRepository,
    PgBackRest,
    Repository,
    S3Repository,
    Stanza,
    read_error,
)
from tenantry.services.clusters.service import LocalClusters

log = structlog.get_logger()

_KEY_BYTES = 32
_POLL_SECONDS = 0.05
_TRIES = 3  # after so many PostgreSQL lets an archive_command rest for a minute


class Repositories:
    """The local repository, and the one in S3 if there is one. Number 1 is the local one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._local = LocalClusters(settings)
        self.pgbackrest = PgBackRest(packages.PGBACKREST, self._home.pgbackrest)

    @property
    def enabled(self) -> bool:
        return self._settings.backups

    def require_enabled(self) -> None:
        """Raises Conflict where physical backups are switched off."""
        if not self.enabled:
            raise Conflict(
                "Physical backups are off on this server.",
                hint="Set TENANTRY_BACKUPS=on, then: tenantry down; tenantry up",
            )

    @property
    def places(self) -> tuple[Repository, ...]:
        """Where backups go, in the order of their numbers from 1 on."""
        here = self._settings
        local = LocalRepository(here.repository_dir)
        if (
            here.backup_s3_endpoint is None
            or here.backup_s3_bucket is None
            or here.backup_s3_key is None
            or here.backup_s3_secret is None
        ):
            return (local,)
        s3 = S3Repository(
            endpoint=here.backup_s3_endpoint,
            bucket=here.backup_s3_bucket,
            region=here.backup_s3_region,
            path=here.backup_s3_path,
            key=Secret(here.backup_s3_key.get_secret_value()),
            secret=Secret(here.backup_s3_secret.get_secret_value()),
            ca_file=here.backup_s3_ca_file,
        )
        return (local, s3)

    @property
    def clusters(self) -> tuple[ProcessCluster, ...]:
        """The clusters that are backed up. A stanza has its cluster's name."""
        return (self._local.control, self._local.shared)

    def cluster(self, name: str) -> ProcessCluster:
        return next(each for each in self.clusters if each.name == name)

    # ── there, and known ─────────────────────────────────────────────────────

    def ensure_files(self) -> bool:
        """Have the key, the local folder and the configuration. Returns whether that changed.

        Raises MachineError if the key of a repository is gone, or its folder cannot be written.
        """
        if not self.enabled:
            return False
        folder = self._settings.repository_dir
        key = self._ensure_key()
        try:
            files.ensure_folder(folder)
        except OSError as error:
            raise MachineError(
                f"The backups' folder {folder} cannot be used: {error.strerror}.",
                hint="Mount its disk, or give the platform's user the right to it.",
            ) from error
        stanzas = [Stanza(each.name, each.data, each.address) for each in self.clusters]
        return self.pgbackrest.ensure_configuration(self.places, stanzas, key)

    def _ensure_key(self) -> Secret:
        path = self._home.backup_key
        try:
            return Secret(path.read_text().strip())
        except FileNotFoundError:
            pass
        folder = self._settings.repository_dir
        if folder.exists() and any(folder.iterdir()):
            raise MachineError(
                f"There are backups in {folder}, but their key {path} is gone.",
                hint="Put back the copy that was kept elsewhere. Without it they cannot be read: "
                "then move them away, and new ones are made.",
            )
        key = Secret(random.token_hex(_KEY_BYTES))
        files.write_atomically(path, key.reveal() + "\n", mode=0o600)
        return key

    async def ensure_stanzas(self) -> None:
        """Have every repository know every cluster; they have to run.

        Raises RepositoryError if a repository does not take one.
        """
        if self.enabled:
            await asyncio.gather(
                *(self.pgbackrest.create_stanza(each.name) for each in self.clusters)
            )

    # ── up to date ───────────────────────────────────────────────────────────

    async def secure(self, cluster_name: str, *, deadline: float = 60.0) -> dt.datetime:
        """Have everything that a cluster has committed up to now in every repository.

        Returns a moment to which it can be restored: nothing committed before this call is
        missing there. Takes a tenth of a second with a local repository.

        Raises Unavailable if it is not there after ``deadline`` seconds, or archiving fails;
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

    def complaint(self, cluster_name: str) -> str | None:
        """What was wrong when a segment was last archived; None if nothing was."""
        try:
            said = self.pgbackrest.complaint(cluster_name).read_text(errors="replace")
        except OSError:
            return None
        return read_error(said)[1] or None


async def ensure_ready(repositories: Repositories) -> str | None:
    """Have the stanzas of running clusters; say what is in the way, if anything is.

    Tenants are served all the same: what cannot be archived waits, and the alerts tell.
    """
    try:
        repositories.ensure_files()
        await repositories.ensure_stanzas()
    except TenantryError as error:
        log.warning("repository.not_ready", error=str(error))
        return str(error)
    return None
