"""/api/databases"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from tenantry.api import answers
from tenantry.api.answers import (
    Answer,
    CreatedDatabase,
    Database,
    DatabaseStats,
    Deleted,
    Listing,
    OpenedDatabase,
    Strings,
)
from tenantry.api.asking import (
    Cursor,
    DatabaseId,
    Limit,
    PlatformHere,
    allowed,
    changing,
    is_repeated,
    once,
    visiting,
)
from tenantry.api.blueprints import with_blueprint
from tenantry.api.requests.databases import CreateDatabase, UpdateDatabase
from tenantry.api.requests.fields import Email, Label, Moment, Slug, secret
from tenantry.base.connection_strings import CA_FILE, Format, Style
from tenantry.base.secrets import SecretSource
from tenantry.control import audit
from tenantry.control.databases import Filter
from tenantry.control.store import Tx
from tenantry.pg import sources
from tenantry.services.access.service import Principal
from tenantry.services.databases.model import Environment
from tenantry.services.imports.plan import Selection

router = APIRouter(prefix="/api/databases", tags=["databases"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Principal, allowed("databases:write")]

CaFile = Annotated[
    str,
    Query(
        max_length=1024,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="The path of ca.crt where the client runs.",
    ),
]

_FROM = "import_from"


@router.post("", status_code=201, response_model=Answer[CreatedDatabase])
async def create(
    request: Request, body: CreateDatabase, platform: PlatformHere, principal: Writer
) -> Response:
    """Make a database. Its password is in this answer and nowhere else.

    With ``import_from`` another database is copied into it, and with ``blueprint`` it gets a schema
    and the logins that belong to it; ``operation_id`` tells of either. A schema is there when this
    answers, unless it takes longer than ten seconds.
    """
    source = (
        None if body.import_from is None else sources.parse(secret(body.import_from), name=_FROM)
    )

    chosen = examined = None
    if not await is_repeated(request, principal):
        if body.blueprint is not None:
            chosen = await platform.blueprints.choose(body.blueprint, body.seeds)
        if source is not None:
            examined = await platform.imports.examine(principal.actor, source, Selection())
        async with visiting(request, principal):
            await platform.databases.ensure_warm()

    async def work(tx: Tx, secrets: SecretSource) -> JSONResponse:
        wanted = body.wanted()
        if examined is not None:
            await platform.imports.check_room_for(tx, wanted, examined)
        opened = await platform.databases.create(tx, principal.actor, wanted, secrets.password())
        told = answers.created_database(platform.settings, opened)
        if chosen is not None:
            given = await platform.blueprints.give(
                tx, principal.actor, opened.row, chosen, secrets.role_password
            )
            told.operation_id = given.operation.id
            told.roles = [answers.opened_role(platform.settings, each) for each in given.roles]
        if examined is not None:
            operation = await platform.imports.begin(tx, principal.actor, told.id, examined)
            told.operation_id = operation.id
        return answers.answer(
            told,
            message="Database created. Keep the password: it is not shown again.",
            status=201,
        )

    response = await once(request, principal, work)
    if body.blueprint is not None:
        response = await with_blueprint(platform, principal, response)
    return response


@router.get("", response_model=Listing[Database])
async def index(
    platform: PlatformHere,
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
async def show(platform: PlatformHere, principal: Reader, database_id: DatabaseId) -> Response:
    """One database."""
    return answers.answer(
        answers.database(await platform.databases.show(principal.actor, database_id))
    )


@router.patch("/{identifier}", response_model=Answer[Database])
async def update(
    request: Request,
    body: UpdateDatabase,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
) -> Response:
    """Change its names, its environment, its plan, its limits or its pool mode.

    Open sessions go on as they are, except where a disk quota is overrun or no longer is.
    """
    async with changing(request, principal) as tx:
        row = await platform.databases.update(tx, principal.actor, database_id, body.changes())
    if body.model_fields_set & {"plan", "disk_quota_bytes"}:
        async with visiting(request, principal):
            await platform.quotas.enforce_one(row)
        row = await platform.databases.show(principal.actor, database_id)
    return answers.answer(answers.database(row), message="Database updated.")


@router.post("/{identifier}/pool/reconnect", response_model=Answer[Database])
async def reconnect_pool(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    *,
    end_clients: bool = False,
) -> Response:
    """Renew the server connections of its pooled clients, and of its shadow's.

    Nobody is dropped: clients wait up to a second for each other's open transactions, and a
    transaction that takes longer keeps its connection to its end. In session mode a client keeps
    its connection until it disconnects. With ``end_clients`` all pooled sessions end at once.
    """
    first = not await is_repeated(request, principal)
    row = await platform.databases.active(principal.actor, database_id)
    if first:  # in no transaction: this may wait for the tenant's own
        async with visiting(request, principal):
            await platform.databases.reconnect_pool(row, end_clients=end_clients)

    async def record(tx: Tx, _: SecretSource) -> JSONResponse:
        await audit.record_on(
            tx,
            principal.actor,
            "database.pool_reconnect",
            row,
            details={"end_clients": end_clients},
        )
        return answers.answer(answers.database(row), message="The pool is renewed.")

    return await once(request, principal, record)


@router.delete(
    "/{identifier}",
    response_model=Answer[Deleted],
    responses={202: {"model": Answer[Deleted], "description": "Still being removed"}},
)
async def delete(
    request: Request,
    platform: PlatformHere,
    principal: Writer,
    database_id: DatabaseId,
    *,
    keep_backups: bool = False,
) -> Response:
    """Remove a database, its shadow, its role and all their sessions. The audit stays.

    Its logical backups go within a minute, or stay until they are deleted, if they are to.
    """
    async with changing(request, principal) as tx:
        deletion = await platform.databases.delete(tx, principal.actor, database_id)
        if keep_backups:
            await platform.backups.keep_all(tx, database_id)
    gone = await platform.databases.is_gone(database_id)
    return answers.answer(
        Deleted(
            id=database_id,
            status="deleted" if gone else "deleting",
            operation_id=deletion.operation_id,
        ),
        message="Database deleted." if gone else "Nobody can connect; it is being removed.",
        status=200 if gone else 202,
    )


@router.get("/{identifier}/connection-strings", response_model=Answer[Strings])
async def strings(
    platform: PlatformHere,
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
async def stats(platform: PlatformHere, principal: Reader, database_id: DatabaseId) -> Response:
    """Size, sessions and counters as they are now, the shadow's size and sessions included."""
    return answers.answer(
        answers.stats(await platform.databases.statistics(principal.actor, database_id))
    )


@router.post("/{identifier}/rotate-password", response_model=Answer[OpenedDatabase])
async def rotate_password(
    request: Request, platform: PlatformHere, principal: Writer, database_id: DatabaseId
) -> Response:
    """Give it a new password, shown here only. Open sessions, pooled ones too, go on."""

    async def work(tx: Tx, secrets: SecretSource) -> JSONResponse:
        opened = await platform.databases.rotate_password(
            tx, principal.actor, database_id, secrets.password()
        )
        return answers.answer(
            answers.opened_database(platform.settings, opened),
            message="Password changed. Keep it: it is not shown again.",
        )

    return await once(request, principal, work)
