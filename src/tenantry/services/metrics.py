"""The metrics of the platform and of its databases, in Prometheus's format.

A value that cannot be measured now is absent, never 0: each capability is asked each time, and
nothing is cached. One that fails or times out does not affect the others.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import psycopg
import structlog

from tenantry.base.errors import TenantryError
from tenantry.control.audit import Actor
from tenantry.services import health, login_floods, passwords, transaction_ids, versions
from tenantry.services.alerts import measures as alerts
from tenantry.services.backups import measures as backups
from tenantry.services.cache_usage import measures as cache_usage
from tenantry.services.certificates import measures as certificates
from tenantry.services.data_api import process as data_api
from tenantry.services.databases import measures as databases
from tenantry.services.drills import measures as drills
from tenantry.services.health import Health
from tenantry.services.observations import counts, requests
from tenantry.services.observations.exposition import render
from tenantry.services.observations.model import Measure
from tenantry.services.operations import measures as operations
from tenantry.services.ownership import measures as ownership
from tenantry.services.platform import Platform
from tenantry.services.pooling import measures as pooling
from tenantry.services.repository import measures as repository
from tenantry.services.samples import measures as samples
from tenantry.services.site_backups import measures as site_backups

log = structlog.get_logger()

_DEADLINE_SECONDS = 5.0

_Source = Callable[[], Awaitable[list[Measure]]]


def _sources(platform: Platform) -> dict[str, _Source]:
    """Return the capabilities with measures. Each raises TenantryError where it cannot measure."""
    return {
        "alerts": partial(alerts.measures, platform.alerts),
        "cache": partial(cache_usage.measures, platform.store, platform.sites),
        "certificate": partial(certificates.measures, platform.certificates),
        "databases": partial(databases.measures, platform.store),
        "each database": partial(samples.measures, platform.store, platform.samples),
        "drills": partial(drills.measures, platform.drills),
        "logical backups": partial(backups.measures, platform.backups, platform.backup_schedules),
        "logins": partial(login_floods.measures, platform.home),
        "operations": partial(operations.measures, platform.operations),
        "ownership": partial(ownership.measures, platform.ownership),
        "passwords": partial(passwords.measures, platform.passwords),
        "physical backups": partial(repository.measures, platform.cluster_backups),
        "pooler": partial(pooling.measures, platform.pooler),
        "site backups": partial(site_backups.measures, platform.site_backups),
        "transaction IDs": partial(transaction_ids.measures, platform.transaction_ids),
        "versions": partial(versions.measures, platform.versions),
    }


async def exposition(platform: Platform, checked: Awaitable[Health]) -> bytes:
    """Return all current metrics. All capabilities and health checks run concurrently."""
    asked = (_asked(name, source) for name, source in _sources(platform).items())
    found, measured, of_data_api = await asyncio.gather(
        checked, asyncio.gather(*asked), data_api.measures(platform.settings)
    )
    return await asyncio.to_thread(
        render,
        [
            *health.measures(found),
            *(each for some in measured for each in some),
            *counts.totals(platform.home.counts),
            *of_data_api,
        ],
        requests.REGISTRY,
    )


async def of_database(platform: Platform, actor: Actor, database_id: uuid.UUID) -> bytes:
    """Return the current metrics of one active database. Raises NotFound, Unavailable."""
    return render(await samples.of_database(platform.store, platform.samples, actor, database_id))


async def _asked(name: str, source: _Source) -> list[Measure]:
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            return await source()
    except (TenantryError, psycopg.Error, OSError):  # TimeoutError is an OSError
        return []  # the health gauges of the parts report it
    except Exception:
        log.exception("measures.failed", of=name)
        return []
