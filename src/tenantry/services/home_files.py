"""What lives in the home alone and is needed after a disaster, kept beside the backups.

Without the authority's key no client could verify the server any more, and without the seal's
no authenticator would be known. So every repository holds these few files as well, sealed with
the repositories' own key, and each version of them beside those before it. They are found by
the identity of the control cluster: another installation that writes to the same repository
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
from tenantry.services.repository.service import Repositories

_KEPT = (
    "seal.key",
    "admin.key",
    "ca.crt",
    "tls/ca.key",
    "tls/server.pem",
    "tls/acme-account.key",
)
# Where things are on a machine, and how much of it there is, is that machine's own.
_OF_A_MACHINE = {
    "TENANTRY_HOME",
    "TENANTRY_ENGINES",
    "TENANTRY_MEMORY_MB",
    "TENANTRY_BACKUPS",
    "TENANTRY_BACKUP_DIR",
}
_FOLDER = "tenantry/home"
_PURPOSE = "home's files"
_OWNER = b"home"
_SYSTEM_ID = "SELECT system_identifier::text FROM pg_control_system()"
_told = TypeAdapter(dict[str, str])


class WrongKey(MachineError):
    code = "wrong_backup_key"
    title = "This is not the backups' key"


class HomeFiles(BaseModel):
    """The files, by their path below the home, and the settings that were in force."""

    files: dict[str, Base64Bytes]
    settings: dict[str, str]

    def sealed(self, key: Secret) -> str:
        """As text that only the key opens."""
        seal = Seal.of(key, purpose=_PURPOSE)
        return base64.b64encode(seal.close(Secret(self.model_dump_json()), owner=_OWNER)).decode()

    @classmethod
    def opened(cls, text: str, key: Secret) -> "HomeFiles":
        """What was sealed. Raises WrongKey, or MachineError if it is damaged."""
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
        """Have a home hold them. Returns which were written; what is there already stays."""
        written = []
        for name, content in sorted(self.files.items()):
            path = home.root / name
            if name in _KEPT and not path.exists():
                files.ensure_folder(path.parent) if path.parent != home.root else None
                files.write_atomically(path, content, mode=0o644 if name == "ca.crt" else 0o600)
                written.append(name)
        env = home.root / "tenantry.env"
        if self.settings and not env.exists():
            files.write_atomically(env, render_environment(self.settings), mode=0o600)
            written.append(env.name)
        return written


def render_environment(values: dict[str, str]) -> str:
    """Lines of a ``tenantry.env``, quoted as python-dotenv reads them."""
    return "".join(
        "{}='{}'\n".format(name, value.replace("\\", "\\\\").replace("'", "\\'"))
        for name, value in sorted(values.items())
    )


def _settings_of(settings: Settings) -> dict[str, str]:
    """Those that somebody has set, but for secrets and what is the machine's own."""
    return {
        name: str(value)
        for name, value in settings.given_openly().items()
        if name not in _OF_A_MACHINE
    }


class HomeKeeper:
    """Has the repositories hold the home's files as they are."""

    def __init__(self, settings: Settings, repositories: Repositories) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._repositories = repositories
        self._record = self._home.pgbackrest / "home-files.json"

    async def keep(self) -> list[str]:
        """Have every repository hold the files that there are now. Returns which took new ones.

        Raises TenantryError if one does not take them; the others have them all the same.
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
                files.write_atomically(self._record, _told.dump_json(known))
        if failures:
            raise failures[0]
        return took

    async def _put(self, found: HomeFiles, number: int) -> None:
        control = self._repositories.cluster("control").address
        async with connect(control, user=ADMIN) as admin:
            system_id = await fetch_value(admin, _SYSTEM_ID)
        key = Secret(self._home.backup_key.read_text().strip())
        name = f"{folder_of(str(system_id))}/{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%f}.sealed"
        await self._repositories.pgbackrest.put_file(name, found.sealed(key), repository=number)

    def _read(self) -> HomeFiles:
        root = self._home.root
        return HomeFiles(
            files={
                name: base64.b64encode((root / name).read_bytes())
                for name in _KEPT
                if (root / name).exists()
            },
            settings=_settings_of(self._settings),
        )

    def _known(self) -> dict[str, str]:
        try:
            return _told.validate_json(self._record.read_bytes())
        except (FileNotFoundError, ValidationError):
            return {}


def folder_of(system_id: str) -> str:
    """Where a repository holds the home's files of the installation with that control cluster."""
    return f"{_FOLDER}/{system_id}"


async def fetch(
    pgbackrest: PgBackRest, system_id: int, key: Secret, *, repository: int = 1
) -> HomeFiles | None:
    """The newest version that a repository holds; None if there is none.

    Raises WrongKey, RepositoryError, or MachineError if it is damaged.
    """
    return await _newest(pgbackrest, folder_of(str(system_id)), key, repository)


async def check_key(pgbackrest: PgBackRest, key: Secret, *, repository: int = 1) -> None:
    """Raises WrongKey if a repository holds something that the key does not open."""
    await _newest(pgbackrest, _FOLDER, key, repository)


async def _newest(
    pgbackrest: PgBackRest, folder: str, key: Secret, repository: int
) -> HomeFiles | None:
    names = await pgbackrest.file_names(folder, repository=repository)
    if not names:
        return None
    text = await pgbackrest.get_file(f"{folder}/{names[-1]}", repository=repository)
    return HomeFiles.opened(text, key)
