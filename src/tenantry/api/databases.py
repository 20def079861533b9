"""/api/databases"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from tenantry.api import answers, database_answers, statistics_answers
from tenantry.api.answers import Answer, Deleted, Listing
from tenantry.api.data_api import opened_api
from tenantry.api.database_answers import (
    CreatedDatabase,
    Database,
    HasBlueprint,
    OpenedDatabase,
    Strings,
    UpdatedDatabase,
)
from tenantry.api.deps import CurrentPlatform, Cursor, DatabaseId, Limit, allowed, calling
from tenantry.api.statistics_answers import DatabaseStats
from tenantry.base.connection_strings import CA_FILE, Format, Style
from tenantry.control.attributes import Environment
from tenantry.control.database_lists import Filter
from tenantry.control.operations import OperationRow
from tenantry.services.access.service import Principal
from tenantry.services.blueprints.flow import APPLY
from tenantry.services.bodies.databases import CreateDatabase, UpdateDatabase
from tenantry.services.bodies.fields import MOST_TAGS, Email, Label, Moment, Slug, Tag
from tenantry.services.databases.model import Opened
from tenantry.services.instances.model import CREATE
from tenantry.services.platform import Platform
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


def _created(platform: Platform, made: Provisioned) -> Response:
    """Return a new database and the state of its blueprint."""
    settings = platform.settings
    row = database_answers.created_database(settings, made.opened)
    row.roles = [database_answers.opened_role(settings, each) for each in made.roles]
    message = "Database created. Keep the password: it is not shown again."
    if made.data_api is not None:
        row.data_api = opened_api(settings, made.data_api)
        message = "Database created. Keep the password and the keys: they are not shown again."
    if made.operation is not None:
        row.operation_id = made.operation.id
        if made.operation.kind == CREATE.name:
            enforced = platform.instances.limits_are_enforced(made.opened.row.driver)
            row.size_limits = "enforced" if enforced else "none"
            message = "The instance is being created. Keep the password: it is not shown again."
            return answers.under_way(row, made.operation.id, message)
        if made.operation.kind == APPLY.name:
            row.blueprint, said = _applied(made.operation)
            message += said
    return answers.answer(row, message=message, status=201)


def _applied(operation: OperationRow) -> tuple[HasBlueprint | None, str]:
    """Return the blueprint that an operation has applied, or else what to add to the message."""
    match operation.status, operation.result:
        case "succeeded", {"blueprint": str(name), "version": int(version)}:
            return HasBlueprint(name=name, version=version), ""
        case "failed" | "cancelled", _:
            return None, " Its blueprint is not whole: the operation says why."
    return None, " Its blueprint is still being applied."


@router.post(
    "",
    status_code=201,
    response_model=Answer[CreatedDatabase],
    responses={
        202: {"model": Answer[CreatedDatabase], "description": "The instance is being created"}
    },
)
async def create(body: CreateDatabase, platform: CurrentPlatform, caller: Writer) -> Response:
    """Create a database. Its password is shown only in this answer.

    ``import_from`` copies another database into it; ``blueprint`` gives it a schema, with the roles
    and the data API that belong to it. ``operation_id`` is the operation that does either. A
    blueprint is applied before this answers unless it takes longer than ten seconds. With the kind
    ``dedicated`` the answer is 202: strings and password are valid once ``operation_id`` succeeded.
    """
    made = await platform.provisioning.create(caller, body.wanted(), body.contents())
    return _created(platform, made)


@router.get("", response_model=Listing[Database])
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    environment: Environment | None = None,
    status: Literal["active", "branching", "deleting"] | None = None,
    owner: Email | None = None,
    search: Label | None = None,
    blueprint: Slug | None = None,
    tag: Annotated[
        list[Tag],
        Query(max_length=MOST_TAGS, description="Only those that have this tag, and all others."),
    ] = [],  # noqa: B006 (FastAPI copies it)
    unused_since: Annotated[
        Moment | None, Query(description="Only those that are known not to be used since then.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List databases, newest first. ``search`` matches names, friendly names and owners."""
    page = await platform.databases.page(
        principal.actor,
        Filter(
            environment=environment,
            status=status,
            owner=owner,
            search=search,
            blueprint=blueprint,
            unused_since=unused_since,
            tags=tag,
        ),
        cursor=cursor,
        limit=limit,
    )
    return answers.listing(
        [database_answers.database(row) for row in page.rows], next_cursor=page.next_cursor
    )


@router.get("/{identifier}", response_model=Answer[Database])
async def show(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """Return one database."""
    return answers.answer(
        database_answers.database(await platform.databases.show(principal.actor, database_id))
    )


@router.patch(
    "/{identifier}",
    response_model=Answer[UpdatedDatabase],
    responses={
        202: {"model": Answer[UpdatedDatabase], "description": "The instance is being restarted"}
    },
)
async def update(
    body: UpdateDatabase,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Change attributes and limits of a database, and the size of its instance.

    Open sessions are unaffected, unless the database goes over its disk quota or back under it. An
    instance has its new size at once; parameters that follow it and need a restart are listed in
    ``pending_restart``, or with ``restart`` the instance is restarted: then the answer is 202.
    """
    found = await platform.provisioning.update(caller, database_id, body.changes())
    row = database_answers.updated_database(found)
    if found.operation is None:
        return answers.answer(row, message="Database updated.")
    return answers.under_way(row, found.operation.id, "The instance is being restarted.")


@router.post("/{identifier}/pool/reconnect", response_model=Answer[Database])
async def reconnect_pool(
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    *,
    end_clients: bool = False,
) -> Response:
    """Replace the pooler's server connections of the database and its shadow.

    No client is disconnected: clients wait up to a second for open transactions, and a longer
    transaction keeps its connection to its end. In session mode a client keeps its connection until
    it disconnects. With ``end_clients`` all pooled sessions end at once.
    """
    row = await platform.provisioning.reconnect_pool(caller, database_id, end_clients=end_clients)
    return answers.answer(database_answers.database(row), message="The pool is renewed.")


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
    """Delete a database with its shadow and roles, and end all their sessions.

    Audit entries remain. Its logical backups are removed within a minute, or with ``keep_backups``
    remain until they are deleted.
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
    """Return all connection strings, without passwords. Those for Node always verify the server."""
    row = await platform.databases.show(principal.actor, database_id)
    style = Style(form, verify_full=verify_full, ca_file=ca_file)
    return answers.answer(database_answers.strings(platform.settings, row, style))


@router.get("/{identifier}/stats", response_model=Answer[DatabaseStats])
async def stats(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """Return current size, sessions and counters, and what an instance takes of the machine.

    Size and sessions include the shadow's, and those of all databases of an instance.
    """
    found, use = await platform.instances.statistics(principal.actor, database_id)
    return answers.answer(statistics_answers.stats(found, use))


@router.post("/{identifier}/rotate-password", response_model=Answer[OpenedDatabase])
async def rotate_password(
    platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Set a new password, shown only in this answer. Open sessions, also pooled ones, go on."""

    opened = await caller.idempotent(
        Opened,
        lambda tx, secrets: platform.databases.rotate_password(
            tx, caller.actor, database_id, secrets.password()
        ),
    )
    return answers.answer(
        database_answers.opened_database(platform.settings, opened),
        message="Password changed. Keep it: it is not shown again.",
    )
