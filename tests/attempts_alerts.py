"""What a tenant asks the REST API for, to see others' alerts, or to reach what it must not."""

from attempts import THROUGH, Attempt, Scenario
from attempts_insights import API, with_own_key


def _ask(scenario: Scenario, method: str, path: str) -> str:
    path = path.format(foreign_id=scenario.neighbour["id"])
    with with_own_key(scenario) as api:
        answer = api.request(method, path, json={} if method == "PUT" else None)
    return THROUGH if answer.is_success else str(answer.json()["code"])


def _see_alerts(scenario: Scenario) -> str:
    """Ask for all alerts, while others have some."""
    with scenario.platform.control() as control, with_own_key(scenario) as api:
        for subject, owned in (("neighbour", True), ("platform", False)):
            control.execute(
                "INSERT INTO alerts (id, rule, subject, severity, detail, database_id, customer_id,"
                " state, since) SELECT gen_random_uuid(), 'attempted', %s, 'warning', 'x',"
                " CASE WHEN %s THEN id END, CASE WHEN %s THEN customer_id END, 'firing', now()"
                " FROM databases WHERE id = %s ON CONFLICT DO NOTHING",
                (subject, owned, owned, scenario.neighbour["id"]),
            )
        found = api.get("/api/alerts", params={"rule": "attempted"}).json()["data"]
        control.execute("DELETE FROM alerts WHERE rule = 'attempted'")
    return THROUGH if found else "none"


def _use_channel(scenario: Scenario, target: str, *events: str) -> str:
    """Create a channel, and send a test message to it."""
    asked = {"name": target, "kind": "webhook", "target": target, "events": events}
    with with_own_key(scenario) as api:
        made = api.post("/api/alerts/channels", json=asked)
        if not made.is_success:
            return str(made.json()["code"])
        path = f"/api/alerts/channels/{made.json()['data']['id']}"
        sent = api.post(f"{path}/test")
        api.delete(path)
    return THROUGH if sent.is_success else str(sent.json()["code"])


_ROWS = "rows of other customers do not exist for a customer's key"
_PUBLIC = "customers' webhooks are sent to public addresses only, which are checked when sending"
_OWN = "alert.database"

ALERTS: tuple[Attempt, ...] = (
    Attempt("see-alerts-of-others", "`GET /api/alerts`",
        "row-level security; the platform's alerts have no customer",
        lambda scenario, _: _see_alerts(scenario), "none", None, (API,)),
    Attempt("read-alert-settings", "`GET /api/databases/{foreign_id}/alerts/settings`", _ROWS,
        lambda scenario, _: _ask(scenario, "GET", "/api/databases/{foreign_id}/alerts/settings"),
        "not_found", None, (API,)),
    Attempt("change-alert-settings", "`PUT /api/databases/{foreign_id}/alerts/settings`", _ROWS,
        lambda scenario, _: _ask(scenario, "PUT", "/api/databases/{foreign_id}/alerts/settings"),
        "not_found", None, (API,)),
    Attempt("hear-of-the-platform", "`POST /api/alerts/channels` with `alert.platform`",
        "administrators only",
        lambda scenario, _: _use_channel(scenario, "https://192.0.2.1/", "alert.platform"),
        "forbidden", None, (API,)),
    Attempt("webhook-to-this-machine", "a channel to `https://127.0.0.1`, tested", _PUBLIC,
        lambda scenario, _: _use_channel(scenario, "https://127.0.0.1/", _OWN),
        "channel_failed", None, (API,)),
    Attempt("webhook-to-metadata", "a channel to `https://169.254.169.254`, tested", _PUBLIC,
        lambda scenario, _: _use_channel(scenario, "https://169.254.169.254/", _OWN),
        "channel_failed", None, (API,)),
    Attempt("webhook-by-name", "a channel to `https://localhost`, tested", _PUBLIC,
        lambda scenario, _: _use_channel(scenario, "https://localhost/", _OWN),
        "channel_failed", None, (API,)),
)  # fmt: skip
