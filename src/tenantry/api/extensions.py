"""/api/databases/{id}/extensions"""

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.asking import DatabaseId, PlatformHere, allowed, changing, once, visiting
from tenantry.api.requests.databases import AddExtension, is_extension_name
from tenantry.base.errors import NotFound
from tenantry.base.secrets import SecretSource
from tenantry.control.store import Tx
from tenantry.pg.extensions import Extension as Offered
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/databases/{identifier}/extensions", tags=["extensions"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Principal, allowed("databases:write")]


async def _name(name: str) -> str:
    if not is_extension_name(name):
        raise NotFound("This database has no such extension.")
    return name


class Extension(BaseModel):
    """What the server has. Not ``installable`` is what reaches beyond one database."""

    name: str = Field(examples=["pg_trgm"])
    description: str | None
    default_version: str = Field(examples=["1.6"])
    installable: bool
    installed_version: str | None = Field(examples=["1.6"])
    schema_: str | None = Field(alias="schema", examples=["public"])


def _shown(found: Offered) -> Extension:
    return Extension.model_validate(dataclasses.asdict(found))


@router.get("", response_model=Listing[Extension])
async def index(
    request: Request, platform: PlatformHere, principal: Reader, database_id: DatabaseId
) -> Response:
    """The extensions that the server has, and which of them the database has."""
    async with visiting(request, principal):
        found = await platform.extensions.of_database(principal.actor, database_id)
    return answers.listing([_shown(each) for each in found])


@router.post("", status_code=201, response_model=Answer[Extension])
async def add(
    request: Request,
    body: AddExtension,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
) -> Response:
    """Have an extension, and those that it requires, in one of the database's schemas."""

    async def work(tx: Tx, _: SecretSource) -> JSONResponse:
        made = await platform.extensions.add(
            tx, principal.actor, database_id, body.name, body.schema_
        )
        return answers.answer(_shown(made), message="Extension added.", status=201)

    return await once(request, principal, work)


@router.delete("/{name}", response_model=Answer[Extension])
async def remove(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    name: Annotated[str, Depends(_name)],
) -> Response:
    """Remove an extension that nothing uses."""
    async with changing(request, principal) as tx:
        gone = await platform.extensions.remove(tx, principal.actor, database_id, name)
    return answers.answer(_shown(gone), message="Extension removed.")
