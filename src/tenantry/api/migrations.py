"""/api/databases/{id}/migrations and /api/migrations"""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.bodies import FOLDER_SCHEMA, JSON, described, parsed, received_folder
from tenantry.api.deps import (
    CurrentPlatform,
    Cursor,
    DatabaseId,
    Limit,
    OperationId,
    calling,
)
from tenantry.api.frame import FOLDER
from tenantry.base.errors import InvalidInput
from tenantry.control.databases import DatabaseRow
from tenantry.services.bodies.migrations import MigrateDatabase, MigrateMany
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller

router = APIRouter(tags=["migrations"])

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
_Body = TypeVar("_Body", MigrateDatabase, MigrateMany)


class AppliedMigration(BaseModel):
    """An applied migration file, with its hash when it was applied."""

    version: int
    file: str
    sha256: str
    applied_at: dt.datetime


class Migrations(BaseModel):
    """The migrations of a database; ``version`` is null before the first one.

    Migrations that golang-migrate itself ran are not in ``applied``. A database that is ``dirty``
    and ``running`` has a run in progress; otherwise a file failed in the middle.
    """

    version: int | None
    dirty: bool
    running: bool
    applied: list[AppliedMigration]


class Target(BaseModel):
    """The result of a run in one database."""

    database_id: uuid.UUID
    database_name: str
    name: str | None
    environment: str
    status: Literal["pending", "running", "succeeded", "failed", "skipped"]
    version: int | None
    dirty: bool | None
    steps: int | None
    error: dict[str, object] | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


class MigrationTarget(BaseModel):
    """A database that a run would migrate."""

    database_id: uuid.UUID
    database_name: str
    name: str | None
    friendly_name: str | None
    environment: str
    owner_email: str | None
    blueprint: str | None


class MigrationPreview(BaseModel):
    """The databases that a run would migrate, in its order."""

    count: int
    databases: list[MigrationTarget]


@router.get("/api/databases/{identifier}/migrations", response_model=Answer[Migrations])
async def show(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """Return a database's migration version and its applied files."""
    async with caller.visiting():
        found = await platform.migrations.status(caller.actor, database_id)
    return answers.answer(
        Migrations(
            version=found.state.version,
            dirty=found.state.dirty,
            running=found.running,
            applied=[
                AppliedMigration.model_validate(found.journal[version], from_attributes=True)
                for version in sorted(found.journal)
            ],
        )
    )


@router.post(
    "/api/databases/{identifier}/migrations",
    status_code=202,
    response_model=Answer[Operation],
    openapi_extra=described(MigrateDatabase, **FOLDER_SCHEMA),
)
async def run(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Run migration files with the rights of the owner role. The result lists the steps."""
    async with _asked(request, caller, platform, MigrateDatabase) as (body, texts):
        operation = await caller.begin(
            lambda tx: platform.migrations.begin(tx, caller.actor, database_id, body.wanted(texts))
        )
        return answers.accepted(operation, "The database is being migrated.")


@router.post(
    "/api/migrations",
    status_code=202,
    response_model=Answer[Operation],
    responses={200: {"model": Answer[MigrationPreview], "description": "With `dry_run`."}},
    openapi_extra=described(MigrateMany, **FOLDER_SCHEMA),
)
async def run_many(request: Request, platform: CurrentPlatform, caller: Writer) -> Response:
    """Migrate many databases to the last of these files, a few first as a canary.

    With `dry_run`, it is answered which databases these would be.
    """
    async with _asked(request, caller, platform, MigrateMany) as (body, texts):
        if body.dry_run:
            chosen = await platform.migrations.chosen(caller.actor, body.selection)
            return answers.answer(_previewed(chosen))
        operation = await caller.begin(
            lambda tx: platform.migrations.begin_fleet(tx, caller.actor, body.wanted(texts))
        )
        return answers.accepted(operation, "The databases are being migrated.")


def _previewed(chosen: Sequence[DatabaseRow]) -> MigrationPreview:
    return MigrationPreview(
        count=len(chosen),
        databases=[
            MigrationTarget(
                database_id=row.id,
                database_name=row.database_name,
                name=row.name,
                friendly_name=row.friendly_name,
                environment=row.environment,
                owner_email=row.owner_email,
                blueprint=row.blueprint,
            )
            for row in chosen
        ],
    )


@asynccontextmanager
async def _asked(
    request: Request, caller: Caller, platform: Platform, model: type[_Body]
) -> AsyncIterator[tuple[_Body, Mapping[str, str]]]:
    """Yield the parsed request and its files by name."""
    media = request.state.media_type or JSON
    if media == FOLDER:
        async with received_folder(request, platform.home) as (folder, digest):
            body = parsed(model, folder.request)
            if body.files:
                raise InvalidInput.of("files", "are in the archive, not in request.json")
            caller.call.content = digest
            yield body, folder
    elif media == JSON:
        body = parsed(model, await request.body())
        yield body, body.texts
    else:
        raise HTTPException(415, f"the body must be {JSON} or {FOLDER}")


@router.get("/api/migrations/{identifier}", response_model=Listing[Target])
async def report(
    platform: CurrentPlatform,
    caller: Reader,
    operation_id: OperationId,
    status: Annotated[
        Literal["pending", "running", "succeeded", "failed", "skipped"] | None, Query()
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the results of a run over many databases, for each database, by operation id."""
    page = await platform.migrations.report(
        caller.actor, operation_id, status=status, cursor=cursor, limit=limit
    )
    return answers.listing(
        [Target.model_validate(row, from_attributes=True) for row in page.rows],
        next_cursor=page.next_cursor,
    )
