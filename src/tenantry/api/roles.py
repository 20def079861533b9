"""/api/databases/{id}/roles"""

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from tenantry.api import answers, database_answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.database_answers import OpenedRole, Role
from tenantry.api.deps import CurrentPlatform, DatabaseId, RoleId, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.databases import CreateRole, UpdateRole
from tenantry.services.requests.service import Caller
from tenantry.services.roles import model

router = APIRouter(prefix="/api/databases/{identifier}/roles", tags=["roles"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


class DeletedRole(BaseModel):
    id: uuid.UUID
    status: Literal["deleted", "deleting"]


@router.get("", response_model=Listing[Role])
async def index(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """List the database's additional roles, oldest first."""
    roles = await platform.roles.of_database(principal.actor, database_id)
    return answers.listing([database_answers.role(platform.settings, role) for role in roles])


@router.post("", status_code=201, response_model=Answer[OpenedRole])
async def create(
    body: CreateRole,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Create a role that can read, or read and write, all present and future tables.

    Its password is shown only in this answer.
    """

    opened = await caller.idempotent(
        model.OpenedRole,
        lambda tx, secrets: platform.roles.create(
            tx, caller.actor, database_id, body.wanted(), secrets.password()
        ),
    )
    return answers.answer(
        database_answers.opened_role(platform.settings, opened),
        message="Role created. Keep the password: it is not shown again.",
        status=201,
    )


@router.get("/{role_id}", response_model=Answer[Role])
async def show(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId, role_id: RoleId
) -> Response:
    """Return one additional role with its connection strings, without the password."""
    role = await platform.roles.show(principal.actor, database_id, role_id)
    return answers.answer(database_answers.role(platform.settings, role))


@router.patch("/{role_id}", response_model=Answer[Role])
async def update(
    body: UpdateRole,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    role_id: RoleId,
) -> Response:
    """Change the connection limit of a role; open sessions go on."""
    async with caller.transaction() as tx:
        role = await platform.roles.update(
            tx, caller.actor, database_id, role_id, body.max_connections
        )
    return answers.answer(database_answers.role(platform.settings, role), message="Role updated.")


@router.delete(
    "/{role_id}",
    response_model=Answer[DeletedRole],
    responses={202: {"model": Answer[DeletedRole], "description": "Still being removed"}},
)
async def delete(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    role_id: RoleId,
) -> Response:
    """Delete a role and end its sessions. What it owns passes to the owner role."""
    gone = await platform.roles.delete(caller, database_id, role_id)
    return answers.answer(
        DeletedRole(id=role_id, status="deleted" if gone else "deleting"),
        message="Role deleted." if gone else "It cannot log in; it is being removed.",
        status=200 if gone else 202,
    )


@router.post("/{role_id}/rotate-password", response_model=Answer[OpenedRole])
async def rotate_password(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    role_id: RoleId,
) -> Response:
    """Set a new password, shown only in this answer. Open sessions, also pooled ones, go on."""

    opened = await caller.idempotent(
        model.OpenedRole,
        lambda tx, secrets: platform.roles.rotate_password(
            tx, caller.actor, database_id, role_id, secrets.password()
        ),
    )
    return answers.answer(
        database_answers.opened_role(platform.settings, opened),
        message="Password changed. Keep it: it is not shown again.",
    )
