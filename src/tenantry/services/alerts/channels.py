"""Channels: created, tested and deleted by administrators, and by customers for themselves."""

import datetime as dt
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from tenantry.base.errors import Conflict, Forbidden, InvalidInput, NotFound
from tenantry.base.ids import new_id
from tenantry.base.secrets import Seal, Secret
from tenantry.control import alert_channels, audit
from tenantry.control.alert_channels import ChannelKind, ChannelRow
from tenantry.control.audit import Actor
from tenantry.control.store import ControlStore, Tx
from tenantry.services.alerts.model import (
    DATABASE_ALERTS,
    PLATFORM_ALERTS,
    TEST,
    Event,
    Message,
)
from tenantry.services.alerts.sending import MAIL_SERVER, Destination, Sender

_MOST = 20  # of the platform, and of each customer


@dataclass(frozen=True, slots=True)
class Wanted:
    """A channel to be created. ``target`` is an e-mail address or a URL."""

    name: str
    kind: ChannelKind
    target: Secret
    events: tuple[Event, ...] | None


def destination(seal: Seal, row: ChannelRow) -> Destination:
    """Return where a channel leads. Raises Conflict if it was sealed with another key."""
    owner = row.id.bytes
    target = seal.open(row.target, owner=owner)
    key = None if row.signing_key is None else seal.open(row.signing_key, owner=owner)
    if target is None or (row.signing_key is not None and key is None):
        raise Conflict(
            f"The channel {row.name} cannot be read with this installation's seal.key.",
            hint="Delete the channel, and create it again.",
        )
    return Destination(row.kind, target, key, trusted=row.customer_id is None)


class Channels:
    """The service for channels."""

    def __init__(self, store: ControlStore, seal: Seal, sender: Sender) -> None:
        self._store = store
        self._seal = seal
        self._sender = sender

    async def create(self, tx: Tx, actor: Actor, wanted: Wanted, signing_key: Secret) -> ChannelRow:
        """Create a channel of the platform, or of the actor's customer.

        Raises InvalidInput, Forbidden for what customers may not, NameTaken, Conflict.
        """
        _check_target(actor, wanted)
        every = await alert_channels.every(tx)
        if sum(each.customer_id == actor.customer_id for each in every) >= _MOST:
            raise Conflict(f"There are {_MOST} channels already.", hint="Delete one of them.")
        channel_id = new_id()
        key = signing_key if wanted.kind == "webhook" else None
        row = ChannelRow(
            id=channel_id,
            customer_id=actor.customer_id,
            name=wanted.name,
            kind=wanted.kind,
            shown_target=_shown(wanted),
            target=self._seal.close(wanted.target, owner=channel_id.bytes),
            signing_key=None if key is None else self._seal.close(key, owner=channel_id.bytes),
            events=_events(actor, wanted),
            failures=0,
            retry_at=None,
            last_error=None,
            last_sent_at=None,
            created_at=dt.datetime.now(dt.UTC),
        )
        await alert_channels.insert(tx, row)
        await _record(tx, actor, "alert_channel.create", row)
        return row

    def warning(self, kind: ChannelKind) -> str | None:
        """Return why nothing can be sent to channels of a kind; None if nothing is known."""
        if kind == "email" and not self._sender.has_mail_server:
            return f"Nothing is sent to it: there is no mail server. {MAIL_SERVER}"
        return None

    async def every(self, actor: Actor) -> list[ChannelRow]:
        """Return the channels of the platform, or of the actor's customer, the oldest first."""
        async with self._store.transaction(actor) as tx:
            found = await alert_channels.every(tx)
        return [each for each in found if each.customer_id == actor.customer_id]

    async def delete(self, tx: Tx, actor: Actor, channel_id: uuid.UUID) -> ChannelRow:
        """Delete a channel with the messages that wait for it. Raises NotFound."""
        row = await self._find(tx, actor, channel_id)
        await alert_channels.delete(tx, row.id)
        await _record(tx, actor, "alert_channel.delete", row)
        return row

    async def test(self, actor: Actor, channel_id: uuid.UUID) -> ChannelRow:
        """Send a test message to a channel now. Raises NotFound, SendingFailed."""
        async with self._store.transaction(actor) as tx:
            row = await self._find(tx, actor, channel_id)
            await _record(tx, actor, "alert_channel.test", row)
        now = dt.datetime.now(dt.UTC)
        message = Message(uuid.uuid4(), TEST, now, {"channel": row.name})
        await self._sender.send(destination(self._seal, row), message)
        return row

    @staticmethod
    async def _find(tx: Tx, actor: Actor, channel_id: uuid.UUID) -> ChannelRow:
        row = await alert_channels.find(tx, channel_id)
        if row is None or row.customer_id != actor.customer_id:
            raise NotFound("There is no such channel.", hint="GET /api/alerts/channels lists them.")
        return row


def _check_target(actor: Actor, wanted: Wanted) -> None:
    target = wanted.target.reveal()
    if wanted.kind == "email":
        # The platform's mail server shall not send to anybody for a customer.
        if actor.customer_id is not None and target != actor.customer_email:
            raise Forbidden("Customers have e-mail channels to their own address only.")
        return
    scheme = urlsplit(target).scheme
    if scheme != "https" and (actor.customer_id is not None or scheme != "http"):
        raise InvalidInput.of("target", "must be an https URL")


def _events(actor: Actor, wanted: Wanted) -> list[str]:
    if actor.customer_id is None:
        return list(wanted.events or (PLATFORM_ALERTS, DATABASE_ALERTS))
    events = list(wanted.events or (DATABASE_ALERTS,))
    if PLATFORM_ALERTS in events:
        raise Forbidden("Only administrators hear of the platform's alerts.")
    return events


def _shown(wanted: Wanted) -> str:
    """Return what may be shown of a target: the path of a URL is often a secret."""
    target = wanted.target.reveal()
    if wanted.kind == "email":
        return target
    parts = urlsplit(target)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}/…"


async def _record(tx: Tx, actor: Actor, action: str, row: ChannelRow) -> None:
    await audit.record(
        tx,
        actor,
        action,
        resource_kind="alert_channel",
        resource_id=row.id,
        resource_name=row.name,
        details={"kind": row.kind, "target": row.shown_target, "events": row.events},
    )
