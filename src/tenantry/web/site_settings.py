"""The settings of a site of the AI cache: its Redis, its secrets, and the providers behind it."""

from typing import Annotated, get_args

from fastapi import Request, Response

from tenantry.control.sites import Eviction, Mode
from tenantry.services.bodies.site_proxies import UpdateSiteProxy
from tenantry.services.bodies.sites import UpdateSite
from tenantry.services.caching.upstreams import PROVIDERS
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Form,
    calling,
    is_changed,
    new_router,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/sites/{site_id}"
_FIELDS = ("name", "memory_mb", "max_clients", "eviction", "persistence", "semantic")
_LIMITS = ("requests_per_minute", "tokens_per_day", "most_temperature")


@router.get(f"{_PATH}/settings")
async def settings(
    request: Request, platform: CurrentPlatform, caller: Reader, site_id: str
) -> Response:
    """Show what a site is and the providers behind it, with forms that change them."""
    found = parsed(site_id, "site")
    site = await platform.sites.show(caller.actor, found)
    return pages.render(
        request,
        "site_settings.html",
        tab="/settings",
        site=site,
        reach=await platform.site_filter.reach(site),
        proxy=await platform.proxies.show(caller.actor, found),
        defaults=PROVIDERS,
        evictions=get_args(Eviction),
        modes=get_args(Mode),
        cache_url=platform.settings.cache_url,
        may_write=caller.principal.may("databases:write"),
        may_read_names=caller.principal.may("data:read"),
    )


@router.post(f"{_PATH}/settings")
async def update(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Change what was changed in the form."""
    found = parsed(site_id, "site")
    if changes := _changes(form):
        body = read(UpdateSite, {}, **changes)
        async with caller.transaction() as tx:
            await platform.sites.update(tx, caller.actor, found, body.changes())
    return _done(request, site_id)


def _changes(form: Form) -> dict[str, object]:
    """Return the fields that were changed in a form."""
    return {name: form[name].strip() for name in _FIELDS if name in form and is_changed(form, name)}


@router.post(f"{_PATH}/proxy")
async def update_proxy(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Change what was changed in the form; an emptied field is the default."""
    found = parsed(site_id, "site")
    if changes := _proxy_changes(form):
        body = read(UpdateSiteProxy, {}, **changes)
        async with caller.transaction() as tx:
            await platform.proxies.update(tx, caller.actor, found, body.values(), body.keys())
    return _done(request, site_id)


def _proxy_changes(form: Form) -> dict[str, object]:
    """Return the fields that were changed in a form; a key stays unless one is given.

    A key brings its URL: it would otherwise go to another one that was set since then.
    """
    changes: dict[str, object] = {}
    for provider, default in PROVIDERS.items():
        key = form.get(f"{provider}_key", "").strip()
        if key or is_changed(form, f"{provider}_url"):
            url = form.get(f"{provider}_url", "").strip().rstrip("/")
            changes[f"{provider}_url"] = None if url in {"", default} else url
        if key or form.get(f"{provider}_forget") == "yes":
            changes[f"{provider}_key"] = key or None
    for name in _LIMITS:
        if is_changed(form, name):
            changes[name] = form.get(name, "").strip() or None
    return changes


def _done(request: Request, site_id: str) -> Response:
    return pages.go(request, f"/sites/{parsed(site_id, 'site')}/settings?done=site-updated")
