"""/api/plans"""

from typing import Annotated

from fastapi import APIRouter, Response

from tenantry.api import answers, database_answers
from tenantry.api.answers import Listing
from tenantry.api.database_answers import Plan
from tenantry.api.deps import CurrentPlatform, allowed
from tenantry.control import plans
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/plans", tags=["databases"])

Reader = Annotated[Principal, allowed("databases:read")]


@router.get("", response_model=Listing[Plan])
async def index(platform: CurrentPlatform, principal: Reader) -> Response:
    """List the pricing plans, the smallest first."""
    async with platform.store.transaction(principal.actor) as tx:
        found = await plans.every(tx)
    return answers.listing([database_answers.plan(row) for row in found])
