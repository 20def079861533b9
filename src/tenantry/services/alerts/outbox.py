"""The messages that wait to be sent: written with what they report, and sent by the worker.

A message is marked once it was accepted. A crash in between sends it again, with the same id.

No channel waits for another owner's: whoever answers slowly, or not at all, delays nobody else.
"""

import asyncio
import time
import uuid
from collections.abc import Coroutine, Iterable
from typing import Literal

import structlog

from tenantry.base.errors import TenantryError
from tenantry.base.events import MessageFailed, MessageSent, emit
from tenantry.base.secrets import Seal
from tenantry.control import alert_channels, audit
from tenantry.control.alert_channels import ChannelRow, MessageRow
from tenantry.control.store import ControlStore
from tenantry.services.alerts import plan
from tenantry.services.alerts.channels import destination
from tenantry.services.alerts.model import Message
from tenantry.services.alerts.sending import MessageRefused, Sender

log = structlog.get_logger()

_AT_ONCE = 10  # messages to one channel in one look, so that one that was down is not flooded
_CUSTOMERS = 16  # that are sent to at a time
_TURN_SECONDS = 20.0  # of a customer in one look; the message that is under way then is the last

_Outcome = Literal["sent", "refused", "failed"]


class Outbox:
    """Sends what waits, in order for each channel."""

    def __init__(self, store: ControlStore, seal: Seal, sender: Sender) -> None:
        self._store = store
        self._seal = seal
        self._sender = sender

    async def deliver(self) -> int:
        """Send up to ten messages to each channel of the platform, and return how many were sent.

        The first failure of a channel ends its turn: later messages must not overtake, but for one
        that is refused itself. A name in it that a tenant has chosen may be the reason.
        """
        waiting = await self._waiting()
        return await _sum(self._deliver_to([each]) for each in waiting.get(None, ()))

    async def deliver_to_customers(self) -> int:
        """Send as ``deliver`` does to customers' channels, for 20 seconds to each customer's."""
        places = asyncio.Semaphore(_CUSTOMERS)

        async def turn(channels: list[uuid.UUID]) -> int:
            async with places:
                return await self._deliver_to(channels, until=time.monotonic() + _TURN_SECONDS)

        waiting = await self._waiting()
        return await _sum(turn(channels) for owner, channels in waiting.items() if owner)

    async def _waiting(self) -> dict[uuid.UUID | None, list[uuid.UUID]]:
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await alert_channels.waiting(tx)

    async def _deliver_to(self, channels: list[uuid.UUID], until: float | None = None) -> int:
        sent = 0
        for channel_id in channels:
            async with self._store.transaction(audit.PLATFORM) as tx:
                channel = await alert_channels.find(tx, channel_id)
                messages = await alert_channels.unsent(tx, channel_id, limit=_AT_ONCE)
            for message in messages:
                if until is not None and time.monotonic() > until:
                    return sent
                if channel is None:
                    break
                outcome = await self._send(channel, message)
                sent += outcome == "sent"
                if outcome == "failed":
                    break
        return sent

    async def _send(self, channel: ChannelRow, row: MessageRow) -> _Outcome:
        message = Message(row.id, row.event, row.at, row.data)
        try:
            await self._sender.send(destination(self._seal, channel), message)
        except MessageRefused as error:
            await self._failed(channel, str(error))
            return "refused"
        except TenantryError as error:
            await self._failed(channel, str(error))
            return "failed"
        except Exception as error:
            log.exception("message.crashed", channel=str(channel.id))
            await self._failed(channel, type(error).__name__)
            return "refused"
        async with self._store.transaction(audit.PLATFORM) as tx:
            await alert_channels.mark_sent(tx, row)
        emit(MessageSent(channel.kind, channel.name, str(row.id)))
        return "sent"

    async def _failed(self, channel: ChannelRow, error: str) -> None:
        emit(MessageFailed(channel.kind, channel.name, error))
        wait = plan.retry_seconds(channel.failures + 1)
        async with self._store.transaction(audit.PLATFORM) as tx:
            await alert_channels.mark_failed(tx, channel.id, error, seconds=wait)


async def _sum(turns: Iterable[Coroutine[None, None, int]]) -> int:
    """Return the sum of what all turns return; the first error is raised once all have ended."""
    ended = await asyncio.gather(*turns, return_exceptions=True)
    sent = 0
    for each in ended:
        if isinstance(each, BaseException):
            raise each
        sent += each
    return sent
