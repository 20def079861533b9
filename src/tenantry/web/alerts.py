"""Alerts, their channels, and a database's thresholds: of the platform, or of a customer."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Query, Request, Response

from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.alerts import AlertRow, Filter, Severity, State
from tenantry.control.grants import ADMIN
from tenantry.control.store import Tx
from tenantry.services.alerts.model import EVENTS, PLATFORM_ALERTS
from tenantry.services.bodies.alerts import CreateChannel, SetThresholds
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    DatabaseId,
    calling,
    chosen,
    new_router,
    number,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_A_PAGE = 50
_LASTING: tuple[State, ...] = ("firing", "pending")
_MOST_LASTING = 200
_MOST_HOURS = 366 * 24
_ONE = "/alerts/{alert_id}"


@router.get("/alerts")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    state: State | Literal[""] = "",
    severity: Severity | Literal[""] = "",
    rule: Annotated[Storable, Query(max_length=63)] = "",
    cursor: Cursor = None,
) -> Response:
    """Show alerts, those that fire first; customers see those of their databases."""
    wanted = Filter(
        state=state or "resolved",
        rule=rule.strip() or None,
        severity=severity or None,
        of_platform=caller.principal.oversees("platform:read"),
    )
    page = await platform.alerts.page(caller.actor, wanted, cursor=cursor, limit=_A_PAGE)
    lasting: list[AlertRow] = []
    is_cut = False
    if not state and cursor is None:
        for each in _LASTING:
            found = await platform.alerts.page(
                caller.actor, replace(wanted, state=each), cursor=None, limit=_MOST_LASTING
            )
            lasting += sorted(found.rows, key=lambda row: row.severity != "critical")
            is_cut |= found.next_cursor is not None
    return pages.render(
        request,
        "alerts.html",
        lasting=lasting,
        is_cut=is_cut,
        alerts=[*page.rows],
        filters={"state": state, "severity": severity, "rule": rule},
        following=pages.following(request, page.next_cursor),
        may_change=_may_change(caller),
        may_write=caller.principal.may("databases:write"),
    )


def _may_change(caller: Caller) -> Callable[[AlertRow], bool]:
    """Return whether the caller may act on an alert: the platform's are its administrators'."""
    writes, oversees = caller.principal.may("databases:write"), caller.principal.oversees(ADMIN)
    return lambda row: writes and (row.database_id is not None or oversees)


async def _change(
    request: Request,
    caller: Caller,
    work: Callable[[Tx, bool], Awaitable[AlertRow]],
    done: str,
) -> Response:
    async with caller.transaction() as tx:
        await work(tx, caller.principal.oversees(ADMIN))
    return pages.go(request, f"/alerts?done={done}")


@router.post(f"{_ONE}/acknowledge")
async def acknowledge(
    request: Request, platform: CurrentPlatform, caller: Writer, alert_id: str
) -> Response:
    """Record that somebody attends to an alert."""
    found = parsed(alert_id, "alert")
    return await _change(
        request,
        caller,
        lambda tx, of_platform: platform.alerts.acknowledge(
            tx, caller.actor, found, of_platform=of_platform
        ),
        "acknowledged",
    )


@router.post(f"{_ONE}/mute")
async def mute(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    alert_id: str,
    form: CurrentForm,
) -> Response:
    """Send nothing about the alert's rule and subject for some hours; 0 ends that."""
    found = parsed(alert_id, "alert")
    hours = min(max(number(form, "hours") or 0, 0), _MOST_HOURS)
    until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
    return await _change(
        request,
        caller,
        lambda tx, of_platform: platform.alerts.mute(
            tx, caller.actor, found, until, of_platform=of_platform
        ),
        "alert-muted",
    )


@router.post(f"{_ONE}/resolve")
async def resolve(
    request: Request, platform: CurrentPlatform, caller: Writer, alert_id: str
) -> Response:
    """Resolve a firing alert by hand."""
    found = parsed(alert_id, "alert")
    return await _change(
        request,
        caller,
        lambda tx, of_platform: platform.alerts.resolve(
            tx, caller.actor, found, of_platform=of_platform
        ),
        "resolved",
    )


# ── channels ─────────────────────────────────────────────────────────────────


@router.get("/alerts/channels")
async def channels(request: Request, platform: CurrentPlatform, caller: Reader) -> Response:
    """Show where alerts and events are sent."""
    await caller.require_of_platform("platform:read")
    bound = caller.actor.customer_id is not None
    return pages.render(
        request,
        "channels.html",
        channels=await platform.alert_channels.every(caller.actor),
        events=[event for event in EVENTS if not (bound and event == PLATFORM_ALERTS)],
        may_write=caller.principal.may("databases:write" if bound else ADMIN),
    )


@router.post("/alerts/channels")
async def create_channel(
    request: Request, platform: CurrentPlatform, caller: Writer, form: CurrentForm
) -> Response:
    """Create a channel; the key of a webhook's signatures is shown this once."""
    await caller.require_of_platform(ADMIN)
    events = chosen(form, "event")
    wanted = read(CreateChannel, form, **({"events": events} if events else {})).wanted()

    async def work(tx: Tx, secrets: SecretSource) -> tuple[str, Secret]:
        key = secrets.signing_key()
        row = await platform.alert_channels.create(tx, caller.actor, wanted, key)
        return row.kind, key

    kind, key = await once(lambda: caller.idempotent(tuple[str, Secret], work))
    if kind != "webhook":
        return pages.go(request, "/alerts/channels?done=channel-made")
    return pages.shown_once(
        request,
        {"Signing key": key},
        heading=f"The channel {wanted.name} is ready",
        note="Its messages are signed with this key, by Standard Webhooks.",
        onward="/alerts/channels",
        section="Alerts",
    )


@router.post("/alerts/channels/{channel_id}/delete")
async def delete_channel(
    request: Request, platform: CurrentPlatform, caller: Writer, channel_id: str
) -> Response:
    """Delete a channel, with the messages that wait for it."""
    await caller.require_of_platform(ADMIN)
    found = parsed(channel_id, "channel")
    async with caller.transaction() as tx:
        await platform.alert_channels.delete(tx, caller.actor, found)
    return pages.go(request, "/alerts/channels?done=channel-deleted")


@router.post("/alerts/channels/{channel_id}/test")
async def test_channel(
    request: Request, platform: CurrentPlatform, caller: Writer, channel_id: str
) -> Response:
    """Send a test message now."""
    await caller.require_of_platform(ADMIN)
    await platform.alert_channels.test(caller.actor, parsed(channel_id, "channel"))
    return pages.go(request, "/alerts/channels?done=tested")


# ── of one database ──────────────────────────────────────────────────────────


@router.get("/databases/{database_id}/alerts")
async def of_database(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    cursor: Cursor = None,
) -> Response:
    """Show the alerts of one database, and its thresholds."""
    page = await platform.alerts.page(caller.actor, _of(database_id), cursor=cursor, limit=_A_PAGE)
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_alerts.html",
        tab="/alerts",
        alerts=page.rows,
        following=pages.following(request, page.next_cursor),
        may_change=_may_change(caller),
        thresholds=await platform.alerts.thresholds(caller.actor, database_id),
    )


def _of(database_id: uuid.UUID) -> Filter:
    return Filter(database_id=database_id, of_platform=False)


@router.post("/databases/{database_id}/alerts")
async def set_thresholds(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Replace a database's own thresholds; the platform's are in force for an empty one."""
    given = {name: number(form, name) for name in SetThresholds.model_fields}
    body = read(SetThresholds, {}, **given)
    async with caller.transaction() as tx:
        await platform.alerts.set_thresholds(tx, caller.actor, database_id, body.wanted())
    return pages.go(request, f"/databases/{database_id}/alerts?done=updated")
