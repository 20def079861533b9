"""The metrics of the platform and of its databases, in Prometheus's format.

A value that cannot be measured now is absent, never 0: each capability is asked each time, and
nothing is cached. One that fails or times out does not affect the others.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import groupby

import psycopg
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.registry import Collector

from tenantry.base.errors import TenantryError
from tenantry.control.audit import Actor
from tenantry.services import health, login_floods, passwords, transaction_ids, versions
from tenantry.services.alerts import measures as alerts
from tenantry.services.backups import measures as backups
from tenantry.services.certificates import measures as certificates
from tenantry.services.databases import measures as databases
from tenantry.services.drills import measures as drills
from tenantry.services.health import Health
from tenantry.services.observations import counts, requests
from tenantry.services.observations.model import Measure
from tenantry.services.operations import measures as operations
from tenantry.services.ownership import measures as ownership
from tenantry.services.platform import Platform
from tenantry.services.pooling import measures as pooling
from tenantry.services.repository import measures as repository
from tenantry.services.samples import measures as samples

log = structlog.get_logger()

MEDIA_TYPE = "text/plain; version=0.0.4"
_DEADLINE_SECONDS = 5.0

_Source = Callable[[], Awaitable[list[Measure]]]


def _sources(platform: Platform) -> dict[str, _Source]:
    """Return the capabilities with measures. Each raises TenantryError where it cannot measure."""
    return {
        "alerts": partial(alerts.measures, platform.alerts),
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
        "transaction IDs": partial(transaction_ids.measures, platform.transaction_ids),
        "versions": partial(versions.measures, platform.versions),
    }


async def exposition(platform: Platform, checked: Awaitable[Health]) -> bytes:
    """Return all current metrics. All capabilities and health checks run concurrently."""
    asked = (_asked(name, source) for name, source in _sources(platform).items())
    found, measured = await asyncio.gather(checked, asyncio.gather(*asked))
    return await asyncio.to_thread(
        render,
        [
            *health.measures(found),
            *(each for some in measured for each in some),
            *counts.totals(platform.home.counts),
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


def render(measures: Iterable[Measure], *more: CollectorRegistry) -> bytes:
    """Return measures, and what is collected otherwise, as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Measured(measures))
    return b"".join(map(generate_latest, (registry, *more)))


_Family = CounterMetricFamily | GaugeMetricFamily | UnknownMetricFamily
_FAMILIES: dict[str, type[_Family]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "untyped": UnknownMetricFamily,
}


class _Measured(Collector):
    def __init__(self, measures: Iterable[Measure]) -> None:
        self._measures = sorted(measures, key=lambda each: (each.metric.name, each.labels))

    def collect(self) -> Iterator[_Family]:
        for metric, some in groupby(self._measures, key=lambda each: each.metric):
            family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
            for each in some:
                family.add_metric(each.labels, each.value)
            yield family
