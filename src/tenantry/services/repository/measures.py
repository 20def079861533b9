"""The metrics of the backups of clusters."""

import datetime as dt
import math
from collections.abc import Iterator

from tenantry.services.observations.model import Measure, gauge
from tenantry.services.repository import plan
from tenantry.services.repository.flow import ClusterBackups
from tenantry.services.repository.model import Upkeep

_WAITING = gauge(
    "tenantry_archive_waiting_bytes", "The write-ahead log that is in no repository yet", "cluster"
)
_FAILING = gauge("tenantry_archive_failing", "Whether archiving last failed", "cluster")
_LEFT = gauge(
    "tenantry_archive_remaining_seconds",
    "Time until the disk is full of what waits to be archived, if it grows as it has; +Inf if not",
    "cluster",
)
_AGE = gauge(
    "tenantry_backup_age_seconds",
    "Age of the last physical backup that can be restored; +Inf without any, absent if unknown",
    "cluster",
)
_BEHIND = gauge(
    "tenantry_log_behind_segments",
    "Segments of the write-ahead log that the local repository has, and another one not yet",
    "cluster",
    "repository",
)
_ALERTS = gauge(
    "tenantry_backup_alerts",
    "What somebody has to see to about backups",
    "cluster",
    "level",
)
_LOOK_SECONDS = 4.0  # for a repository, each time the metrics are read


async def measures(backups: ClusterBackups) -> list[Measure]:
    """Return the archive, the backups and the alerts of each cluster. Raises Unavailable."""
    found = await backups.upkeep(deadline=_LOOK_SECONDS)
    now = dt.datetime.now(dt.UTC)
    return [measure for each in found for measure in _of(each, now)]


def _of(found: Upkeep, now: dt.datetime) -> Iterator[Measure]:
    name = found.cluster
    if found.archiver is not None:
        yield _FAILING(found.archiver.fails, name)
    if found.waiting is not None:
        left = plan.seconds_left(found.waiting)
        yield _WAITING(found.waiting.size_bytes, name)
        yield _LEFT(math.inf if left is None else left, name)
    for other in found.behind:
        yield _BEHIND(other.segments, name, other.place)
    if found.last_backup_at is not None:
        yield _AGE((now - found.last_backup_at).total_seconds(), name)
    elif found.known != "unknown":
        yield _AGE(math.inf, name)
    levels = [alert.level for alert in plan.alerts(found, now)]
    for level in ("warning", "danger"):
        yield _ALERTS(levels.count(level), name, level)
