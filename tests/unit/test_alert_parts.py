"""What the supervisor notes about processes, and sends itself."""

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alert_rows import NOW, channel
from tenantry.base.events import ProcessDied, ProcessStarted, StartFailed
from tenantry.base.home import Home
from tenantry.base.secrets import Seal
from tenantry.base.settings import Settings
from tenantry.host import files
from tenantry.services import supervisor
from tenantry.services.alerts import parts, plan
from tenantry.services.alerts.model import Message
from tenantry.services.alerts.sending import Destination, Sender, SendingFailed


class Supervised:
    """A supervisor's watch, with a clock of its own and a channel that may fail."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = Home(home)
        self.home.run.mkdir(exist_ok=True)
        key = Seal.new_key()
        self.home.seal_key.write_bytes(key)
        self.channel = channel(Seal(key))
        parts.export_channels(
            self.home, [self.channel, channel(Seal(key), customer_id=uuid.uuid4())]
        )
        self.now = NOW.timestamp()
        self.sent: list[Message] = []
        self.fails = False
        monkeypatch.setattr(Sender, "send", self._send)
        self.watch = self.another()

    def another(self) -> parts.PartsWatch:
        """As after a restart."""
        return parts.PartsWatch(Settings(home=self.home.root), clock=lambda: self.now)

    async def _send(self, to: Destination, message: Message) -> None:
        assert to.target.reveal() == "https://hooks.example.com/secret"
        if self.fails:
            raise SendingFailed("down")
        self.sent.append(message)

    def evaluated(self) -> None:
        parts.evaluated(self.home)
        os.utime(parts._heartbeat(self.home), (self.now, self.now))

    def look(self) -> list[dict[str, Any]]:
        asyncio.run(self.watch.look())
        return [each.data for each in self.sent]


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    # pytest's own folders have names too long for a home.
    with tempfile.TemporaryDirectory(prefix="tnt-") as home:
        yield Supervised(Path(home), monkeypatch)


def test_the_worker_is_left_to_report_while_it_works(supervised: Supervised) -> None:
    supervised.now += 100
    supervised.evaluated()
    supervised.watch.observe(ProcessDied("pooler"))
    assert supervised.look() == []
    (incident,) = parts.read(supervised.home).incidents.values()
    assert incident.condition().present
    supervised.watch.observe(ProcessStarted("pooler"))
    (incident,) = parts.read(supervised.home).incidents.values()
    assert not incident.condition().present


def test_the_supervisor_reports_what_nobody_else_does_once(supervised: Supervised) -> None:
    supervised.watch.observe(ProcessDied("control"))
    assert supervised.look() == []
    supervised.now += 31
    (data,) = supervised.look()
    assert (data["subject"], data["severity"]) == ("control", "critical")
    supervised.watch = supervised.another()
    supervised.watch.observe(StartFailed("control", "no"))
    supervised.now += 31
    assert len(supervised.look()) == 1
    # The worker is given the id of the message, and of the alert.
    noted = parts.read(supervised.home)
    condition = noted.incidents["control"].condition()
    assert condition.occurrence is not None
    row = plan.opened(condition, NOW, condition.occurrence)
    assert noted.reported == [plan.message_id(row.id, "firing", supervised.channel.id)]
    assert supervised.sent[0].id in noted.reported


def test_it_reports_if_alerts_are_not_evaluated_for_whatever_reason(supervised: Supervised) -> None:
    supervised.fails = True
    supervised.now += 31
    assert supervised.look() == []
    supervised.fails = False
    supervised.now += 2
    assert supervised.look() == []  # it waits a little before it tries again
    supervised.now += 5
    (data,) = supervised.look()
    assert data["subject"] == parts.ALERTING
    supervised.evaluated()
    assert len(supervised.look()) == 1
    assert parts.read(supervised.home).incidents[parts.ALERTING].until is not None


def test_it_sends_although_nothing_can_be_written(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervised.look()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", full)
    supervised.watch.observe(ProcessDied("worker", 1))
    supervised.now += 31
    assert [each["subject"] for each in supervised.look()] == ["worker"]
    assert len(supervised.look()) == 1


def test_a_restart_on_purpose_is_no_incident(supervised: Supervised) -> None:
    mark = supervised.home.run / "pooler.restarted"
    mark.touch()
    os.utime(mark, (supervised.now, supervised.now))
    supervised.watch.observe(ProcessDied("pooler"))
    assert parts.read(supervised.home).incidents == {}
    supervised.watch.observe(StartFailed("pooler", "no"))
    assert parts.read(supervised.home).incidents.keys() == {"pooler"}
    supervised.watch.observe(ProcessStarted("pooler"))
    supervised.now += 61
    supervised.watch.observe(ProcessDied("pooler"))
    (incident,) = parts.read(supervised.home).incidents.values()
    assert "ended unexpectedly" in incident.detail


def test_a_crash_loop_is_one_incident(supervised: Supervised) -> None:
    seen = set()
    for _ in range(5):
        supervised.watch.observe(ProcessDied("worker", 1))
        supervised.now += 1
        supervised.watch.observe(StartFailed("worker", "no"))
        supervised.watch.observe(ProcessStarted("worker"))
        supervised.now += 20
        seen.add(parts.read(supervised.home).incidents["worker"].id)
    assert len(seen) == 1
    supervised.now += parts.MERGED.total_seconds()
    supervised.watch.observe(ProcessDied("worker", 1))
    assert parts.read(supervised.home).incidents["worker"].id not in seen


def test_no_incident_outlasts_a_restart_of_the_supervisor(supervised: Supervised) -> None:
    """It reports no start of a part that runs already, or that it starts for the first time."""
    supervised.watch.observe(ProcessDied("pooler"))
    supervised.watch.observe(ProcessDied("worker", 1))
    before = parts.read(supervised.home).incidents
    supervised.now += 1
    supervised.watch = supervised.another()
    assert not any(
        each.condition().present for each in parts.read(supervised.home).incidents.values()
    )
    supervised.watch.observe(StartFailed("pooler", "no"))
    incident = parts.read(supervised.home).incidents["pooler"]
    assert (incident.id, incident.until) == (before["pooler"].id, None)


def test_a_channel_that_cannot_be_read_does_not_silence_the_others(
    supervised: Supervised,
) -> None:
    other = channel(Seal(Seal.new_key()), created_at=NOW)
    parts.export_channels(supervised.home, [other, supervised.channel])
    supervised.watch.observe(ProcessDied("control"))
    supervised.now += 31
    assert [each["subject"] for each in supervised.look()] == ["control"]


def test_a_start_that_fails_alike_again_and_again_is_reported_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    failures = supervisor._Failures()
    assert failures.is_news("02:11:05 [4711] could not write: No space left on device")
    assert not failures.is_news("02:11:35 [4712] could not write: No space left on device")
    assert failures.is_news("02:12:05 [4713] could not bind: Address already in use")
    assert not failures.is_news("02:12:35 [4714] could not bind: Address already in use")
    now += 301
    assert failures.is_news("02:17:35 [4715] could not bind: Address already in use")
    assert supervisor._Failures().is_news("02:17:36 [4716] could not bind: Address already in use")
