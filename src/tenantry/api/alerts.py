"""/api/alerts, and the alert settings of a database"""

import dataclasses
import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import (
    AlertId,
    ChannelId,
    CurrentPlatform,
    Cursor,
    DatabaseId,
    Limit,
    allowed,
    calling,
)
from tenantry.base.errors import InvalidInput
from tenantry.base.ids import parse_id
from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.alert_channels import ChannelKind, ChannelRow
from tenantry.control.alerts import AlertRow, Filter, Severity, State
from tenantry.control.grants import ADMIN
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal
from tenantry.services.alerts.model import Event
from tenantry.services.bodies.alerts import CreateChannel, Mute, SetThresholds
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api", tags=["alerts"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


class Alert(BaseModel):
    """A condition that needs attention, or did. ``database_id`` is null for the platform's."""

    id: uuid.UUID
    rule: str = Field(examples=["database.disk"])
    subject: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    severity: Severity
    state: State
    detail: str
    database_id: uuid.UUID | None
    since: dt.datetime = Field(description="When the condition was first seen.")
    fired_at: dt.datetime | None
    resolved_at: dt.datetime | None
    resolved_by: str | None = Field(description="Who resolved it by hand.")
    acknowledged_at: dt.datetime | None
    acknowledged_by: str | None
    muted_until: dt.datetime | None


class Channel(BaseModel):
    """Where alerts and events are sent. Of a URL only the host is shown."""

    id: uuid.UUID
    name: str
    kind: ChannelKind
    target: str = Field(examples=["https://hooks.example.com/…"])
    events: list[Event]
    failures: int = Field(description="How often sending has failed since it last succeeded.")
    retry_at: dt.datetime | None
    last_error: str | None
    last_sent_at: dt.datetime | None
    created_at: dt.datetime


class NewChannel(Channel):
    """A new channel; a webhook's with the key that its messages are signed with, shown once."""

    signing_key: str | None = Field(examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])
    warning: str | None = Field(description="Why nothing can be sent to it as things are.")


class AlertSettings(BaseModel):
    """A database's own thresholds; null means the platform's."""

    disk_percent: int | None
    connections_percent: int | None
    transaction_minutes: int | None
    deadlocks: int | None
    rollback_percent: int | None
    slower_percent: int | None


def _alert(row: AlertRow) -> Alert:
    return Alert(**{name: getattr(row, name) for name in Alert.model_fields})


def _channel(row: ChannelRow) -> Channel:
    known = {name: getattr(row, name) for name in Channel.model_fields}
    return Channel.model_validate(known | {"target": row.shown_target})


async def _database_id(database_id: Annotated[str | None, Query()] = None) -> uuid.UUID | None:
    if database_id is None:
        return None
    found = parse_id(database_id)
    if found is None:
        raise InvalidInput.of("database_id", "is not the id of a database")
    return found


@router.get("/alerts", response_model=Listing[Alert])
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    database_id: Annotated[uuid.UUID | None, Depends(_database_id)],
    state: State | None = None,
    rule: Annotated[Storable | None, Query(max_length=63)] = None,
    severity: Severity | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List alerts, the newest first. Customers see those of their databases."""
    of_platform = principal.oversees("platform:read")
    wanted = Filter(state, rule, severity, database_id, of_platform)
    page = await platform.alerts.page(principal.actor, wanted, cursor=cursor, limit=limit)
    return answers.listing([_alert(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/alerts/{identifier}/acknowledge", response_model=Answer[Alert])
async def acknowledge(platform: CurrentPlatform, caller: Writer, alert_id: AlertId) -> Response:
    """Record that somebody attends to an alert."""

    async def work(tx: Tx, _: SecretSource) -> Alert:
        of_platform = caller.principal.oversees(ADMIN)
        row = await platform.alerts.acknowledge(tx, caller.actor, alert_id, of_platform=of_platform)
        return _alert(row)

    return answers.answer(await caller.idempotent(Alert, work), message="Alert acknowledged.")


@router.post("/alerts/{identifier}/mute", response_model=Answer[Alert])
async def mute(
    body: Mute, platform: CurrentPlatform, caller: Writer, alert_id: AlertId
) -> Response:
    """Send nothing about the alert's rule and subject until then; a past moment ends that."""

    async def work(tx: Tx, _: SecretSource) -> Alert:
        of_platform = caller.principal.oversees(ADMIN)
        row = await platform.alerts.mute(
            tx, caller.actor, alert_id, body.until, of_platform=of_platform
        )
        return _alert(row)

    return answers.answer(await caller.idempotent(Alert, work), message="Alert muted.")


@router.post("/alerts/{identifier}/resolve", response_model=Answer[Alert])
async def resolve(platform: CurrentPlatform, caller: Writer, alert_id: AlertId) -> Response:
    """Resolve a firing alert by hand. It fires again only once its condition was gone."""

    async def work(tx: Tx, _: SecretSource) -> Alert:
        of_platform = caller.principal.oversees(ADMIN)
        row = await platform.alerts.resolve(tx, caller.actor, alert_id, of_platform=of_platform)
        return _alert(row)

    return answers.answer(await caller.idempotent(Alert, work), message="Alert resolved.")


# ── channels ─────────────────────────────────────────────────────────────────


@router.get("/alerts/channels", response_model=Listing[Channel])
async def channels(
    platform: CurrentPlatform, caller: Annotated[Caller, calling("databases:read")]
) -> Response:
    """List the channels of the platform, or of the caller's customer, without their secrets."""
    await caller.require_of_platform("platform:read")
    rows = await platform.alert_channels.every(caller.actor)
    return answers.listing([_channel(row) for row in rows])


@router.post("/alerts/channels", status_code=201, response_model=Answer[NewChannel])
async def create_channel(
    body: CreateChannel, platform: CurrentPlatform, caller: Writer
) -> Response:
    """Create a channel. The key of a webhook's signatures is shown only in this answer."""
    await caller.require_of_platform(ADMIN)

    async def work(tx: Tx, secrets: SecretSource) -> tuple[Channel, Secret]:
        key = secrets.signing_key()
        row = await platform.alert_channels.create(tx, caller.actor, body.wanted(), key)
        return _channel(row), key

    made, key = await caller.idempotent(tuple[Channel, Secret], work)
    shown = key.reveal() if made.kind == "webhook" else None
    warning = platform.alert_channels.warning(made.kind)
    return answers.answer(
        NewChannel(**made.model_dump(), signing_key=shown, warning=warning),
        message="Channel made.",
        status=201,
    )


@router.delete("/alerts/channels/{identifier}", response_model=Answer[Channel])
async def delete_channel(
    platform: CurrentPlatform, caller: Writer, channel_id: ChannelId
) -> Response:
    """Delete a channel, with the messages that wait for it."""
    await caller.require_of_platform(ADMIN)
    async with caller.transaction() as tx:
        row = await platform.alert_channels.delete(tx, caller.actor, channel_id)
    return answers.answer(_channel(row), message="Channel deleted.")


@router.post("/alerts/channels/{identifier}/test", response_model=Answer[Channel])
async def test_channel(
    platform: CurrentPlatform, caller: Writer, channel_id: ChannelId
) -> Response:
    """Send a test message now. The answer says whether the channel accepted it."""
    await caller.require_of_platform(ADMIN)
    row = await platform.alert_channels.test(caller.actor, channel_id)
    return answers.answer(_channel(row), message="The channel accepted the message.")


# ── thresholds ───────────────────────────────────────────────────────────────


@router.get("/databases/{identifier}/alerts/settings", response_model=Answer[AlertSettings])
async def settings(
    platform: CurrentPlatform, principal: Reader, database_id: DatabaseId
) -> Response:
    """Return the database's own thresholds of alerts; null means the platform's."""
    found = await platform.alerts.thresholds(principal.actor, database_id)
    return answers.answer(AlertSettings(**dataclasses.asdict(found)))


@router.put("/databases/{identifier}/alerts/settings", response_model=Answer[AlertSettings])
async def change_settings(
    body: SetThresholds, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Replace the database's own thresholds of alerts."""
    async with caller.transaction() as tx:
        found = await platform.alerts.set_thresholds(tx, caller.actor, database_id, body.wanted())
    return answers.answer(
        AlertSettings(**dataclasses.asdict(found)), message="Alert settings changed."
    )
