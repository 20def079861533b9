"""The verbs on what the AI cache did: series, reports, and the operator's prices."""

import datetime as dt
import uuid

from tenantry.base.errors import Unavailable
from tenantry.control import audit, cache_prices, cache_usage
from tenantry.control.audit import Actor
from tenantry.control.cache_prices import PriceRow
from tenantry.control.cache_usage import Resolution
from tenantry.control.store import ControlStore, Tx
from tenantry.services.cache_usage import plan
from tenantry.services.cache_usage.model import Drawn, Price, PriceTable, Usage
from tenantry.services.sites.model import Inspection
from tenantry.services.sites.service import Sites

DAYS = 7
MOST_DAYS = cache_usage.KEPT["hour"].days
MOST_PRICES = 500
_ALL = dt.timedelta(days=100_000)  # one step for everything


class CacheUsage:
    """What sites have counted, and the prices that value it."""

    def __init__(self, store: ControlStore, sites: Sites) -> None:
        self._store = store
        self._sites = sites

    async def series(
        self,
        actor: Actor,
        site_id: uuid.UUID,
        *,
        start: dt.datetime | None = None,
        end: dt.datetime | None = None,
        step: int | None = None,
        model: str | None = None,
    ) -> Drawn:
        """Return every series of a site, by default of a day; ``model`` None is all of them.

        Raises NotFound, InvalidInput (a span or step that cannot be drawn), Unavailable.
        """
        within = plan.span_of(dt.datetime.now(dt.UTC), start=start, end=end, step=step)
        await self._sites.show(actor, site_id)
        async with self._store.transaction(actor) as tx:
            rows = await cache_usage.in_steps(
                tx,
                site_id,
                "hour" if within.resolution == "hour" else "minute",
                start=within.start,
                end=within.end,
                step=within.step,
                model=model,
            )
            table = await _table(tx)
        return Drawn(site_id, within, plan.series(rows, within, table))

    async def report(self, actor: Actor, site_id: uuid.UUID, *, days: int = DAYS) -> Usage:
        """Return what a site's cache did in the last days. Raises NotFound, Unavailable."""
        end = dt.datetime.now(dt.UTC)
        start = end - dt.timedelta(days=days)
        resolution: Resolution = "minute" if days == 1 else "hour"
        await self._sites.show(actor, site_id)
        async with self._store.transaction(actor) as tx:
            rows = await cache_usage.in_steps(
                tx, site_id, resolution, start=start, end=end, step=_ALL
            )
            table = await _table(tx)
        return plan.usage(site_id, rows, start=start, end=end, table=table)

    async def memory(self, actor: Actor, site_id: uuid.UUID) -> Inspection | None:
        """Return what takes a site's memory; None while its Redis does not answer.

        Raises NotFound.
        """
        try:
            return await self._sites.inspect(actor, site_id)
        except Unavailable:
            return None

    async def prices(self, actor: Actor) -> PriceTable:
        """Return the operator's prices, by model and day."""
        async with self._store.transaction(actor) as tx:
            return await _table(tx)

    async def replace_prices(self, tx: Tx, actor: Actor, table: PriceTable) -> PriceTable:
        """Replace all prices. What was counted earlier is valued by them, too."""
        currency = table.currency
        rows = [
            PriceRow(each.model, each.valid_from, currency, each.input, each.output)
            for each in table.prices
            if currency is not None
        ]
        await cache_prices.replace(tx, rows)
        await audit.record(
            tx,
            actor,
            "cache_prices.replace",
            resource_kind="platform",
            details={"currency": currency, "prices": len(rows)},
        )
        return await _table(tx)


async def _table(tx: Tx) -> PriceTable:
    rows = await cache_prices.every(tx)
    prices = [Price(row.model, row.valid_from, row.input, row.output) for row in rows]
    return PriceTable(rows[0].currency if rows else None, prices)
