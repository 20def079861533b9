"""/api/databases/{id}/metrics/prometheus"""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from tenantry.api.deps import CurrentPlatform, DatabaseId, allowed
from tenantry.services import metrics
from tenantry.services.access.service import Principal
from tenantry.services.observations.exposition import MEDIA_TYPE

router = APIRouter(prefix="/api/databases/{identifier}", tags=["insights"])

Reader = Annotated[Principal, allowed("metrics:read")]


@router.get("/metrics/prometheus", response_class=PlainTextResponse)
async def measures(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId
) -> Response:
    """Return metrics of the database for Prometheus, as of its newest sample."""
    found = await metrics.of_database(platform, principal.actor, database_id)
    return Response(found, media_type=MEDIA_TYPE)
