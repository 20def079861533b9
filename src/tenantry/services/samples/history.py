"""Keeps the history: creates and drops partitions, and computes coarser rows from finer ones."""

import datetime as dt

from tenantry.control import audit
from tenantry.control import sample_history as rows
from tenantry.control.sample_history import Coarser, Resolution
from tenantry.control.store import ControlStore
from tenantry.services.samples import resolutions
from tenantry.services.samples.resolutions import HOUR, MINUTE, RAW, Kept

# How much is computed in one transaction.
_SLICES: dict[Coarser, dt.timedelta] = {
    "minute": dt.timedelta(hours=1),
    "hour": dt.timedelta(days=1),
}


class History:
    """The history of samples. One for the worker's process, which alone writes it."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store
        self._prepared: dt.datetime | None = None

    async def prepare(self, now: dt.datetime) -> None:
        """Create the partitions for ``now`` and some time ahead."""
        this = resolutions.floor(now, dt.timedelta(minutes=1))
        if this == self._prepared:
            return
        async with self._store.transaction(audit.PLATFORM) as tx:
            for each in resolutions.missing(await rows.partitions(tx), now):
                await rows.create_partition(
                    tx, each.kept.name, str(each), start=each.start, end=each.end
                )
        self._prepared = this

    async def roll_up(self, written: dt.datetime) -> None:
        """Compute coarser rows, and drop partitions of what is not kept.

        No row before ``written`` is added any more.
        """
        until = await self._roll_up("minute", RAW, MINUTE, written)
        await self._roll_up("hour", MINUTE, HOUR, min(until, written))
        async with self._store.transaction(audit.PLATFORM) as tx:
            computed = await rows.rolled_up(tx)
            done: dict[Resolution, dt.datetime] = {
                finer: computed[coarser]
                for finer, coarser in _COARSER.items()
                if coarser in computed
            }
            names = await rows.partitions(tx)
            expired = list(resolutions.expired(names, written, rolled_up=done))
        for each in expired:
            async with self._store.transaction(audit.PLATFORM) as tx:
                await rows.drop_partition(tx, str(each))

    async def _roll_up(
        self, resolution: Coarser, finer: Kept, kept: Kept, written: dt.datetime
    ) -> dt.datetime:
        """Compute the rows of a resolution as far as finer ones are written; return how far."""
        end = resolutions.floor(written, kept.row)
        async with self._store.transaction(audit.PLATFORM) as tx:
            until = (await rows.rolled_up(tx)).get(resolution)
            names = await rows.partitions(tx)
        since = until or finer.start_of_partition(written - finer.keep)
        # If the clock was set back, ``since`` is later, and only ``until`` follows it.
        for start, upto in resolutions.uncomputed(
            names, finer, since=since, end=end, most=_SLICES[resolution]
        ):
            async with self._store.transaction(audit.PLATFORM) as tx:
                await rows.roll_up(tx, resolution, start=start, end=upto, length=kept.row)
        return end


_COARSER: dict[Resolution, Coarser] = {"raw": "minute", "minute": "hour"}
