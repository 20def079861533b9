"""The branches of one database: databases made from it, now or as it was."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.pg.descriptions import Difference
from tenantry.services.bodies.copies import CreateBranch, PromoteBranch, ResetBranch, SetMasking
from tenantry.services.branches.model import OpenedBranch
from tenantry.services.requests.service import Caller
from tenantry.web import pages, strings, words
from tenantry.web.database_pages import attempt, page_of, require_typed
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    DatabaseId,
    Form,
    calling,
    moment,
    new_router,
    number,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}"
_A_PAGE = 50


@router.get(f"{_PATH}/branches")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    cursor: Cursor = None,
) -> Response:
    """Show a database's branches, and what it is a branch of."""
    row = await platform.databases.show(caller.actor, database_id)
    page = await platform.branches.page(caller.actor, database_id, cursor=cursor, limit=_A_PAGE)
    parent = None
    if row.parent_id is not None:
        parent = await platform.databases.show(caller.actor, row.parent_id)
    window = None
    if caller.principal.may("backups:read"):
        window = (await platform.restores.window(caller.actor, database_id)).window
    return await page_of(
        request,
        platform,
        caller,
        row,
        "database_branches.html",
        tab="/branches",
        branches=page.rows,
        following=pages.following(request, page.next_cursor),
        parent=parent,
        window=window,
        masking=await platform.branches.masking(caller.actor, database_id),
    )


@router.post(f"{_PATH}/branches")
async def create(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to make a branch, and show its strings with the password, this once."""
    days = number(form, "expires_days")
    ends = {} if days is None else {"expires_in": days * 86_400}
    body = read(CreateBranch, form, **_moment(form), **ends)
    made = await make(platform, caller, database_id, body)
    return strings_of(request, platform, made, onward=f"/databases/{made.opened.row.id}")


async def make(
    platform: CurrentPlatform, caller: Caller, database_id: DatabaseId, body: CreateBranch
) -> OpenedBranch:
    """Begin to make a branch, once for each form."""
    wanted = body.wanted()
    return await once(
        lambda: caller.idempotent(
            OpenedBranch,
            lambda tx, secrets: platform.branches.create(
                tx, caller.actor, database_id, wanted, secrets.password()
            ),
        )
    )


def strings_of(
    request: Request, platform: CurrentPlatform, made: OpenedBranch, *, onward: str
) -> Response:
    """Return a dialog with the strings of a new branch, which leads ``onward``."""
    row, password = made.opened.row, made.opened.password.reveal()
    return strings.dialog(
        request,
        platform.settings,
        row,
        strings.of_database(platform.settings, row, password),
        heading=f"{words.title(row)} is being made: its strings work in a moment",
        password=password,
        onward=onward,
    )


def _moment(form: Form) -> dict[str, object]:
    return {"at": moment(form, "at")} if "at" in form else {}


@router.get(f"{_PATH}/branches/{{branch_id}}/diff")
async def compare(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    branch_id: str,
) -> Response:
    """Show how the schema of a branch differs from its parent's."""
    branch = await platform.databases.show(caller.actor, parsed(branch_id, "branch"))
    found: list[Difference] = []
    with attempt() as tried:
        async with caller.visiting():
            found = await platform.branches.compare(caller.actor, database_id, branch.id)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "branch_diff.html",
        tab="/branches",
        branch=branch,
        found=found,
        problem=tried.problem,
    )


@router.get(f"{_PATH}/branches/{{branch_id}}/reset")
async def ask_to_reset(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    branch_id: str,
) -> Response:
    """Say what a reset replaces."""
    row = await platform.databases.show(caller.actor, parsed(branch_id, "branch"))
    parent = await platform.databases.show(caller.actor, database_id)
    return pages.dialog(
        request,
        "branch_reset.html",
        row=row,
        parent=parent,
        path=f"/databases/{parent.id}/branches/{row.id}",
    )


@router.post(f"{_PATH}/branches/{{branch_id}}/reset")
async def reset(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    branch_id: str,
    form: CurrentForm,
) -> Response:
    """Begin to reset a branch to its parent."""
    branch = parsed(branch_id, "branch of this database")
    body = read(ResetBranch, form, **_moment(form))
    await once(
        lambda: caller.begin(
            lambda tx: platform.branches.reset(
                tx,
                caller.actor,
                database_id,
                branch,
                at=body.at,
                masked=body.masked,
                accept_losses=body.accept_losses,
            )
        )
    )
    return pages.go(request, f"/databases/{branch}/operations?done=begun")


@router.get(f"{_PATH}/promote")
async def ask_to_promote(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Say what a promotion replaces, and ask for that one's name."""
    row = await platform.databases.show(caller.actor, database_id)
    parent = row
    if row.parent_id is not None:
        parent = await platform.databases.show(caller.actor, row.parent_id)
    return pages.dialog(
        request, "branch_promote.html", row=row, parent=parent, path=f"/databases/{row.id}"
    )


@router.post(f"{_PATH}/promote")
async def promote(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to replace the parent, whose name was typed, by a copy of its branch."""
    row = await platform.databases.show(caller.actor, database_id)
    if row.parent_id is not None:
        require_typed(await platform.databases.show(caller.actor, row.parent_id), form)
    body = read(PromoteBranch, form)
    operation = await once(
        lambda: caller.begin(
            lambda tx: platform.branches.promote(
                tx, caller.actor, database_id, accept_losses=body.accept_losses
            )
        )
    )
    return pages.go(request, f"/databases/{operation.resource_id}/operations?done=begun")


@router.post(f"{_PATH}/masking")
async def set_masking(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Set the SQL that masks new branches; nothing removes it."""
    body = read(SetMasking, {}, sql=form.get("sql"))
    async with caller.transaction() as tx:
        await platform.branches.set_masking(tx, caller.actor, database_id, body.sql)
    return pages.go(request, f"/databases/{database_id}/branches?done=masking")
