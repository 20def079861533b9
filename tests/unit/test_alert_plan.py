"""The life of an alert, its messages and thresholds."""

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac
import json
import socket
import threading
import uuid
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from alert_rows import NOW, channel, watched_row
from tenantry.base.errors import Forbidden, InvalidInput
from tenantry.base.secrets import Seal, Secret, SecretSource
from tenantry.base.setting_groups import Alert
from tenantry.base.settings import Settings
from tenantry.control.alert_channels import ChannelKind, Thresholds
from tenantry.control.alerts import AlertRow
from tenantry.control.audit import PLATFORM, Actor
from tenantry.control.query_history import Pace
from tenantry.pg.database_activity import Connections, Counters, DatabaseActivity
from tenantry.services.alert_conditions import of_health
from tenantry.services.alerts import channels, databases, parts, plan, sending
from tenantry.services.alerts.model import (
    PART,
    Condition,
    Message,
    Patience,
    Transition,
    patience,
)
from tenantry.services.alerts.sending import Destination, Sender, SendingFailed
from tenantry.services.bodies.alerts import CreateChannel
from tenantry.services.health import Health, PartHealth

SECOND = dt.timedelta(seconds=1)
DISK = Condition("disk", "platform", "only 3 GB are free")


# ── the life of an alert ─────────────────────────────────────────────────────


@dataclasses.dataclass
class Life:
    """What becomes of a condition that is looked for once a second."""

    lasts: Patience
    row: AlertRow | None = None
    sent: list[tuple[int, Transition]] = dataclasses.field(default_factory=list)

    def look(self, at: int, *, present: bool) -> None:
        now = NOW + at * SECOND
        if self.row is None and present:
            self.row = plan.opened(DISK, now, uuid.uuid4())
        if self.row is None:
            return
        after, transition = plan.step(self.row, DISK if present else None, now, self.lasts)
        if transition is not None:
            self.sent.append((at, transition))
        self.row = after if after is not None and after.open else None


@given(
    looks=st.lists(st.booleans(), max_size=200),
    hold=st.integers(0, 15),
    clear=st.integers(1, 15),
)
def test_an_alert_neither_flaps_nor_loses_a_transition(
    looks: list[bool], hold: int, clear: int
) -> None:
    life = Life(Patience(hold * SECOND, clear * SECOND))
    for at, present in enumerate(looks):
        life.look(at, present=present)
    kinds = [kind for _, kind in life.sent]
    # One after the other, beginning with firing: none is lost, and none is reported twice.
    assert kinds == ["firing", "resolved"] * (len(kinds) // 2) + ["firing"] * (len(kinds) % 2)
    for at, kind in life.sent:
        lasted = looks[at - (hold if kind == "firing" else clear) : at + 1]
        assert set(lasted) == {kind == "firing"}
    for (before, _), (after, kind) in zip(life.sent, life.sent[1:], strict=False):
        assert after - before >= (clear if kind == "resolved" else hold)
    # It fires if, and as long as, the condition has lasted and has not been gone for long.
    if len(looks) > hold and all(looks[-hold - 1 :]):
        assert life.row is not None
        assert life.row.state == "firing"
    if len(looks) > clear and not any(looks[-clear - 1 :]):
        assert life.row is None


@given(looks=st.lists(st.booleans(), max_size=100))
def test_one_that_was_resolved_by_hand_is_silent_until_its_condition_has_gone(
    looks: list[bool],
) -> None:
    life = Life(Patience(0 * SECOND, 5 * SECOND))
    life.look(0, present=True)
    assert life.sent == [(0, "firing")]
    assert life.row is not None
    life.row = dataclasses.replace(life.row, state="resolved", resolved_at=NOW)
    for at, present in enumerate(looks, 1):
        life.look(at, present=present)
    gone = next(
        (at for at in range(1, len(looks) - 4) if not any(looks[at - 1 : at + 5])), len(looks)
    )
    assert all(at > gone for at, _ in life.sent[1:])


def test_an_incident_that_is_merged_has_an_open_alert() -> None:
    """Else one that goes on would have the id of an alert that is closed."""
    assert patience(PART).clear > parts.MERGED
    assert patience(PART).hold == dt.timedelta(0)


@given(period=st.integers(41, 3000), rule=st.sampled_from(["database.connections", "pool", "disk"]))
def test_one_that_comes_and_goes_all_day_sends_few_messages(period: int, rule: str) -> None:
    row: AlertRow | None = None
    sent, fired_at = 0, 0
    for at in range(0, 86_400, 15):
        now, present = NOW + at * SECOND, at // period % 2 == 0
        if row is None and present:
            row = plan.opened(DISK, now, uuid.uuid4())
        if row is None:
            continue
        after, transition = plan.step(row, DISK if present else None, now, patience(rule, fired_at))
        sent += transition is not None
        fired_at += transition == "firing"
        row = after if after is not None and after.open else None
    assert sent <= 2 * 24


def test_a_part_that_ends_again_is_always_reported() -> None:
    assert patience(PART, fired=20) == patience(PART)


def test_an_alert_that_becomes_critical_is_reported_once_more() -> None:
    row, channel_id = fired(), uuid.uuid4()
    worse = dataclasses.replace(DISK, severity="critical")
    lasts = patience("disk")
    after, transition = plan.step(row, worse, NOW + SECOND, lasts)
    assert after is not None
    assert transition == "worse"
    message = plan.message(after, transition, channel_id, NOW + SECOND)
    assert (message.event, message.at) == ("alert.firing", NOW + SECOND)
    assert message.data["severity"] == "critical"
    assert message.id != plan.message(row, "firing", channel_id, NOW).id
    assert plan.step(after, worse, NOW + 2 * SECOND, lasts)[1] is None
    assert plan.step(after, DISK, NOW + 2 * SECOND, lasts)[1] is None


# ── messages ─────────────────────────────────────────────────────────────────


SEAL = Seal(Seal.new_key())


def fired(condition: Condition = DISK) -> AlertRow:
    row = plan.opened(condition, NOW, uuid.uuid4())
    after, transition = plan.step(row, condition, NOW + dt.timedelta(hours=1), patience("disk"))
    assert after is not None
    assert transition == "firing"
    return after


def test_a_message_has_the_same_id_whoever_sends_it() -> None:
    row, to = fired(), uuid.uuid4()
    first, again = (plan.message(row, "firing", to, NOW) for _ in range(2))
    assert first.id == again.id
    others = {plan.message_id(row.id, "resolved", to), plan.message_id(row.id, "firing", row.id)}
    assert first.id not in others
    assert len(others) == 2


def test_customers_hear_of_their_own_databases_only() -> None:
    own, other = uuid.uuid4(), uuid.uuid4()
    theirs = channel(SEAL, customer_id=own)
    platforms = channel(SEAL)
    everybody = [theirs, platforms, channel(SEAL, customer_id=other)]
    about = Condition("database.disk", "t", "full", database_id=uuid.uuid4(), customer_id=own)
    assert plan.hearing(fired(about), everybody, NOW) == [theirs, platforms]
    assert plan.hearing(fired(), everybody, NOW) == [platforms]
    unowned = dataclasses.replace(about, customer_id=None)
    assert plan.hearing(fired(unowned), everybody, NOW) == [platforms]


def test_who_mutes_an_alert_silences_its_own_channels_alone() -> None:
    own = uuid.uuid4()
    theirs, platforms = channel(SEAL, customer_id=own), channel(SEAL)
    about = Condition("database.disk", "t", "full", database_id=uuid.uuid4(), customer_id=own)
    row, later = fired(about), NOW + dt.timedelta(hours=1)
    by_customer = dataclasses.replace(row, customer_muted_until=later)
    assert plan.hearing(by_customer, [theirs, platforms], NOW) == [platforms]
    assert plan.hearing(by_customer, [theirs, platforms], later) == [theirs, platforms]
    by_platform = dataclasses.replace(row, muted_until=later)
    assert plan.hearing(by_platform, [theirs, platforms], NOW) == [theirs]
    # Whoever gets the database then has muted nothing.
    sold = dataclasses.replace(about, customer_id=uuid.uuid4())
    after, _ = plan.step(by_customer, sold, NOW, patience("database.disk"))
    assert after is not None
    assert after.customer_muted_until is None


def test_what_a_customer_resolves_is_resolved_for_it_alone() -> None:
    own = uuid.uuid4()
    theirs, platforms = channel(SEAL, customer_id=own), channel(SEAL)
    about = Condition("database.disk", "t", "full", database_id=uuid.uuid4(), customer_id=own)
    row = dataclasses.replace(
        fired(about), customer_resolved_at=NOW, customer_resolved_by="own",
        customer_acknowledged_at=NOW, customer_acknowledged_by="own",
    )  # fmt: skip
    assert (row.state, row.acknowledged_at) == ("firing", None)
    seen = plan.of_customer(row)
    assert (seen.state, seen.resolved_by, seen.acknowledged_by) == ("resolved", "own", "own")
    assert plan.of_customer(fired(about)).state == "firing"
    # The customer has heard so then; the platform hears when it gets worse, and when it has gone.
    assert plan.hearing(row, [theirs, platforms], NOW) == [platforms]
    worse = dataclasses.replace(about, severity="critical")
    after, transition = plan.step(row, worse, NOW, patience("database.disk"))
    assert (transition, after and after.customer_resolved_at) == ("worse", NOW)
    # Whoever gets the database then has resolved nothing.
    sold = dataclasses.replace(about, customer_id=uuid.uuid4())
    after, _ = plan.step(row, sold, NOW, patience("database.disk"))
    assert after is not None
    assert plan.of_customer(after) == dataclasses.replace(after, muted_until=None)


def test_signatures_are_those_of_standard_webhooks() -> None:
    """With the specification's key; the signature is computed here in its words."""
    key = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    message, body = Message(uuid.uuid4(), "channel.test", NOW, {}), b'{"test": 2432232314}'
    headers = sending.signed(key, message, body, 1614265330)
    content = b".".join([str(message.id).encode(), b"1614265330", body])
    raw = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    expected = base64.b64encode(hmac.new(raw, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == str(message.id)
    assert len(base64.b64decode(SecretSource().signing_key().reveal()[6:])) == 32


def test_names_are_no_mentions_at_slack_and_discord() -> None:
    message = plan.message(
        fired(dataclasses.replace(DISK, detail="<!channel> @everyone [x](https://y.example)")),
        "firing",
        uuid.uuid4(),
        NOW,
    )
    slack = json.loads(sending._body("slack", message))
    assert "<" not in slack["text"]
    discord = json.loads(sending._body("discord", message))
    assert discord["allowed_mentions"] == {"parse": []}
    assert r"\[x\](https://y.example)" in discord["content"]
    assert slack["mrkdwn"] is False
    long = dataclasses.replace(message, data=message.data | {"detail": "*" * 5000})
    assert len(json.loads(sending._body("discord", long))["content"]) <= 2000


@given(name=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=200))
def test_whatever_a_tenant_calls_a_database_a_mail_can_be_written(name: str) -> None:
    message = Message(uuid.uuid4(), "database.created", NOW, {"subject": name})
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = f"Tenantry: {plan.title(message)}"
    mail.set_content(plan.text(message))
    assert bytes(mail).count(b"\nSubject:") <= 1


@given(failures=st.integers(1, 10_000))
def test_retries_slow_down_to_five_minutes(failures: int) -> None:
    wait = plan.retry_seconds(failures)
    assert 5 <= wait <= 300
    assert plan.retry_seconds(failures + 1) >= wait


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:7f00:1]"]
)
async def test_customers_webhooks_reach_no_private_address(host: str) -> None:
    to = Destination("webhook", Secret(f"https://{host}:1/"), None, trusted=False)
    message = Message(uuid.uuid4(), "channel.test", NOW, {"channel": "x"})
    with pytest.raises(SendingFailed, match="that customers do not reach"):
        await Sender(Settings(home=Path("/nowhere"))).send(to, message)


def test_a_channel_for_mails_without_a_mail_server_is_warned_of() -> None:
    def warning(kind: ChannelKind, **settings: Any) -> str | None:
        sender = Sender(Settings(home=Path("/nowhere"), **settings))
        return channels.Channels(cast("Any", None), cast("Any", None), sender).warning(kind)

    assert "TENANTRY_SMTP_HOST" in (warning("email") or "")
    assert warning("slack") is None
    assert warning("email", smtp={"host": "localhost", "sender": "t@example.com"}) is None


@pytest.mark.parametrize("host", ["xn--a", "xn--", "a..b"])
async def test_whatever_a_customer_names_a_message_is_accepted_or_fails(host: str) -> None:
    to = Destination("webhook", Secret(f"https://{host}/"), None, trusted=False)
    with pytest.raises(SendingFailed):
        await Sender(Settings(home=Path("/nowhere"))).send(
            to, Message(uuid.uuid4(), "channel.test", NOW, {"channel": "x"})
        )


async def test_customers_name_servers_hold_no_thread_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []

    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        threads.append(threading.current_thread().name)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    to = Destination("webhook", Secret("https://slow.example/"), None, trusted=False)
    with pytest.raises(SendingFailed, match="has no address"):
        await Sender(Settings(home=Path("/nowhere"))).send(
            to, Message(uuid.uuid4(), "channel.test", NOW, {"channel": "x"})
        )
    assert [name.partition("_")[0] for name in threads] == ["resolver"]


def test_a_url_that_cannot_be_sent_to_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        CreateChannel(name="x", kind="webhook", target=SecretStr("https://xn--a/"))


def test_customers_have_no_plain_http_no_others_mail_and_no_platform_alerts() -> None:
    customer = Actor("user", "ann", customer_id=uuid.uuid4(), customer_email="ann@example.com")

    def wanted(kind: Any, target: str, *events: Any) -> channels.Wanted:
        return channels.Wanted("x", kind, Secret(target), events or None)

    channels._check_target(customer, wanted("email", "ann@example.com"))
    channels._check_target(PLATFORM, wanted("webhook", "http://127.0.0.1:8080/"))
    with pytest.raises(Forbidden):
        channels._check_target(customer, wanted("email", "bob@example.com"))
    with pytest.raises(InvalidInput):
        channels._check_target(customer, wanted("webhook", "http://example.com/"))
    with pytest.raises(Forbidden):
        channels._events(customer, wanted("email", "ann@example.com", "alert.platform"))
    assert channels._events(customer, wanted("email", "ann@example.com")) == ["alert.database"]
    assert channels._shown(wanted("slack", "https://hooks.slack.com/T0/B0/key")) == (
        "https://hooks.slack.com/…"
    )


# ── conditions ───────────────────────────────────────────────────────────────


def test_parts_that_ready_reports_are_conditions_unless_their_process_is_known_to_be_down() -> None:
    found = Health(
        [
            PartHealth("control", "up", 1.0, None),
            PartHealth("pooler", "down", None, "no answer"),
            PartHealth("disk", "down", None, "only 1 GB are free"),
            PartHealth("versions", "warning", 1.0, "apt offers 15.19"),
            PartHealth("certificate", "warning", 1.0, "evaluated elsewhere"),
        ]
    )
    keys = {(each.rule, each.severity) for each in of_health(found, besides=[])}
    assert keys == {("unresponsive", "critical"), ("disk", "critical"), ("versions", "warning")}
    rest = of_health(found, besides=["pooler"])
    assert {each.rule for each in rest} == {"disk", "versions"}


CALM = Counters(*[0] * len(Counters._fields))._replace(commits=1000)


def activity(
    counters: Counters = CALM, sessions: int = 1, seconds: float = 0.0
) -> DatabaseActivity:
    connections = Connections(0, 0, 0, 0, 0, 0)._replace(direct_active=1, pooled_idle=sessions - 1)
    return DatabaseActivity(("start",), 7, counters, connections, seconds, ())


@pytest.mark.parametrize(
    ("now", "rules"),
    [
        (activity(), []),
        (activity(sessions=18), ["connections"]),
        (activity(sessions=17), []),
        (activity(seconds=3600.0), ["transaction"]),
        (activity(CALM._replace(deadlocks=5)), ["deadlocks"]),
        (activity(CALM._replace(rollbacks=100, commits=1099)), ["errors"]),
        (activity(CALM._replace(rollbacks=99, commits=1000)), []),
        (activity(CALM._replace(rollbacks=100, commits=1101)), []),
        (replace(activity(CALM._replace(deadlocks=5)), epoch=("restart",)), []),
    ],
)
def test_databases_have_conditions_from_their_thresholds_on(
    now: DatabaseActivity, rules: list[str]
) -> None:
    limits = Thresholds(**Alert().model_dump())
    found = databases.conditions(watched_row(), limits, now, activity(), None)
    assert [each.rule for each in found] == [f"database.{rule}" for rule in rules]


@pytest.mark.parametrize(
    ("pace", "slower"),
    [
        (Pace(100, 20_000.0, 10_000.0), True),
        (Pace(100, 19_999.0, 10_000.0), False),
        (Pace(99, 60_000.0, 10_000.0), False),
        (Pace(10_000, 10_999.0, 1_000.0), False),
        (Pace(10_000, 10_000.0, 0.0), True),
    ],
)
def test_a_database_is_slower_by_what_its_statements_took_a_week_before(
    pace: Pace, slower: bool
) -> None:
    limits = Thresholds(**Alert().model_dump())
    found = databases.conditions(watched_row(), limits, None, None, pace)
    assert [each.rule for each in found] == ["database.slower"] * slower


def test_a_databases_own_thresholds_replace_the_platforms() -> None:
    usual = Thresholds(**Alert(deadlocks=7).model_dump())
    found = databases.in_force(usual, Thresholds(connections_percent=50))
    assert (found.connections_percent, found.deadlocks, found.disk_percent) == (50, 7, 80)


def test_counters_are_compared_with_those_of_five_minutes_ago() -> None:
    history = databases.History()
    for at in range(0, 1200, 15):
        before = history.before(float(at), {"t": activity(CALM._replace(deadlocks=at))})
        assert at - 345 <= before["t"].counters.deadlocks <= max(0, at - 300)
