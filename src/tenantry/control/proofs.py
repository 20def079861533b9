"""Proofs: results of drills, which restore a database to verify that it can be restored."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.control.pages import Key
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One drill. ``moment`` is the restored moment, None if the restore failed."""

    id: uuid.UUID
    database_id: uuid.UUID
    at: dt.datetime
    moment: dt.datetime | None
    seconds: float
    passed: bool
    compared: dict[str, object]
    error: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A database that can be drilled, and when it last was; None if never."""

    database_id: uuid.UUID
    last_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Over all databases: how many last drills failed, and when one last passed."""

    failing: int
    last_passed_at: dt.datetime | None


_COLUMNS = "id, database_id, at, moment, seconds, passed, compared, error"


async def insert(tx: Tx, proof: ProofRow) -> None:
    """Store a proof, once, if its database still exists."""
    await tx.execute(
        """
        INSERT INTO proofs (id, database_id, at, moment, seconds, passed, compared, error)
        SELECT %s, id, %s, %s, %s, %s, %s, %s FROM databases WHERE id = %s
        ON CONFLICT (id) DO NOTHING
        """,
        (
            proof.id,
            proof.at,
            proof.moment,
            proof.seconds,
            proof.passed,
            Jsonb(proof.compared),
            proof.error,
            proof.database_id,
        ),
    )


async def page(tx: Tx, database_id: uuid.UUID, *, after: Key, limit: int) -> list[ProofRow]:
    """Return up to ``limit`` proofs of a database, newest first, starting after ``after``."""
    async with tx.cursor(row_factory=class_row(ProofRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM proofs WHERE database_id = %s AND (at, id) < (%s, %s)
            ORDER BY at DESC, id DESC LIMIT %s
            """,
            (database_id, *after, limit),
        )
        return await cursor.fetchall()


async def latest(tx: Tx, database_id: uuid.UUID) -> ProofRow | None:
    """Return the newest proof of a database, or None."""
    async with tx.cursor(row_factory=class_row(ProofRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} FROM proofs WHERE database_id = %s
            ORDER BY at DESC, id DESC LIMIT 1
            """,
            (database_id,),
        )
        return await cursor.fetchone()


async def standings(tx: Tx, clusters: list[uuid.UUID]) -> list[Standing]:
    """Return all active databases on these clusters that are not missing."""
    async with tx.cursor(row_factory=class_row(Standing)) as cursor:
        await cursor.execute(
            """
            SELECT d.id AS database_id, max(p.at) AS last_at
            FROM databases d LEFT JOIN proofs p ON p.database_id = d.id
            WHERE d.status = 'active' AND d.missing_since IS NULL
              AND d.cluster_id = ANY (%s)
            GROUP BY d.id
            """,
            (clusters,),
        )
        return await cursor.fetchall()


async def summary(tx: Tx) -> Summary:
    """Return the summary over all active databases."""
    async with tx.cursor(row_factory=class_row(Summary)) as cursor:
        await cursor.execute(
            """
            SELECT count(*) FILTER (WHERE NOT passed) AS failing,
                (SELECT max(at) FROM proofs WHERE passed) AS last_passed_at
            FROM (SELECT DISTINCT ON (p.database_id) p.passed
                  FROM proofs p JOIN databases d ON d.id = p.database_id
                  WHERE d.status = 'active' ORDER BY p.database_id, p.at DESC, p.id DESC) last
            """
        )
        found = await cursor.fetchone()
    return found or Summary(0, None)


async def forget_old(tx: Tx, *, days: int = 400) -> None:
    """Delete proofs older than ``days``, except the newest of each database."""
    await tx.execute(
        """
        DELETE FROM proofs p WHERE at < now() - make_interval(days => %s)
          AND EXISTS (SELECT FROM proofs q WHERE q.database_id = p.database_id AND q.at > p.at)
        """,
        (days,),
    )
