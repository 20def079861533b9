"""The messages that wait to be sent: written with what they report, and sent by the worker.

A message is marked once it was accepted. A crash in between sends it again, with the same id.
"""

import uuid

from tenantry.base.errors import TenantryError
from tenantry.base.events import MessageFailed, MessageSent, emit
from tenantry.base.secrets import Seal
from tenantry.control import alert_channels, audit
from tenantry.control.alert_channels import ChannelRow, MessageRow
from tenantry.control.store import ControlStore
from tenantry.services.alerts import plan
from tenantry.services.alerts.channels import destination
from tenantry.services.alerts.model import Message
from tenantry.services.alerts.sending import Sender

_AT_ONCE = 10  # messages to one channel in one look, so that one that was down is not flooded


class Outbox:
    """Sends what waits, in order for each channel."""

    def __init__(self, store: ControlStore, seal: Seal, sender: Sender) -> None:
        self._store = store
        self._seal = seal
        self._sender = sender

    async def deliver(self) -> int:
        """Send up to ten messages to each channel, and return how many were sent.

        The first failure of a channel ends its turn: later messages must not overtake.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            waiting = await alert_channels.waiting(tx)
        return sum([await self._deliver_to(each) for each in waiting])

    async def _deliver_to(self, channel_id: uuid.UUID) -> int:
        async with self._store.transaction(audit.PLATFORM) as tx:
            channel = await alert_channels.find(tx, channel_id)
            messages = await alert_channels.unsent(tx, channel_id, limit=_AT_ONCE)
        if channel is None:
            return 0
        for number, message in enumerate(messages):
            if not await self._send(channel, message):
                return number
        return len(messages)

    async def _send(self, channel: ChannelRow, row: MessageRow) -> bool:
        message = Message(row.id, row.event, row.at, row.data)
        try:
            await self._sender.send(destination(self._seal, channel), message)
        except TenantryError as error:
            emit(MessageFailed(channel.kind, channel.name, str(error)))
            wait = plan.retry_seconds(channel.failures + 1)
            async with self._store.transaction(audit.PLATFORM) as tx:
                await alert_channels.mark_failed(tx, channel.id, str(error), seconds=wait)
            return False
        async with self._store.transaction(audit.PLATFORM) as tx:
            await alert_channels.mark_sent(tx, row)
        emit(MessageSent(channel.kind, channel.name, str(row.id)))
        return True
