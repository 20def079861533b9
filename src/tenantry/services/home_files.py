"""Copies of the home's irreplaceable files in the backup repositories, for disaster recovery.

Without the key of the certificate authority no client could verify the server any more; without the
seal's key no authenticator could be read. So every repository also stores these few files, sealed
with the repositories' own key; earlier versions are retained. They are stored by the system
identifier of the control cluster, so that another installation that writes to the same repository
by mistake does not touch them.
"""

import base64
import datetime as dt
import hashlib

from pydantic import Base64Bytes, BaseModel, TypeAdapter, ValidationError

from tenantry.base.errors import MachineError, TenantryError
from tenantry.base.home import Home
from tenantry.base.secrets import Seal, Secret
from tenantry.base.settings import Settings
from tenantry.host import files
from tenantry.pg.connections import ADMIN, connect, fetch_value
from tenantry.pg.pgbackrest import PgBackRest
from tenantry.pg.repository_files import RepositoryFiles
from tenantry.services.repository.service import Repositories

_PRESERVED = (
    "seal.key",
    "admin.key",
    "ca.crt",
    "tls/ca.key",
    "tls/server.pem",
    "tls/acme-account.key",
)
# Settings that depend on the machine: paths and its resources.
_OF_A_MACHINE = {
    "TENANTRY_HOME",
    "TENANTRY_ENGINES",
    "TENANTRY_MEMORY_MB",
    "TENANTRY_REDIS_MEMORY_MB",
    "TENANTRY_BACKUPS",
    "TENANTRY_BACKUP_DIR",
}
_FOLDER = "tenantry/home"
_PURPOSE = "home's files"
_OWNER = b"home"
_SYSTEM_ID = "SELECT system_identifier::text FROM pg_control_system()"
_digests = TypeAdapter(dict[str, str])


class WrongKey(MachineError):
    code = "wrong_backup_key"
    title = "This is not the backups' key"


class HomeFiles(BaseModel):
    """The files, by their path below the home, and the settings that were in force."""

    files: dict[str, Base64Bytes]
    settings: dict[str, str]

    def sealed(self, key: Secret) -> str:
        """Return them as text that only the key opens."""
        seal = Seal.of(key, purpose=_PURPOSE)
        return base64.b64encode(seal.close(Secret(self.model_dump_json()), owner=_OWNER)).decode()

    @classmethod
    def opened(cls, text: str, key: Secret) -> "HomeFiles":
        """Open sealed text. Raises WrongKey, or MachineError if it is damaged."""
        try:
            seal = Seal.of(key, purpose=_PURPOSE)
            found = seal.open(base64.b64decode(text, validate=True), owner=_OWNER)
            if found is None:
                raise WrongKey(
                    "The key does not open what the repository holds.",
                    hint="Give the backup.key of the installation that wrote these backups.",
                )
            return cls.model_validate_json(found.reveal())
        except ValueError:
            raise MachineError("The home's files in the repository are damaged.") from None

    def put_back(self, home: Home) -> list[str]:
        """Write the files that a home lacks, and return their names. Existing files stay."""
        written = []
        for name, content in sorted(self.files.items()):
            path = home.root / name
            if name in _PRESERVED and not path.exists():
                files.ensure_folder(path.parent) if path.parent != home.root else None
                files.write_atomically(path, content, mode=0o644 if name == "ca.crt" else 0o600)
                written.append(name)
        env = home.root / "tenantry.env"
        if self.settings and not env.exists():
            files.write_atomically(env, render_environment(self.settings), mode=0o600)
            written.append(env.name)
        return written


def render_environment(values: dict[str, str]) -> str:
    """Return the lines of a ``tenantry.env``, quoted as python-dotenv reads them."""
    return "".join(
        "{}='{}'\n".format(name, value.replace("\\", "\\\\").replace("'", "\\'"))
        for name, value in sorted(values.items())
    )


def _settings_of(settings: Settings) -> dict[str, str]:
    """Return the settings that were set explicitly, without secrets and machine-dependent ones."""
    return {
        name: str(value)
        for name, value in settings.given_openly().items()
        if name not in _OF_A_MACHINE
    }


class HomeKeeper:
    """The copies of the home's files in the repositories."""

    def __init__(self, settings: Settings, repositories: Repositories) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._repositories = repositories
        self._record = self._home.pgbackrest / "home-files.json"

    async def keep(self) -> list[str]:
        """Store the current files in every repository. Returns the repositories that were updated.

        Raises TenantryError if one fails; the others are updated nevertheless.
        """
        if not self._repositories.enabled:
            return []
        found = self._read()
        digest = hashlib.sha256(found.model_dump_json().encode()).hexdigest()
        known, took = self._known(), []
        failures: list[TenantryError] = []
        for number, place in enumerate(self._repositories.places, start=1):
            if known.get(str(place)) == digest:
                continue
            try:
                await self._put(found, number)
            except TenantryError as error:
                failures.append(error)
            else:
                known[str(place)] = digest
                took.append(str(place))
                files.write_atomically(self._record, _digests.dump_json(known))
        if failures:
            raise failures[0]
        return took

    async def _put(self, found: HomeFiles, number: int) -> None:
        control = self._repositories.cluster("control").address
        async with connect(control, user=ADMIN) as admin:
            system_id = await fetch_value(admin, _SYSTEM_ID)
        key = Secret(self._home.backup_key.read_text().strip())
        name = f"{folder_of(str(system_id))}/{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%f}.sealed"
        place = RepositoryFiles(self._repositories.pgbackrest, number)
        await place.put_text(name, found.sealed(key))

    def _read(self) -> HomeFiles:
        root = self._home.root
        return HomeFiles(
            files={
                name: base64.b64encode((root / name).read_bytes())
                for name in _PRESERVED
                if (root / name).exists()
            },
            settings=_settings_of(self._settings),
        )

    def _known(self) -> dict[str, str]:
        try:
            return _digests.validate_json(self._record.read_bytes())
        except (FileNotFoundError, ValidationError):
            return {}


def folder_of(system_id: str) -> str:
    """Return the repository folder for the home's files of that control cluster's installation."""
    return f"{_FOLDER}/{system_id}"


async def fetch(
    pgbackrest: PgBackRest, system_id: int, key: Secret, *, repository: int = 1
) -> HomeFiles | None:
    """Return the newest version in a repository; None if there is none.

    Raises WrongKey, RepositoryError, or MachineError if it is damaged.
    """
    return await _newest(pgbackrest, folder_of(str(system_id)), key, repository)


async def check_key(pgbackrest: PgBackRest, key: Secret, *, repository: int = 1) -> None:
    """Raise WrongKey if a repository holds home files that the key does not open."""
    await _newest(pgbackrest, _FOLDER, key, repository)


async def _newest(
    pgbackrest: PgBackRest, folder: str, key: Secret, repository: int
) -> HomeFiles | None:
    place = RepositoryFiles(pgbackrest, repository)
    names = await place.names(folder)
    if not names:
        return None
    text = await place.text_of(f"{folder}/{names[-1]}")
    return HomeFiles.opened(text, key)
