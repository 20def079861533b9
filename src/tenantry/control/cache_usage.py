"""What the AI cache did, by site, model and time: numbers by their names.

Rows of a minute are kept for a day, those of an hour for 90 days, totals as long as their site. All
three are written at once, by the process that counts; nothing is computed from one for another.
"""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.control.store import Tx

Resolution = Literal["minute", "hour"]
Cell = tuple[uuid.UUID, dt.datetime, str]  # a site, the start of a minute, a model
Counted = Mapping[Cell, Mapping[str, int]]

KEPT: dict[Resolution, dt.timedelta] = {
    "minute": dt.timedelta(days=1),
    "hour": dt.timedelta(days=90),
}
_TABLES: dict[Resolution, sql.Identifier] = {
    "minute": sql.Identifier("cache_minutes"),
    "hour": sql.Identifier("cache_hours"),
}
_LONGEST_STEP = dt.timedelta(hours=1)  # rows are kept until all of their time is too old

# The sum of two objects of numbers, name by name.
_SUM = sql.SQL(
    """(
    SELECT jsonb_object_agg(name, number) FROM (
        SELECT name, sum(text::bigint) AS number FROM (
            SELECT * FROM jsonb_each_text(kept.counts)
            UNION ALL SELECT * FROM jsonb_each_text(excluded.counts)
        ) both_ (name, text) GROUP BY name
    ) summed)"""
)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """How much of one name a step has, for one model and one day in UTC."""

    step: dt.datetime
    day: dt.date
    model: str
    name: str
    number: int


async def add(tx: Tx, counted: Counted) -> None:
    """Add what was counted since the last call. What is of sites that are gone is left out."""
    hours: dict[Cell, Counter[str]] = {}
    totals: dict[uuid.UUID, Counter[str]] = {}
    for (site, minute, model), counts in counted.items():
        hour = minute.replace(minute=0, second=0, microsecond=0)
        hours.setdefault((site, hour, model), Counter()).update(counts)
        totals.setdefault(site, Counter()).update(counts)
    # In one order, whoever writes: two transactions never wait for each other.
    for resolution, cells in (("minute", counted), ("hour", hours)):
        keys = sorted(cells)
        await tx.execute(
            sql.SQL(
                """
                INSERT INTO {table} AS kept (site_id, at, model, counts)
                SELECT new.* FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::jsonb[])
                    AS new (site_id, at, model, counts)
                WHERE EXISTS (SELECT FROM sites s WHERE s.id = new.site_id)
                ON CONFLICT (site_id, at, model) DO UPDATE SET counts = {total}
                """
            ).format(table=_TABLES[resolution], total=_SUM),  # type: ignore[index]
            (
                [site for site, _, _ in keys],
                [at for _, at, _ in keys],
                [model for _, _, model in keys],
                [Jsonb(dict(cells[each])) for each in keys],
            ),
        )
    sites = sorted(totals)
    await tx.execute(
        sql.SQL(
            """
            INSERT INTO cache_totals AS kept (site_id, counts)
            SELECT new.* FROM unnest(%s::uuid[], %s::jsonb[]) AS new (site_id, counts)
            WHERE EXISTS (SELECT FROM sites s WHERE s.id = new.site_id)
            ON CONFLICT (site_id) DO UPDATE SET counts = {total}
            """
        ).format(total=_SUM),
        (sites, [Jsonb(dict(totals[each])) for each in sites]),
    )


async def drop_old(tx: Tx, now: dt.datetime) -> None:
    """Delete what is kept no longer."""
    for resolution, table in _TABLES.items():
        await tx.execute(
            sql.SQL("DELETE FROM {} WHERE at < %s").format(table),
            (now - KEPT[resolution] - _LONGEST_STEP,),
        )


async def in_steps(
    tx: Tx,
    site_id: uuid.UUID,
    resolution: Resolution,
    *,
    start: dt.datetime,
    end: dt.datetime,
    step: dt.timedelta,
    model: str | None = None,
) -> list[UsageRow]:
    """Return what was counted, in steps from 1970 on; ``model`` None is all of them."""
    query = sql.SQL(
        """
        SELECT date_bin(%(step)s, at, timestamptz 'epoch') AS step,
            (at AT TIME ZONE 'UTC')::date AS day, model, name, sum(text::bigint)::bigint AS number
        FROM {}, jsonb_each_text(counts) AS each (name, text)
        WHERE site_id = %(site)s AND at >= %(start)s AND at < %(end)s
            AND (%(model)s::text IS NULL OR model = %(model)s)
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        """
    ).format(_TABLES[resolution])
    async with tx.cursor(row_factory=class_row(UsageRow)) as cursor:
        await cursor.execute(
            query, {"site": site_id, "start": start, "end": end, "step": step, "model": model}
        )
        return await cursor.fetchall()


async def totals(tx: Tx) -> dict[uuid.UUID, Mapping[str, int]]:
    """Return what was counted of each site since it was created."""
    cursor = await tx.execute("SELECT site_id, counts FROM cache_totals")
    return {site_id: counts async for site_id, counts in cursor}
