"""A site as its owner and as the cache service see it. Values only."""

import datetime as dt
import hashlib
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tenantry.base.home import Home
from tenantry.base.local_api import is_loopback
from tenantry.base.networks import Network, contain, in_url
from tenantry.base.secrets import Secret, derived_secret
from tenantry.control.sites import (
    FIRST_FOLDER,
    Eviction,
    Isolation,
    Mode,
    Persistence,
    SiteRow,
    Status,
)

Which = Literal["all", "password", "api_key"]  # secrets to rotate
ReachedFrom = Literal["everywhere", "allowlist", "this_machine"]

SHARED = "shared"  # the name of the process that tiny sites have together
PLATFORM_USER = "platform"  # of each Redis; it may do everything
TENANT_USER = "site"
MEMORY_MB, MAX_CLIENTS = 32, 100  # unless its owner, or the owner's plan, decides otherwise
SHARED_MEMORY_MB, SHARED_MAX_CLIENTS = 4, 20  # the same in the shared process, at most
MOST_CLIENTS = 10_000  # of all sites together


class Listed(Protocol):
    """A site with its port, and the networks of its allowlist if it has one."""

    @property
    def port(self) -> int: ...

    @property
    def networks(self) -> Collection[Network] | None: ...


@dataclass(frozen=True, slots=True)
class Reach:
    """From where a site's Redis is reached; ``why`` only from this machine, despite its list."""

    reached_from: ReachedFrom
    why: str | None = None


def key_prefix(site_id: uuid.UUID) -> str:
    """Return how the names of a site's keys and channels begin."""
    return f"site:{site_id}:"


def socket_of(home: Home, port: int) -> Path:
    """Return the Unix socket of the site with this port."""
    return home.run / f"redis-{port}.sock"


def cache_prefix(site_id: uuid.UUID) -> str:
    """Return how the keys of a site's AI cache begin, which its programs do not reach."""
    return f"cache:{site_id}:"


def process_name(site_id: uuid.UUID, isolation: Isolation) -> str:
    """Return the name of the process that a site has, alone or with others."""
    return SHARED if isolation == "shared" else str(site_id)


def tenant_user(site_id: uuid.UUID, isolation: Isolation) -> str:
    """Return the name of the user of a site's programs."""
    return f"{TENANT_USER}-{site_id}" if isolation == "shared" else TENANT_USER


def cache_user(site_id: uuid.UUID, isolation: Isolation) -> str:
    """Return the name of the user with which the AI cache works for a site.

    In the shared process it reaches that site's keys only, and goes with the site.
    """
    return f"cache-{site_id}" if isolation == "shared" else PLATFORM_USER


def platform_password(seal_key: bytes, name: object) -> Secret:
    """Return the password of a user of the platform, which is stored nowhere but as a digest.

    ``name`` is that of the process, or for a site's own user in the shared one the site's id.
    """
    return derived_secret(seal_key, purpose=f"redis platform user {name}")


def digest(secret: Secret) -> bytes:
    """Return what is stored of a password or key: SHA-256, as Redis's ACL files have it."""
    return hashlib.sha256(secret.reveal().encode()).digest()


@dataclass(frozen=True, slots=True)
class ServedSite:
    """What the cache service needs to answer for a site: its Redis, its mode and settings."""

    id: uuid.UUID
    name: str
    customer_id: uuid.UUID | None
    socket: Path
    username: str
    password: Secret
    mode: Mode
    settings: Mapping[str, Any]
    networks: tuple[Network, ...] | None
    isolation: Isolation = "dedicated"
    data_folder: str = FIRST_FOLDER

    def admits(self, address: str | None) -> bool:
        """Whether its allowlist admits a client's address: as its Redis, always this machine's."""
        if self.networks is None:
            return True
        return address is not None and (is_loopback(address) or contain(self.networks, address))


@dataclass(frozen=True, slots=True)
class Site:
    """A site without the digests of its secrets. ``networks`` are as in ``SiteRow``."""

    id: uuid.UUID
    customer_id: uuid.UUID | None
    name: str
    status: Status
    port: int
    memory_mb: int
    max_clients: int
    eviction: Eviction
    persistence: Persistence
    semantic: Mode
    isolation: Isolation
    networks: list[Network] | None
    created_at: dt.datetime
    updated_at: dt.datetime

    @classmethod
    def of(cls, row: SiteRow) -> "Site":
        return cls(**{name: getattr(row, name) for name in cls.__annotations__})

    @property
    def key_prefix(self) -> str:
        """How the names of its keys and channels have to begin."""
        return key_prefix(self.id)

    def redis_url(self, domain: str, password: str, reach: Reach) -> str:
        """Return the connection string of its Redis for clients that can reach it."""
        host = in_url("localhost" if reach.reached_from == "this_machine" else domain)
        user = tenant_user(self.id, self.isolation)
        return f"rediss://{user}:{password}@{host}:{self.port}/0"


@dataclass(frozen=True, slots=True)
class NewSite:
    """A site whose secrets are new: they are shown once. None for one that was not replaced."""

    site: Site
    password: Secret | None
    api_key: Secret | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A site to be created. A size of None is the default."""

    name: str
    memory_mb: int | None
    max_clients: int | None
    eviction: Eviction
    persistence: Persistence
    semantic: Mode
    isolation: Isolation
    networks: list[Network]


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes to a site; None leaves a field as it is.

    ``networks`` replace its allowlist, of which an entry that stays keeps its description and its
    end; without any there is no list.
    """

    name: str | None = None
    memory_mb: int | None = None
    max_clients: int | None = None
    eviction: Eviction | None = None
    persistence: Persistence | None = None
    semantic: Mode | None = None
    networks: list[Network] | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields that change."""
        every = {name: getattr(self, name) for name in Changes.__annotations__}
        return {name: value for name, value in every.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SiteStats:
    """What a site's Redis holds and has done since its start.

    ``memory_bytes`` is what counts against its limit; ``process_bytes`` what its process takes.
    In a shared process that, its uptime and its version are of all sites; None is what Redis
    counts for all of them only.
    """

    server: str
    uptime_seconds: int
    memory_bytes: int
    memory_limit_bytes: int
    process_bytes: int
    keys: int
    clients: int
    max_clients: int
    commands: int | None
    hits: int | None
    misses: int | None
    evicted_keys: int | None
    expired_keys: int | None


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A key of a site. ``ttl_seconds`` is None if it does not expire."""

    key: str
    type: str
    ttl_seconds: int | None
    bytes: int


@dataclass(frozen=True, slots=True)
class KindUse:
    """What the keys of one kind take: ``keys`` and ``bytes`` are estimates unless all were read."""

    kind: str
    keys: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BigKey:
    """A key that takes much memory."""

    key: str
    type: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """A command that took long: its name and its first key, without anything else of it."""

    at: dt.datetime
    milliseconds: float
    command: str
    key: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What takes a site's memory and time. Lists begin with the largest, or the newest.

    ``sampled`` of its ``keys`` were read: the kinds are estimated from them, and ``big_keys`` are
    the largest among them. ``evicted_keys`` is as in ``SiteStats``.
    """

    memory_bytes: int
    memory_limit_bytes: int
    evicted_keys: int | None
    keys: int
    sampled: int
    kinds: list[KindUse]
    big_keys: list[BigKey]
    slow_commands: list[SlowCommand]


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Some keys, and the cursor of the next page if there is one."""

    rows: list[SiteKey]
    next_cursor: str | None
