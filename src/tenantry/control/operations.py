"""Operations: long tasks as rows, which callers follow by id."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.base.ids import new_id
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A long task; ``progress`` goes from 0 to 1."""

    id: uuid.UUID
    kind: str
    resource_kind: str
    resource_id: uuid.UUID
    status: str
    step: str | None
    progress: float
    result: dict[str, object] | None
    error: dict[str, object] | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


_COLUMNS = """
    id, kind, resource_kind, resource_id, status, step, progress, result, error, created_at,
    started_at, finished_at
"""


async def insert(
    tx: Tx,
    *,
    kind: str,
    resource_kind: str,
    resource_id: uuid.UUID,
    customer_id: uuid.UUID | None,
) -> uuid.UUID:
    """Want a task done."""
    operation_id = new_id()
    await tx.execute(
        """
        INSERT INTO operations (id, kind, resource_kind, resource_id, customer_id)
        VALUES (%s, %s, %s, %s, %s)
        """,
        (operation_id, kind, resource_kind, resource_id, customer_id),
    )
    return operation_id


async def find(
    tx: Tx, operation_id: uuid.UUID, *, customer_id: uuid.UUID | None
) -> OperationRow | None:
    """A task by its id; with ``customer_id``, only if it is theirs."""
    async with tx.cursor(row_factory=class_row(OperationRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM operations
            WHERE id = %s AND (%s::uuid IS NULL OR customer_id = %s)
            """,
            (operation_id, customer_id, customer_id),
        )
        return await cursor.fetchone()


async def finish_of(
    tx: Tx, resource_id: uuid.UUID, kind: str, *, result: dict[str, object]
) -> None:
    """The unfinished tasks of this kind on this resource have succeeded."""
    await tx.execute(
        """
        UPDATE operations SET status = 'succeeded', step = NULL, progress = 1, result = %s,
            started_at = coalesce(started_at, now()), finished_at = now()
        WHERE resource_id = %s AND kind = %s AND status IN ('queued', 'running')
        """,
        (Jsonb(result), resource_id, kind),
    )


async def advance(tx: Tx, resource_id: uuid.UUID, kind: str, *, step: str, progress: float) -> None:
    """Tell how far the unfinished tasks of this kind on this resource are."""
    await tx.execute(
        """
        UPDATE operations SET status = 'running', step = %s, progress = %s,
            started_at = coalesce(started_at, now())
        WHERE resource_id = %s AND kind = %s AND status IN ('queued', 'running')
        """,
        (step, progress, resource_id, kind),
    )
