"""Pricing plans: named sets of limits. A database has its plan's, except for its own ones.

A customer has a plan as well, for the sizes of what it creates and how many it may have.
"""

import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from tenantry.base.errors import Forbidden, InvalidInput, NotFound
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
GRANTED = (*ENFORCED, "longest_statement_seconds")  # what a customer may not exceed


@dataclass(frozen=True)
class Sizes:
    """How many instances and sites a customer may have, and how large each. None: no such limit.

    What is created without a size has the size of its customer's plan.
    """

    max_instances: int | None
    instance_cpus: float | None
    instance_memory_mb: int | None
    max_sites: int | None
    site_memory_mb: int | None
    site_max_clients: int | None


SIZES = tuple(field.name for field in dataclasses.fields(Sizes))
_COLUMNS = ", ".join(f"p.{name}" for name in ("name", *NAMES, *SIZES, "longest_statement_seconds"))


@dataclass(frozen=True)
class PlanRow(Limits, Sizes):
    """A pricing plan. ``longest_statement_seconds`` bounds each statement of an operation."""

    name: str
    longest_statement_seconds: int


async def every(tx: Tx) -> list[PlanRow]:
    """Return all pricing plans, the smallest first."""
    async with tx.cursor(row_factory=class_row(PlanRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM plans p ORDER BY disk_quota_bytes, name")
        return await cursor.fetchall()


async def of_customer(tx: Tx, customer_id: uuid.UUID | None) -> PlanRow | None:
    """Return the pricing plan of a customer; None for nobody.

    Raises NotFound for a customer that is gone, which nothing would limit otherwise.
    """
    if customer_id is None:
        return None
    async with tx.cursor(row_factory=class_row(PlanRow)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM plans p JOIN customers c ON c.plan = p.name WHERE c.id = %s",
            (customer_id,),
        )
        if (found := await cursor.fetchone()) is None:
            raise NotFound("There is no such customer.", hint="GET /api/customers lists them.")
        return found


async def lock(tx: Tx, name: str) -> PlanRow | None:
    """Return a pricing plan; until ``tx`` ends nobody else changes it. None if there is none."""
    async with tx.cursor(row_factory=class_row(PlanRow)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM plans p WHERE name = %s FOR NO KEY UPDATE", (name,)
        )
        return await cursor.fetchone()


async def set_sizes(tx: Tx, name: str, sizes: Mapping[str, float | None]) -> None:
    """Store sizes of a pricing plan, by their names in ``SIZES``; None is no limit."""
    changes = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(each), sql.Placeholder(each)) for each in sizes
    )
    await tx.execute(
        sql.SQL("UPDATE plans SET {} WHERE name = {}").format(changes, sql.Placeholder("plan")),
        {**sizes, "plan": name},
    )


def require_granted(
    plan: PlanRow, field: str, wanted: float | None, most: float | None, *, had: float | None = 0
) -> None:
    """Raise Forbidden if a customer wants more than its plan grants, and more than it ``had``.

    None is without a limit.
    """
    if most is None or had is None or (wanted is not None and wanted <= max(had, most)):
        return
    figure = int(most) if most == int(most) else most
    raise Forbidden(
        f"A customer cannot raise {field} above what the plan {plan.name} grants: {figure:,}.",
        hint="Ask whoever runs the platform for another plan.",
    )


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
