"""The blueprint auth, as a new database has it: users sign up and in, and have profiles."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from answers import data
from clients import ask, eventually, login
from harness import NO_TLS, Installation
from imported import ended
from tenantry_rls.check import check
from tenantry_rls.report import as_text

Row = dict[str, Any]
PASSWORD = "correct horse"
UPSERTED = {"Prefer": "resolution=merge-duplicates,return=representation"}


@pytest.fixture(scope="module")
def created(platform: Installation) -> Row:
    return platform.create(blueprint="auth", seeds="development")


@pytest.fixture
def client(platform: Installation, created: Row) -> Iterator[httpx.Client]:
    """A client with the anon key, of an API that answers."""
    base_url = f"http://127.0.0.1:{platform.rest_port}/{created['database_name']}"
    headers = {"apikey": created["data_api"]["anon_key"]}
    with httpx.Client(
        base_url=base_url, headers=headers, timeout=60, trust_env=False, verify=NO_TLS
    ) as client:
        eventually(lambda: _is_served(client))
        yield client


def _is_served(client: httpx.Client) -> bool:
    try:
        return client.get("/auth/v1/health").is_success
    except httpx.TransportError:
        return False


def signed_in(client: httpx.Client, name: str) -> tuple[str, dict[str, str]]:
    """The id of a user who has signed up and in, and the headers of its requests."""
    who = {"email": f"{name}@example.com", "password": PASSWORD}
    made = client.post("/auth/v1/signup", json=who).raise_for_status().json()
    found = client.post("/auth/v1/token?grant_type=password", json=who).raise_for_status().json()
    assert found["user"]["id"] == made["user"]["id"]
    return found["user"]["id"], {"Authorization": f"Bearer {found['access_token']}"}


def test_users_sign_up_at_once_and_write_their_own_profiles(
    created: Row, client: httpx.Client
) -> None:
    opened = created["data_api"]
    assert (opened["schemas"], opened["auth"]["signup"]) == (["api"], True)
    assert opened["auth_url"].endswith(f"/{created['database_name']}/auth/v1")
    profiles = "/rest/v1/profiles"
    ann, anns = signed_in(client, "ann")
    bob, bobs = signed_in(client, "bob")

    for headers in (anns, bobs):
        for about in ("Clocks", "Lamps"):
            row = {"display_name": "Ann", "about": about}
            made = client.post(profiles, json=row, headers=headers | UPSERTED)
            assert [each["about"] for each in made.raise_for_status().json()] == [about]
    found = client.get(profiles, params={"select": "user_id"}, headers=anns).json()
    assert {ann, bob} < {each["user_id"] for each in found}
    assert client.get(profiles).status_code == 401

    theft = {"user_id": bob, "display_name": "Ann was here"}
    assert client.post(profiles, json=theft, headers=anns | UPSERTED).status_code == 403
    changed = client.patch(
        f"{profiles}?user_id=eq.{bob}", json={"about": "x"}, headers=anns | UPSERTED
    )
    assert (changed.status_code, changed.json()) == (200, [])
    mine = {"user_id": bob}
    given = client.patch(f"{profiles}?user_id=eq.{ann}", json=mine, headers=anns)
    assert given.status_code in {403, 409}

    with login(created["connection_string"]) as owner:
        owner.execute("DELETE FROM auth.users WHERE id = %s", (bob,))
    its = f"{profiles}?user_id=eq.{bob}"
    assert client.get(its, headers=anns).json() == []


def test_it_differs_in_nothing_and_is_isolated(api: httpx.Client, created: Row) -> None:
    path = f"/api/databases/{created['id']}/blueprint/diff"
    assert data(api.get(path))["differences"] == []
    shown = data(api.get("/api/blueprints/auth"))
    assert shown["data_api"] == {"schemas": ["api"], "since": 1, "auth": True}
    with psycopg.connect(created["connection_string"]) as conn:
        report = check(conn, **shown["isolation"])
    assert report.passes(), as_text(report)
    assert {each.subject for each in report.allowed} <= {
        "auth.users", "auth.sessions", "auth.one_time_tokens",
    }  # fmt: skip
    mine = [each for each in report.attempts if each.subject == "api.profiles"]
    assert {each.outcome for each in mine} == {"refused"}


@pytest.mark.parametrize("has_users", [True, False])
def test_a_database_that_exists_refers_to_users_if_it_has_them(
    platform: Installation, api: httpx.Client, has_users: bool
) -> None:
    row = platform.create()
    path = f"/api/databases/{row['id']}"
    if has_users:
        data(api.put(f"{path}/data-api", json={"auth": {}}))
    operation = data(api.post(f"{path}/blueprint", json={"blueprint": "auth"}), 202)
    assert ended(api, operation)["status"] == "succeeded"
    references = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conname LIKE 'prof%'"
    assert ask(row["connection_string"], references) == has_users
    assert data(api.get(f"{path}/blueprint/diff"))["differences"] == []
    data(api.put(f"{path}/data-api", json={"schemas": ["api"]}))
