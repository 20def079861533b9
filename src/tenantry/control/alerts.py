"""Alerts: conditions that need attention, from the first sight of one until it has gone."""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from psycopg.rows import class_row

from tenantry.control.pages import Key
from tenantry.control.store import Tx

State = Literal["pending", "firing", "resolved"]
Severity = Literal["warning", "critical"]


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert of a ``rule`` about a ``subject``, of which only one is open at a time.

    ``since`` is when its condition was first seen, ``absent_since`` when it was last seen to be
    gone, None while it is there. ``occurrence`` identifies an incident that may be over before it
    is noticed. One that was resolved by hand (``resolved_by``) is open until its condition has
    gone. ``database_id`` and ``customer_id`` are None for the platform's.
    """

    id: uuid.UUID
    rule: str
    subject: str
    severity: Severity
    detail: str
    database_id: uuid.UUID | None
    customer_id: uuid.UUID | None
    state: State
    open: bool
    since: dt.datetime
    absent_since: dt.datetime | None
    occurrence: uuid.UUID | None
    fired_at: dt.datetime | None
    resolved_at: dt.datetime | None
    resolved_by: str | None
    acknowledged_at: dt.datetime | None
    acknowledged_by: str | None
    muted_until: dt.datetime | None


_COLUMNS = ", ".join(AlertRow.__annotations__)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of alerts; None means any. Without ``of_platform`` the platform's are left out."""

    state: State | None = None
    rule: str | None = None
    severity: Severity | None = None
    database_id: uuid.UUID | None = None
    of_platform: bool = True


async def page(tx: Tx, wanted: Filter, *, after: Key, limit: int) -> list[AlertRow]:
    """Return up to ``limit`` alerts that have fired, or are pending, the newest first."""
    conditions = ["(since, id) < (%(at)s, %(id)s)"]
    conditions += [
        f"{name} = %({name})s"
        for name in ("state", "rule", "severity", "database_id")
        if getattr(wanted, name) is not None
    ]
    if not wanted.of_platform:
        conditions.append("database_id IS NOT NULL")
    async with tx.cursor(row_factory=class_row(AlertRow)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM alerts WHERE {' AND '.join(conditions)}"
            " ORDER BY since DESC, id DESC LIMIT %(limit)s",
            {
                "at": after[0],
                "id": after[1],
                "limit": limit,
                "state": wanted.state,
                "rule": wanted.rule,
                "severity": wanted.severity,
                "database_id": wanted.database_id,
            },
        )
        return await cursor.fetchall()


async def lock(tx: Tx, alert_id: uuid.UUID) -> AlertRow | None:
    """Return an alert, locked until the end of the transaction; None if there is none."""
    async with tx.cursor(row_factory=class_row(AlertRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM alerts WHERE id = %s FOR UPDATE", (alert_id,))
        return await cursor.fetchone()


async def lock_open(tx: Tx) -> list[AlertRow]:
    """Return all open alerts, locked until the end of the transaction."""
    async with tx.cursor(row_factory=class_row(AlertRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM alerts WHERE open ORDER BY id FOR UPDATE")
        return await cursor.fetchall()


async def known(tx: Tx, occurrences: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of these incidents of which there is an alert."""
    cursor = await tx.execute(
        "SELECT occurrence FROM alerts WHERE occurrence = ANY (%s)", (list(occurrences),)
    )
    return {row[0] for row in await cursor.fetchall()}


async def muted_until(tx: Tx, rule: str, subject: str) -> dt.datetime | None:
    """Return until when alerts of this rule about this subject are muted."""
    cursor = await tx.execute(
        "SELECT max(muted_until) FROM alerts WHERE rule = %s AND subject = %s"
        " AND muted_until > clock_timestamp()",
        (rule, subject),
    )
    row = await cursor.fetchone()
    found: dt.datetime | None = row[0] if row else None
    return found


async def keep(tx: Tx, row: AlertRow) -> None:
    """Insert an alert, or replace it."""
    names = list(AlertRow.__annotations__)
    values = ", ".join(f"%({name})s" for name in names)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    await tx.execute(
        f"INSERT INTO alerts ({_COLUMNS}) VALUES ({values})"
        f" ON CONFLICT (id) DO UPDATE SET {changes}",
        {name: getattr(row, name) for name in names},
    )


async def drop(tx: Tx, alert_id: uuid.UUID) -> None:
    """Delete a pending alert, whose condition did not last."""
    await tx.execute("DELETE FROM alerts WHERE id = %s AND state = 'pending'", (alert_id,))


async def count_firing(tx: Tx) -> dict[Severity, int]:
    """Return the number of firing alerts by severity."""
    cursor = await tx.execute(
        "SELECT severity, count(*) FROM alerts WHERE state = 'firing' GROUP BY 1"
    )
    return dict(await cursor.fetchall())


async def forget_old(tx: Tx) -> None:
    """Delete alerts that were resolved more than 90 days ago."""
    await tx.execute(
        "DELETE FROM alerts WHERE NOT open AND resolved_at < now() - interval '90 days'"
    )
