"""The platform's processes that have died, noted by the supervisor in a file of the home.

The worker reports them as it does any other condition. If it does not, since it or the control
database is down, or nothing can be stored, then the supervisor sends the messages itself, with the
ids that the worker would give them; and the worker sends none of those again once it can.
"""

import asyncio
import datetime as dt
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError

from tenantry.base import events
from tenantry.base.errors import TenantryError
from tenantry.base.events import Event
from tenantry.base.home import Home
from tenantry.base.secrets import Seal
from tenantry.base.settings import Settings
from tenantry.control.alert_channels import ChannelKind, ChannelRow
from tenantry.host import files
from tenantry.services.alerts import channels, plan
from tenantry.services.alerts.model import PART, Condition, patience
from tenantry.services.alerts.sending import Sender

log = structlog.get_logger()

ALERTING = "alerting"  # the evaluation of alerts, which is nobody else's to watch
MERGED = dt.timedelta(seconds=30)  # less than an alert's ``clear``
_LOOK_SECONDS = 2.0
_STALE_SECONDS = 30.0  # a worker looks every five
_RESTART_SECONDS = 60.0  # a restart on purpose; one that fails is reported as such
_FORGOTTEN = dt.timedelta(days=1)
_MOST_REPORTED = 200
_FLEET = "clusters"  # the list of clusters cannot be read: no process
_NAMESPACE = uuid.UUID("6f6a3f0e-5c0b-4c43-9d0c-2a4c1f0a7b11")


class Incident(BaseModel):
    """A part is down since then, or was until then; one that ends again soon is the same."""

    part: str
    detail: str
    since: dt.datetime
    until: dt.datetime | None = None

    @property
    def id(self) -> uuid.UUID:
        return uuid.uuid5(_NAMESPACE, f"{self.part} {self.since.isoformat()}")

    def condition(self) -> Condition:
        down = self.until is None
        return Condition(
            rule=PART,
            subject=self.part,
            severity="critical",
            detail=self.detail if down else f"{self.detail} It runs again.",
            occurrence=self.id,
            present=down,
        )


class Noted(BaseModel):
    """The content of the file. ``reported`` are messages that the supervisor has sent."""

    incidents: dict[str, Incident] = {}
    reported: list[uuid.UUID] = []


class Exported(BaseModel):
    """A channel of the platform, in a file; its secrets are sealed, and in hexadecimal digits."""

    id: uuid.UUID
    name: str
    kind: ChannelKind
    target: str
    signing_key: str | None
    events: list[str]
    created_at: dt.datetime

    @classmethod
    def of(cls, row: ChannelRow) -> "Exported":
        return cls(
            id=row.id,
            name=row.name,
            kind=row.kind,
            target=row.target.hex(),
            signing_key=None if row.signing_key is None else row.signing_key.hex(),
            events=row.events,
            created_at=row.created_at,
        )

    def row(self) -> ChannelRow:
        return ChannelRow(
            id=self.id,
            customer_id=None,
            name=self.name,
            kind=self.kind,
            shown_target="",
            target=bytes.fromhex(self.target),
            signing_key=None if self.signing_key is None else bytes.fromhex(self.signing_key),
            events=self.events,
            failures=0,
            retry_at=None,
            last_error=None,
            last_sent_at=None,
            created_at=self.created_at,
        )


_CHANNELS = TypeAdapter(list[Exported])


def read(home: Home) -> Noted:
    """Return what the supervisor has noted; nothing if there is no file that can be read."""
    try:
        return Noted.model_validate_json(_noted(home).read_bytes())
    except (OSError, ValidationError):
        return Noted()


def export_channels(home: Home, rows: list[ChannelRow]) -> None:
    """Leave the platform's channels, sealed as they are, where the supervisor finds them."""
    content = _CHANNELS.dump_json([Exported.of(each) for each in rows if each.customer_id is None])
    path = _channels(home)
    if not path.exists() or path.read_bytes() != content:
        files.write_atomically(path, content, mode=0o600)


def evaluated(home: Home) -> None:
    """Record that alerts were evaluated and stored just now."""
    path = _heartbeat(home)
    path.touch(mode=0o600)
    os.utime(path)


def _noted(home: Home) -> Path:
    return home.run / "incidents.json"


def _channels(home: Home) -> Path:
    return home.run / "alert_channels.json"


def _heartbeat(home: Home) -> Path:
    return home.run / "alerts_evaluated"


class PartsWatch:
    """The supervisor's notes, and its messages in the worker's stead."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._home = Home(settings.home)
        self._clock = clock
        self._started = clock()
        self._sender = Sender(settings)
        self._noted = read(self._home)
        self._end_earlier()
        self._retry_at: dict[uuid.UUID, float] = {}
        self._failures: dict[uuid.UUID, int] = {}
        # The file's last content is also here: a full disk may keep it from being written.
        self._rows: list[ChannelRow] = []

    def observe(self, event: Event) -> None:
        """Note the death, the start, the failed start or the stop of a process.

        A subscriber of events.
        """
        match event:
            case events.ProcessDied(process, code) if not self._was_stopped(process):
                how = "" if code is None else f" (exit code {code})"
                self._down(process, f"{process} ended unexpectedly{how}.")
            case events.StartFailed(process, error) if process != _FLEET:
                self._down(process, f"{process} does not start: {error}")
            case events.ProcessStarted(process) | events.ProcessStopped(process):
                self._up(process)
            case _:
                pass

    def _was_stopped(self, process: str) -> bool:
        """Whether the platform itself has just stopped a part, to restart it."""
        try:
            stopped = (self._home.run / f"{process}.restarted").stat().st_mtime
        except OSError:
            return False
        return self._clock() - stopped < _RESTART_SECONDS

    async def keep(self, stopping: asyncio.Event) -> None:
        """Send in the worker's stead where that is due, until ``stopping`` is set."""
        while not stopping.is_set():
            try:
                await self.look()
            except Exception:
                log.exception("incidents.not_reported")
            try:
                await asyncio.wait_for(stopping.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Send what nobody else does, if alerts have not been evaluated for half a minute."""
        self._rows = self._read_channels() or self._rows
        last = max(self._started, self._evaluated_at())
        if self._clock() - last < _STALE_SECONDS:
            self._up(ALERTING)
            return
        down = [each for each in self._noted.incidents.values() if each.until is None]
        if not down:
            down = [self._down(ALERTING, self._why(last))]
        for incident in down:
            await self._report(incident)

    async def _report(self, incident: Incident) -> None:
        condition = incident.condition()
        pending = plan.opened(condition, incident.since, incident.id)
        row, _ = plan.step(pending, condition, incident.since, patience(PART))
        if row is None:
            return
        for channel in plan.hearing(row, self._rows, self._now()):
            message = plan.message(row, "firing", channel.id, self._now())
            if message.id in self._noted.reported or self._waits(channel.id):
                continue
            try:
                seal = Seal(self._home.seal_key.read_bytes())
                await self._sender.send(channels.destination(seal, channel), message)
            except (TenantryError, OSError) as error:  # another channel may work
                self._failures[channel.id] = self._failures.get(channel.id, 0) + 1
                wait = plan.retry_seconds(self._failures[channel.id])
                self._retry_at[channel.id] = self._clock() + wait
                log.warning("incidents.not_sent", channel=channel.name, error=str(error))
                continue
            self._failures.pop(channel.id, None)
            self._noted.reported.append(message.id)
            self._write()

    def _waits(self, channel_id: uuid.UUID) -> bool:
        return self._retry_at.get(channel_id, 0.0) > self._clock()

    def _why(self, since: float) -> str:
        text = (
            "Alerts have not been evaluated, or could not be stored, since"
            f" {dt.datetime.fromtimestamp(since, dt.UTC):%F %T} UTC: see tenantry doctor and logs."
        )
        if files.is_nearly_full(self._home.root):
            text += " The disk is nearly full."
        return text

    def _evaluated_at(self) -> float:
        try:
            return _heartbeat(self._home).stat().st_mtime
        except OSError:
            return 0.0

    def _read_channels(self) -> list[ChannelRow]:
        try:
            found = _CHANNELS.validate_json(_channels(self._home).read_bytes())
            return [each.row() for each in found]
        except (OSError, ValueError):
            return []

    # ── notes ────────────────────────────────────────────────────────────────

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock(), dt.UTC)

    def _end_earlier(self) -> None:
        """End the incidents from before this start, which nothing else would end.

        Every part was just started, or is about to be: one that fails again is the same incident.
        """
        for part in self._noted.incidents.keys() - {ALERTING}:
            self._up(part)

    def _down(self, part: str, detail: str) -> Incident:
        now, last = self._now(), self._noted.incidents.get(part)
        goes_on = last is not None and (last.until is None or now - last.until < MERGED)
        since = last.since if last is not None and goes_on else now
        incident = Incident(part=part, detail=detail, since=since)
        if incident != last:
            self._noted.incidents[part] = incident
            self._write()
        return incident

    def _up(self, part: str) -> None:
        """End the incident of a part that runs again, or is not wanted any more."""
        incident = self._noted.incidents.get(part)
        if incident is not None and incident.until is None:
            self._noted.incidents[part] = incident.model_copy(update={"until": self._now()})
            self._write()

    def _write(self) -> None:
        oldest = self._now() - _FORGOTTEN
        self._noted.incidents = {
            name: each
            for name, each in self._noted.incidents.items()
            if each.until is None or each.until > oldest
        }
        self._noted.reported = self._noted.reported[-_MOST_REPORTED:]
        try:
            files.write_atomically(_noted(self._home), self._noted.model_dump_json(), mode=0o600)
        except OSError as error:
            log.warning("incidents.not_noted", error=str(error))
