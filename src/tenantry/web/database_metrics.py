"""What one database had and did, over a time that is chosen."""

import datetime as dt
from typing import Annotated, Literal

from fastapi import Query, Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.services.samples.service import Drawn
from tenantry.web import charts
from tenantry.web.database_pages import page_of
from tenantry.web.routing import CurrentPlatform, DatabaseId, calling, moment, new_router

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Text = Annotated[Storable, Query(max_length=40)]
Last = Literal["", "1h", "6h", "1d", "7d", "30d"]

_LENGTHS = {
    "1h": dt.timedelta(hours=1),
    "6h": dt.timedelta(hours=6),
    "1d": dt.timedelta(days=1),
    "7d": dt.timedelta(days=7),
    "30d": dt.timedelta(days=30),
}


@router.get("/databases/{database_id}/metrics")
async def metrics(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    last: Last = "",
    start: Annotated[Text, Query(alias="from")] = "",
    to: Text = "",
) -> Response:
    """Show charts of the last hours or days, or from one moment to another."""
    times = {name: value for name, value in {"from": start, "to": to}.items() if value}
    last = last or ("" if times else "1d")
    drawn: Drawn | None = None
    problem = None
    try:
        begin, end = (
            dt.datetime.fromisoformat(moment(times, name)) if name in times else None
            for name in ("from", "to")
        )
        if last:
            begin, end = dt.datetime.now(dt.UTC) - _LENGTHS[last], None
        drawn = await platform.samples.series(
            caller.actor, database_id, start=begin, end=end, step=None
        )
    except InvalidInput as error:  # the times stay, to be corrected
        problem = error
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_metrics.html",
        tab="/metrics",
        charts=charts.every(drawn.series) if drawn else [],
        span=drawn and drawn.span,
        problem=problem,
        lasts=_LENGTHS,
        last=last,
        times={"from": start, "to": to},
    )
