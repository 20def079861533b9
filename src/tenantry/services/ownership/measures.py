"""The metric of foreign objects in tenants' databases."""

from tenantry.services.observations.model import Measure, gauge
from tenantry.services.ownership.service import Ownership

_FOREIGN = gauge(
    "tenantry_foreign_objects",
    "Objects in tenants' databases that belong to other roles, as of the last checks",
)


async def measures(ownership: Ownership) -> list[Measure]:
    """Return how many objects belong to other roles. Raises Unavailable."""
    return [_FOREIGN(sum(map(len, (await ownership.findings()).values())))]
