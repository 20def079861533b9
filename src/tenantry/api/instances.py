"""/api/databases/{id}/start, stop, restart and settings; /api/versions"""

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import CurrentPlatform, DatabaseId, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.databases import SetParameters
from tenantry.services.instances.model import Configured
from tenantry.services.instances.model import Setting as Found
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api", tags=["databases"])

Reader = Annotated[Principal, allowed("databases:read")]
Visitor = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


class Version(BaseModel):
    """A major version of PostgreSQL that this machine has, or that apt offers it."""

    major: int = Field(examples=[17])
    minor: str | None = Field(description="The release that is installed.", examples=["17.10"])
    offered: str | None = Field(
        description="The package that apt would install, or upgrade to; null if there is none."
    )
    installed: bool = Field(description="Whether instances can be created with it now.")
    end_of_life: str = Field(description="When its maintenance ends.", examples=["2029-11-08"])


class Setting(BaseModel):
    """A parameter of PostgreSQL that can be set for an instance."""

    name: str = Field(examples=["work_mem"])
    value: str = Field(description="What is in force.", examples=["16MB"])
    set_to: str | None = Field(
        description="What its owner has set; null: the default.", examples=["16MB"]
    )
    default: str = Field(
        description="What an instance of this size has otherwise.", examples=["4MB"]
    )
    unit: str | None = Field(
        description="The unit of min and max, and of a value without one.", examples=["kB"]
    )
    type: Literal["bool", "integer", "real", "enum", "string"]
    min: str | None = Field(examples=["64"])
    max: str | None = Field(examples=["2147483647"])
    choices: list[str] | None = Field(description="The values of an enum.")
    context: str = Field(
        description="When PostgreSQL takes a change up, as in pg_settings: with postmaster at the"
        " next restart.",
        examples=["user"],
    )
    category: str = Field(examples=["Resource Usage / Memory"])
    description: str
    pending_restart: bool


class InstanceSettings(BaseModel):
    """The parameters that can be set for an instance.

    ``parameters`` are those that its owner has set, ``pending_restart`` those of which another
    value is in force once it has been restarted.
    """

    parameters: dict[str, str] = Field(examples=[{"work_mem": "16MB"}])
    pending_restart: list[str] = Field(examples=[["shared_buffers"]])
    operation_id: uuid.UUID | None = Field(description="Its restart, if one has begun.")
    settings: list[Setting]


def _configured(found: Configured) -> InstanceSettings:
    own = {each.parameter.name: each.own for each in found.settings if each.own is not None}
    return InstanceSettings(
        parameters=own,
        pending_restart=found.pending_restart,
        operation_id=None if found.operation is None else found.operation.id,
        settings=[_setting(each) for each in found.settings],
    )


def _setting(found: Found) -> Setting:
    parameter = found.parameter
    return Setting(
        name=parameter.name,
        value=parameter.value,
        set_to=found.own,
        default=found.default,
        unit=parameter.unit,
        type=parameter.type,
        min=parameter.least,
        max=parameter.most,
        choices=parameter.choices,
        context=parameter.context,
        category=parameter.category,
        description=parameter.description,
        pending_restart=found.pending_restart,
    )


@router.get("/versions", response_model=Listing[Version])
async def versions(platform: CurrentPlatform, principal: Reader) -> Response:  # noqa: ARG001
    """List the major versions of PostgreSQL that instances can have here, the oldest first."""
    found = await platform.versions.majors()
    return answers.listing([Version.model_validate(each, from_attributes=True) for each in found])


@router.post("/databases/{identifier}/start", status_code=202, response_model=Answer[Operation])
async def start(platform: CurrentPlatform, caller: Writer, database_id: DatabaseId) -> Response:
    """Start a database's instance; one that runs goes on."""
    operation = await caller.begin(
        lambda tx: platform.instances.start(tx, caller.actor, database_id)
    )
    return answers.accepted(operation, "The instance is being started.")


@router.post("/databases/{identifier}/stop", status_code=202, response_model=Answer[Operation])
async def stop(platform: CurrentPlatform, caller: Writer, database_id: DatabaseId) -> Response:
    """Stop a database's instance: all its sessions end, and nobody can connect until its start.

    Its data and backups stay. It takes no memory, and is not started by a start of the platform.
    """
    operation = await caller.begin(
        lambda tx: platform.instances.stop(tx, caller.actor, database_id)
    )
    return answers.accepted(operation, "The instance is being stopped.")


@router.post("/databases/{identifier}/restart", status_code=202, response_model=Answer[Operation])
async def restart(platform: CurrentPlatform, caller: Writer, database_id: DatabaseId) -> Response:
    """Stop a database's instance, ending all its sessions, and start it again."""
    operation = await caller.begin(
        lambda tx: platform.instances.restart(tx, caller.actor, database_id)
    )
    return answers.accepted(operation, "The instance is being restarted.")


@router.get("/databases/{identifier}/settings", response_model=Answer[InstanceSettings])
async def settings(platform: CurrentPlatform, caller: Visitor, database_id: DatabaseId) -> Response:
    """List the parameters of PostgreSQL that can be set for a database's instance, which runs."""
    async with caller.visiting():
        found = await platform.configuring.show(caller.actor, database_id)
    return answers.answer(_configured(found))


@router.patch(
    "/databases/{identifier}/settings",
    response_model=Answer[InstanceSettings],
    responses={
        202: {"model": Answer[InstanceSettings], "description": "The instance is being restarted"}
    },
)
async def change_settings(
    body: SetParameters, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Set parameters of PostgreSQL for a database's instance; null is the default again.

    What needs no restart is in force when this answers, the rest once the instance has been
    restarted, or started, by an operation. With ``restart`` that operation begins now, if anything
    waits for it. If the server does not start with the new values, it goes on with the former ones
    and the operation fails with the reason.
    """
    found = await platform.configuring.set(
        caller, database_id, body.parameters, restart=body.restart
    )
    answer = _configured(found)
    if answer.operation_id is None:
        return answers.answer(answer, message="Settings changed.")
    return answers.under_way(answer, answer.operation_id, "The instance is being restarted.")
