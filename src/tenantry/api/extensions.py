"""/api/databases/{id}/extensions"""

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.base.errors import NotFound
from tenantry.pg.extensions import Extension as Offered
from tenantry.services.bodies.databases import AddExtension, is_extension_name
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/extensions", tags=["extensions"])

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


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


def _shown(found: Offered) -> Extension:
    return Extension.model_validate(dataclasses.asdict(found))


@router.get("", response_model=Listing[Extension])
async def index(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """List the server's extensions, and which of them the database has."""
    async with caller.visiting():
        found = await platform.extensions.of_database(caller.actor, database_id)
    return answers.listing([_shown(each) for each in found])


@router.post("", status_code=201, response_model=Answer[Extension])
async def add(
    body: AddExtension,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Install an extension, and those that it requires, in one of the database's schemas."""

    made = await caller.idempotent(
        Offered,
        lambda tx, _: platform.extensions.add(
            tx, caller.actor, database_id, body.name, body.schema_
        ),
    )
    return answers.answer(_shown(made), message="Extension added.", status=201)


@router.delete("/{name}", response_model=Answer[Extension])
async def remove(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    name: Annotated[str, Depends(_name)],
) -> Response:
    """Remove an extension that no object depends on."""
    async with caller.transaction() as tx:
        gone = await platform.extensions.remove(tx, caller.actor, database_id, name)
    return answers.answer(_shown(gone), message="Extension removed.")
