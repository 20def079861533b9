"""/api/databases/{id}/backups/schedule and /api/backup-defaults"""

import datetime as dt
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, allowed, calling
from tenantry.control.attributes import Environment
from tenantry.control.backup_schedules import ScheduleRow
from tenantry.control.grants import ADMIN
from tenantry.services.access.service import Principal
from tenantry.services.backups import plan
from tenantry.services.bodies.copies import BackupSchedule
from tenantry.services.requests.service import Caller

router = APIRouter(tags=["backups"])

_OF_DATABASE = "/api/databases/{identifier}/backups/schedule"
_DEFAULTS = "/api/backup-defaults"

Reader = Annotated[Principal, allowed("backups:read")]
Writer = Annotated[Caller, calling("backups:write")]
Administrator = Annotated[Caller, calling(ADMIN)]


class _Schedule(BaseModel):
    every: Literal["off", "day", "week"]
    hour: int
    format: Literal["custom", "plain"]
    keep_count: int
    keep_days: int
    keep_manual_days: int | None


class LastAttempt(BaseModel):
    """The last backup that the schedule started. A failed one is retried twice."""

    begun_at: dt.datetime
    tries: int
    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "refused"]
    error: str | None


class Schedule(_Schedule):
    """The backup schedule of a database.

    ``source`` is ``own`` for the database's own schedule, ``default`` for its environment's.
    """

    source: Literal["own", "default"]
    next_at: dt.datetime | None = Field(description="When the next backup is due; null: never.")
    last_attempt: LastAttempt | None


class Default(_Schedule):
    """The schedule of databases in an environment that have no schedule of their own."""

    environment: Environment


def _schedule(row: ScheduleRow) -> Schedule:
    last = row.attempt
    return Schedule(
        **asdict(row.schedule),
        source="own" if row.own else "default",
        next_at=plan.next_slot(row.schedule, row.since, dt.datetime.now(dt.UTC)),
        last_attempt=last and LastAttempt.model_validate(last, from_attributes=True),
    )


@router.get(_OF_DATABASE, response_model=Answer[Schedule])
async def show(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """Return the database's backup schedule, its retention, and the result of the last backup."""
    return answers.answer(
        _schedule(await platform.backup_schedules.show(principal.actor, database_id))
    )


@router.put(_OF_DATABASE, response_model=Answer[Schedule])
async def set_own(
    body: BackupSchedule,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Set the database's own schedule. Backups past their retention are removed within a minute."""
    async with caller.transaction() as tx:
        found = await platform.backup_schedules.set_own(
            tx, caller.actor, database_id, body.wanted()
        )
    return answers.answer(_schedule(found), message="Schedule set.")


@router.delete(_OF_DATABASE, response_model=Answer[Schedule])
async def remove_own(
    platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Remove the database's own schedule, so that its environment's default applies again."""
    async with caller.transaction() as tx:
        found = await platform.backup_schedules.set_own(tx, caller.actor, database_id, None)
    return answers.answer(_schedule(found), message="It follows its environment's default.")


@router.get(_DEFAULTS, response_model=Listing[Default])
async def defaults(platform: CurrentPlatform, principal: Reader) -> Response:
    """List the default schedules of the environments."""
    found = await platform.backup_schedules.defaults(principal.actor)
    return answers.listing(
        [Default(environment=name, **asdict(schedule)) for name, schedule in found.items()]
    )


@router.put(f"{_DEFAULTS}/{{environment}}", response_model=Answer[Default])
async def set_default(
    body: BackupSchedule,
    platform: CurrentPlatform,
    caller: Administrator,
    environment: Environment,
) -> Response:
    """Set an environment's default schedule, for all databases without a schedule of their own."""
    wanted = body.wanted()
    async with caller.transaction() as tx:
        await platform.backup_schedules.set_default(tx, caller.actor, environment, wanted)
    return answers.answer(
        Default(environment=environment, **asdict(wanted)), message="Default set."
    )
