"""Rate limits as callers meet them, on a platform with small figures."""

import re
from collections.abc import Iterator

import httpx
import pytest

from answers import data, problem
from clients import hurry
from harness import Installation


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    installation = Installation(
        environment={
            "TENANTRY_RATE_PER_ADDRESS": "400",
            "TENANTRY_RATE_PER_KEY": "60",
            "TENANTRY_RATE_FAILURES": "8",
            "TENANTRY_RATE_LOGINS": "6",
        }
    )
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


def visitor(platform: Installation, address: str, key: str | None = None) -> httpx.Client:
    headers = {"X-Forwarded-For": address} | ({"X-API-Key": key} if key else {})
    return platform.stranger(headers)


def hurried(client: httpx.Client, path: str, count: int) -> list[httpx.Response]:
    """So many answers; if a window ended among them, once more."""
    answers = [client.get(path) for _ in range(count)]
    if answers[-1].status_code != 429:
        answers = [client.get(path) for _ in range(count)]
    return answers


def test_refused_keys_are_answered_and_audited_so_often_only(
    platform: Installation, api: httpx.Client
) -> None:
    with visitor(platform, "192.0.2.10") as client:
        answers = [client.get("/api/databases", headers={"X-API-Key": "x"}) for _ in range(30)]
        counted = [answer.status_code for answer in answers].count(401)
        assert 8 <= counted <= 16  # two windows at most
        last = answers[-1]
        assert problem(last, 429)["code"] == "rate_limited"
        assert 1 <= int(last.headers["retry-after"]) <= 60
        assert '"failure";q=8;w=60' in last.headers["ratelimit-policy"]
        assert re.search(r'"failure";r=0;t=\d+', last.headers["ratelimit"])
        # Who has a key is let in all the same.
        data(client.get("/api/databases", headers={"X-API-Key": platform.key}))
    rows = data(api.get("/api/audit-logs", params={"action": "login", "limit": "1000"}))
    assert len([row for row in rows if row["address"] == "192.0.2.10"]) == counted
    with visitor(platform, "192.0.2.11", "x") as other:
        problem(other.get("/api/databases"), 401)


def test_logins_are_few(platform: Installation) -> None:
    body = {"email": "nobody@example.com", "password": "nothing but a wrong one"}
    with visitor(platform, "192.0.2.20") as client:
        codes = [
            client.post("/api/auth/login", json=body | {"email": f"n{n}@example.com"}).json()[
                "code"
            ]
            for n in range(14)
        ]
        assert codes[:6] == ["wrong_credentials"] * 6
        assert codes[-1] == "rate_limited"
        answer = client.post("/api/auth/mfa", json={"challenge": "x", "code": "1"})
        assert problem(answer, 429)["code"] == "rate_limited"


def test_a_key_has_its_share_wherever_it_comes_from(
    platform: Installation, api: httpx.Client
) -> None:
    asked = {"name": "busy", "scopes": ["databases:read"]}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    with (
        visitor(platform, "192.0.2.30", key) as here,
        visitor(platform, "192.0.2.31", key) as there,
    ):
        first = here.get("/api/databases")
        assert re.fullmatch(r'"address";r=\d+;t=\d+, "key";r=59;t=\d+', first.headers["ratelimit"])
        policy = '"address";q=400;w=60, "key";q=60;w=60'
        assert first.headers["ratelimit-policy"] == policy
        answers = hurried(here, "/api/databases", 70)
        assert problem(answers[-1], 429)["code"] == "rate_limited"
        problem(there.get("/api/databases"), 429)
    data(api.get("/api/databases"))


def test_an_address_has_its_share_whatever_it_asks(platform: Installation) -> None:
    with visitor(platform, "192.0.2.40") as client:
        answers = hurried(client, "/health", 410)
        told = problem(answers[-1], 429)
        assert "address" in told["detail"]
        assert answers[-1].headers["ratelimit"].startswith('"address";r=0;t=')
        assert answers[-1].headers["cache-control"] == "no-store"
    with visitor(platform, "not an address") as strange:
        assert strange.get("/health").status_code == 200
