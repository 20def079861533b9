"""/api/databases/{id}/backups"""

import base64
import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.deps import CurrentPlatform, Cursor, DatabaseId, Limit, allowed, calling
from tenantry.control.backups import BackupRow
from tenantry.control.proofs import ProofRow
from tenantry.services.access.service import Principal
from tenantry.services.bodies.copies import CreateBackup
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/backups", tags=["backups"])

_ONE = "/{backup_id:uuid}"  # does not match "schedule"
BackupId = Annotated[uuid.UUID, Path()]

Reader = Annotated[Principal, allowed("backups:read")]
Writer = Annotated[Caller, calling("backups:write")]


class Backup(BaseModel):
    """A dump made by pg_dump. Size, hash and version are null while it is being made.

    ``damage`` says what is wrong with the file of a damaged one.
    """

    id: uuid.UUID
    database_id: uuid.UUID
    file_name: str = Field(examples=["shop-20260131-020000.dump"])
    format: Literal["custom", "plain"]
    part: Literal["all", "schema", "data"]
    origin: Literal["manual", "scheduled"]
    description: str | None
    status: Literal["making", "ready", "damaged"]
    damage: str | None
    size_bytes: int | None = Field(examples=[1_048_576])
    sha256: str | None
    postgres_version: str | None = Field(examples=["15.14"])
    created_at: dt.datetime
    finished_at: dt.datetime | None
    verified_at: dt.datetime | None


class LastProof(BaseModel):
    """When the database was last restored by a drill, and whether the drill passed."""

    at: dt.datetime
    passed: bool
    age_seconds: int = Field(examples=[43_200])


class BackupListing(Listing[Backup]):
    """A page of a database's backups; ``total_bytes`` is the size of all of them together.

    From the physical backups, every moment from ``restorable_from`` to ``restorable_until`` can be
    restored out of the local repository. The latter is when WAL was last archived; a restore to a
    later moment archives the rest first. Both are null unless ``restorable`` is ``ok``: there may
    be no moment that can be restored (``none``), the repository may be unreadable (``unknown``), or
    physical backups may be turned off (``off``). ``last_proof`` is null if there was no drill yet.
    """

    total_bytes: int
    restorable: Literal["ok", "none", "unknown", "off"]
    restorable_from: dt.datetime | None
    restorable_until: dt.datetime | None
    last_proof: LastProof | None


class DeletedBackup(BaseModel):
    id: uuid.UUID
    status: Literal["deleted"]


class Dump(FileResponse):
    """The backup file."""

    media_type = "application/octet-stream"


def _backup(row: BackupRow) -> Backup:
    return Backup.model_validate(row, from_attributes=True)


def _last(proof: ProofRow | None) -> LastProof | None:
    if proof is None:
        return None
    age = dt.datetime.now(dt.UTC) - proof.at
    return LastProof(at=proof.at, passed=proof.passed, age_seconds=int(age.total_seconds()))


@router.get("", response_model=BackupListing)
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    database_id: DatabaseId,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the database's logical backups, newest first, including those of a deleted database."""
    page, total = await platform.backups.page(
        principal.actor, database_id, cursor=cursor, limit=limit
    )
    found = await platform.restores.window(principal.actor, database_id)
    reported = BackupListing(
        count=len(page.rows),
        next_cursor=page.next_cursor,
        total_bytes=total,
        restorable=found.state,
        restorable_from=found.window and found.window.since,
        restorable_until=found.window and found.window.until,
        last_proof=_last(await platform.drills.latest(principal.actor, database_id)),
        data=[_backup(row) for row in page.rows],
    )
    unsaid = {"next_cursor"} if page.next_cursor is None else set()
    return JSONResponse(reported.model_dump(mode="json", exclude=unsaid))


@router.post("", status_code=202, response_model=Answer[Operation])
async def create(
    body: CreateBackup,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Create a logical backup without interrupting the database. The result has the backup's id."""
    operation = await caller.begin(
        lambda tx: platform.backups.create(tx, caller.actor, database_id, body.wanted())
    )
    return answers.accepted(operation, "The backup is being made.")


@router.get(_ONE, response_model=Answer[Backup])
async def show(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId, backup_id: BackupId
) -> Response:
    """Return one backup."""
    return answers.answer(
        _backup(await platform.backups.show(principal.actor, database_id, backup_id))
    )


@router.delete(_ONE, response_model=Answer[DeletedBackup])
async def delete(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    backup_id: BackupId,
) -> Response:
    """Delete a backup and its file. Audit entries remain."""
    async with caller.transaction() as tx:
        row = await platform.backups.delete(tx, caller.actor, database_id, backup_id)
    return answers.answer(DeletedBackup(id=row.id, status="deleted"), message="Backup deleted.")


@router.get(f"{_ONE}/download", response_class=Dump)
async def download(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId, backup_id: BackupId
) -> Response:
    """Download the file. Repr-Digest (RFC 9530) has its SHA-256; range requests are supported."""
    found = await platform.backups.open(principal.actor, database_id, backup_id)
    digest = found.backup.sha256 or ""
    return Dump(
        found.file,
        media_type=Dump.media_type,  # otherwise guessed from the name
        filename=found.backup.file_name,
        headers={
            "ETag": f'"{digest}"',
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:",
        },
    )


@router.post(f"{_ONE}/verify", status_code=202, response_model=Answer[Operation])
async def verify(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    backup_id: BackupId,
) -> Response:
    """Read the file and compare it with its recorded hash. The result is ready or damaged."""
    operation = await caller.begin(
        lambda tx: platform.backups.verify(tx, caller.actor, database_id, backup_id)
    )
    return answers.accepted(operation, "The backup is being verified.")
