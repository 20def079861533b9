"""The body of a change of a pricing plan."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tenantry.control import plans
from tenantry.services.bodies.databases import Cpus, InstanceMemory
from tenantry.services.bodies.fields import Body
from tenantry.services.sites.model import MOST_CLIENTS


class UpdatePlan(Body):
    """Sizes of a pricing plan; null is no limit of the plan's, an omitted one stays unchanged."""

    max_instances: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        default=None,
        description="The most dedicated instances of one customer.",
        examples=[3],
    )
    instance_cpus: Cpus | None = Field(
        default=None,
        description="The processors of an instance that asks for none, and the most of one.",
        examples=[2],
    )
    instance_memory_mb: InstanceMemory | None = Field(
        default=None,
        description="The memory of an instance that asks for none, and the most of one, in MiB.",
        examples=[1024],
    )
    max_sites: Annotated[int, Field(ge=0, le=10_000)] | None = Field(
        default=None,
        description="The most sites of one customer; null: TENANTRY_CUSTOMER_SITES.",
        examples=[20],
    )
    site_memory_mb: Annotated[int, Field(ge=8, le=1_048_576)] | None = Field(
        default=None,
        description="The memory of a site that asks for none, and the most of one, in MiB.",
        examples=[64],
    )
    site_max_clients: Annotated[int, Field(ge=1, le=MOST_CLIENTS)] | None = Field(
        default=None,
        description="The connections of a site that asks for none, and the most of one.",
        examples=[200],
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self

    def sizes(self) -> dict[str, float | None]:
        """Return the sizes that were sent, including null ones."""
        return {name: getattr(self, name) for name in plans.SIZES if name in self.model_fields_set}
