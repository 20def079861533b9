"""When the next drill is due, of which database, and which tables are compared. Pure."""

import datetime as dt
import random
import uuid
from collections.abc import Iterable, Mapping, Sequence

from tenantry.control.proofs import Standing
from tenantry.pg.fingerprints import Fingerprint, Table
from tenantry.services.repository.plan import last_slot

# A server that was off at that hour waits for the next night: by day tenants need the disk.
_LATEST = dt.timedelta(hours=3)


def due(time: dt.time | None, now: dt.datetime, last_started: dt.datetime | None) -> bool:
    """Whether the drill of this night is due. ``time`` is in UTC, None for never."""
    if time is None:
        return False
    begins = last_slot(time, now)
    return now - begins < _LATEST and (last_started is None or last_started < begins)


def next_database(standings: Iterable[Standing], choose: random.Random) -> uuid.UUID | None:
    """Return a database that was never drilled, else the one drilled longest ago.

    Choose at random among equals; None if there are no databases.
    """
    by_age: dict[dt.datetime | None, list[uuid.UUID]] = {}
    for each in standings:
        by_age.setdefault(each.last_at, []).append(each.database_id)
    if not by_age:
        return None
    longest = None if None in by_age else min(at for at in by_age if at is not None)
    return choose.choice(sorted(by_age[longest]))


def affordable(tables: Sequence[Table], budget: int) -> list[Table]:
    """Return the smallest tables of a live database that together take at most ``budget`` bytes."""
    chosen, total = [], 0
    for table in sorted(tables, key=lambda each: each.size):
        total += table.size
        if total > budget:
            break
        chosen.append(table)
    return chosen


def unchanged(
    before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]
) -> dict[str, Fingerprint]:
    """Return the fingerprints that are equal before and after a time, and so at that time."""
    return {name: value for name, value in before.items() if after.get(name) == value}
