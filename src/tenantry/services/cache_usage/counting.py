"""Counting in the process of the AI cache: in memory, written every few seconds.

A look-up waits for nothing here. A crash loses what was counted since the last write.
"""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import structlog

from tenantry.base.errors import TenantryError
from tenantry.control import audit, cache_usage
from tenantry.control.cache_usage import Cell, Counted
from tenantry.control.store import ControlStore
from tenantry.services.cache_usage import model as names

log = structlog.get_logger()

_WRITE_SECONDS = 5.0
_DROP_SECONDS = 3600.0
_MOST_MODELS = 20  # of a site in a day: a report has 1,800; further ones are counted as one
_MOST_CELLS = 10_000  # in memory, while the control database is away: about 20 MB

Clock = Callable[[], dt.datetime]


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Counts:
    """What was counted since it was last taken, of all sites."""

    def __init__(self, clock: Clock = _now) -> None:
        self._clock = clock
        self._cells: dict[Cell, Counter[str]] = {}
        self._models: dict[uuid.UUID, set[str]] = {}  # of this day
        self._day: dt.date | None = None

    def of(self, site_id: uuid.UUID) -> "Tally":
        return Tally(self, site_id)

    def add(self, site_id: uuid.UUID, model: str, counts: dict[str, int]) -> None:
        minute = self._clock().replace(second=0, microsecond=0)
        if minute.date() != self._day:
            self._day, self._models = minute.date(), {}
        known = self._models.setdefault(site_id, set())
        if model not in known and len(known) >= _MOST_MODELS:
            model = names.OTHER
        known.add(model)
        cell = self._cells.setdefault((site_id, minute, model), Counter())
        cell.update(counts)

    def take(self) -> Counted:
        """Return all, and begin again at nothing."""
        taken, self._cells = self._cells, {}
        return taken

    def put_back(self, counted: Counted) -> None:
        """Take back what could not be written. What would be too much is forgotten."""
        forgotten = 0
        for cell, counts in counted.items():
            if cell in self._cells or len(self._cells) < _MOST_CELLS:
                self._cells.setdefault(cell, Counter()).update(counts)
            else:
                forgotten += 1
        if forgotten:
            log.warning("cache_usage.forgotten", cells=forgotten)


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of one site. ``model`` is what a request named, whatever that is."""

    counts: Counts
    site_id: uuid.UUID

    def looked_up(self, model: object, seconds: float, **counts: int) -> None:
        """Count a look-up that took so long, by what came of it."""
        took = {names.duration_bin(names.LOOKUP, seconds): 1, names.LOOKUP_TIME: _us(seconds)}
        self._add(model, took | counts)

    def compared(self, model: object, cosine: float | None, vetoes: tuple[str, ...]) -> None:
        """Count how similar the nearest question was, and the guards that refused it."""
        counts = dict.fromkeys((f"{names.VETO}{each}" for each in vetoes), 1)
        if cosine is not None:
            counts[names.similarity_bin(cosine)] = 1
        if counts:
            self._add(model, counts)

    def asked_provider(self, model: object, seconds: float, **counts: int) -> None:
        """Count a request to a provider that took so long, by what came of it."""
        took = {names.duration_bin(names.PROVIDER, seconds): 1, names.PROVIDER_TIME: _us(seconds)}
        self._add(model, took | counts)

    def add(self, model: object, **counts: int) -> None:
        """Add to counts by their names."""
        self._add(model, counts)

    def _add(self, model: object, counts: dict[str, int]) -> None:
        self.counts.add(self.site_id, names.named(model), counts)


class Writing:
    """Writes counts to the control database, and deletes there what is kept no longer."""

    def __init__(self, store: ControlStore, counts: Counts, clock: Clock = _now) -> None:
        self._store = store
        self._counts = counts
        self._clock = clock

    async def keep(self) -> None:
        """Write every few seconds, until cancelled."""
        loop = asyncio.get_running_loop()
        dropped = float("-inf")
        while True:
            is_due = loop.time() >= dropped + _DROP_SECONDS
            if await self.write(drops=is_due) and is_due:
                dropped = loop.time()
            await asyncio.sleep(_WRITE_SECONDS)

    async def write(self, *, drops: bool = False) -> bool:
        """Write what was counted; what cannot be is written the next time. Return whether it was.

        With ``drops`` also delete what is too old.
        """
        counted = self._counts.take()
        if not counted and not drops:
            return True
        try:
            async with self._store.transaction(audit.PLATFORM) as tx:
                await cache_usage.add(tx, counted)
                if drops:
                    await cache_usage.drop_old(tx, self._clock())
        except (TenantryError, psycopg.Error) as error:
            self._counts.put_back(counted)
            log.warning("cache_usage.not_written", error=str(error))
            return False
        except asyncio.CancelledError:
            self._counts.put_back(counted)  # the last write, at the end, has it
            raise
        return True
