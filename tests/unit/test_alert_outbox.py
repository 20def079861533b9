"""Which channels are sent to: no owner's waits for another's, and none fails for another."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from alert_rows import NOW, channel
from tenantry.base.secrets import Seal, Secret
from tenantry.control import alert_channels
from tenantry.control.alert_channels import ChannelRow, MessageRow
from tenantry.services.alerts.model import Message
from tenantry.services.alerts.outbox import Outbox
from tenantry.services.alerts.sending import Destination, MessageRefused, SendingFailed


class Stored:
    """The channels and their messages, in memory, and a sender that does what their URLs say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seal = Seal(Seal.new_key())
        self.channels: dict[uuid.UUID, ChannelRow] = {}
        self.left: dict[uuid.UUID, list[MessageRow]] = {}
        self.failed: dict[str, str] = {}
        self.sent: list[str] = []
        self.answering = asyncio.Event()
        for name in ("waiting", "find", "unsent", "mark_sent", "mark_failed"):
            monkeypatch.setattr(alert_channels, name, getattr(self, f"_{name}"))
        self.outbox: Any = Outbox(self, self.seal, self)  # type: ignore[arg-type]

    def add(self, name: str, *, customer: uuid.UUID | None = None, messages: int = 1) -> None:
        """Add a channel; ``slow…`` does not answer, ``wrong…`` crashes, ``down…`` fails."""
        channel_id = uuid.uuid4()
        target = self.seal.close(Secret(f"https://{name}/"), owner=channel_id.bytes)
        self.channels[channel_id] = channel(
            self.seal,
            id=channel_id,
            customer_id=customer,
            name=name,
            target=target,
            signing_key=None,
        )
        self.left[channel_id] = [
            MessageRow(uuid.uuid4(), channel_id, "channel.test", NOW, {}) for _ in range(messages)
        ]

    @asynccontextmanager
    async def transaction(self, _: object) -> AsyncIterator[None]:
        yield None

    async def send(self, to: Destination, message: Message) -> None:
        name = to.target.reveal().removeprefix("https://").rstrip("/")
        if name.startswith("slow"):
            await self.answering.wait()
        if name.startswith("wrong"):
            raise KeyError(name)
        if name.startswith("picky") and message.event == "refused":
            raise MessageRefused("It answered 400.")
        if name.startswith("down"):
            raise SendingFailed("It is down.")
        self.sent.append(name)

    async def _waiting(self, _: object) -> dict[uuid.UUID | None, list[uuid.UUID]]:
        found: dict[uuid.UUID | None, list[uuid.UUID]] = {}
        for each in self.channels.values():
            if self.left[each.id]:
                found.setdefault(each.customer_id, []).append(each.id)
        return found

    async def _find(self, _: object, channel_id: uuid.UUID) -> ChannelRow | None:
        return self.channels.get(channel_id)

    async def _unsent(self, _: object, channel_id: uuid.UUID, *, limit: int) -> list[MessageRow]:
        return self.left[channel_id][:limit]

    async def _mark_sent(self, _: object, message: MessageRow) -> None:
        self.left[message.channel_id].remove(message)

    async def _mark_failed(
        self, _: object, channel_id: uuid.UUID, error: str, *, seconds: float
    ) -> None:
        assert seconds > 0
        self.failed[self.channels[channel_id].name] = error


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    return Stored(monkeypatch)


async def test_a_channel_that_crashes_or_fails_stops_no_other(stored: Stored) -> None:
    for name in ("wrong", "down", "ops"):
        stored.add(name)
        stored.add(f"{name}-theirs", customer=uuid.uuid4())
    assert await stored.outbox.deliver() == 1
    assert await stored.outbox.deliver_to_customers() == 1
    assert stored.sent == ["ops", "ops-theirs"]
    assert stored.failed.keys() == {"wrong", "down", "wrong-theirs", "down-theirs"}
    assert stored.failed["wrong"] == "KeyError"


async def test_a_message_that_is_refused_holds_up_no_later_one(stored: Stored) -> None:
    stored.add("picky", messages=3)
    (left,) = stored.left.values()
    left[0] = replace(left[0], event="refused")
    assert await stored.outbox.deliver() == 2
    assert [each.event for each in left] == ["refused"]


async def test_nobody_waits_for_anothers_slow_channels(stored: Stored) -> None:
    slow, quick = uuid.uuid4(), uuid.uuid4()
    for number in range(20):
        stored.add(f"slow-{number}", customer=slow, messages=10)
    stored.add("theirs", customer=quick)
    stored.add("slow-ops")
    stored.add("ops")
    going_on = asyncio.create_task(stored.outbox.deliver_to_customers())
    platforms = asyncio.create_task(stored.outbox.deliver())
    for _ in range(100):
        await asyncio.sleep(0)
    assert sorted(stored.sent) == ["ops", "theirs"]
    stored.answering.set()
    assert await platforms == 2
    assert await going_on == 201


async def test_a_customers_turn_ends(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry.services.alerts.outbox._TURN_SECONDS", -1.0)
    stored.add("theirs", customer=uuid.uuid4(), messages=10)
    assert await stored.outbox.deliver_to_customers() == 0
    assert stored.failed == {}
    stored.add("ops", messages=11)
    assert await stored.outbox.deliver() == 10
