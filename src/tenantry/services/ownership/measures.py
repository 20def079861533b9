"""What there is to measure about whose the objects in tenants' databases are."""

from tenantry.services.observations.model import Measure, gauge
from tenantry.services.ownership.service import Ownership

_FOREIGN = gauge(
    "tenantry_foreign_objects",
    "Objects in tenants' databases that belong to other roles, as of the last checks",
)


async def measures(ownership: Ownership) -> list[Measure]:
    """How many are another's. Raises Unavailable."""
    return [_FOREIGN(sum(map(len, (await ownership.findings()).values())))]
