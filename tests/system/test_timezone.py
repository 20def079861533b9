"""A database's time zone: for all its logins, on both ports, and for what is made from it."""

from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import ENDPOINTS, STRINGS, ask, do, eventually, login
from harness import Installation
from tenantry.services.bodies.databases import _zones

Row = dict[str, Any]
BERLIN, TOKYO, KATHMANDU = "Europe/Berlin", "Asia/Tokyo", "Asia/Kathmandu"


def zones(row: Row, strings: tuple[str, ...] = STRINGS) -> set[str]:
    """What new sessions begin with, by each of these strings."""
    return {str(ask(row[string], "SHOW timezone")) for string in strings}


def ended(api: httpx.Client, started: httpx.Response) -> Row:
    """The result of an operation."""
    found: Row = {}

    def has_ended() -> bool:
        found.update(data(api.get(started.headers["Location"])))
        return found["finished_at"] is not None

    data(started, 202)
    eventually(has_ended)
    assert found["status"] == "succeeded", found
    result: Row = found["result"]
    return result


def test_it_holds_for_all_logins_on_both_ports_and_in_the_shadow(
    platform: Installation, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = platform.create(timezone=BERLIN)
    role = data(api.post(f"/api/databases/{made['id']}/roles", json={"name": "reader"}), 201)
    assert made["timezone"] == BERLIN
    assert zones(made) == {BERLIN}
    assert zones(role, ENDPOINTS) == {BERLIN}
    assert zones(platform.create()) == {"UTC"}
    # A client that asks for another one at login, as Java's drivers do, gets it.
    monkeypatch.setenv("PGTZ", TOKYO)
    assert zones(made) == {TOKYO}


def test_it_is_changed_for_new_sessions(platform: Installation, api: httpx.Client) -> None:
    made = platform.create()
    path = f"/api/databases/{made['id']}"
    with login(made["connection_string_pooled"]) as before:
        assert before.execute("SHOW timezone").fetchone() == ("UTC",)
        changed = data(api.patch(path, json={"timezone": KATHMANDU}))
        assert changed["timezone"] == data(api.get(path))["timezone"] == KATHMANDU
        assert zones(made) == {KATHMANDU}
    entry = data(
        api.get("/api/audit-logs", params={"resource_id": made["id"], "action": "database.update"})
    )[0]
    assert entry["details"] == {"timezone": ["UTC", KATHMANDU]}
    assert data(api.patch(path, json={"timezone": "UTC"}))["timezone"] == "UTC"
    assert zones(made) == {"UTC"}


@pytest.mark.parametrize("zone", ["Mars/Olympus", "europe/berlin", "FOO+3", "localtime", "", 1])
def test_only_names_of_zones_are_taken(
    platform: Installation, api: httpx.Client, zone: object
) -> None:
    asked = {"name": "nowhere", "timezone": zone}
    wrong = problem(api.post("/api/databases", json=asked), 422)["errors"]
    assert [each["field"] for each in wrong] == ["timezone"]
    made = platform.create()
    problem(api.patch(f"/api/databases/{made['id']}", json={"timezone": zone}), 422)
    assert zones(made) == {"UTC"}


def test_the_server_knows_all_names_that_are_taken(platform: Installation) -> None:
    """Those of the machine that checks are those of the machine that serves."""
    with platform.superuser() as server:
        known = {name for (name,) in server.execute("SELECT name FROM pg_timezone_names")}
    assert _zones() <= known


def test_a_logins_own_comes_first_and_what_is_changed_by_hand_is_put_right(
    platform: Installation,
) -> None:
    made, own = platform.create(timezone=BERLIN), platform.create(timezone=BERLIN)
    do(own["connection_string"], f"ALTER ROLE CURRENT_USER SET timezone = '{TOKYO}'")
    with platform.superuser() as server:
        for end in ("", "_shadow"):
            server.execute(f"ALTER DATABASE {made['database_name']}{end} RESET timezone".encode())
    assert zones(made, STRINGS[::2]) == {"UTC"}
    platform.reconcile()
    assert zones(made, STRINGS[::2]) == {BERLIN}
    assert zones(own, STRINGS[::2]) == {TOKYO}


def test_branches_and_restores_have_it(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(timezone=BERLIN, tags=["team-a", "x"])
    path = f"/api/databases/{made['id']}"
    branched = api.post(f"{path}/branches", json={"name": "twig", "shadow": True})
    branch = data(branched, 202)
    ended(api, branched)
    assert (branch["timezone"], branch["tags"]) == (BERLIN, ["team-a", "x"])
    assert zones(branch) == {BERLIN}
    backup = ended(api, api.post(f"{path}/backups", json={}))["backup_id"]
    data(api.patch(path, json={"timezone": TOKYO}))
    copy = ended(api, api.post(f"{path}/restore", json={"to": backup, "as": "new"}))
    opened = data(api.post(f"/api/databases/{copy['database_id']}/rotate-password"))
    assert (opened["timezone"], opened["tags"]) == (TOKYO, ["team-a", "x"])
    assert zones(opened) == {TOKYO}
    for to in (backup, "previous"):  # put back: what the restore has replaced
        ended(api, api.post(f"{path}/restore", json={"to": to, "as": "in_place"}))
        assert data(api.get(path))["timezone"] == TOKYO
        assert zones(made) == {TOKYO}
    ended(api, api.post(f"/api/databases/{made['id']}/branches/{branch['id']}/reset", json={}))
    assert zones(branch) == {BERLIN}


def test_the_command_line_sets_and_shows_it(platform: Installation) -> None:
    name = "zoned"
    platform.tenantry("db", "create", "--name", name, "--timezone", BERLIN)
    assert BERLIN in platform.tenantry("db", "show", name).stdout
    assert TOKYO in platform.tenantry("db", "update", name, "--timezone", TOKYO).stdout
    wrong = platform.tenantry("db", "update", name, "--timezone", "Mars/Olympus", check=False)
    assert wrong.returncode != 0
    assert "Europe/Berlin" in wrong.stderr
