"""Channels of alerts, and the messages that wait for them."""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.base.errors import NameTaken
from tenantry.control.store import Tx

ChannelKind = Literal["email", "webhook", "slack", "discord"]


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel of the platform, or of a customer.

    ``target`` is the sealed address or URL, ``shown_target`` what may be shown of it, and
    ``signing_key`` the sealed key that a webhook's messages are signed with. ``failures`` is how
    often sending has failed since it last succeeded; it is tried again at ``retry_at``.
    """

    id: uuid.UUID
    customer_id: uuid.UUID | None
    name: str
    kind: ChannelKind
    shown_target: str
    target: bytes
    signing_key: bytes | None
    events: list[str]
    failures: int
    retry_at: dt.datetime | None
    last_error: str | None
    last_sent_at: dt.datetime | None
    created_at: dt.datetime


_COLUMNS = ", ".join(ChannelRow.__annotations__)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message about an ``event`` at a time; ``id`` is the same whenever it is sent again."""

    id: uuid.UUID
    channel_id: uuid.UUID
    event: str
    at: dt.datetime
    data: dict[str, Any]


async def insert(tx: Tx, row: ChannelRow) -> None:
    """Create a channel. Raises NameTaken."""
    names = list(ChannelRow.__annotations__)
    try:
        await tx.execute(
            f"INSERT INTO alert_channels ({_COLUMNS})"
            f" VALUES ({', '.join(f'%({name})s' for name in names)})",
            {name: getattr(row, name) for name in names},
        )
    except psycopg.errors.UniqueViolation:
        raise NameTaken(
            f"There is already a channel named {row.name}.", hint="Choose another name."
        ) from None


async def every(tx: Tx, *, of_platform: bool = False) -> list[ChannelRow]:
    """Return all channels that the transaction's actor may see, the oldest first.

    With ``of_platform`` customers' channels are left out.
    """
    async with tx.cursor(row_factory=class_row(ChannelRow)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM alert_channels WHERE NOT %s OR customer_id IS NULL"
            " ORDER BY created_at, id",
            (of_platform,),
        )
        return await cursor.fetchall()


async def find(tx: Tx, channel_id: uuid.UUID) -> ChannelRow | None:
    """Return a channel; None if there is none."""
    async with tx.cursor(row_factory=class_row(ChannelRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM alert_channels WHERE id = %s", (channel_id,))
        return await cursor.fetchone()


async def delete(tx: Tx, channel_id: uuid.UUID) -> None:
    """Delete a channel, with the messages that wait for it."""
    await tx.execute("DELETE FROM alert_channels WHERE id = %s", (channel_id,))


# ── messages ─────────────────────────────────────────────────────────────────


async def add_message(tx: Tx, message: MessageRow, *, sent: bool) -> None:
    """Add a message to be sent, unless it is there; ``sent`` if another process has sent it.

    Nothing is added for a channel that was deleted meanwhile.
    """
    await tx.execute(
        "INSERT INTO alert_messages (id, channel_id, event, at, data, sent_at)"
        " SELECT %s, id, %s, %s, %s, CASE WHEN %s THEN clock_timestamp() END"
        " FROM alert_channels WHERE id = %s FOR KEY SHARE"
        " ON CONFLICT (id) DO NOTHING",
        (message.id, message.event, message.at, Jsonb(message.data), sent, message.channel_id),
    )


async def unsent(tx: Tx, channel_id: uuid.UUID, *, limit: int) -> list[MessageRow]:
    """Return the oldest messages that wait for a channel."""
    async with tx.cursor(row_factory=class_row(MessageRow)) as cursor:
        await cursor.execute(
            "SELECT id, channel_id, event, at, data FROM alert_messages"
            " WHERE channel_id = %s AND sent_at IS NULL ORDER BY number LIMIT %s",
            (channel_id, limit),
        )
        return await cursor.fetchall()


async def waiting(tx: Tx) -> dict[uuid.UUID | None, list[uuid.UUID]]:
    """Return the channels that messages wait for, and that are to be tried now.

    They are by customer (None: the platform's), and the one that was served last comes last.
    """
    cursor = await tx.execute(
        "SELECT c.customer_id, c.id FROM alert_channels c"
        " WHERE (retry_at IS NULL OR retry_at <= clock_timestamp())"
        " AND EXISTS (SELECT FROM alert_messages m WHERE m.channel_id = c.id AND sent_at IS NULL)"
        " ORDER BY last_sent_at NULLS FIRST"
    )
    found: dict[uuid.UUID | None, list[uuid.UUID]] = {}
    for customer_id, channel_id in await cursor.fetchall():
        found.setdefault(customer_id, []).append(channel_id)
    return found


async def count_unsent(tx: Tx) -> int:
    """Return how many messages wait to be sent."""
    cursor = await tx.execute("SELECT count(*) FROM alert_messages WHERE sent_at IS NULL")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def mark_sent(tx: Tx, message: MessageRow) -> None:
    """Record that a message was sent, and that its channel works."""
    await tx.execute(
        "UPDATE alert_messages SET sent_at = clock_timestamp() WHERE id = %s", (message.id,)
    )
    await tx.execute(
        "UPDATE alert_channels SET failures = 0, retry_at = NULL, last_error = NULL,"
        " last_sent_at = clock_timestamp() WHERE id = %s",
        (message.channel_id,),
    )


async def mark_failed(tx: Tx, channel_id: uuid.UUID, error: str, *, seconds: float) -> None:
    """Record that sending failed; the channel is tried again in so many seconds."""
    await tx.execute(
        "UPDATE alert_channels SET failures = failures + 1, last_error = %s,"
        " retry_at = clock_timestamp() + make_interval(secs => %s) WHERE id = %s",
        (error, seconds, channel_id),
    )


async def forget_old(tx: Tx) -> None:
    """Delete messages that are older than seven days, sent or not."""
    await tx.execute("DELETE FROM alert_messages WHERE created_at < now() - interval '7 days'")


# ── thresholds ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a database's conditions need attention; None means the platform's.

    Percents of its disk quota and of its connections; minutes of its longest transaction; deadlocks
    in five minutes; percents of its transactions in five minutes that were rolled back; the time of
    its statements in percents of that of a week before.
    """

    disk_percent: int | None = None
    connections_percent: int | None = None
    transaction_minutes: int | None = None
    deadlocks: int | None = None
    rollback_percent: int | None = None
    slower_percent: int | None = None


_THRESHOLDS = list(Thresholds.__annotations__)


async def thresholds(tx: Tx, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Thresholds]:
    """Return the databases' own thresholds, of those that have any."""
    cursor = await tx.execute(
        f"SELECT database_id, {', '.join(_THRESHOLDS)} FROM alert_thresholds"
        " WHERE database_id = ANY (%s)",
        (list(ids),),
    )
    return {row[0]: Thresholds(*row[1:]) for row in await cursor.fetchall()}


async def every_threshold(tx: Tx) -> dict[uuid.UUID, Thresholds]:
    """Return the own thresholds of all databases that have any."""
    cursor = await tx.execute(f"SELECT database_id, {', '.join(_THRESHOLDS)} FROM alert_thresholds")
    return {row[0]: Thresholds(*row[1:]) for row in await cursor.fetchall()}


async def set_thresholds(tx: Tx, database_id: uuid.UUID, wanted: Thresholds) -> None:
    """Replace a database's own thresholds."""
    names = ", ".join(_THRESHOLDS)
    values = ", ".join(f"%({name})s" for name in _THRESHOLDS)
    changes = ", ".join(f"{name} = excluded.{name}" for name in _THRESHOLDS)
    await tx.execute(
        f"INSERT INTO alert_thresholds (database_id, {names}) VALUES (%(id)s, {values})"
        f" ON CONFLICT (database_id) DO UPDATE SET {changes}",
        {"id": database_id} | {name: getattr(wanted, name) for name in _THRESHOLDS},
    )
