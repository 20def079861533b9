"""Trouble arrives at a mail server and at a webhook, once, and so does its end."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from answers import data, problem
from clients import eventually, hurry, run
from harness import Installation, free_ports
from tenantry.host.certificates import OwnAuthority

pytestmark = pytest.mark.takes_minutes

Row = dict[str, Any]
QUOTA = 32 << 20  # of which an empty database takes almost half
USER, PASSWORD = "tenantry", "only-for-this-mail-server"


# ── where messages arrive ────────────────────────────────────────────────────


@dataclass
class Arrived:
    """A message, as a sink has it: its id, what it is about, and when it came."""

    id: str
    event: str
    subject: str
    at: float = field(default_factory=time.monotonic)


class MailSink:
    """A mail server that wants STARTTLS and a login."""

    def __init__(self, folder: Path) -> None:
        authority = OwnAuthority(folder / "mail-ca.crt", folder / "mail-ca.key")
        authority.ensure()
        self.ca_file = folder / "mail-ca.crt"
        self.ca_file.chmod(0o644)
        pem = folder / "mail.pem"
        pem.write_bytes(authority.issue(["localhost"]).render())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        (self.port,) = free_ports(1)
        self.arrived: list[Arrived] = []
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=self._authenticate,
        )

    def __enter__(self) -> "MailSink":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @staticmethod
    def _authenticate(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=good)

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content)
        assert envelope.rcpt_tos == ["ops@example.com"]
        message_id = str(mail["Message-ID"]).strip("<>").partition("@")[0]
        title = " ".join(str(mail["Subject"]).split()).removeprefix("Tenantry: ")
        state, _bracket, rest = title.partition("] ")
        event = "resolved" if state == "[resolved" else "firing" if rest else title
        self.arrived.append(Arrived(message_id, event, rest))
        return "250 OK"


class Webhook:
    """A webhook that checks signatures; ``refuses`` and ``meanwhile`` are its moods."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.refuses = False
        self.meanwhile: Callable[[str], None] = lambda _: None
        self.key = ""
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(sink.take(dict(self.headers.items()), body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/a-secret-path"

    def __enter__(self) -> "Webhook":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        if self.refuses:
            return 503
        said = {name.lower(): value for name, value in headers.items()}
        content = f"{said['webhook-id']}.{said['webhook-timestamp']}.".encode() + body
        raw = base64.b64decode(self.key.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(raw, content, hashlib.sha256)).decode()
        if said["webhook-signature"] != f"v1,{expected}":
            return 401
        message = json.loads(body)
        assert message["id"] == said["webhook-id"]
        about = message["data"]
        subject = (
            f"{about['rule']}: {about['subject']}" if "rule" in about else about.get("subject")
        )
        event = message["type"].removeprefix("alert.")
        self.arrived.append(Arrived(message["id"], event, subject))
        self.meanwhile(message["id"])
        return 204


@dataclass
class Scene:
    """A platform that sends what happens to both."""

    platform: Installation
    mail: MailSink
    hook: Webhook
    hook_id: str = ""

    def times(self, event: str, subject: str) -> list[int]:
        """How often a message about this has arrived, by mail and at the webhook."""
        return [
            len([each for each in sink.arrived if (each.event, each.subject) == (event, subject)])
            for sink in (self.mail, self.hook)
        ]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """With backups, a mail server, and a disk of its own that can be filled."""
    # Not below pytest's own folders: the service user reads the authority's certificate.
    folder = Path(tempfile.mkdtemp(prefix="tnt-mail-"))
    folder.chmod(0o755)
    with MailSink(folder) as mail, Webhook() as hook:
        platform = Installation()
        platform.environment |= {
            "TENANTRY_BACKUPS": "on",
            "TENANTRY_WARM_POOL": "1",
            "TENANTRY_DISK_RESERVE_MB": "96",
            "TENANTRY_SMTP_HOST": "localhost",
            "TENANTRY_SMTP_PORT": str(mail.port),
            "TENANTRY_SMTP_USER": USER,
            "TENANTRY_SMTP_PASSWORD": PASSWORD,
            "TENANTRY_SMTP_SENDER": "tenantry@example.com",
            "TENANTRY_SMTP_CA_FILE": str(mail.ca_file),
        }
        image = disk_for(platform)
        platform._own_home()
        try:
            platform.up()
            hurry(platform)
            found = Scene(platform, mail, hook)
            add_channels(found)
            yield found
        finally:
            platform.remove()
            subprocess.run(["umount", "--lazy", platform.home], check=True)
            platform.home.rmdir()
            image.unlink()
            shutil.rmtree(folder)


def disk_for(platform: Installation) -> Path:
    """Mount a disk of its own as the platform's home: a sparse file, which takes what is used."""
    image = platform.home.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(3 << 30)
    run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image))
    run("mount", "-o", "loop", str(image), str(platform.home))
    return image


def add_channels(scene: Scene) -> None:
    events = ["alert.platform", "alert.database", "database.created", "database.deleted"]
    with scene.platform.client() as api:
        asked = {"name": "hook", "kind": "webhook", "target": scene.hook.url, "events": events}
        made = data(api.post("/api/alerts/channels", json=asked), 201)
        scene.hook.key, scene.hook_id = made["signing_key"], made["id"]
        mail = {"name": "ops", "kind": "email", "target": "ops@example.com", "events": events}
        data(api.post("/api/alerts/channels", json=mail), 201)


def alerts(scene: Scene, **asked: str) -> list[Row]:
    with scene.platform.client() as api:
        found: list[Row] = data(api.get("/api/alerts", params={"limit": "100", **asked}))
    return found


# ── channels ─────────────────────────────────────────────────────────────────


def test_a_channel_is_tested_and_shows_no_secret(scene: Scene) -> None:
    listed = scene.platform.tenantry("alert", "channel", "list", "--json").stdout
    assert "ops@example.com" in listed
    assert "secret" not in listed
    assert scene.hook.key not in listed
    for name in ("hook", "ops"):
        assert "accepted" in scene.platform.tenantry("alert", "channel", "test", name).stderr
    for sink, title in ((scene.hook, "channel.test"), (scene.mail, "Test of this channel")):
        assert [each.event for each in sink.arrived].count(title) == 1
    scene.hook.refuses = True
    failed = scene.platform.tenantry("alert", "channel", "test", "hook", check=False)
    scene.hook.refuses = False
    assert failed.returncode == 1
    assert "503" in failed.stderr


def customer(scene: Scene, api: httpx.Client) -> tuple[Row, httpx.Client]:
    """A customer's database, and a key of theirs."""
    email = f"c{uuid.uuid4().hex[:8]}@example.com"
    made = scene.platform.create(ownerEmail=email, diskQuotaBytes=QUOTA)
    scopes = ["databases:read", "databases:write"]
    asked = {"name": "own", "scopes": scopes, "customerEmail": email}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    return made, scene.platform.client(key)


def test_customers_have_alerts_and_channels_of_their_own_only(scene: Scene) -> None:
    tomorrow = f"{dt.datetime.now(dt.UTC) + dt.timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    with scene.platform.client() as api:
        made, own = customer(scene, api)
        _, foreign = customer(scene, api)
        with own, foreign:
            path = f"/api/databases/{made['id']}/alerts/settings"
            settings = data(own.put(path, json={"disk_percent": 5, "connectionsPercent": 7}))
            assert settings["connections_percent"] == 7
            assert data(own.get(path)) == settings
            problem(foreign.get(path), 404)
            problem(foreign.put(path, json={}), 404)
            eventually(lambda: data(own.get("/api/alerts?state=firing")))
            (alert,) = data(own.get("/api/alerts"))
            assert (alert["rule"], alert["subject"]) == ("database.disk", made["database_name"])
            assert alert["database_id"] == made["id"]
            assert data(foreign.get("/api/alerts")) == []
            for verb, body in (
                ("acknowledge", {}),
                ("mute", {"until": tomorrow}),
                ("resolve", {}),
            ):
                problem(foreign.post(f"/api/alerts/{alert['id']}/{verb}", json=body), 404)
            # Nor the platform's alerts, to see or to change.
            for theirs in alerts(scene):
                if theirs["database_id"] is None:
                    problem(own.post(f"/api/alerts/{theirs['id']}/acknowledge"), 404)
            assert data(own.get("/api/alerts/channels")) == []
            problem(own.post(f"/api/alerts/channels/{scene.hook_id}/test"), 404)
            problem(own.delete(f"/api/alerts/channels/{scene.hook_id}"), 404)
            ask = {"name": "hook", "kind": "webhook", "target": "https://127.0.0.1:1/x"}
            channel = data(own.post("/api/alerts/channels", json=ask), 201)
            refused = problem(own.post(f"/api/alerts/channels/{channel['id']}/test"), 409)
            assert "do not reach" in refused["detail"]
            of_all = ask | {"name": "of all", "events": ["alert.platform"]}
            problem(own.post("/api/alerts/channels", json=of_all), 403)
            problem(foreign.delete(f"/api/alerts/channels/{channel['id']}"), 404)
            data(own.delete(f"/api/alerts/channels/{channel['id']}"))
            # What customers mute is silent for them: the platform's channels hear that it resolves.
            until = {"until": tomorrow}
            muted = data(own.post(f"/api/alerts/{alert['id']}/mute", json=until))
            assert muted["muted_until"] == until["until"]
            (seen,) = alerts(scene, database_id=made["id"])
            assert seen["muted_until"] is None
            acknowledged = data(own.post(f"/api/alerts/{alert['id']}/acknowledge"))
            assert acknowledged["acknowledged_by"] == "own"
            resolved = data(own.post(f"/api/alerts/{alert['id']}/resolve"))
            assert (resolved["state"], resolved["resolved_by"]) == ("resolved", "own")
            problem(own.post(f"/api/alerts/{alert['id']}/resolve"), 409)
            assert data(own.get("/api/alerts?state=firing")) == []
            # It fires on for the platform, to which nobody has attended.
            (seen,) = alerts(scene, database_id=made["id"], state="firing")
            assert (seen["acknowledged_by"], seen["resolved_by"]) == (None, None)
            resolved = data(api.post(f"/api/alerts/{alert['id']}/resolve"))
            assert resolved["state"] == "resolved"
    name = f"database.disk: {made['database_name']}"
    eventually(lambda: scene.times("resolved", name) == [1, 1])
    assert scene.times("firing", name) == [1, 1]


# ── trouble ──────────────────────────────────────────────────────────────────


def fill(platform: Installation) -> Path:
    file = platform.home / "fills-the-disk"
    usage = os.statvfs(platform.home)
    free, whole = usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize
    with file.open("wb") as opened:
        os.posix_fallocate(opened.fileno(), 0, free - whole * 3 // 100)
    return file


def switch_wal(platform: Installation) -> None:
    with platform.superuser() as server:
        server.execute("CREATE TABLE filler (); DROP TABLE filler")
        server.execute("SELECT pg_switch_wal()")


def test_a_killed_part_a_full_disk_and_a_failing_archive_arrive_once_and_resolve(
    scene: Scene,
) -> None:
    platform = scene.platform
    archive = platform.home / "backups" / "repository" / "archive" / "shared-1"
    eventually(archive.is_dir)
    folders = [archive, *(each for each in archive.rglob("*") if each.is_dir())]
    troubles = ["part: pooler", "part: worker", "disk: platform", "archiving: shared-1"]
    began = time.monotonic()
    for part in ("pooler", "worker"):
        os.kill(platform.pids()[part], signal.SIGKILL)
    file = fill(platform)
    for each in folders:
        each.chmod(0o500)
    switch_wal(platform)
    eventually(lambda: all(scene.times("firing", each) == [1, 1] for each in troubles))
    for sink in (scene.mail, scene.hook):
        late = [each for each in sink.arrived if each.subject in troubles and each.at > began + 60]
        assert not late
    file.unlink()
    for each in folders:
        each.chmod(0o750)
    switch_wal(platform)  # which wakes the archiver
    eventually(lambda: all(scene.times("resolved", each) == [1, 1] for each in troubles))
    assert all(scene.times("firing", each) == [1, 1] for each in troubles)


def test_the_supervisor_reports_a_worker_that_hangs(scene: Scene) -> None:
    worker = scene.platform.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        eventually(lambda: scene.times("firing", "part: alerting") == [1, 1])
    finally:
        os.kill(worker, signal.SIGCONT)
    eventually(lambda: scene.times("resolved", "part: alerting") == [1, 1])
    assert scene.times("firing", "part: alerting") == [1, 1]


# ── delivery ─────────────────────────────────────────────────────────────────


def test_a_channel_that_was_down_gets_everything_in_order(scene: Scene) -> None:
    """Each retry is made now, by setting its time: an hour's worth of failures."""
    scene.hook.refuses = True
    made = [scene.platform.create(friendlyName=f"Shop {number}") for number in range(12)]
    titles = [each["friendly_name"] for each in made]
    with scene.platform.control() as control:

        def failed() -> bool:
            """Whether it was tried again, and is to be tried in five minutes."""
            row = control.execute(
                "SELECT last_error FROM alert_channels WHERE name = 'hook' AND failures > 12"
                " AND retry_at > clock_timestamp() + interval '4 minutes'"
            ).fetchone()
            return row == ("It answered 503 Service Unavailable.",)

        for _ in range(3):
            control.execute("UPDATE alert_channels SET retry_at = NULL, failures = 12")
            eventually(failed)
        scene.hook.refuses = False
        control.execute("UPDATE alert_channels SET retry_at = NULL")

    def created() -> list[str]:
        return [each.subject for each in scene.hook.arrived if each.event == "database.created"]

    eventually(lambda: set(titles) <= set(created()))
    assert [each for each in created() if each in titles] == titles


def test_a_worker_that_is_killed_while_it_sends_repeats_with_the_same_id(scene: Scene) -> None:
    worker = scene.platform.pids()["worker"]
    ids: list[str] = []

    def kill(message_id: str) -> None:
        if not ids:
            os.kill(worker, signal.SIGKILL)
        ids.append(message_id)

    scene.hook.meanwhile = kill
    scene.platform.create(friendlyName="Killed")
    eventually(lambda: len(ids) > 1)
    scene.hook.meanwhile = lambda _: None
    assert ids[0] == ids[1]


def test_what_happens_with_alerts_is_measured(scene: Scene) -> None:
    text = scene.platform.get("/metrics").text
    assert 'tenantry_alerts_firing{severity="critical"}' in text
    sent = [
        line
        for line in text.splitlines()
        if line.startswith('tenantry_alert_messages_sent_total{kind="webhook"}')
    ]
    assert float(sent[0].split()[-1]) > 10


def test_a_muted_alert_is_silent(scene: Scene) -> None:
    made = scene.platform.create(diskQuotaBytes=QUOTA)
    path = f"/api/databases/{made['id']}/alerts/settings"
    name = f"database.disk: {made['database_name']}"
    with scene.platform.client() as api:
        data(api.put(path, json={"disk_percent": 5}))
        eventually(lambda: scene.times("firing", name) == [1, 1])
        (alert,) = alerts(scene, database_id=made["id"])
        done = scene.platform.tenantry("alert", "mute", alert["id"][:18], "--until", "2h")
        assert "muted" in done.stderr
        data(api.put(path, json={}))
        eventually(lambda: alerts(scene, database_id=made["id"])[0]["state"] == "resolved")
    assert scene.times("resolved", name) == [0, 0]


# ── a full disk ──────────────────────────────────────────────────────────────


def quota_state(platform: Installation, made: Row) -> tuple[str, str | None]:
    with platform.client() as api:
        found = data(api.get(f"/api/databases/{made['id']}"))["disk"]
    return found["state"], found["detail"]


def is_free(platform: Installation, made: Row) -> bool:
    return quota_state(platform, made) == ("ok", None)


def insert(url: str, mib: int) -> None:
    """Insert rows that nothing compresses."""
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE TABLE IF NOT EXISTS grows (x text)")
        session.execute(
            "INSERT INTO grows SELECT string_agg(md5(random()::text), '') FROM"
            " generate_series(1, %s) part, generate_series(1, 32768) GROUP BY part",
            (mib,),
        )


def answers(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=5) as session:
        return session.execute("SELECT 1").fetchone() == (1,)
    return False


def test_on_a_full_disk_who_grows_is_read_only_and_servers_start_again(scene: Scene) -> None:
    platform = scene.platform
    grower, other = platform.create(), platform.create()
    reserve = platform.home / "reserve"
    eventually(lambda: len(list(reserve.iterdir())) == 3)
    file = fill(platform)
    with suppress(psycopg.errors.AdminShutdown):  # it is noticed while it still writes
        insert(grower["connection_string"], 20)
    eventually(lambda: quota_state(platform, grower)[0] == "read_only")
    assert "The platform's disk is nearly full" in str(quota_state(platform, grower)[1])
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        insert(grower["connection_string"], 1)
    assert quota_state(platform, other)[0] == "ok"
    insert(other["connection_string"], 0)
    (health,) = [each for each in platform.get("/ready").json()["parts"] if each["name"] == "disk"]
    assert "docs/how-to/when-the-disk-is-full.md" in health["detail"]
    # Nothing is left at all, and the server ends: it starts again from the reserve.
    rest = platform.home / "fills-the-rest"
    usage = os.statvfs(platform.home)
    with rest.open("wb") as opened:
        os.posix_fallocate(opened.fileno(), 0, (usage.f_bavail - 64) * usage.f_frsize)
    os.kill(platform.pids()["shared-1"], signal.SIGKILL)
    eventually(lambda: answers(other["connection_string"]))
    assert len(list(reserve.iterdir())) < 3
    rest.unlink()
    file.unlink()
    for made in (grower, other):
        eventually(partial(is_free, platform, made))
        insert(made["connection_string"], 1)
