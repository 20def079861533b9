"""Sites of the AI cache: wanted state, one row for each."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.base.errors import NameTaken
from tenantry.base.networks import Network
from tenantry.control.store import Tx

Status = Literal["active", "deleting"]
Eviction = Literal["volatile-lru", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "noeviction"]
Persistence = Literal["none", "aof"]
Mode = Literal["off", "exact", "shadow", "on"]
Isolation = Literal["dedicated", "shared"]
FIRST_FOLDER = "appendonlydir"  # Redis's own name
BY_MEANING = frozenset[Mode]({"shadow", "on"})  # the modes in which questions are compared


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site. ``settings`` are those of its cache.

    ``networks`` are those of its allowlist that are in force, none once all have expired; None is
    no allowlist, which admits every address.

    It has a Redis process of its own; those with the isolation ``shared`` have one together.

    ``data_folder`` is the name of the folder, within the site's, that has its data if they survive
    a restart (``persistence``).

    ``password_hash`` and ``key_hash`` are SHA-256 digests of the password of its Redis user and of
    its API key.
    """

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
    settings: dict[str, Any]
    networks: list[Network] | None
    password_hash: bytes = field(repr=False)
    key_hash: bytes = field(repr=False)
    created_at: dt.datetime
    updated_at: dt.datetime
    data_folder: str = FIRST_FOLDER


@dataclass(frozen=True, slots=True)
class Taken:
    """What all sites take together, and the ``ports`` that they have.

    ``shared_port`` is that of the shared process, if there is one.
    """

    sites: int
    memory_mb: int
    clients: int
    ports: list[int]
    shared_port: int | None


_STORED = [name for name in SiteRow.__annotations__ if name != "networks"]
_COLUMNS = ", ".join(_STORED)
_SELECT = f"""
    SELECT {_COLUMNS}, (
        SELECT coalesce(array_agg(w.network ORDER BY w.network)
            FILTER (WHERE w.expires_at IS NULL OR w.expires_at > now()), '{{}}')
        FROM site_whitelist w WHERE w.site_id = s.id HAVING count(*) > 0
    ) AS networks
    FROM sites s """
_CHANGING = [
    name
    for name in _STORED
    if name not in {"id", "customer_id", "port", "isolation", "created_at", "updated_at"}
]


async def lock_budget(tx: Tx) -> None:
    """Block other transactions that change what sites take until this one ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('sites', 0))")


async def taken(tx: Tx) -> Taken:
    """Return what all sites take, those that are being deleted included; see ``as_platform``."""
    async with tx.cursor(row_factory=class_row(Taken)) as cursor:
        await cursor.execute(
            "SELECT count(*) AS sites, coalesce(sum(memory_mb), 0) AS memory_mb,"
            " coalesce(sum(max_clients), 0) AS clients,"
            " coalesce(array_agg(port), '{}') AS ports,"
            " min(port) FILTER (WHERE isolation = 'shared') AS shared_port FROM sites"
        )
        found = await cursor.fetchone()
    if found is None:
        raise TypeError("an aggregate has a row")
    return found


async def insert(tx: Tx, row: SiteRow) -> None:
    """Create a site, without its allowlist. Raises NameTaken."""
    values = ", ".join(f"%({name})s" for name in _STORED)
    try:
        await tx.execute(f"INSERT INTO sites ({_COLUMNS}) VALUES ({values})", _values(row))
    except psycopg.errors.UniqueViolation:
        raise NameTaken(
            f"There is already a site named {row.name}.", hint="Choose another name."
        ) from None


async def update(tx: Tx, row: SiteRow) -> None:
    """Store what may change of a site, but its allowlist. Raises NameTaken."""
    changes = ", ".join(f"{name} = %({name})s" for name in _CHANGING)
    try:
        await tx.execute(
            f"UPDATE sites SET {changes}, updated_at = clock_timestamp() WHERE id = %(id)s",
            _values(row),
        )
    except psycopg.errors.UniqueViolation:
        raise NameTaken(
            f"There is already a site named {row.name}.", hint="Choose another name."
        ) from None


def _values(row: SiteRow) -> dict[str, object]:
    values = {name: getattr(row, name) for name in _STORED}
    return values | {"settings": Jsonb(row.settings)}


async def every(tx: Tx) -> list[SiteRow]:
    """Return all sites that the transaction's actor may see, the oldest first."""
    async with tx.cursor(row_factory=class_row(SiteRow)) as cursor:
        await cursor.execute(_SELECT + "ORDER BY created_at, id")
        return await cursor.fetchall()


async def listed(tx: Tx) -> list[SiteRow]:
    """Return the sites that have an allowlist and are not being deleted."""
    async with tx.cursor(row_factory=class_row(SiteRow)) as cursor:
        await cursor.execute(
            _SELECT + "WHERE status = 'active'"
            " AND EXISTS (SELECT FROM site_whitelist w WHERE w.site_id = s.id)"
        )
        return await cursor.fetchall()


async def find(tx: Tx, site_id: uuid.UUID) -> SiteRow | None:
    """Return a site; None if there is none."""
    async with tx.cursor(row_factory=class_row(SiteRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE id = %s", (site_id,))
        return await cursor.fetchone()


async def lock(tx: Tx, site_id: uuid.UUID) -> SiteRow | None:
    """As ``find``; until ``tx`` ends nobody else changes the site or its allowlist."""
    await tx.execute("SELECT FROM sites WHERE id = %s FOR UPDATE", (site_id,))
    # A statement of its own: that of the lock does not see the list as it is after its wait.
    return await find(tx, site_id)


async def lock_lists(tx: Tx) -> None:
    """Block others that put the allowlists of sites in force until this transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('site allowlists', 0))")


async def lock_shared(tx: Tx) -> list[SiteRow]:
    """Return the sites of the shared process, the oldest first.

    Until ``tx`` ends nobody else gets them from here: each writes the files of all.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('shared sites', 0))")
    return [row for row in await every(tx) if row.isolation == "shared"]


async def remove(tx: Tx, site_id: uuid.UUID) -> None:
    """Delete the row of a site of which nothing is left."""
    await tx.execute("DELETE FROM sites WHERE id = %s", (site_id,))
