"""Measures of logical backups."""

from tenantry.services.backups.schedules import BackupSchedules
from tenantry.services.backups.service import Backups
from tenantry.services.observations.model import Measure, gauge

_BACKUPS = gauge("tenantry_logical_backups", "Logical backups by status", "status")
_BYTES = gauge("tenantry_logical_backup_bytes", "What all logical backups take on disk")
_FAILING = gauge(
    "tenantry_scheduled_backups_failing",
    "Databases whose last scheduled backup failed or was refused",
)


async def measures(backups: Backups, schedules: BackupSchedules) -> list[Measure]:
    """Return the number and size of backups, and of failing schedules. Raises Unavailable."""
    counted = await backups.count()
    return [
        *(
            _BACKUPS(counted.get(status, (0, 0))[0], status)
            for status in ("making", "ready", "damaged")
        ),
        _BYTES(sum(size for _, size in counted.values())),
        _FAILING(await schedules.count_failing()),
    ]
