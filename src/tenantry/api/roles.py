"""/api/databases/{id}/roles"""

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, OpenedRole, Role
from tenantry.api.asking import (
    DatabaseId,
    PlatformHere,
    RoleId,
    allowed,
    changing,
    once,
    visiting,
)
from tenantry.api.requests.databases import CreateRole, UpdateRole
from tenantry.base.secrets import SecretSource
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api/databases/{identifier}/roles", tags=["roles"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Principal, allowed("databases:write")]


class DeletedRole(BaseModel):
    id: uuid.UUID
    status: Literal["deleted", "deleting"]


@router.get("", response_model=Listing[Role])
async def index(platform: PlatformHere, principal: Reader, database_id: DatabaseId) -> Response:
    """The database's logins besides its first one, oldest first."""
    roles = await platform.roles.of_database(principal.actor, database_id)
    return answers.listing([answers.role(platform.settings, role) for role in roles])


@router.post("", status_code=201, response_model=Answer[OpenedRole])
async def create(
    request: Request,
    body: CreateRole,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
) -> Response:
    """Make a login that reads, or reads and writes, the tables that are and those to come.

    Its password is in this answer and nowhere else.
    """

    async def work(tx: Tx, secrets: SecretSource) -> JSONResponse:
        opened = await platform.roles.create(
            tx, principal.actor, database_id, body.wanted(), secrets.password()
        )
        return answers.answer(
            answers.opened_role(platform.settings, opened),
            message="Role created. Keep the password: it is not shown again.",
            status=201,
        )

    return await once(request, principal, work)


@router.get("/{role_id}", response_model=Answer[Role])
async def show(
    platform: PlatformHere, principal: Reader, database_id: DatabaseId, role_id: RoleId
) -> Response:
    """One role, with its connection strings, without the password."""
    role = await platform.roles.show(principal.actor, database_id, role_id)
    return answers.answer(answers.role(platform.settings, role))


@router.patch("/{role_id}", response_model=Answer[Role])
async def update(
    request: Request,
    body: UpdateRole,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    role_id: RoleId,
) -> Response:
    """Change its connection limit; open sessions go on."""
    async with changing(request, principal) as tx:
        role = await platform.roles.update(
            tx, principal.actor, database_id, role_id, body.max_connections
        )
    return answers.answer(answers.role(platform.settings, role), message="Role updated.")


@router.delete(
    "/{role_id}",
    response_model=Answer[DeletedRole],
    responses={202: {"model": Answer[DeletedRole], "description": "Still being removed"}},
)
async def delete(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    role_id: RoleId,
) -> Response:
    """Remove a role and end its sessions. What it owns becomes the database's first role's."""
    async with changing(request, principal) as tx:
        role = await platform.roles.delete(tx, principal.actor, database_id, role_id)
    async with visiting(request, principal):
        gone = await platform.roles.finish_deletion(role)
    return answers.answer(
        DeletedRole(id=role_id, status="deleted" if gone else "deleting"),
        message="Role deleted." if gone else "It cannot log in; it is being removed.",
        status=200 if gone else 202,
    )


@router.post("/{role_id}/rotate-password", response_model=Answer[OpenedRole])
async def rotate_password(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    role_id: RoleId,
) -> Response:
    """Give it a new password, shown here only. Open sessions, pooled ones too, go on."""

    async def work(tx: Tx, secrets: SecretSource) -> JSONResponse:
        opened = await platform.roles.rotate_password(
            tx, principal.actor, database_id, role_id, secrets.password()
        )
        return answers.answer(
            answers.opened_role(platform.settings, opened),
            message="Password changed. Keep it: it is not shown again.",
        )

    return await once(request, principal, work)
