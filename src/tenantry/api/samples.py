"""/api/databases/{id}/metrics, /api/metrics/sparklines, /api/metrics/latest"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, DatabaseId, allowed
from tenantry.services.access.service import Principal
from tenantry.services.bodies.fields import Moment
from tenantry.services.samples import series as model
from tenantry.services.samples.latest import Order
from tenantry.services.samples.resolutions import SAMPLE_SECONDS, Span
from tenantry.services.samples.service import Drawn, Lately

router = APIRouter(tags=["insights"])

Reader = Annotated[Principal, allowed("databases:read")]
MOST_SPARKLINES = 100  # databases in one request, whose URL has all their ids
MOST_LATEST = 500  # databases in one answer
LONGEST_STEP = 366 * 86_400


class Series(BaseModel):
    """A figure over time: at each point its mean rate, or its maximum, from there to the next."""

    name: str = Field(examples=["commits"])
    unit: str = Field(examples=["transactions/s"])
    points: list[tuple[dt.datetime, float | None]] = Field(
        description="Time and value; null where it is not known.",
        examples=[[["2031-01-02T03:04:00Z", 12.5], ["2031-01-02T03:05:00Z", None]]],
    )


class Metrics(BaseModel):
    """What a database had and did. A figure that is not known at all has no series."""

    database_id: uuid.UUID
    from_: dt.datetime = Field(serialization_alias="from", validation_alias="from")
    to: dt.datetime
    step_seconds: int = Field(examples=[300])
    series: list[Series]


class Sparkline(BaseModel):
    name: str = Field(examples=["transactions"])
    unit: str = Field(examples=["transactions/s"])
    values: list[float | None] = Field(examples=[[0.0, 12.5, None]])


class Sparklines(BaseModel):
    """Short series of a database: a value for each step."""

    database_id: uuid.UUID
    from_: dt.datetime = Field(serialization_alias="from", validation_alias="from")
    step_seconds: int = Field(examples=[3600])
    series: list[Sparkline]


class Latest(BaseModel):
    """What a database had in its newest sample, and did in the time before it.

    Connections are direct ones and those of the pooler. Rates are 0 if nothing happened since.
    """

    database_id: uuid.UUID
    database_name: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    name: str | None = Field(examples=["shop"])
    friendly_name: str | None = Field(examples=["The shop"])
    environment: str = Field(examples=["production"])
    sampled_at: dt.datetime
    transactions_per_second: float | None = Field(examples=[212.7])
    connections_active: int = Field(examples=[3])
    connections_idle: int = Field(examples=[14])
    connections_in_transaction: int = Field(examples=[1])
    clients_waiting: int | None = Field(examples=[0])
    longest_transaction_seconds: float | None = Field(examples=[12.8])
    cache_hit_ratio: float | None = Field(examples=[0.991])
    cpu_percent: float | None = Field(examples=[18.5])
    temporary_bytes_per_second: float | None = Field(examples=[0])
    wal_bytes_per_second: float | None = Field(examples=[524_288])
    size_bytes: int | None = Field(examples=[88_185_241])


def _rounded(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")


def series_of(span: Span, series: Sequence[model.Series]) -> list[Series]:
    """Return series as answers have them: with the moment of each step."""
    moments = span.buckets
    # Not validated: to look at each of a day's points takes longer than to compute it.
    return [
        Series.model_construct(
            name=each.name,
            unit=each.unit,
            points=list(zip(moments, map(_rounded, each.values), strict=True)),
        )
        for each in series
    ]


def _metrics(found: Drawn) -> Metrics:
    return Metrics.model_construct(
        database_id=found.database_id,
        from_=found.span.start,
        to=found.span.end,
        step_seconds=int(found.span.step.total_seconds()),
        series=series_of(found.span, found.series),
    )


def _sparklines(found: Drawn) -> Sparklines:
    return Sparklines.model_validate(
        {
            "database_id": found.database_id,
            "from": found.span.start,
            "step_seconds": int(found.span.step.total_seconds()),
            "series": [
                {"name": each.name, "unit": each.unit, "values": list(map(_rounded, each.values))}
                for each in found.series
            ],
        }
    )


@router.get("/api/databases/{identifier}/metrics", response_model=Answer[Metrics])
async def metrics(
    platform: CurrentPlatform,
    principal: Reader,
    database_id: DatabaseId,
    start: Annotated[
        Moment | None, Query(alias="from", description="By default a day before the end.")
    ] = None,
    to: Annotated[Moment | None, Query(description="By default now.")] = None,
    step: Annotated[
        int | None,
        Query(
            ge=SAMPLE_SECONDS,
            le=LONGEST_STEP,
            description="The seconds between two points. By default there are up to 300 points.",
        ),
    ] = None,
) -> Response:
    """Return what the database had and did: a series for each figure, ready to be drawn."""
    return answers.answer(
        _metrics(
            await platform.samples.series(
                principal.actor, database_id, start=start, end=to, step=step
            )
        )
    )


@router.get("/api/metrics/sparklines", response_model=Listing[Sparklines])
async def sparklines(
    platform: CurrentPlatform,
    principal: Reader,
    ids: Annotated[
        list[uuid.UUID],
        Query(min_length=1, max_length=MOST_SPARKLINES, description="Ids of databases."),
    ],
    period: Annotated[Lately, Query(description="Of the last hour, day or week.")] = "day",
) -> Response:
    """Return short series of several databases at once. Unknown ids are left out."""
    found = await platform.samples.sparklines(principal.actor, ids, period)
    return answers.listing([_sparklines(each) for each in found])


@router.get("/api/metrics/latest", response_model=Listing[Latest])
async def latest(
    platform: CurrentPlatform,
    principal: Reader,
    ids: Annotated[
        list[uuid.UUID] | None,
        Query(
            min_length=1,
            max_length=MOST_SPARKLINES,
            description="Ids of databases. By default all that the caller may see.",
        ),
    ] = None,
    sort: Annotated[
        Order, Query(description="The greatest is first; with hits, the least.")
    ] = "transactions",
    limit: Annotated[int, Query(ge=1, le=MOST_LATEST)] = 50,
) -> Response:
    """Return what databases do at present, by the newest sample of each.

    Unknown ids, and databases that were not sampled in the last ten minutes, are left out.
    """
    found = await platform.samples.activity(principal.actor, ids, order=sort, limit=limit)
    return answers.listing(
        [
            Latest.model_validate(
                {
                    name: _rounded(value) if isinstance(value, float) else value
                    for name, value in asdict(each).items()
                }
            )
            for each in found
        ]
    )
