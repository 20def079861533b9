"""Operations: long-running tasks as rows, which callers follow by id and workers carry out."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.base.errors import Conflict
from tenantry.base.ids import new_id
from tenantry.control.pages import Key
from tenantry.control.store import Tx

OperationStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class OperationRow:
    """An operation. ``progress`` goes from 0 to 1; bytes are those of its current step.

    ``state`` is what its steps store for each other; ``undoing`` means that its steps are being
    undone. ``resource_name`` is the resource's name on its cluster when the operation was
    requested, None for resources other than databases, clusters and sites. ``labels`` are a
    database's current names and environment, None once it is deleted.
    """

    id: uuid.UUID
    kind: str
    resource_kind: str
    resource_id: uuid.UUID
    resource_name: str | None
    labels: dict[str, str | None] | None
    customer_id: uuid.UUID | None
    status: OperationStatus
    step: str | None
    progress: float
    done_bytes: int | None
    total_bytes: int | None
    step_started_at: dt.datetime | None
    result: dict[str, object] | None
    error: dict[str, object] | None
    actor: dict[str, Any]
    params: dict[str, Any]
    state: dict[str, Any]
    attempts: int
    cancel_requested: bool
    undoing: bool
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of operations; None means any.

    Those of a resource are also the runs over many databases that have migrated it.
    """

    kind: str | None = None
    status: str | None = None
    resource_id: uuid.UUID | None = None


COLUMNS = """
    id, kind, resource_kind, resource_id, resource_name, customer_id, status, step, progress,
    done_bytes, total_bytes, step_started_at, result, error, actor, params, state, attempts,
    cancel_requested, undoing, created_at, started_at, finished_at,
    (SELECT jsonb_build_object('name', d.name, 'friendly_name', d.friendly_name,
         'database_name', d.database_name, 'environment', d.environment)
     FROM databases d WHERE d.id = resource_id) AS labels
"""
# By resource kind; customers request no operations on clusters.
_NAMED: dict[str, LiteralString] = {
    "database": "SELECT database_name FROM databases WHERE id = %(resource_id)s",
    "cluster": "SELECT name FROM clusters WHERE id = %(resource_id)s",
    "site": "SELECT name FROM sites WHERE id = %(resource_id)s",
}


async def insert(
    tx: Tx,
    *,
    kind: str,
    resource_kind: str,
    resource_id: uuid.UUID,
    customer_id: uuid.UUID | None,
    actor: Mapping[str, object] | None = None,
    params: Mapping[str, object] | None = None,
    exclusive: bool = False,
) -> uuid.UUID:
    """Insert an operation. Raises Conflict if it and an unfinished one are both ``exclusive``."""
    operation_id = new_id()
    try:
        async with tx.transaction():
            await tx.execute(
                f"""
                INSERT INTO operations (id, kind, resource_kind, resource_id, resource_name,
                    customer_id, actor, params, exclusive)
                VALUES (%(id)s, %(kind)s, %(resource_kind)s, %(resource_id)s,
                    ({_NAMED.get(resource_kind, "NULL")}),
                    %(customer_id)s, %(actor)s, %(params)s, %(exclusive)s)
                """,
                {
                    "id": operation_id,
                    "kind": kind,
                    "resource_kind": resource_kind,
                    "resource_id": resource_id,
                    "customer_id": customer_id,
                    "actor": Jsonb(actor or {}),
                    "params": Jsonb(params or {}),
                    "exclusive": exclusive,
                },
            )
    except psycopg.errors.UniqueViolation:
        raise _busy(resource_kind) from None
    return operation_id


def _busy(resource_kind: str) -> Conflict:
    return Conflict(
        f"Another operation has this {resource_kind} to itself.",
        hint="Wait for it, or cancel it: GET /api/operations?resource_id=… shows it.",
    )


async def require_free(tx: Tx, resource_kind: str, resource_id: uuid.UUID) -> None:
    """Raise Conflict if an unfinished exclusive operation has this resource."""
    cursor = await tx.execute(
        """
        SELECT FROM operations
        WHERE resource_id = %s AND exclusive AND status IN ('queued', 'running')
        """,
        (resource_id,),
    )
    if await cursor.fetchone() is not None:
        raise _busy(resource_kind)


async def find(
    tx: Tx, operation_id: uuid.UUID, *, customer_id: uuid.UUID | None
) -> OperationRow | None:
    """Return an operation by its id; with ``customer_id``, only if it is that customer's."""
    async with tx.cursor(row_factory=class_row(OperationRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {COLUMNS} FROM operations
            WHERE id = %s AND (%s::uuid IS NULL OR customer_id = %s)
            """,
            (operation_id, customer_id, customer_id),
        )
        return await cursor.fetchone()


async def page(
    tx: Tx, wanted: Filter, *, customer_id: uuid.UUID | None, after: Key, limit: int
) -> list[OperationRow]:
    """Return up to ``limit`` operations, newest first, starting after ``after``."""
    conditions = ["(created_at, id) < (%(at)s, %(id)s)"]
    if customer_id is not None:
        conditions.append("customer_id = %(customer_id)s")
    if wanted.kind is not None:
        conditions.append("kind = %(kind)s")
    if wanted.status is not None:
        conditions.append("status = %(status)s")
    if wanted.resource_id is not None:
        conditions.append(
            "(resource_id = %(resource_id)s OR id = ANY (ARRAY(SELECT operation_id"
            " FROM migration_targets WHERE database_id = %(resource_id)s AND status <> 'pending')))"
        )
    async with tx.cursor(row_factory=class_row(OperationRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {COLUMNS} FROM operations WHERE {" AND ".join(conditions)}
            ORDER BY created_at DESC, id DESC LIMIT %(limit)s
            """,
            {
                "at": after[0],
                "id": after[1],
                "customer_id": customer_id,
                "kind": wanted.kind,
                "status": wanted.status,
                "resource_id": wanted.resource_id,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


# ── operations that reconciliation carries out ───────────────────────────────


async def finish_of(
    tx: Tx, resource_id: uuid.UUID, kind: str, *, result: dict[str, object]
) -> None:
    """Mark the unfinished operations of this kind on this resource as succeeded."""
    await tx.execute(
        """
        UPDATE operations SET status = 'succeeded', step = NULL, progress = 1, result = %s,
            started_at = coalesce(started_at, now()), finished_at = now()
        WHERE resource_id = %s AND kind = %s AND status IN ('queued', 'running')
        """,
        (Jsonb(result), resource_id, kind),
    )


# ── operations that a worker carries out step by step ────────────────────────


@dataclass(frozen=True, slots=True)
class QueuedKind:
    """The number of queued operations of a kind, and how long the oldest has waited."""

    kind: str
    count: int
    oldest: dt.timedelta


async def queued(tx: Tx) -> list[QueuedKind]:
    """Return the queued operations that are due, by kind."""
    async with tx.cursor(row_factory=class_row(QueuedKind)) as cursor:
        await cursor.execute(
            """
            SELECT kind, count(*) AS count, clock_timestamp() - min(due_at) AS oldest
            FROM operations WHERE status = 'queued' AND due_at <= clock_timestamp()
            GROUP BY kind ORDER BY kind
            """
        )
        return await cursor.fetchall()


async def unfinished(tx: Tx) -> set[uuid.UUID]:
    """Return the ids of unfinished operations."""
    cursor = await tx.execute("SELECT id FROM operations WHERE status IN ('queued', 'running')")
    return {operation_id for (operation_id,) in await cursor.fetchall()}


async def clusters_at_work(tx: Tx) -> set[uuid.UUID]:
    """Return the clusters that unfinished operations are about, or whose databases they are."""
    cursor = await tx.execute(
        """
        SELECT coalesce(d.cluster_id, o.resource_id)
        FROM operations o LEFT JOIN databases d ON d.id = o.resource_id
        WHERE o.status IN ('queued', 'running')
        """
    )
    return {cluster_id for (cluster_id,) in await cursor.fetchall()}


async def count_unfinished(tx: Tx, customer_id: uuid.UUID) -> int:
    """Return how many operations of a customer are unfinished."""
    cursor = await tx.execute(
        "SELECT count(*) FROM operations"
        " WHERE customer_id = %s AND status IN ('queued', 'running')",
        (customer_id,),
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def begin_step(tx: Tx, operation_id: uuid.UUID, step: str, *, progress: float) -> None:
    """Record the current step. A step that is repeated keeps the time of its first try."""
    await tx.execute(
        """
        UPDATE operations SET progress = greatest(progress, %s),
            step_started_at = CASE WHEN step = %s THEN step_started_at END,
            done_bytes = NULL, total_bytes = NULL, step = %s
        WHERE id = %s
        """,
        (progress, step, step, operation_id),
    )
    await tx.execute(
        "UPDATE operations SET step_started_at = coalesce(step_started_at, clock_timestamp())"
        " WHERE id = %s",
        (operation_id,),
    )


async def store_progress(
    tx: Tx,
    operation_id: uuid.UUID,
    *,
    progress: float,
    done_bytes: int | None,
    total_bytes: int | None,
) -> None:
    """Record the progress of the current step."""
    await tx.execute(
        "UPDATE operations SET progress = greatest(progress, %s), done_bytes = %s,"
        " total_bytes = %s WHERE id = %s",
        (progress, done_bytes, total_bytes, operation_id),
    )


async def store_state(tx: Tx, operation_id: uuid.UUID, state: Mapping[str, object]) -> None:
    """Store the state that the steps share."""
    await tx.execute("UPDATE operations SET state = %s WHERE id = %s", (Jsonb(state), operation_id))


async def put_off(
    tx: Tx, operation_id: uuid.UUID, *, step: str, wait: dt.timedelta, attempts: int
) -> None:
    """Release an operation for ``wait``; any worker continues it then at ``step``."""
    await tx.execute(
        """
        UPDATE operations SET step = %s, due_at = clock_timestamp() + %s, attempts = %s,
            lease_until = NULL, holder = NULL
        WHERE id = %s
        """,
        (step, wait, attempts, operation_id),
    )


async def begin_undo(tx: Tx, operation_id: uuid.UUID, error: Mapping[str, object] | None) -> None:
    """Begin to undo an operation's steps; ``error`` is why, None if it was cancelled."""
    await tx.execute(
        "UPDATE operations SET undoing = true, attempts = 0, error = %s WHERE id = %s",
        (None if error is None else Jsonb(error), operation_id),
    )


async def finish(
    tx: Tx,
    operation_id: uuid.UUID,
    status: OperationStatus,
    *,
    result: Mapping[str, object] | None = None,
) -> None:
    """Record the end of an operation."""
    await tx.execute(
        """
        UPDATE operations SET status = %s, result = %s, finished_at = clock_timestamp(),
            progress = CASE WHEN %s = 'succeeded' THEN 1 ELSE progress END,
            step = CASE WHEN %s = 'succeeded' THEN NULL ELSE step END,
            lease_until = NULL, holder = NULL
        WHERE id = %s
        """,
        (status, None if result is None else Jsonb(result), status, status, operation_id),
    )


async def abandon(tx: Tx, operation_id: uuid.UUID, error: Mapping[str, object]) -> None:
    """End an operation as failed; its holder notices when it renews the lease."""
    await tx.execute(
        """
        UPDATE operations SET status = 'failed', error = %s, finished_at = clock_timestamp(),
            lease_until = NULL, holder = NULL
        WHERE id = %s
        """,
        (Jsonb(error), operation_id),
    )


async def ask_to_cancel(tx: Tx, operation_id: uuid.UUID) -> None:
    """Request the cancellation of an operation."""
    await tx.execute(
        "UPDATE operations SET cancel_requested = true, due_at = clock_timestamp() WHERE id = %s",
        (operation_id,),
    )


async def cancel_all(tx: Tx, *, besides: uuid.UUID | None = None) -> None:
    """Request the cancellation of all unfinished operations, except ``besides``."""
    await tx.execute(
        """
        UPDATE operations SET cancel_requested = true, due_at = clock_timestamp()
        WHERE finished_at IS NULL AND id IS DISTINCT FROM %s
        """,
        (besides,),
    )


async def forget_old(tx: Tx, *, days: int = 90) -> None:
    """Delete operations that finished more than ``days`` ago."""
    await tx.execute(
        "DELETE FROM operations WHERE finished_at < now() - make_interval(days => %s)", (days,)
    )


async def last_status(tx: Tx, kind: str) -> str | None:
    """Return the status of the newest operation of a kind; None if there is none."""
    row = await (
        await tx.execute(
            "SELECT status FROM operations WHERE kind = %s ORDER BY created_at DESC LIMIT 1",
            (kind,),
        )
    ).fetchone()
    return None if row is None else str(row[0])
