"""Who may reach one database: its allowlist and its roles."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.control.databases import DatabaseRow
from tenantry.services.bodies.allowlists import Whitelist, WhitelistEntry
from tenantry.services.bodies.databases import CreateRole, UpdateRole
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.services.roles import model
from tenantry.web import allowlists, pages, strings, words
from tenantry.web.allowlists import Place
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
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


@router.get(f"{_PATH}/access")
async def access(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show a database's allowlist and its roles."""
    entries = await platform.network.entries(caller.actor, database_id)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_access.html",
        tab="/access",
        entries=entries,
        text=allowlists.text_of(entries),
        roles=await platform.roles.of_database(caller.actor, database_id),
        address=caller.actor.address,
        refused=allowlists.refuses(entries, caller.actor.address),
    )


@router.post(f"{_PATH}/whitelist")
async def allow(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Allow an address or a range; ask first if it is the only one, and not this browser's."""
    body = read(WhitelistEntry, form)
    address = caller.actor.address
    is_to_ask = form.get("confirmed") != "yes" and allowlists.refuses([body.wanted()], address)
    if is_to_ask and not await platform.network.entries(caller.actor, database_id):
        return pages.render(
            request,
            "allowlist_first.html",
            network=body.wanted().network,
            address=address,
            given=form,
            path=f"/databases/{database_id}",
        )
    await once(lambda: platform.network.add(caller, database_id, body.wanted()))
    return pages.go(request, f"/databases/{database_id}/access?done=allowed")


@router.get(f"{_PATH}/whitelist/{{entry_id}}/remove")
async def ask_to_remove(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    entry_id: str,
) -> Response:
    """Say whose sessions a removal would end, and ask."""
    row = await platform.databases.show(caller.actor, database_id)
    entries = await platform.network.entries(caller.actor, database_id)
    entry, left = allowlists.without(entries, parsed(entry_id, "entry on this allowlist"))
    found = await platform.network.preview(caller.actor, database_id, left)
    address = caller.actor.address
    return allowlists.ask_to_remove(request, _place(row), entry, left, found, address)


@router.post(f"{_PATH}/whitelist/{{entry_id}}/remove")
async def remove(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    entry_id: str,
) -> Response:
    """Remove an address; its sessions end."""
    entry = parsed(entry_id, "entry on this database's allowlist")
    await platform.network.remove(caller, database_id, entry)
    return pages.go(request, f"/databases/{database_id}/access?done=removed")


@router.post(f"{_PATH}/whitelist/preview")
async def preview(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Show what another list would change, and whose sessions would end; it changes nothing."""
    row = await platform.databases.show(caller.actor, database_id)
    found = await platform.network.preview(caller.actor, database_id, allowlists.wanted(form))
    return allowlists.preview(request, _place(row), found, form, caller.actor.address)


def _place(row: DatabaseRow) -> Place:
    return Place(
        section="Databases",
        path=f"/databases/{row.id}",
        what="database",
        name=words.title(row),
        ends="sessions",
        command="whitelist",
        named=words.argument(row),
    )


@router.post(f"{_PATH}/whitelist/replace")
async def replace(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Replace the whole list, if it is still the one that the preview was of."""
    body = read(Whitelist, {}, entries=allowlists.listed(form), version=form.get("version", ""))
    await platform.network.replace(caller, database_id, body.wanted(), version=body.version)
    return pages.go(request, f"/databases/{database_id}/access?done=list-replaced")


@router.post(f"{_PATH}/roles")
async def create_role(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Create a role, and show its strings with the password, this once."""
    body = read(CreateRole, form, max_connections=number(form, "max_connections"))
    opened = await once(
        lambda: caller.idempotent(
            model.OpenedRole,
            lambda tx, secrets: platform.roles.create(
                tx, caller.actor, database_id, body.wanted(), secrets.password()
            ),
        )
    )
    return _opened(request, platform, opened, f"The role {opened.role.row.name} is ready")


def _opened(
    request: Request, platform: Platform, opened: model.OpenedRole, heading: str
) -> Response:
    password = opened.password.reveal()
    return strings.dialog(
        request,
        platform.settings,
        opened.role.database,
        strings.of_role(platform.settings, opened.role, password),
        heading=heading,
        password=password,
        onward=f"/databases/{opened.role.database.id}/access",
    )


@router.post(f"{_PATH}/roles/{{role_id}}/delete")
async def delete_role(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    role_id: str,
) -> Response:
    """Delete a role; its sessions end."""
    await platform.roles.delete(caller, database_id, parsed(role_id, "role of this database"))
    return pages.go(request, f"/databases/{database_id}/access?done=role-deleted")


@router.post(f"{_PATH}/roles/{{role_id}}/rotate-password")
async def rotate_role(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    role_id: str,
) -> Response:
    """Replace a role's password, and show its strings with the new one, this once."""
    role = parsed(role_id, "role of this database")
    opened = await once(
        lambda: caller.idempotent(
            model.OpenedRole,
            lambda tx, secrets: platform.roles.rotate_password(
                tx, caller.actor, database_id, role, secrets.password()
            ),
        )
    )
    return _opened(request, platform, opened, f"The new password of {opened.role.row.name}")


@router.post(f"{_PATH}/roles/{{role_id}}/update")
async def update_role(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    role_id: str,
    form: CurrentForm,
) -> Response:
    """Change how many connections a role may have."""
    role = parsed(role_id, "role of this database")
    body = read(UpdateRole, {}, max_connections=number(form, "max_connections"))
    async with caller.transaction() as tx:
        await platform.roles.update(tx, caller.actor, database_id, role, body.max_connections)
    return pages.go(request, f"/databases/{database_id}/access?done=role-updated")
