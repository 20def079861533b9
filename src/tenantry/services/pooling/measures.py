"""The metrics of the pooler."""

from tenantry.services.observations.model import Measure, gauge
from tenantry.services.pooling.service import Pooler

_CLIENTS = gauge("tenantry_pooler_clients", "Pooled clients, served and waiting", "state")
_SERVERS = gauge("tenantry_pooler_servers", "The pools' server connections", "state")
_BUDGET = gauge("tenantry_pooler_server_budget", "The most that all pools may hold")
_MEMORY = gauge("tenantry_pooler_memory_bytes", "What the pooler's process takes")
_MEMORY_LIMIT = gauge(
    "tenantry_pooler_memory_limit_bytes", "The most that it may take before sessions are ended"
)


async def measures(pooler: Pooler) -> list[Measure]:
    """Return clients, servers and memory. Raises Unavailable if the pooler does not answer."""
    state = await pooler.state()
    pools = state.pools
    found = [
        _CLIENTS(sum(each.clients_active for each in pools), "served"),
        _CLIENTS(sum(each.clients_waiting for each in pools), "waiting"),
        _SERVERS(sum(each.servers_active for each in pools), "active"),
        _SERVERS(sum(each.servers_idle for each in pools), "idle"),
        _BUDGET(state.budget),
        _MEMORY_LIMIT(state.memory_limit_bytes),
    ]
    if state.memory_bytes:  # its process may just have ended
        found.append(_MEMORY(state.memory_bytes))
    return found
