"""Pricing plans: named sets of limits. A database has its plan's, except for its own ones."""

import dataclasses
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.base.errors import InvalidInput
from tenantry.base.suggestions import did_you_mean
from tenantry.control.store import Tx

DEFAULT = "standard"


@dataclass(frozen=True)
class Limits:
    """Limits of a database. A timeout of 0 means none.

    The three timeouts are defaults that each session may change; sessions cannot change the others.
    ``max_connections`` counts direct and pooled connections together, ``reserve_pool_size`` is how
    many of its ``pool_size`` are opened beyond an equal share, ``temp_file_limit_bytes`` applies to
    each session, ``disk_quota_bytes`` to the database and its shadow together. ``cpu_weight`` is
    its share of the processors relative to other databases on the cluster while they are busy.
    """

    max_connections: int
    pool_size: int
    reserve_pool_size: int
    disk_quota_bytes: int
    temp_file_limit_bytes: int
    statement_timeout_ms: int
    lock_timeout_ms: int
    idle_in_transaction_session_timeout_ms: int
    cpu_weight: int


NAMES = tuple(field.name for field in dataclasses.fields(Limits))
ENFORCED = (
    "max_connections",
    "pool_size",
    "reserve_pool_size",
    "disk_quota_bytes",
    "temp_file_limit_bytes",
    "cpu_weight",
)


@dataclass(frozen=True)
class PlanRow(Limits):
    """A pricing plan. ``longest_statement_seconds`` bounds each statement of an operation."""

    name: str
    longest_statement_seconds: int


async def every(tx: Tx) -> list[PlanRow]:
    """Return all pricing plans, the smallest first."""
    async with tx.cursor(row_factory=class_row(PlanRow)) as cursor:
        await cursor.execute(
            f"SELECT name, {', '.join(NAMES)}, longest_statement_seconds FROM plans"
            " ORDER BY disk_quota_bytes, name"
        )
        return await cursor.fetchall()


async def require(tx: Tx, name: str) -> None:
    """Raise InvalidInput if there is no pricing plan of this name."""
    if name == DEFAULT:
        return
    names = [each.name for each in await every(tx)]
    if name not in names:
        meant = did_you_mean(name, names)
        raise InvalidInput.of(
            "plan", f"there is no plan {name}. {meant or 'GET /api/plans lists them'}"
        )
