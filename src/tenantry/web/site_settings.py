"""The settings of a site of the AI cache: its Redis, its secrets, and the providers behind it."""

from typing import Annotated, get_args

from fastapi import Request, Response

from tenantry.control.sites import Eviction, Mode
from tenantry.services.bodies.site_proxies import UpdateSiteProxy
from tenantry.services.bodies.sites import UpdateSite
from tenantry.services.caching.upstreams import PROVIDERS, ProxySettings
from tenantry.services.requests.service import Caller
from tenantry.services.sites.model import Site
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Form,
    calling,
    new_router,
    parsed,
    read,
    words,
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
    return pages.render(
        request,
        "site_settings.html",
        tab="/settings",
        site=await platform.sites.show(caller.actor, found),
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
    """Change what differs from what the site is."""
    found = parsed(site_id, "site")
    changes = _changes(await platform.sites.show(caller.actor, found), form)
    if changes:
        body = read(UpdateSite, {}, **changes)
        async with caller.transaction() as tx:
            await platform.sites.update(tx, caller.actor, found, body.changes())
    return _done(request, site_id)


def _changes(site: Site, form: Form) -> dict[str, object]:
    """Return the fields of a form that differ from a site's; no address removes its allowlist."""
    changes: dict[str, object] = {
        name: form[name].strip()
        for name in _FIELDS
        if name in form and form[name].strip() != str(getattr(site, name))
    }
    networks = words(form, "networks")
    if networks != [str(each) for each in site.networks]:
        changes["networks"] = networks
    return changes


@router.post(f"{_PATH}/proxy")
async def update_proxy(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Change what differs from how the proxy is configured; an empty field is the default."""
    found = parsed(site_id, "site")
    changes = _proxy_changes(await platform.proxies.show(caller.actor, found), form)
    if changes:
        body = read(UpdateSiteProxy, {}, **changes)
        async with caller.transaction() as tx:
            await platform.proxies.update(tx, caller.actor, found, body.values(), body.keys())
    return _done(request, site_id)


def _proxy_changes(proxy: ProxySettings, form: Form) -> dict[str, object]:
    """Return the fields of a form that differ from a proxy's; a key stays unless one is given."""
    changes: dict[str, object] = {}
    for provider, default in PROVIDERS.items():
        url = form.get(f"{provider}_url", "").strip().rstrip("/") or default
        if url != proxy.upstreams[provider].url:
            changes[f"{provider}_url"] = None if url == default else url
        key = form.get(f"{provider}_key", "").strip()
        if key or form.get(f"{provider}_forget") == "yes":
            changes[f"{provider}_key"] = key or None
    for name in _LIMITS:
        present = getattr(proxy.limits, name)
        given = form.get(name, "").strip()
        if given != ("" if present is None else str(present)):
            changes[name] = given or None
    return changes


def _done(request: Request, site_id: str) -> Response:
    return pages.go(request, f"/sites/{parsed(site_id, 'site')}/settings?done=site-updated")
