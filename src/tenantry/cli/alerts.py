"""``tenantry alert``: alerts, and the channels that they are sent to."""

from typing import Annotated, Literal
from urllib.parse import quote

import typer

from tenantry.base.errors import NotFound
from tenantry.base.ids import parse_id
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import output, times
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, find

State = Literal["pending", "firing", "resolved"]
Severity = Literal["warning", "critical"]
Kind = Literal["email", "webhook", "slack", "discord"]

app = typer.Typer(
    help="Alerts: list, acknowledge, mute, resolve; and their channels.", no_args_is_help=True
)
channel = typer.Typer(help="Channels: add, list, test, remove.", no_args_is_help=True)
app.add_typer(channel, name="channel")

_Alert = Annotated[
    str, typer.Argument(metavar="ALERT", help="Its id, or enough of it.", show_default=False)
]
_Channel = Annotated[
    str, typer.Argument(metavar="CHANNEL", help="Its name, or its id.", show_default=False)
]

_COLUMNS: dict[str, output.Cell] = {
    "STATE": "state",
    "SEVERITY": "severity",
    "RULE": "rule",
    "SUBJECT": "subject",
    "AGE": lambda row: times.distance(row["since"]),
    "DETAIL": "detail",
    "ACKNOWLEDGED BY": "acknowledged_by",
    "MUTED": lambda row: (
        times.distance(row["muted_until"]) if times.is_future(row["muted_until"]) else None
    ),
    "ID": "id",
}
_CHANNEL_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "KIND": "kind",
    "TARGET": "target",
    "EVENTS": "events",
    "LAST SENT": lambda row: times.distance(row["last_sent_at"]),
    "ERROR": "last_error",
    "ID": "id",
}


@app.command("list")
def list_alerts(
    *,
    state: Annotated[State | None, typer.Option(help="Only these; default: all.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only of this rule.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only of this severity.")] = None,
    database: Annotated[str | None, typer.Option(help="Only of this database.")] = None,
    env: In = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """List alerts, the newest first.

    Example:

        tenantry alert list --state firing
    """
    with connect() as api:
        only = None if database is None else find(api, database, env)["id"]
        page = api.rows(
            "/api/alerts",
            limit=limit,
            state=state,
            rule=rule,
            severity=severity,
            database_id=only,
        )
    output.listing(
        page,
        _COLUMNS,
        empty="There is no such alert.",
        in_json=as_json,
        spare=("MUTED", "ACKNOWLEDGED BY", "AGE", "DETAIL"),
    )


@app.command()
def acknowledge(alert: _Alert, as_json: Json = False) -> None:
    """Record that you attend to an alert.

    Example:

        tenantry alert acknowledge 0199d2c1
    """
    _change(alert, "acknowledge", {}, as_json=as_json)


@app.command()
def mute(
    alert: _Alert,
    until: Annotated[
        str,
        typer.Option(
            parser=times.text_of(times.future),
            metavar="WHEN",
            help="In 2h, 3d, 1w, or at a moment.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Have nothing sent about an alert's rule and subject for a while.

    Example:

        tenantry alert mute 0199d2c1 --until 2h
    """
    _change(alert, "mute", {"until": until}, as_json=as_json)


@app.command()
def resolve(alert: _Alert, as_json: Json = False) -> None:
    """Resolve a firing alert by hand; it fires again only once its condition was gone.

    Example:

        tenantry alert resolve 0199d2c1
    """
    _change(alert, "resolve", {}, as_json=as_json)


_DONE = {"acknowledge": "acknowledged", "mute": "muted", "resolve": "resolved"}


def _change(alert: str, verb: str, body: Row, *, as_json: bool) -> None:
    with connect() as api:
        row = api.post(f"/api/alerts/{_find_alert(api, alert)}/{verb}", body)
    if as_json:
        output.as_json(row)
        return
    output.done(f"The alert {row['rule']} of {row['subject']} is {_DONE[verb]}")


def _find_alert(api: Api, text: str) -> str:
    if parse_id(text):
        return text
    rows = api.rows("/api/alerts", limit=500).rows
    found = [str(row["id"]) for row in rows if str(row["id"]).startswith(text.lower())]
    if len(found) != 1:
        raise NotFound(
            f"{'No' if not found else 'More than one'} alert has an id that begins with “{text}”.",
            hint="`tenantry alert list` shows them.",
        )
    return found[0]


# ── channels ─────────────────────────────────────────────────────────────────


@channel.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it.", show_default=False)],
    *,
    kind: Annotated[Kind, typer.Option(help="What it is.")],
    target: Annotated[
        str | None,
        typer.Option(
            help="The e-mail address or URL; default: asked for, as the URLs of Slack and Discord"
            " are secrets."
        ),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            help="What to send: alert.platform, alert.database, database.created,"
            " database.deleted, database.restored, database.log_paused, login.failed."
            " Once for each; default: alerts."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a channel; the key of a webhook's signatures is shown once.

    Examples:

        tenantry alert channel add ops --kind email --target ops@example.com

        tenantry alert channel add hook --kind webhook --target https://hooks.example.com/tenantry
    """
    given = target or typer.prompt("Address or URL", hide_input=kind != "email", err=True)
    wanted: dict[str, object] = {"name": name, "kind": kind, "target": given}
    if event:
        wanted["events"] = event
    with connect() as api:
        row = api.post("/api/alerts/channels", wanted)
    if as_json:
        output.as_json(row)
        return
    output.done(f"The channel “{row['name']}” is made")
    output.facts([("kind", row["kind"]), ("target", row["target"]), ("events", row["events"])])
    if row["signing_key"]:
        output.secret("signing key", row["signing_key"])
    if row["warning"]:
        output.note(row["warning"], style="yellow")


@channel.command("list")
def list_channels(as_json: Json = False) -> None:
    """List the channels, without their secrets.

    Example:

        tenantry alert channel list
    """
    with connect() as api:
        page = api.rows("/api/alerts/channels")
    output.listing(
        page,
        _CHANNEL_COLUMNS,
        empty="There is no channel: see `tenantry alert channel add`.",
        in_json=as_json,
        spare=("ID", "LAST SENT", "EVENTS"),
    )


@channel.command("test")
def send_test(name: _Channel, as_json: Json = False) -> None:
    """Send a test message, and say whether the channel accepted it.

    Example:

        tenantry alert channel test ops
    """
    with connect() as api:
        row = api.post(f"/api/alerts/channels/{_find_channel(api, name)}/test", repeat=False)
    if as_json:
        output.as_json(row)
        return
    output.done(f"The channel “{row['name']}” accepted the message")


@channel.command()
def remove(name: _Channel, as_json: Json = False) -> None:
    """Remove a channel, with the messages that wait for it.

    Example:

        tenantry alert channel remove ops
    """
    with connect() as api:
        row = api.delete(f"/api/alerts/channels/{quote(_find_channel(api, name), safe='')}")
    if as_json:
        output.as_json(row)
        return
    output.done(f"The channel “{row['name']}” is removed")


def _find_channel(api: Api, text: str) -> str:
    if parse_id(text):
        return text
    rows = api.rows("/api/alerts/channels").rows
    found = [str(row["id"]) for row in rows if row["name"] == text]
    if not found:
        meant = did_you_mean(text, [str(row["name"]) for row in rows])
        raise NotFound(
            f"No channel is called “{text}”.",
            hint=meant or "`tenantry alert channel list` shows them.",
        )
    return found[0]
