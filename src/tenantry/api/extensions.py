"""/api/databases/{id}/extensions"""

import dataclasses
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.base.errors import NotFound
from tenantry.pg.extensions import Extension as Offered
from tenantry.services.bodies.databases import AddExtension, is_extension_name
from tenantry.services.extensions.service import Changed
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/extensions", tags=["extensions"])

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


Restart = Annotated[
    bool, Query(description="Restart the instance if its server has loaded the library.")
]


async def _name(name: str) -> str:
    if not is_extension_name(name):
        raise NotFound("This database has no such extension.")
    return name


class Extension(BaseModel):
    """An extension of the server. It is not ``installable`` if it reaches beyond one database."""

    name: str = Field(examples=["pg_trgm"])
    description: str | None
    default_version: str = Field(examples=["1.6"])
    installable: bool
    installed_version: str | None = Field(examples=["1.6"])
    schema_: str | None = Field(alias="schema", examples=["public"])
    preloads: bool = Field(
        description="Whether the server of an instance has to load its library when it is started."
    )
    pending_restart: bool = Field(
        description="Whether it loads it, or does not load it any more, once it is restarted."
    )


class ChangedExtension(Extension):
    """An extension that was added or removed."""

    operation_id: uuid.UUID | None = Field(
        description="The restart of its instance, if one has begun."
    )


def _shown(found: Offered) -> Extension:
    return Extension.model_validate(dataclasses.asdict(found))


def _changed(found: Changed, message: str, *, status: int) -> Response:
    operation = found.operation
    fields = dataclasses.asdict(found.extension)
    answer = ChangedExtension.model_validate(
        fields | {"operation_id": None if operation is None else operation.id}
    )
    if operation is not None:
        return answers.under_way(answer, operation.id, "The instance is being restarted.")
    return answers.answer(answer, message=message, status=status)


@router.get("", response_model=Listing[Extension])
async def index(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """List the server's extensions, and which of them the database has."""
    async with caller.visiting():
        found = await platform.extensions.of_database(caller.actor, database_id)
    return answers.listing([_shown(each) for each in found])


@router.post(
    "",
    status_code=201,
    response_model=Answer[ChangedExtension],
    responses={
        202: {
            "model": Answer[ChangedExtension],
            "description": "It is created once the instance has been restarted",
        }
    },
)
async def add(
    body: AddExtension,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Install an extension, and those that it requires, in one of the database's schemas.

    One that ``preloads`` is only for an instance. If its server has not loaded the library yet, the
    extension is created by the operation that restarts it: with ``restart`` that begins now.
    """
    made = await caller.idempotent(
        Changed,
        lambda tx, _: platform.extensions.add(
            tx, caller.actor, database_id, body.name, body.schema_, restart=body.restart
        ),
    )
    if made.extension.pending_restart and made.operation is None:
        return _changed(made, "It is added once the instance has been restarted.", status=202)
    return _changed(made, "Extension added.", status=201)


@router.delete(
    "/{name}",
    response_model=Answer[ChangedExtension],
    responses={
        202: {"model": Answer[ChangedExtension], "description": "The instance is being restarted"}
    },
)
async def remove(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    name: Annotated[str, Depends(_name)],
    *,
    restart: Restart = False,
) -> Response:
    """Remove an extension that no object depends on.

    The server of an instance has its library loaded until it is restarted: with ``restart`` now.
    """
    async with caller.transaction() as tx:
        gone = await platform.extensions.remove(
            tx, caller.actor, database_id, name, restart=restart
        )
    return _changed(gone, "Extension removed.", status=200)
