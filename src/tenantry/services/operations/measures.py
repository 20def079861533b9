"""The metrics of operations."""

from tenantry.services.observations.model import Measure, gauge
from tenantry.services.operations.service import Operations

_QUEUED = gauge("tenantry_operations_queued", "Operations that wait to begin", "lane")
_OLDEST = gauge(
    "tenantry_operations_queued_seconds", "How long the oldest of them has waited", "lane"
)


async def measures(operations: Operations) -> list[Measure]:
    """Return how many operations wait to begin, and for how long. Raises Unavailable."""
    return [
        measure
        for each in await operations.queued()
        for measure in (
            _QUEUED(each.count, each.lane),
            _OLDEST(each.oldest.total_seconds(), each.lane),
        )
    ]
