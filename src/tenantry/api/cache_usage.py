"""/api/sites/{id}/analytics and …/report, /api/cache-prices"""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer
from tenantry.api.deps import CurrentPlatform, SiteId, allowed, calling
from tenantry.api.samples import LONGEST_STEP, Series, series_of
from tenantry.control.grants import ADMIN
from tenantry.services.access.service import Principal
from tenantry.services.bodies.cache_usage import CachePrices
from tenantry.services.bodies.fields import Moment, Storable
from tenantry.services.cache_usage import model
from tenantry.services.cache_usage.model import LONGEST_MODEL, PLAIN, ModelUse, PriceTable, Usage
from tenantry.services.cache_usage.service import DAYS, MOST_DAYS
from tenantry.services.requests.service import Caller
from tenantry.services.sites.model import Inspection

router = APIRouter(tags=["AI cache"])

Reader = Annotated[Principal, allowed("databases:read")]
Administrator = Annotated[Caller, calling(ADMIN)]
_OF_SITE = "/api/sites/{identifier}"
_MINUTE = 60


class Analytics(BaseModel):
    """What a site's cache did: for each step its sums, rates and percentiles."""

    site_id: uuid.UUID
    from_: dt.datetime = Field(serialization_alias="from", validation_alias="from")
    to: dt.datetime
    step_seconds: int = Field(examples=[300])
    series: list[Series]


class Share(BaseModel):
    """A share of cases, and the interval that has the true one with a confidence of 95 %."""

    cases: int
    found: int
    share: float | None = Field(description="Null without cases.", examples=[0.31])
    low: float = Field(examples=[0.29])
    high: float = Field(examples=[0.33])


class ModelUsage(BaseModel):
    """Requests and tokens of one model, or of all. Money is null without a price."""

    model: str = Field(description="Empty where requests name none.", examples=["gpt-4o-mini"])
    exact_hits: int
    semantic_hits: int
    misses: int
    bypasses: int = Field(description="Requests for which the cache was not asked.")
    shared: int = Field(description="Requests that had the answer to another one at its time.")
    failures: int = Field(description="Requests to providers without a usable answer.")
    tokens_in: int = Field(description="Those of requests that providers have counted.")
    tokens_out: int = Field(description="Those of their answers.")
    saved_in: int = Field(description="Those of requests whose answer was given again.")
    saved_out: int = Field(description="Those of these answers.")
    embeddings_found: int
    embeddings_asked: int
    hit_rate: Share
    saved: float | None = Field(examples=[12.5])
    paid: float | None = Field(examples=[30.1])
    priced_from: dt.date | None = Field(description="The day of the newest price that was used.")


class Durations(BaseModel):
    """Estimated percentiles in milliseconds; null without any."""

    p50_ms: float | None
    p95_ms: float | None


class Similarity(BaseModel):
    """Searches by the cosine of the nearest stored question: from this one to the next."""

    cosine: float = Field(examples=[0.95])
    searches: int


class KindUse(BaseModel):
    kind: str = Field(examples=["entry"])
    keys: int
    bytes: int


class BigKey(BaseModel):
    key: str
    type: str = Field(examples=["string"])
    bytes: int


class SlowCommand(BaseModel):
    at: dt.datetime
    milliseconds: float
    command: str = Field(examples=["HGETALL"])
    key: str


class Memory(BaseModel):
    """What takes a site's memory and time, by a sample of ``sampled`` of its keys.

    Names of keys are null without the scope data:read.
    """

    memory_bytes: int
    memory_limit_bytes: int
    evicted_keys: int | None = Field(
        description="Since its Redis started; null in the shared Redis, which counts for all sites."
    )
    keys: int
    sampled: int
    kinds: list[KindUse]
    big_keys: list[BigKey] | None
    slow_commands: list[SlowCommand] | None


class Report(BaseModel):
    """What a site's cache did in some days. ``redis`` is null while its Redis does not answer."""

    site_id: uuid.UUID
    from_: dt.datetime = Field(serialization_alias="from", validation_alias="from")
    to: dt.datetime
    currency: str | None = Field(examples=["USD"])
    unpriced: list[str] = Field(description="Models with tokens and without a price.")
    total: ModelUsage
    models: list[ModelUsage]
    exact_rate: Share
    semantic_rate: Share
    lookup: Durations
    provider: Durations
    similarities: list[Similarity]
    vetoes: dict[str, int] = Field(description="Refusals by guard.")
    redis: Memory | None


class CachePrice(BaseModel):
    """What a million tokens of a model cost from a day in UTC on."""

    model: str = Field(examples=["gpt-4o-mini"])
    valid_from: dt.date
    input: float = Field(examples=[0.15])
    output: float = Field(examples=[0.6])


class PriceList(BaseModel):
    """The operator's prices, by model and day."""

    currency: str | None = Field(description="Null if there are no prices.", examples=["USD"])
    prices: list[CachePrice]


@router.get(f"{_OF_SITE}/analytics", response_model=Answer[Analytics])
async def analytics(
    platform: CurrentPlatform,
    principal: Reader,
    site_id: SiteId,
    start: Annotated[
        Moment | None, Query(alias="from", description="By default a day before the end.")
    ] = None,
    to: Annotated[Moment | None, Query(description="By default now.")] = None,
    step: Annotated[
        int | None,
        Query(
            ge=_MINUTE,
            le=LONGEST_STEP,
            description="The seconds between two points. By default there are up to 300 points.",
        ),
    ] = None,
    of_model: Annotated[
        Storable | None,
        Query(alias="model", max_length=LONGEST_MODEL, description="By default all of them."),
    ] = None,
) -> Response:
    """Return what a site's cache did over time: a series for each figure, ready to be drawn."""
    found = await platform.cache_usage.series(
        principal.actor, site_id, start=start, end=to, step=step, model=of_model
    )
    written = {
        "site_id": found.site_id,
        "from": found.span.start,
        "to": found.span.end,
        "step_seconds": int(found.span.step.total_seconds()),
        "series": series_of(found.span, found.series),
    }
    return answers.answer(Analytics.model_validate(written))


@router.get(f"{_OF_SITE}/report", response_model=Answer[Report])
async def report(
    platform: CurrentPlatform,
    principal: Reader,
    site_id: SiteId,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = DAYS,
) -> Response:
    """Return what a site's cache did in the last days, what it saved, and what takes its memory."""
    found = await platform.cache_usage.report(principal.actor, site_id, days=days)
    memory = await platform.cache_usage.memory(principal.actor, site_id)
    names = principal.may("data:read")
    return answers.answer(_report(found, memory, with_names=names))


@router.get("/api/cache-prices", response_model=Answer[PriceList])
async def prices(platform: CurrentPlatform, principal: Reader) -> Response:
    """Return the operator's prices of tokens, by which savings are valued."""
    return answers.answer(_prices(await platform.cache_usage.prices(principal.actor)))


@router.put("/api/cache-prices", response_model=Answer[PriceList])
async def replace_prices(
    body: CachePrices, platform: CurrentPlatform, caller: Administrator
) -> Response:
    """Replace all prices. What was counted earlier is valued by them, too."""
    async with caller.transaction() as tx:
        found = await platform.cache_usage.replace_prices(tx, caller.actor, body.table())
    return answers.answer(_prices(found), message="Prices replaced.")


def _prices(table: PriceTable) -> PriceList:
    prices = [CachePrice.model_validate(each, from_attributes=True) for each in table.prices]
    return PriceList(currency=table.currency, prices=prices)


def _share(found: model.Share) -> Share:
    known = found.share
    return Share(
        cases=found.cases,
        found=found.found,
        share=None if known is None else round(known, 4),
        low=round(found.low, 4),
        high=round(found.high, 4),
    )


def _money(amount: Decimal | None) -> float | None:
    return None if amount is None else round(float(amount), 6)


def _use(found: ModelUse) -> ModelUsage:
    return ModelUsage(
        model=found.model,
        **{name: found.counts.get(name, 0) for name in PLAIN},
        hit_rate=_share(found.hit_rate),
        saved=_money(found.money.saved),
        paid=_money(found.money.paid),
        priced_from=found.money.priced_from,
    )


def _durations(p50: float | None, p95: float | None) -> Durations:
    known = [None if each is None else round(each, 1) for each in (p50, p95)]
    return Durations(p50_ms=known[0], p95_ms=known[1])


def _memory(found: Inspection, *, with_names: bool) -> Memory:
    read = Memory.model_validate(found, from_attributes=True)
    return read if with_names else read.model_copy(update={"big_keys": None, "slow_commands": None})


def _report(found: Usage, memory: Inspection | None, *, with_names: bool) -> Report:
    written = {
        "site_id": found.site_id,
        "from": found.start,
        "to": found.end,
        "currency": found.currency,
        "unpriced": list(found.unpriced),
        "total": _use(found.total),
        "models": [_use(each) for each in found.by_model],
        "exact_rate": _share(found.exact_rate),
        "semantic_rate": _share(found.semantic_rate),
        "lookup": _durations(found.lookup_p50, found.lookup_p95),
        "provider": _durations(found.provider_p50, found.provider_p95),
        "similarities": [
            Similarity(cosine=cosine, searches=count)
            for cosine, count in found.similarities.items()
        ],
        "vetoes": dict(found.vetoes),
        "redis": None if memory is None else _memory(memory, with_names=with_names),
    }
    return Report.model_validate(written)
