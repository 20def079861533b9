"""Who may reach the Redis of a site: its allowlist."""

from typing import Annotated

from fastapi import Request, Response

from tenantry.services.bodies.allowlists import Whitelist, WhitelistEntry
from tenantry.services.requests.service import Caller
from tenantry.services.sites.model import Site
from tenantry.web import allowlists, pages
from tenantry.web.allowlists import Place
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    calling,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/sites/{site_id}"


@router.get(f"{_PATH}/access")
async def access(
    request: Request, platform: CurrentPlatform, caller: Reader, site_id: str
) -> Response:
    """Show the allowlist of a site, and whether it is obeyed."""
    found = parsed(site_id, "site")
    site = await platform.sites.show(caller.actor, found)
    entries = await platform.site_allowlists.entries(caller.actor, found)
    return pages.render(
        request,
        "site_access.html",
        tab="/access",
        site=site,
        entries=entries,
        text=allowlists.text_of(entries),
        address=caller.actor.address,
        refused=allowlists.refuses(entries, caller.actor.address),
        reach=await platform.site_filter.reach(site),
        may_write=caller.principal.may("databases:write"),
        may_read_names=caller.principal.may("data:read"),
    )


@router.post(f"{_PATH}/whitelist")
async def allow(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Allow an address or a range."""
    found, body = parsed(site_id, "site"), read(WhitelistEntry, form)
    await once(lambda: platform.site_allowlists.add(caller, found, body.wanted()))
    return pages.go(request, f"/sites/{found}/access?done=site-list")


@router.get(f"{_PATH}/whitelist/{{entry_id}}/remove")
async def ask_to_remove(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, entry_id: str
) -> Response:
    """Say whose connections a removal would end, and ask."""
    site = await platform.sites.show(caller.actor, parsed(site_id, "site"))
    entries = await platform.site_allowlists.entries(caller.actor, site.id)
    entry, left = allowlists.without(entries, parsed(entry_id, "entry on this allowlist"))
    found = await platform.site_allowlists.preview(caller.actor, site.id, left)
    address = caller.actor.address
    return allowlists.ask_to_remove(request, _place(site), entry, left, found, address)


@router.post(f"{_PATH}/whitelist/{{entry_id}}/remove")
async def remove(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, entry_id: str
) -> Response:
    """Remove an address; its connections end."""
    found, entry = parsed(site_id, "site"), parsed(entry_id, "entry on this site's allowlist")
    await platform.site_allowlists.remove(caller, found, entry)
    return pages.go(request, f"/sites/{found}/access?done=site-list")


@router.post(f"{_PATH}/whitelist/preview")
async def preview(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Show what another list would change, and whose connections would end; it changes nothing."""
    site = await platform.sites.show(caller.actor, parsed(site_id, "site"))
    found = await platform.site_allowlists.preview(caller.actor, site.id, allowlists.wanted(form))
    return allowlists.preview(request, _place(site), found, form, caller.actor.address)


def _place(site: Site) -> Place:
    return Place(
        section="AI cache",
        path=f"/sites/{site.id}",
        what="site",
        name=site.name,
        ends="connections",
        command="cache whitelist",
        named=site.name,
    )


@router.post(f"{_PATH}/whitelist/replace")
async def replace(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Replace the whole list, if it is still the one that the preview was of."""
    found = parsed(site_id, "site")
    body = read(Whitelist, {}, entries=allowlists.listed(form), version=form.get("version", ""))
    await platform.site_allowlists.replace(caller, found, body.wanted(), version=body.version)
    return pages.go(request, f"/sites/{found}/access?done=site-list")
