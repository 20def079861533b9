"""When a site is backed up, which backups have expired, and what needs attention. Pure."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence

from tenantry.base.errors import Conflict
from tenantry.base.sizes import readable
from tenantry.control.site_backups import SiteBackupRow, Standing
from tenantry.control.sites import SiteRow
from tenantry.services.repository.plan import Schedule, last_slot

_AGAIN = dt.timedelta(minutes=15)  # after a failure
_OLD = dt.timedelta(days=2)
_MIB = 1024 * 1024
_MOST_NAMED = 3


def is_due(schedule: Schedule, site: Standing, now: dt.datetime) -> bool:
    """Whether a time of the schedule has passed since a site's last backup, or its creation."""
    if site.busy or (site.failed_at is not None and now - site.failed_at < _AGAIN):
        return False
    return site.since < last_slot(schedule.time, now)


def expired(
    backups: Collection[SiteBackupRow], window: dt.timedelta, now: dt.datetime
) -> list[uuid.UUID]:
    """Return which backups have expired, oldest first.

    A scheduled one does after the window, unless it is the newest of its site; one on demand
    never. All of a deleted site do when the window has passed since then.
    """
    newest: dict[uuid.UUID, SiteBackupRow] = {}
    ready = [each for each in backups if each.status == "ready"]
    for each in sorted(ready, key=lambda each: each.created_at):
        newest[each.site_id] = each
    return [
        each.id
        for each in sorted(ready, key=lambda each: each.created_at)
        if (
            now - each.site_deleted_at > window
            if each.site_deleted_at is not None
            else each.origin == "scheduled"
            and now - each.created_at > window
            and newest[each.site_id] is not each
        )
    ]


def require_keeping(site: SiteRow) -> None:
    """Raise Conflict if a site has no data that survive a restart."""
    if site.persistence == "aof":
        return
    if site.isolation == "shared":
        hint = "Sites of the shared Redis keep nothing. Create one with isolation dedicated."
    else:
        hint = "Choose persistence aof first: tenantry cache update SITE --persistence aof"
    raise Conflict(f"The site {site.name} keeps nothing on disk, and so has no backups.", hint=hint)


def require_fitting(site: SiteRow, backup: SiteBackupRow) -> None:
    """Raise Conflict if a site has less memory than what is to be restored takes.

    It is compared with a margin: what counts beside keys differs from time to time.
    """
    held = backup.memory_bytes or 0
    if held > site.memory_mb * _MIB * 1.1 + 2 * _MIB:
        raise Conflict(
            f"The backup has {readable(held)} in memory, and the site {site.memory_mb:,} MiB.",
            hint=f"Give it more first: tenantry cache update SITE --memory {_needed(held)}MB",
        )


def _needed(held: int) -> int:
    return -(-held // _MIB)


def troubles(sites: Sequence[Standing], places: Collection[str], now: dt.datetime) -> str | None:
    """Return what needs attention about the backups of sites; None if nothing does.

    ``places`` are the repositories.
    """
    failed = [each for each in sites if each.failed_at is not None]
    old = [each for each in sites if each.failed_at is None and now - each.since > _OLD]
    said = []
    if failed:
        said.append(
            f"The last backup of sites failed: {_named(failed)}."
            " GET /api/operations?kind=site.backup&status=failed says why."
        )
    if old:
        said.append(f"Sites have no backup of the last two days: {_named(old)}.")
    if partial := [each for each in sites if each.places and set(places) - set(each.places)]:
        said.append(f"The last backup of sites is not in every repository: {_named(partial)}.")
    return " ".join(said) or None


def _named(sites: Sequence[Standing]) -> str:
    shown = ", ".join(each.name for each in sites[:_MOST_NAMED])
    more = len(sites) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
