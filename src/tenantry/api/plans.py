"""/api/plans"""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.database_answers import Limits
from tenantry.api.deps import CurrentPlatform, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Storable
from tenantry.services.bodies.plans import UpdatePlan
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/plans", tags=["databases"])

Reader = Annotated[Principal, allowed("databases:read")]
Administrator = Annotated[Caller, calling("admin")]
Name = Annotated[Storable, Path(max_length=63, examples=["standard"])]


class Plan(Limits):
    """Limits of a database, and sizes of what a customer creates; null: it has no such limit."""

    name: str = Field(examples=["standard"])
    longest_statement_seconds: int = Field(
        description="The longest that one statement of an operation may run.", examples=[14_400]
    )
    max_instances: int | None = Field(
        description="The most dedicated instances of one customer.", examples=[3]
    )
    instance_cpus: float | None = Field(
        description="The processors of an instance that asks for none, and the most of one.",
        examples=[2],
    )
    instance_memory_mb: int | None = Field(
        description="The memory of an instance that asks for none, and the most of one.",
        examples=[1024],
    )
    max_sites: int | None = Field(
        description="The most sites of one customer; null: TENANTRY_CUSTOMER_SITES.", examples=[10]
    )
    site_memory_mb: int | None = Field(
        description="The memory of a site that asks for none, and the most of one.", examples=[32]
    )
    site_max_clients: int | None = Field(
        description="The connections of a site that asks for none, and the most of one.",
        examples=[100],
    )


@router.get("", response_model=Listing[Plan])
async def index(platform: CurrentPlatform, principal: Reader) -> Response:
    """List the pricing plans, the smallest first."""
    found = await platform.pricing_plans.every(principal.actor)
    return answers.listing([Plan.model_validate(row, from_attributes=True) for row in found])


@router.patch("/{name}", response_model=Answer[Plan])
async def update(
    body: UpdatePlan, platform: CurrentPlatform, caller: Administrator, name: Name
) -> Response:
    """Change the sizes of a plan, for what its customers create or enlarge from now on."""
    async with caller.transaction() as tx:
        changed = await platform.pricing_plans.resize(tx, caller.principal, name, body.sizes())
    return answers.answer(
        Plan.model_validate(changed, from_attributes=True), message="Plan changed."
    )
