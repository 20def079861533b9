"""Alerts: conditions that need attention, from the first sight of one until it has gone."""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Sequence
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
    gone. ``database_id`` and ``customer_id`` are None for the platform's. What the customer has
    muted, acknowledged and resolved is in the columns ``customer_…``, and so for it alone.
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
    customer_muted_until: dt.datetime | None
    customer_acknowledged_at: dt.datetime | None
    customer_acknowledged_by: str | None
    customer_resolved_at: dt.datetime | None
    customer_resolved_by: str | None

    @property
    def key(self) -> tuple[str, str]:
        return self.rule, self.subject


_COLUMNS = ", ".join(AlertRow.__annotations__)
_STATE_OF_CUSTOMER = "CASE WHEN customer_resolved_at IS NULL THEN state ELSE 'resolved' END"


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of alerts; None means any. Without ``of_platform`` the platform's are left out."""

    state: State | None = None
    rule: str | None = None
    severity: Severity | None = None
    database_id: uuid.UUID | None = None
    of_platform: bool = True


async def page(
    tx: Tx, wanted: Filter, *, of_customer: bool, after: Key, limit: int
) -> list[AlertRow]:
    """Return up to ``limit`` alerts that have fired, or are pending, the newest first.

    With ``of_customer`` those that the customer has resolved are in the state ``resolved``.
    """
    conditions = ["(since, id) < (%(at)s, %(id)s)"]
    conditions += [
        f"{name} = %({name})s"
        for name in ("rule", "severity", "database_id")
        if getattr(wanted, name) is not None
    ]
    if wanted.state is not None:
        conditions.append(f"{_STATE_OF_CUSTOMER if of_customer else 'state'} = %(state)s")
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
    if not occurrences:  # as nearly always: without an index, it would read all alerts
        return set()
    cursor = await tx.execute(
        "SELECT occurrence FROM alerts WHERE occurrence = ANY (%s)", (list(occurrences),)
    )
    return {row[0] for row in await cursor.fetchall()}


Mutes = tuple[dt.datetime | None, dt.datetime | None]


async def mutes(tx: Tx, rows: Sequence[AlertRow]) -> dict[tuple[str, str], Mutes]:
    """Return until when the rules and subjects of these alerts are muted, by both.

    That is until when the platform, and the customer of the alert, have muted earlier ones. One
    that nobody has muted is left out.
    """
    cursor = await tx.execute(
        """
        SELECT rule, subject, max(muted_until) FILTER (WHERE muted_until > clock_timestamp()),
            max(customer_muted_until) FILTER (WHERE customer_muted_until > clock_timestamp()
                AND a.customer_id = n.customer_id)
        FROM unnest(%s::text[], %s::text[], %s::uuid[]) n (rule, subject, customer_id)
            JOIN alerts a USING (rule, subject)
        WHERE muted_until > clock_timestamp() OR customer_muted_until > clock_timestamp()
        GROUP BY rule, subject
        """,
        (
            [row.rule for row in rows],
            [row.subject for row in rows],
            [row.customer_id for row in rows],
        ),
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in await cursor.fetchall()}


async def fired_since(tx: Tx, moment: dt.datetime) -> dict[tuple[str, str], int]:
    """Return how many alerts of each rule and subject have fired since then."""
    cursor = await tx.execute(
        "SELECT rule, subject, count(*) FROM alerts WHERE fired_at > %s GROUP BY 1, 2", (moment,)
    )
    return {(rule, subject): count for rule, subject, count in await cursor.fetchall()}


async def keep(tx: Tx, rows: Iterable[AlertRow]) -> None:
    """Insert alerts, or replace them."""
    names = list(AlertRow.__annotations__)
    values = ", ".join(f"%({name})s" for name in names)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    async with tx.cursor() as cursor:
        await cursor.executemany(
            f"INSERT INTO alerts ({_COLUMNS}) VALUES ({values})"
            f" ON CONFLICT (id) DO UPDATE SET {changes}",
            [{name: getattr(row, name) for name in names} for row in rows],
        )


async def drop(tx: Tx, ids: Collection[uuid.UUID]) -> None:
    """Delete pending alerts, whose conditions did not last."""
    await tx.execute("DELETE FROM alerts WHERE id = ANY (%s) AND state = 'pending'", ([*ids],))


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
