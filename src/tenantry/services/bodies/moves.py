"""The body of a request to move a database to another cluster."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tenantry.pg.drivers import PROCESS
from tenantry.services.bodies.databases import Driver
from tenantry.services.bodies.fields import Body
from tenantry.services.databases.model import NewInstance
from tenantry.services.moves.model import NewMove


class MoveDatabase(Body):
    """Where to move a database, and how long its clients may wait."""

    kind: Literal["shared", "dedicated"] = Field(
        description="To a shared cluster, or to one of its own, a new instance."
    )
    cluster: str | None = Field(
        default=None,
        max_length=9,
        description="The shared cluster, by administrators. By default one with few of the"
        " owner's databases, and most free connections.",
        examples=["shared-2"],
    )
    version: Annotated[int, Field(ge=1, le=99)] | None = Field(
        default=None, description="The instance's major version: see GET /api/versions."
    )
    cpus: Annotated[float, Field(ge=0.1, le=1024)] | None = Field(
        default=None,
        description="How many processors the instance may use; null: what its customer's plan"
        " grants, or else all.",
    )
    memory_mb: Annotated[int, Field(ge=128, le=16_777_216)] | None = Field(
        default=None,
        description="The memory of the instance, in MiB; null: what its customer's plan grants.",
    )
    driver: Driver | None = Field(default=None, description="What runs the instance.")
    max_wait_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=60, description="How long clients may wait; what takes longer is undone."
    )
    accept_losses: bool = Field(
        default=False,
        description="To leave behind what only an instance has, and to go on without what"
        " PostgreSQL does not build again.",
    )
    dry_run: bool = Field(default=False, description="To see what it would do, and not do it.")

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "dedicated":
            if self.cluster is not None:
                raise ValueError("cluster is of shared databases: an instance is one of its own")
        elif said := self.model_fields_set & {"version", "cpus", "memory_mb", "driver"}:
            raise ValueError(f"{min(said)} is of instances: kind is dedicated")
        return self

    def wanted(self) -> NewMove:
        instance = None
        if self.kind == "dedicated":
            instance = NewInstance(self.driver or PROCESS, self.version, self.cpus, self.memory_mb)
        return NewMove(instance, self.cluster, self.max_wait_seconds, self.accept_losses)
