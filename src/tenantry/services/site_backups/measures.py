"""Measures of the backups of sites."""

import datetime as dt
import math

from tenantry.services.observations.model import Measure, gauge
from tenantry.services.site_backups.service import SiteBackups

_AGE = gauge(
    "tenantry_site_backup_age_seconds",
    "Age of the last backup of a site that keeps its data; +Inf without any",
    "site",
)
_BACKUPS = gauge("tenantry_site_backups", "Backups of sites by status", "status")
_BYTES = gauge("tenantry_site_backup_bytes", "What all backups of sites take in each repository")
_FAILING = gauge("tenantry_site_backups_failing", "Sites whose last backup failed")


async def measures(backups: SiteBackups) -> list[Measure]:
    """Return the number, size and age of backups. Raises Unavailable."""
    counted = await backups.count()
    now = dt.datetime.now(dt.UTC)
    sites = await backups.standings() if backups.enabled else []
    return [
        *(_BACKUPS(counted.get(status, (0, 0))[0], status) for status in ("making", "ready")),
        _BYTES(sum(size for _, size in counted.values())),
        _FAILING(sum(each.failed_at is not None for each in sites)),
        *(
            _AGE(
                math.inf if each.last_at is None else (now - each.last_at).total_seconds(),
                str(each.site_id),
            )
            for each in sites
        ),
    ]
