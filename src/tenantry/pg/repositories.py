"""The repositories for backups, and the configuration file of pgBackRest.

All secrets are in that file alone. Another kind of repository is a class here, in ``REMOTE_KINDS``,
and its group of settings, ``TENANTRY_BACKUP_<its name>_…``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self
from urllib.parse import urlsplit

from tenantry.base.networks import in_url
from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.host import processors
from tenantry.pg.connections import ADMIN, Address

_MOST_WORKERS = 8  # each takes 100 MB
_FOR_EVER = "9999999"  # services.repository decides what is no longer needed


class Repository(Protocol):
    """A place for backups; its text form is its location, by which two are distinguished."""

    def options(self) -> dict[str, str]:
        """Return pgBackRest's options for it (``repo1-…``), without the number."""


class RemoteRepository(Repository, Protocol):
    """A repository that is not on this machine, and that the settings can configure."""

    name: ClassVar[str]

    @classmethod
    def configured(cls, settings: Settings) -> Self | None:
        """Return the one that the settings configure, None if they do not."""


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """A folder of this machine."""

    path: Path

    def options(self) -> dict[str, str]:
        return {"type": "posix", "path": str(self.path)}

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class S3Repository:
    """A path in a bucket of a server that speaks S3; ``endpoint`` is its https URL."""

    name: ClassVar[str] = "s3"

    endpoint: str
    bucket: str
    region: str
    path: str
    key: Secret
    secret: Secret
    ca_file: Path | None = None

    @classmethod
    def configured(cls, settings: Settings) -> Self | None:
        found = settings.backup_s3
        if found is None:
            return None
        return cls(
            endpoint=found.endpoint,
            bucket=found.bucket,
            region=found.region,
            path=found.path,
            key=Secret(found.key.get_secret_value()),
            secret=Secret(found.secret.get_secret_value()),
            ca_file=found.ca_file,
        )

    def options(self) -> dict[str, str]:
        server = urlsplit(self.endpoint)
        found = {
            "type": "s3",
            "path": "/" + self.path.strip("/"),
            "s3-endpoint": in_url(server.hostname or ""),
            "s3-bucket": self.bucket,
            "s3-region": self.region,
            "s3-key": self.key.reveal(),
            "s3-key-secret": self.secret.reveal(),
            "s3-uri-style": "path",  # the style that every such server supports
            "storage-port": str(server.port or 443),
        }
        return found | ({} if self.ca_file is None else {"storage-ca-file": str(self.ca_file)})

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}/{self.path.strip('/')}"


REMOTE_KINDS: tuple[type[RemoteRepository], ...] = (S3Repository,)


def remote(settings: Settings) -> list[RemoteRepository]:
    """Return the repositories that the settings configure, each of another kind."""
    return [each for kind in REMOTE_KINDS if (each := kind.configured(settings)) is not None]


@dataclass(frozen=True, slots=True)
class Stanza:
    """A cluster in pgBackRest's configuration."""

    name: str
    data: Path
    address: Address


def render(
    command: str,
    folder: Path,
    repositories: Mapping[int, Repository],
    stanzas: Sequence[Stanza],
    passphrase: Secret,
) -> str:
    """Return pgBackRest's configuration, whole, with repositories by their numbers.

    ``command`` is what it writes into restore_command.
    """
    general = {
        "cmd": command,
        "lock-path": str(folder / "lock"),
        "spool-path": str(folder / "spool"),  # a restore looks there, though it is empty
        "log-level-file": "off",
        "log-level-console": "off",
        "log-level-stderr": "warn",
        "log-timestamp": "n",
        "compress-type": "zst",
        "process-max": str(workers()),
        "start-fast": "y",
        "expire-auto": "n",
        "io-timeout": "5",  # seconds; with a server unreachable, a request takes four times as long
    }
    for number, repository in repositories.items():
        options = repository.options() | {
            "bundle": "y",  # an empty database has 298 files
            "cipher-type": "aes-256-cbc",
            "cipher-pass": passphrase.reveal(),
            "retention-full": _FOR_EVER,
        }
        general |= {f"repo{number}-{name}": value for name, value in options.items()}
    sections = {"global": general}
    for stanza in stanzas:
        sections[stanza.name] = {
            "pg1-path": str(stanza.data),
            "pg1-socket-path": str(stanza.address.socket_dir),
            "pg1-port": str(stanza.address.port),
            "pg1-user": ADMIN,
        }
    lines = ["# Written by Tenantry."]
    for section, values in sections.items():
        lines += ["", f"[{section}]"]
        for name, value in values.items():
            if not value or value != value.strip() or len(value.splitlines()) != 1:
                raise ValueError(f"{name} cannot be written into a configuration file")
            lines.append(f"{name}={value}")
    return "\n".join(lines) + "\n"


def is_configured(text: str, number: int, repository: Repository) -> bool:
    """Whether a configuration of ``render`` has this repository under this number."""
    there = set(text.splitlines())
    return all(
        f"repo{number}-{name}={value}" in there for name, value in repository.options().items()
    )


def workers() -> int:
    """Return the minimum number of pgBackRest's processes: tenants need the other cores."""
    return max(1, min(4, processors.count() // 2))


async def spare_workers() -> int:
    """Return how many processes a backup takes: as many as there are idle cores.

    It gives way to other processes when they need the cores (it is run gently).
    """
    return max(workers(), min(_MOST_WORKERS, round(await processors.idle())))
