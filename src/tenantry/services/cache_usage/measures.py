"""Measures of each site of the AI cache: what was counted, and the memory of its Redis."""

from tenantry.control import audit, cache_usage
from tenantry.control.store import ControlStore
from tenantry.services.cache_usage.model import (
    FAILURES,
    LOOKUP_TIME,
    PROVIDER_TIME,
    REQUESTS,
    SAVED_IN,
    SAVED_OUT,
    TOKENS_IN,
    TOKENS_OUT,
    VETO,
)
from tenantry.services.observations.model import Measure, counter, gauge
from tenantry.services.sites.service import Sites

_INFO = gauge("tenantry_cache_site_info", "1 for each site, with its name", "site", "name")
_REQUESTS = counter(
    "tenantry_cache_requests_total",
    "Requests to the AI cache, by what came of them",
    "site",
    "result",
)
_FAILURES = counter(
    "tenantry_cache_provider_failures_total",
    "Requests to providers without a usable answer",
    "site",
)
_TOKENS = counter(
    "tenantry_cache_tokens_total",
    "Tokens of requests and answers, paid for and saved",
    "site",
    "kind",
)
_VETOES = counter(
    "tenantry_cache_vetoes_total", "Similar questions that a guard refused", "site", "guard"
)
_LOOKUPS = counter(
    "tenantry_cache_lookup_seconds_total", "Time that look-ups took together", "site"
)
_PROVIDER = counter(
    "tenantry_cache_provider_seconds_total", "Time that requests to providers took together", "site"
)
_MEMORY = gauge("tenantry_cache_memory_bytes", "Memory of the site's keys and clients", "site")
_LIMIT = gauge("tenantry_cache_memory_limit_bytes", "The most that these may take", "site")
_EVICTED = counter(
    "tenantry_cache_evicted_keys_total",
    "Keys that the site's Redis evicted since its start",
    "site",
)
_KINDS = (TOKENS_IN, TOKENS_OUT, SAVED_IN, SAVED_OUT)
_MICROSECONDS = 1_000_000


async def measures(store: ControlStore, sites: Sites) -> list[Measure]:
    """Return the measures of all sites. Raises Unavailable."""
    there = await sites.every(audit.PLATFORM)
    if not there:
        return []
    async with store.transaction(audit.PLATFORM) as tx:
        totals = await cache_usage.totals(tx)
    memory = await sites.stats_of(there)
    found: list[Measure] = []
    for site in there:
        name, counts, used = str(site.id), totals.get(site.id, {}), memory.get(site.id)
        found += [
            _INFO(1, name, site.name),
            *(_REQUESTS(counts.get(each, 0), name, each) for each in REQUESTS),
            *(_TOKENS(counts.get(each, 0), name, each) for each in _KINDS),
            *(
                _VETOES(count, name, each.removeprefix(VETO))
                for each, count in counts.items()
                if each.startswith(VETO)
            ),
            _FAILURES(counts.get(FAILURES, 0), name),
            _LOOKUPS(counts.get(LOOKUP_TIME, 0) / _MICROSECONDS, name),
            _PROVIDER(counts.get(PROVIDER_TIME, 0) / _MICROSECONDS, name),
        ]
        if used is not None:
            found += [_MEMORY(used.memory_bytes, name), _LIMIT(used.memory_limit_bytes, name)]
            if used.evicted_keys is not None:
                found.append(_EVICTED(used.evicted_keys, name))
    return found
