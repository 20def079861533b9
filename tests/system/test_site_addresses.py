"""Allowlists of sites where nobody sets the kernel's rules: they are kept, and the site is closed.

Of the rules themselves see tests/server/test_site_allowlists.py.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answers import data, problem
from harness import Installation
from tenantry.host.reachability import listening

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def emptied(api: httpx.Client) -> Iterator[None]:
    yield
    for site in data(api.get("/api/sites")):
        data(api.delete(f"/api/sites/{site['id']}"))


@pytest.fixture
def site(api: httpx.Client) -> Row:
    made: Row = data(api.post("/api/sites", json={"name": "shop", "memory_mb": 8}), 201)
    return made


def test_an_allowlist_leaves_this_machine_only(api: httpx.Client, site: Row) -> None:
    path = f"/api/sites/{site['id']}"
    answer = api.patch(path, json={"networks": ["203.0.113.7", "2001:db8::/32"]})
    limited = data(answer)
    assert (limited["networks"], limited["reached_from"]) == (
        ["203.0.113.7/32", "2001:db8::/32"],
        "this_machine",
    )
    assert "Redis knows no allowlists" in limited["reached_why"]
    assert limited["reached_why"] in answer.json()["message"]
    assert listening(port_of(site)) == ["127.0.0.1", "::1"]
    assert problem(api.patch(path, json={"networks": ["example.com"]}), 422)
    opened_again = data(api.patch(path, json={"networks": []}))
    assert (opened_again["reached_from"], opened_again["reached_why"]) == ("everywhere", None)
    assert "::" in listening(port_of(site))
    made = data(
        api.post("/api/sites", json={"name": "x", "memory_mb": 8, "networks": ["::1"]}), 201
    )
    assert listening(port_of(made)) == ["127.0.0.1", "::1"]
    assert (made["reached_from"], "@localhost:" in made["redis_url"]) == ("this_machine", True)


def port_of(site: Row) -> int:
    return int(site["redis_url"].rpartition(":")[2].partition("/")[0])


def test_a_sites_allowlist_is_as_a_databases(api: httpx.Client, site: Row) -> None:
    path = f"/api/sites/{site['id']}"
    listed = f"{path}/whitelist"
    body = {"ipAddress": "10.1.2.3/8", "description": "office"}
    answer = api.post(listed, json=body)
    entry = data(answer, 201)
    assert (entry["ip_address"], entry["closes"], entry["ended_sessions"]) == (
        "10.0.0.0/8",
        True,
        0,
    )
    for said in ("10.1.2.3/8 was taken for all of 10.0.0.0/8.", "all others are refused", "only:"):
        assert said in answer.json()["message"]
    end = "2031-01-31T12:00:00Z"
    again = data(api.post(listed, json={"ip_address": "10.0.0.0/8", "expires_at": end}), 201)
    assert (again["id"], again["closes"], again["description"]) == (entry["id"], False, "office")
    # A list of networks keeps what else the entries say that stay.
    data(api.patch(path, json={"networks": ["10.0.0.0/8", "2001:db8::1"]}))
    whole = api.get(listed).json()
    assert [(each["ip_address"], each["description"]) for each in whole["data"]] == [
        ("10.0.0.0/8", "office"),
        ("2001:db8::1/128", None),
    ]
    assert whole["data"][0]["expires_at"] == end
    assert whole["caller_address"] == "127.0.0.1"
    entries = [{"ip_address": "10.0.0.0/8", "description": "all"}]
    shown = data(api.post(f"{listed}/preview", json={"entries": entries}))
    assert [(each["action"], each["ip_address"]) for each in shown["changes"]] == [
        ("change", "10.0.0.0/8"),
        ("remove", "2001:db8::1/128"),
    ]
    wanted = {"entries": entries, "version": shown["version"]}
    for _ in range(2):  # sent again, it is in force already
        (left,) = data(api.put(listed, json=wanted))
        assert (left["id"], left["description"], left["expires_at"]) == (entry["id"], "all", None)
    wanted["entries"] = []
    assert problem(api.put(listed, json=wanted), 409)["code"] == "whitelist_changed"
    assert data(api.get(path))["networks"] == ["10.0.0.0/8"]
    answer = api.delete(f"{listed}/{entry['id']}")
    assert (data(answer)["opens"], data(answer)["ended_sessions"]) == (True, 0)
    assert answer.json()["message"].endswith("the site may be reached from everywhere.")
    problem(api.delete(f"{listed}/{entry['id']}"), 404)
    problem(api.delete(f"{listed}/x"), 404)
    assert problem(api.post(listed, json={"ip_address": "example.com"}), 422)
    many = [{"ip_address": f"10.0.{number}.0/24"} for number in range(201)]
    problem(api.put(listed, json={"entries": many}), 422)
    log = data(api.get("/api/audit-logs", params={"resource_id": site["id"], "limit": "5"}))
    assert [each["action"] for each in log] == [
        "whitelist.remove",
        *["whitelist.replace"] * 2,
        "site.update",
        "whitelist.add",
    ]
    assert log[0]["details"] == {"networks": ["10.0.0.0/8"], "count": 1}


def test_an_expired_list_admits_nobody(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    data(api.post(f"/api/sites/{site['id']}/whitelist", json={"ip_address": "192.0.2.1"}), 201)
    with platform.control() as control:
        control.execute("UPDATE site_whitelist SET expires_at = now() - interval '1 s'")
    found = data(api.get(f"/api/sites/{site['id']}"))
    assert (found["networks"], found["reached_from"]) == ([], "this_machine")
    assert listening(port_of(site)) == ["127.0.0.1", "::1"]
