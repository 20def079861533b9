"""The verbs on samples."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tenantry.control import sample_history
from tenantry.control import samples as rows
from tenantry.control.audit import Actor
from tenantry.control.samples import Sample
from tenantry.control.store import ControlStore
from tenantry.services.databases.service import Databases
from tenantry.services.samples import latest, resolutions, series
from tenantry.services.samples.latest import Activity, Order
from tenantry.services.samples.resolutions import Span
from tenantry.services.samples.series import Series

SPARKLINE_POINTS = 24
_RECENT = dt.timedelta(minutes=10)  # even idle databases are sampled more often
Lately = Literal["hour", "day", "week"]
_LENGTHS: dict[Lately, dt.timedelta] = {
    "hour": dt.timedelta(hours=1),
    "day": dt.timedelta(days=1),
    "week": dt.timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """The series of a database; each has a value for each step of the span."""

    database_id: uuid.UUID
    span: Span
    series: list[Series]


class Samples:
    """What databases have done: their newest samples, and series of earlier ones."""

    def __init__(self, store: ControlStore, databases: Databases) -> None:
        self._store = store
        self._databases = databases

    async def latest(
        self, actor: Actor, database_id: uuid.UUID | None = None
    ) -> dict[uuid.UUID, Sample]:
        """Return the newest sample of a database, or of each that the actor may see, by its id.

        A sample is up to five minutes old where nothing has changed since; a database that was not
        sampled yet has none. Raises Unavailable.
        """
        async with self._store.transaction(actor) as tx:
            found = await rows.newest(tx, database_id, customer_id=actor.customer_id)
        return {each.database_id: each for each in found}

    async def activity(
        self,
        actor: Actor,
        databases: Sequence[uuid.UUID] | None,
        *,
        order: Order,
        limit: int,
    ) -> list[Activity]:
        """Return what these databases do at present; None: all that the actor may see.

        Those that were not sampled in the last ten minutes are left out. Raises Unavailable.
        """
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(actor) as tx:
            found = await rows.latest(
                tx, databases, since=now - _RECENT, customer_id=actor.customer_id
            )
        return latest.first(found, order, limit, now)

    async def series(
        self,
        actor: Actor,
        database_id: uuid.UUID,
        *,
        start: dt.datetime | None,
        end: dt.datetime | None,
        step: int | None,
    ) -> Drawn:
        """Return every series of a database of which something is known, by default of a day.

        Raises NotFound, InvalidInput (a span or step that cannot be drawn), Unavailable.
        """
        span = resolutions.span(dt.datetime.now(dt.UTC), start=start, end=end, step=step)
        async with self._store.transaction(actor) as tx:
            row = await self._databases.find(tx, actor, database_id)
            found = await sample_history.in_steps(
                tx, [row.id], span.resolution, start=span.start, end=span.end, step=span.step
            )
        return Drawn(row.id, span, series.series(found, span))

    async def sparklines(
        self, actor: Actor, databases: Sequence[uuid.UUID], lately: Lately
    ) -> list[Drawn]:
        """Return a few short series of each of these databases that the actor may see.

        Raises Unavailable.
        """
        step = _LENGTHS[lately] / SPARKLINE_POINTS
        end = resolutions.floor(dt.datetime.now(dt.UTC), step) + step
        start = end - _LENGTHS[lately]
        span = resolutions.span(end, start=start, end=end, step=int(step.total_seconds()))
        async with self._store.transaction(actor) as tx:
            seen = await rows.visible(tx, databases, customer_id=actor.customer_id)
            found = await sample_history.in_steps(
                tx, seen, span.resolution, start=span.start, end=span.end, step=span.step
            )
        of_database: dict[uuid.UUID, list[series.Row]] = {each: [] for each in seen}
        for period in found:
            of_database[period["database_id"]].append(period)
        return [
            Drawn(each, span, series.sparklines(periods, span))
            for each, periods in of_database.items()
        ]
