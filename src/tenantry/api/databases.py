"""/api/databases"""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from tenantry.api import answers
from tenantry.api.answers import (
    Answer,
    CreatedDatabase,
    Database,
    DatabaseStats,
    Deleted,
    HasBlueprint,
    Listing,
    OpenedDatabase,
    Strings,
)
from tenantry.api.deps import CurrentPlatform, Cursor, DatabaseId, Limit, allowed, calling
from tenantry.api.requests.databases import CreateDatabase, UpdateDatabase
from tenantry.api.requests.fields import Email, Label, Moment, Slug
from tenantry.base.connection_strings import CA_FILE, Format, Style
from tenantry.base.settings import Settings
from tenantry.control.attributes import Environment
from tenantry.control.database_lists import Filter
from tenantry.control.operations import OperationRow
from tenantry.services.access.service import Principal
from tenantry.services.blueprints.flow import APPLY
from tenantry.services.databases.model import Opened
from tenantry.services.provisioning.model import Provisioned
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases", tags=["databases"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

CaFile = Annotated[
    str,
    Query(
        max_length=1024,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="The path of ca.crt where the client runs.",
    ),
]

_FROM = "import_from"


def _created(settings: Settings, made: Provisioned) -> Response:
    """A new database, and how far its blueprint is."""
    row = answers.created_database(settings, made.opened)
    row.roles = [answers.opened_role(settings, each) for each in made.roles]
    message = "Database created. Keep the password: it is not shown again."
    if made.operation is not None:
        row.operation_id = made.operation.id
        if made.operation.kind == APPLY.name:
            row.blueprint, said = _applied(made.operation)
            message += said
    return answers.answer(row, message=message, status=201)


def _applied(operation: OperationRow) -> tuple[HasBlueprint | None, str]:
    """The blueprint that an operation has applied, or what to add to a message instead."""
    match operation.status, operation.result:
        case "succeeded", {"blueprint": str(name), "version": int(version)}:
            return HasBlueprint(name=name, version=version), ""
        case "failed" | "cancelled", _:
            return None, " Its blueprint is not whole: the operation says why."
    return None, " Its blueprint is still being applied."


@router.post("", status_code=201, response_model=Answer[CreatedDatabase])
async def create(body: CreateDatabase, platform: CurrentPlatform, caller: Writer) -> Response:
    """Make a database. Its password is in this answer and nowhere else.

    With ``import_from`` another database is copied into it, and with ``blueprint`` it gets a schema
    and the logins that belong to it; ``operation_id`` tells of either. A schema is there when this
    answers, unless it takes longer than ten seconds.
    """
    made = await platform.provisioning.create(caller, body.wanted(), body.contents())
    return _created(platform.settings, made)


@router.get("", response_model=Listing[Database])
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    environment: Environment | None = None,
    status: Annotated[str | None, Query(pattern="^(active|branching|deleting)$")] = None,
    owner: Email | None = None,
    search: Label | None = None,
    blueprint: Slug | None = None,
    unused_since: Annotated[
        Moment | None, Query(description="Only those that are known not to be used since then.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Databases, newest first. ``search`` looks into names, friendly names and owners."""
    page = await platform.databases.page(
        principal.actor,
        Filter(
            environment=environment,
            status=status,
            owner=owner,
            search=search,
            blueprint=blueprint,
            unused_since=unused_since,
        ),
        cursor=cursor,
        limit=limit,
    )
    return answers.listing(
        [answers.database(row) for row in page.rows], next_cursor=page.next_cursor
    )


@router.get("/{identifier}", response_model=Answer[Database])
async def show(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """One database."""
    return answers.answer(
        answers.database(await platform.databases.show(principal.actor, database_id))
    )


@router.patch("/{identifier}", response_model=Answer[Database])
async def update(
    body: UpdateDatabase,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Change its attributes and its limits.

    Open sessions go on as they are, except where a disk quota is overrun or no longer is.
    """
    row = await platform.provisioning.update(caller, database_id, body.changes())
    return answers.answer(answers.database(row), message="Database updated.")


@router.post("/{identifier}/pool/reconnect", response_model=Answer[Database])
async def reconnect_pool(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    *,
    end_clients: bool = False,
) -> Response:
    """Renew the server connections of its pooled clients, and of its shadow's.

    Nobody is dropped: clients wait up to a second for each other's open transactions, and a
    transaction that takes longer keeps its connection to its end. In session mode a client keeps
    its connection until it disconnects. With ``end_clients`` all pooled sessions end at once.
    """
    row = await platform.provisioning.reconnect_pool(caller, database_id, end_clients=end_clients)
    return answers.answer(answers.database(row), message="The pool is renewed.")


@router.delete(
    "/{identifier}",
    response_model=Answer[Deleted],
    responses={202: {"model": Answer[Deleted], "description": "Still being removed"}},
)
async def delete(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    *,
    keep_backups: bool = False,
) -> Response:
    """Remove a database, its shadow, its role and all their sessions. The audit stays.

    Its logical backups go within a minute, or stay until they are deleted, if they are to.
    """
    deleted = await platform.provisioning.delete(caller, database_id, keep_backups=keep_backups)
    return answers.answer(
        Deleted(
            id=deleted.id,
            status="deleted" if deleted.gone else "deleting",
            operation_id=deleted.operation_id,
        ),
        message="Database deleted." if deleted.gone else "Nobody can connect; it is being removed.",
        status=200 if deleted.gone else 202,
    )


@router.get("/{identifier}/connection-strings", response_model=Answer[Strings])
async def strings(
    platform: CurrentPlatform,
    principal: Reader,
    database_id: DatabaseId,
    form: Annotated[Format, Query(alias="format", description="The client they are for.")] = "psql",
    *,
    verify_full: Annotated[bool, Query(description="Verify the server's certificate.")] = False,
    ca_file: CaFile = CA_FILE,
) -> Response:
    """All ways to connect, without the password. Those for Node always verify the server."""
    row = await platform.databases.show(principal.actor, database_id)
    style = Style(form, verify_full=verify_full, ca_file=ca_file)
    return answers.answer(answers.strings(platform.settings, row, style))


@router.get("/{identifier}/stats", response_model=Answer[DatabaseStats])
async def stats(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """Size, sessions and counters as they are now, the shadow's size and sessions included."""
    return answers.answer(
        answers.stats(await platform.databases.statistics(principal.actor, database_id))
    )


@router.post("/{identifier}/rotate-password", response_model=Answer[OpenedDatabase])
async def rotate_password(
    platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Give it a new password, shown here only. Open sessions, pooled ones too, go on."""

    opened = await caller.once(
        Opened,
        lambda tx, secrets: platform.databases.rotate_password(
            tx, caller.actor, database_id, secrets.password()
        ),
    )
    return answers.answer(
        answers.opened_database(platform.settings, opened),
        message="Password changed. Keep it: it is not shown again.",
    )
