"""The entries of allowlists, of databases and of sites alike, in a transaction of the caller's."""

import uuid
from collections.abc import Sequence
from dataclasses import replace as changed

from tenantry.control import whitelist
from tenantry.control.store import Tx
from tenantry.control.whitelist import DATABASES, EntryRow, Lists, NewEntry
from tenantry.services.network import plan
from tenantry.services.network.model import Added, ListChanged, Preview, require_bounded
from tenantry.services.network.plan import Ending

_SAID: frozenset[str] = frozenset()  # in a whole list no field of an entry is left out


async def add(tx: Tx, of: uuid.UUID, entry: NewEntry, lists: Lists = DATABASES) -> Added:
    """Insert or update an entry. Raises InvalidInput if the list has too many then."""
    closes = not await whitelist.entries(tx, of, lists)
    entry_id = await whitelist.put(tx, of, entry, lists)
    found = await _bounded(tx, of, lists)
    return Added(next(each for each in found if each.id == entry_id), closes)


async def replace(
    tx: Tx,
    of: uuid.UUID,
    entries: Sequence[NewEntry],
    *,
    version: str | None,
    lists: Lists = DATABASES,
) -> list[EntryRow]:
    """Replace all entries.

    Raises InvalidInput for too many, and ListChanged if the list is not of this ``version`` of a
    preview, unless it is what is wanted already.
    """
    there = await whitelist.entries(tx, of, lists)
    if version not in {None, plan.version(there)} and plan.changes(there, entries):
        raise ListChanged
    kept = [await whitelist.put(tx, of, changed(each, unsaid=_SAID), lists) for each in entries]
    await whitelist.remove_others(tx, of, kept, lists)
    return await _bounded(tx, of, lists)


def preview(
    there: Sequence[EntryRow], entries: Sequence[NewEntry], endings: list[Ending]
) -> Preview:
    """Return what replacing a list would do."""
    return Preview(
        changes=plan.changes(there, entries),
        closes=bool(entries) and not there,
        opens=bool(there) and not entries,
        endings=endings,
        version=plan.version(there),
    )


async def _bounded(tx: Tx, of: uuid.UUID, lists: Lists) -> list[EntryRow]:
    found = await whitelist.entries(tx, of, lists)
    require_bounded(found)
    return found
