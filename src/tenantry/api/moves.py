"""/api/databases/{id}/move"""

import dataclasses
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Operation
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.services.bodies.moves import MoveDatabase
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}", tags=["databases"])

Writer = Annotated[Caller, calling("databases:write")]

_STARTED = (
    "It is being moved; its clients wait while it is copied. Pooled connection strings stay, direct"
    " ones get another port."
)


class LeftOut(BaseModel):
    """What a move leaves behind on an instance, which is deleted in the end."""

    kind: Literal["database", "role"]
    name: str


class MovePreview(BaseModel):
    """What a move would do. Nothing was changed."""

    kind: Literal["shared", "dedicated"]
    cluster: str | None = Field(
        description="The shared cluster; null for an instance, which would be created."
    )
    version: int = Field(description="The major version of PostgreSQL there.", examples=[17])
    host: str = Field(description="The host of direct connections.")
    port: int = Field(
        description="Their port. A new instance gets another one if it is taken meanwhile."
    )
    size_bytes: int
    expected_wait_seconds: float = Field(description="How long clients wait, about.")
    basis: Literal["measured", "assumed"] = Field(
        description="Whether that is computed from the last moves here, or from 10 MiB/s."
    )
    max_wait_seconds: float
    left_out: list[LeftOut] = Field(
        description="Databases and roles that the tenant has created on its instance. A move takes"
        " `accept_losses` if there are any."
    )


@router.post(
    "/move",
    status_code=202,
    response_model=Answer[Operation],
    responses={200: {"model": Answer[MovePreview], "description": "With `dry_run`."}},
)
async def move(
    body: MoveDatabase, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Move a database to an instance of its own, to a shared cluster, or to another one.

    It is copied by dump and load. Meanwhile pooled clients wait, and direct sessions are ended; if
    that takes longer than `max_wait_seconds`, the move is undone. The id, the names, the logins and
    the pooled connection strings stay. The original is retained for a while.

    With `dry_run`, it is answered what the move would do, and how long clients would wait.
    """
    wanted = body.wanted()
    if body.dry_run:
        async with caller.visiting():
            found = await platform.moves.preview(caller.actor, database_id, wanted)
        return answers.answer(MovePreview.model_validate(dataclasses.asdict(found)))
    operation = await platform.moves.begin(caller, database_id, wanted)
    return answers.accepted(operation, _STARTED)
