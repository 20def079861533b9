"""/api/databases/{id}/branches and /api/databases/{id}/masking"""

import dataclasses
import datetime as dt
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers, database_answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.database_answers import Branch, Database
from tenantry.api.deps import BranchId, CurrentPlatform, Cursor, DatabaseId, Limit, allowed, calling
from tenantry.pg import descriptions
from tenantry.services.access.service import Principal
from tenantry.services.bodies.copies import CreateBranch, PromoteBranch, ResetBranch, SetMasking
from tenantry.services.branches import model
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["branches"])

Reader = Annotated[Principal, allowed("databases:read")]
Visitor = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


class SchemaDifference(BaseModel):
    """An object that differs, with its definitions in PostgreSQL's own notation."""

    kind: str = Field(examples=["index"])
    name: str = Field(examples=["public.orders_customer_id_idx"])
    status: Literal["added", "removed", "changed"] = Field(description="In the branch.")
    parent: str | None
    branch: str | None


_STATUS: dict[descriptions.Status, Literal["added", "removed", "changed"]] = {
    "missing": "removed",
    "extra": "added",
    "changed": "changed",
}


class Masking(BaseModel):
    """SQL that masks each branch before clients can connect; null means none."""

    sql: str | None = Field(examples=["UPDATE people SET email = id || '@example.com'"])
    updated_at: dt.datetime | None


def _masking(found: model.Masking) -> Masking:
    return Masking.model_validate(dataclasses.asdict(found))


@router.post("/branches", status_code=202, response_model=Answer[Branch])
async def create(
    body: CreateBranch,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Create a database with a copy of this one's data. Its password is shown only in this answer.

    The password is valid once the operation has succeeded.
    """

    made = await caller.idempotent(
        model.OpenedBranch,
        lambda tx, secrets: platform.branches.create(
            tx, caller.actor, database_id, body.wanted(), secrets.password()
        ),
    )
    return database_answers.branch(platform.settings, made)


@router.get("/branches", response_model=Listing[Database])
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    database_id: DatabaseId,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the database's branches, newest first."""
    page = await platform.branches.page(principal.actor, database_id, cursor=cursor, limit=limit)
    return answers.listing(
        [database_answers.database(row) for row in page.rows], next_cursor=page.next_cursor
    )


@router.get("/branches/{branch_id}/diff", response_model=Listing[SchemaDifference])
async def compare(
    platform: CurrentPlatform, caller: Visitor, database_id: DatabaseId, branch_id: BranchId
) -> Response:
    """Compare the branch's schema with the parent's: tables, columns, indexes, policies and so on.

    Rows are not compared.
    """
    async with caller.visiting():
        found = await platform.branches.compare(caller.actor, database_id, branch_id)
    return answers.listing(
        [
            SchemaDifference(
                kind=each.kind,
                name=each.name,
                status=_STATUS[each.status],
                parent=each.expected,
                branch=each.found,
            )
            for each in found
        ]
    )


@router.post("/branches/{branch_id}/reset", status_code=202, response_model=Answer[Operation])
async def reset(
    body: ResetBranch,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    branch_id: BranchId,
) -> Response:
    """Reset a branch to its parent's present or past state.

    The branch's previous contents are retained for a while.
    """
    operation = await caller.begin(
        lambda tx: platform.branches.reset(
            tx,
            caller.actor,
            database_id,
            branch_id,
            at=body.at,
            masked=body.masked,
            accept_losses=body.accept_losses,
        )
    )
    return answers.accepted(operation, "The branch is being reset.")


@router.post("/promote", status_code=202, response_model=Answer[Operation])
async def promote(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    body: PromoteBranch | None = None,
) -> Response:
    """Replace the parent's contents with this branch's; the parent's connection strings stay valid.

    The parent's previous contents are retained for a while, and the branch remains.
    """
    operation = await caller.begin(
        lambda tx: platform.branches.promote(
            tx,
            caller.actor,
            database_id,
            accept_losses=body is not None and body.accept_losses,
        )
    )
    return answers.accepted(operation, "The branch is being promoted.")


@router.get("/masking", response_model=Answer[Masking])
async def masking(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId
) -> Response:
    """Return the SQL that masks each branch before clients can connect."""
    return answers.answer(_masking(await platform.branches.masking(principal.actor, database_id)))


@router.put("/masking", response_model=Answer[Masking])
async def set_masking(
    body: SetMasking,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Set the SQL that masks each new branch before clients can connect; null removes it."""
    async with caller.transaction() as tx:
        found = await platform.branches.set_masking(tx, caller.actor, database_id, body.sql)
    return answers.answer(
        _masking(found), message="Masking set." if found.sql else "Masking removed."
    )
