"""Measures of all databases together."""

from typing import get_args

from tenantry.control import audit, database_counts, pauses, reconciliations, usage
from tenantry.control.databases import QuotaState
from tenantry.control.pauses import PauseReason
from tenantry.control.store import ControlStore
from tenantry.services.observations.model import Measure, gauge

_DATABASES = gauge("tenantry_databases", "Databases by status", "status")
_QUOTAS = gauge(
    "tenantry_databases_by_quota",
    "Measured databases by what follows from their use of the disk",
    "state",
)
_PAUSED = gauge(
    "tenantry_databases_paused",
    "Databases that nobody connects to for a while, by what they wrote too much of",
    "reason",
)
_FAILING = gauge(
    "tenantry_databases_failing",
    "Databases that are not as they should be although reconciliation tried",
)
_STATUSES = ("creating", "warm", "active", "deleting", "missing")


async def measures(store: ControlStore) -> list[Measure]:
    """Return the number of databases by status and by restriction. Raises Unavailable."""
    async with store.transaction(audit.PLATFORM) as tx:
        statuses = await database_counts.count_by_status(tx)
        quotas = await usage.count_by_state(tx)
        paused = await pauses.count_paused(tx)
        failing = await reconciliations.failing(tx)
    return [
        *(_DATABASES(statuses.get(each, 0), each) for each in _STATUSES),
        *(_QUOTAS(quotas.get(each, 0), each) for each in get_args(QuotaState)),
        *(_PAUSED(paused.get(each, 0), each) for each in get_args(PauseReason)),
        _FAILING(len(failing)),
    ]
