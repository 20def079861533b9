"""One site of the AI cache: what it answered and saved, hits to be judged; and prices of tokens."""

import asyncio
import datetime as dt
import math
from typing import Annotated, Literal

from fastapi import Query, Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.control.sites import BY_MEANING
from tenantry.services.bodies.cache_usage import (
    CachePrice,
    CachePrices,
    CertifyThreshold,
    JudgeHit,
)
from tenantry.services.cache_usage.model import PriceTable
from tenantry.services.caching.judging import Hit, Threshold
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.services.sites.model import Site
from tenantry.web import charts, pages
from tenantry.web.database_pages import attempt
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Form,
    calling,
    new_router,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Administrator = Annotated[Caller, calling("admin")]
Days = Literal["1", "7", "30", "90"]

_HITS = 10
_ALL = 100  # percent
_PRICES = "/cache-prices"


@router.get("/sites/{site_id}")
async def show(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    site_id: str,
    days: Annotated[Days, Query()] = "7",
) -> Response:
    """Show what a site's cache did in the last days, and what takes its memory and time."""
    found, actor = parsed(site_id, "site"), caller.actor
    site = await platform.sites.show(actor, found)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=int(days))
    drawn = await platform.cache_usage.series(actor, found, start=start)
    hits, threshold = await asyncio.gather(
        _hits(platform, caller, site), _threshold(platform, caller, site)
    )
    return pages.render(
        request,
        "site.html",
        tab="",
        site=site,
        report=await platform.cache_usage.report(actor, found, days=int(days)),
        redis=await platform.cache_usage.memory(actor, found),
        stats=(await platform.sites.stats_of([site])).get(site.id),
        charts=charts.of_site(drawn.series),
        span=drawn.span,
        days=days,
        offered=("1", "7", "30", "90"),
        hits=hits,
        threshold=threshold,
        may_write=caller.principal.may("databases:write"),
        may_read_names=caller.principal.may("data:read"),
    )


async def _hits(platform: Platform, caller: Caller, site: Site) -> list[Hit]:
    """Return hits to be judged; none where the site has none, or the caller may not read them."""
    found: list[Hit] = []
    if site.semantic in BY_MEANING and caller.principal.may("data:read"):
        with attempt():
            found = await platform.judging.hits(caller.actor, site.id, limit=_HITS)
    return found


async def _threshold(platform: Platform, caller: Caller, site: Site) -> Threshold | None:
    """Return the threshold in force; None where the site has none."""
    found: Threshold | None = None
    if site.semantic in BY_MEANING:
        with attempt():
            found = await platform.judging.threshold(caller.actor, site.id)
    return found


@router.post("/sites/{site_id}/hits/{hit_id}/judge")
async def judge(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    site_id: str,
    hit_id: str,
    form: CurrentForm,
) -> Response:
    """Note whether a stored answer was right for what was asked."""
    found, body = parsed(site_id, "site"), read(JudgeHit, form)
    await platform.judging.judge(caller.actor, found, hit_id, correct=body.correct)
    return pages.go(request, f"/sites/{found}?done=judged")


@router.post("/sites/{site_id}/certify")
async def certify(
    request: Request, platform: CurrentPlatform, caller: Writer, site_id: str, form: CurrentForm
) -> Response:
    """Put the loosest threshold in force that the judged hits certify, and show what they do."""
    found = parsed(site_id, "site")
    body = read(CertifyThreshold, {}, budget=_share(form, "budget"))
    return pages.dialog(
        request,
        "site_certificate.html",
        site=await platform.sites.show(caller.actor, found),
        found=await platform.judging.certify(caller.actor, found, body.budget),
    )


def _share(form: Form, field: str) -> float:
    """Return a percentage of a form as a share. Raises InvalidInput."""
    try:
        percent = float(form.get(field, ""))
    except ValueError:
        percent = math.nan
    if not 0 < percent < _ALL:
        raise InvalidInput.of(field, f"must be a number above 0 and below {_ALL}, such as 2")
    return round(percent / _ALL, 6)


@router.get(_PRICES)
async def prices(request: Request, platform: CurrentPlatform, caller: Reader) -> Response:
    """Show the operator's prices."""
    return pages.render(
        request,
        "cache_prices.html",
        table=await platform.cache_usage.prices(caller.actor),
        today=dt.datetime.now(dt.UTC).date(),
        may_write=caller.principal.may("admin"),
    )


@router.post(_PRICES)
async def set_price(
    request: Request, platform: CurrentPlatform, caller: Administrator, form: CurrentForm
) -> Response:
    """Add a price, in place of one of the same model and day."""
    new = read(CachePrice, form)
    table = await platform.cache_usage.prices(caller.actor)
    currency = form.get("currency", "").strip() or table.currency or "USD"
    rows = [new, *_others(table, new.model, new.valid_from)]
    await _replace(platform, caller, {"currency": currency}, rows)
    return pages.go(request, f"{_PRICES}?done=priced")


@router.post(f"{_PRICES}/remove")
async def remove_price(
    request: Request, platform: CurrentPlatform, caller: Administrator, form: CurrentForm
) -> Response:
    """Remove the price of a model from a day on."""
    gone = read(CachePrice, form, input=0, output=0)
    table = await platform.cache_usage.prices(caller.actor)
    currency = {"currency": table.currency or "USD"}
    await _replace(platform, caller, currency, _others(table, gone.model, gone.valid_from))
    return pages.go(request, f"{_PRICES}?done=priced")


def _others(table: PriceTable, model: str, day: dt.date) -> list[CachePrice]:
    return [
        CachePrice.model_validate(
            {
                "model": each.model,
                "valid_from": each.valid_from.isoformat(),
                "input": float(each.input),
                "output": float(each.output),
            }
        )
        for each in table.prices
        if (each.model, each.valid_from) != (model, day)
    ]


async def _replace(platform: Platform, caller: Caller, form: Form, rows: list[CachePrice]) -> None:
    body = read(CachePrices, form, prices=rows)
    async with caller.transaction() as tx:
        await platform.cache_usage.replace_prices(tx, caller.actor, body.table())
