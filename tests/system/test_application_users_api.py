"""Users of applications through the data API: enabled, signed in, and known to policies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import do, eventually
from harness import NO_TLS, Installation

Row = dict[str, Any]
ANN = {"email": "ann@example.com", "password": "correct horse"}
NOTES = """
CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text,
    owner uuid NOT NULL DEFAULT auth.uid() REFERENCES auth.users);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON notes TO authenticated;
CREATE POLICY own ON notes TO authenticated
    USING (owner = (SELECT auth.uid())) WITH CHECK (owner = (SELECT auth.uid()));
"""


@dataclass
class Served:
    """A database whose application has users, and a client with its key."""

    row: Row
    api: Row
    http: httpx.Client

    def sign_up(self, email: str) -> Row:
        found: Row = self.http.post("/auth/v1/signup", json=ANN | {"email": email}).json()
        return found


def path(row: Row) -> str:
    return f"/api/databases/{row['id']}/data-api"


@pytest.fixture(scope="module")
def served(platform: Installation) -> Iterator[list[Served]]:
    made = []
    with platform.client() as api:
        for _ in range(2):
            row = platform.create(maxConnections=20)
            enabled = data(api.put(path(row), json={"auth": {}}))
            do(row["connection_string"], NOTES)
            client = httpx.Client(
                base_url=f"http://127.0.0.1:{platform.rest_port}/{row['database_name']}",
                headers={"apikey": enabled["anon_key"]},
                timeout=60,
                trust_env=False,
                verify=NO_TLS,
            )
            made.append(Served(row, enabled, client))
        eventually(lambda: _answers(made[0].http))
        yield made
        for each in made:
            each.http.close()
            api.delete(path(each.row))


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/auth/v1/health").is_success
    except httpx.TransportError:
        return False


def test_policies_know_who_has_signed_in(served: list[Served]) -> None:
    one, other = served
    tokens = [one.sign_up(f"{name}@example.com")["access_token"] for name in ("ann", "bob")]
    wanted = {"Prefer": "return=representation"}
    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"}
        made = one.http.post("/rest/v1/notes", json={"note": "mine"}, headers=headers | wanted)
        assert made.status_code == 201
        user = one.http.get("/auth/v1/user", headers=headers).json()
        assert made.json()[0]["owner"] == user["id"]
        assert len(one.http.get("/rest/v1/notes", headers=headers).json()) == 1
        for route in ("/auth/v1/user", "/rest/v1/notes"):
            refused = other.http.get(route, headers=headers)
            assert refused.status_code in {401, 403}
    assert one.http.get("/rest/v1/users", headers={"Accept-Profile": "auth"}).status_code == 406
    assert one.http.get("/rest/v1/users").status_code == 404


def test_sessions_are_of_one_database(served: list[Served]) -> None:
    one, other = served
    made = one.sign_up("cora@example.com")
    body = {"refresh_token": made["refresh_token"]}
    refresh = "/auth/v1/token?grant_type=refresh_token"
    assert other.http.post(refresh, json=body).json()["error_code"] == "refresh_token_not_found"
    assert one.http.post(refresh, json=body).is_success
    wrong = {"apikey": other.api["anon_key"]}
    assert one.http.post("/auth/v1/signup", json=ANN, headers=wrong).status_code == 401


def test_browsers_and_mistakes_are_answered(served: list[Served]) -> None:
    one = served[0].http
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "apikey,x-client-info",
    }
    found = one.options("/auth/v1/signup", headers=asked)
    assert found.headers["access-control-allow-origin"] == "*"
    assert "x-client-info" in found.headers["access-control-allow-headers"]
    refused = one.post("/auth/v1/signup", content=b"{", headers={"Origin": "https://app.example"})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "bad_json")
    assert refused.headers["access-control-allow-origin"] == "*"
    for method, route, status in (
        ("GET", "/auth/v1/admin/users", 404),
        ("GET", "/auth/v1/signup", 405),
        ("POST", "/auth/v1/token?grant_type=id_token", 400),
        ("GET", "/auth/v1/user", 403),
    ):
        found = one.request(method, route)
        assert (found.status_code, found.json()["code"]) == (status, status)
    large = one.post("/auth/v1/signup", content=b"x" * 70_000)
    assert large.status_code == 413


def test_logs_have_no_secret(platform: Installation, served: list[Served]) -> None:
    made = served[0].sign_up("dora@example.com")
    served[0].http.post(
        "/auth/v1/token?grant_type=password", json=ANN | {"email": "dora@example.com"}
    )
    log = (platform.home / "logs" / "tenantry.log").read_text()
    for secret in (ANN["password"], made["access_token"], made["refresh_token"], "dora@"):
        assert secret not in log


def test_settings_are_shown_and_can_be_turned_off(
    platform: Installation, served: list[Served], api: httpx.Client
) -> None:
    row = platform.create()
    made = data(api.put(path(row), json={}))
    assert (made["auth"], made["auth_url"]) == (None, None)
    closed = f"http://127.0.0.1:{platform.rest_port}/auth/{row['database_name']}/settings"
    refused = served[0].http.get(closed)
    assert (refused.status_code, refused.json()["code"]) == (404, "auth_not_enabled")
    wrong = {"auth": {"site_url": "javascript:alert(1)"}}
    assert problem(api.put(path(row), json=wrong), 422)["code"] == "invalid_input"
    do(row["connection_string"], "CREATE TABLE auth.users (id int)")
    foreign = problem(api.put(path(row), json={"auth": {}}), 422)
    assert "auth.users has no column" in foreign["errors"][0]["message"]
    do(row["connection_string"], "DROP TABLE auth.users")
    enable = ("data-api", "enable", str(row["id"]), "--site-url", "https://app.example.com")
    platform.tenantry(*enable, "--no-signup")
    found = data(api.get(path(row)))
    assert found["auth_url"].endswith(f"/{row['database_name']}/auth/v1")
    assert found["auth"] == {
        "site_url": "https://app.example.com",
        "redirect_urls": [],
        "signup": False,
    }
    platform.tenantry("data-api", "enable", str(row["id"]), "--max-rows", "5")
    assert data(api.get(path(row)))["auth"] == found["auth"]
    platform.tenantry("data-api", "enable", str(row["id"]), "--no-auth")
    assert data(api.get(path(row)))["auth"] is None
    do(row["connection_string"], "INSERT INTO auth.users (id) VALUES (gen_random_uuid())")
