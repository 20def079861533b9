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
    """An installation with limits that are soon reached."""
    installation = Installation(
        environment={
            "TENANTRY_RATE_PER_ADDRESS": "400",
            "TENANTRY_RATE_PER_KEY": "60",
            "TENANTRY_RATE_FAILURES": "8",
            "TENANTRY_RATE_LOGINS": "6",
            "TENANTRY_TRUSTED_PROXIES": "127.9.0.1, 127.9.1.0/24",
        }
    )
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


def visitor(platform: Installation, address: str, key: str | None = None) -> httpx.Client:
    return platform.anonymous({"X-API-Key": key} if key else {}, address=address)


def hurried(client: httpx.Client, path: str, count: int) -> list[httpx.Response]:
    """So many answers; if a window ended among them, once more."""
    answers = [client.get(path) for _ in range(count)]
    if answers[-1].status_code != 429:
        answers = [client.get(path) for _ in range(count)]
    return answers


def test_refused_keys_are_answered_and_audited_so_often_only(
    platform: Installation, api: httpx.Client
) -> None:
    with visitor(platform, "127.0.2.10") as client:
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
    assert len([row for row in rows if row["address"] == "127.0.2.10"]) == counted
    with visitor(platform, "127.0.2.11", "x") as other:
        problem(other.get("/api/databases"), 401)


def test_logins_are_few(platform: Installation) -> None:
    body = {"email": "nobody@example.com", "password": "nothing but a wrong one"}
    with visitor(platform, "127.0.2.20") as client:
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
        visitor(platform, "127.0.2.30", key) as here,
        visitor(platform, "127.0.2.31", key) as there,
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
    with visitor(platform, "127.0.2.40") as client:
        answers = hurried(client, "/health", 410)
        reported = problem(answers[-1], 429)
        assert "address" in reported["detail"]
        assert answers[-1].headers["ratelimit"].startswith('"address";r=0;t=')
        assert answers[-1].headers["cache-control"] == "no-store"


# Proxies


def audited_address(api: httpx.Client, answer: httpx.Response) -> str:
    rows = data(api.get("/api/audit-logs", params={"action": "login", "limit": "20"}))
    (row,) = [row for row in rows if row["request_id"] == answer.headers["x-request-id"]]
    return str(row["address"])


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        # Nobody's proxy, though on this machine: only the connection counts.
        ("127.0.0.1", {"X-Forwarded-For": "198.51.100.1"}, "127.0.0.1"),
        ("127.0.3.2", {"Forwarded": "for=198.51.100.1", "X-Real-IP": "198.51.100.1"}, "127.0.3.2"),
        # Configured ones: what they have appended counts, and nothing that came before it.
        ("127.9.0.1", {"X-Forwarded-For": "198.51.100.2"}, "198.51.100.2"),
        ("127.9.0.1", {"X-Forwarded-For": "203.0.113.1, 198.51.100.3"}, "198.51.100.3"),
        ("127.9.1.7", {"X-Forwarded-For": "203.0.113.1, 198.51.100.4, 127.9.0.1"}, "198.51.100.4"),
        ("127.9.0.1", {"X-Real-IP": "198.51.100.5", "Forwarded": "for=198.51.100.5"}, "127.9.0.1"),
        ("127.9.1.8", {"X-Forwarded-For": "unknown"}, "127.9.1.8"),
    ],
)
def test_only_configured_proxies_say_where_a_request_comes_from(
    platform: Installation, api: httpx.Client, peer: str, headers: dict[str, str], address: str
) -> None:
    with platform.anonymous(headers, address=peer) as client:
        answer = client.get("/api/databases")
    problem(answer, 401)
    assert audited_address(api, answer) == address


def test_nobody_gets_a_new_share_by_naming_another_address(platform: Installation) -> None:
    with visitor(platform, "127.0.0.1") as client:
        answers = [
            client.get("/api/databases", headers={"X-Forwarded-For": f"198.51.100.{n}"})
            for n in range(30)
        ]
    assert [answer.status_code for answer in answers].count(401) <= 16  # two windows at most
    problem(answers[-1], 429)
    with platform.anonymous(address="127.9.0.1") as proxy:
        spoofed = [
            proxy.get(
                "/api/databases", headers={"X-Forwarded-For": f"198.51.100.{n}, 203.0.113.50"}
            )
            for n in range(30)
        ]
    assert [answer.status_code for answer in spoofed].count(401) <= 16


def test_a_redirect_keeps_the_scheme_that_a_configured_proxy_names(
    platform: Installation,
) -> None:
    for peer, scheme in (("127.9.0.1", "https"), ("127.0.0.1", "http")):
        with platform.anonymous({"X-Forwarded-Proto": "https"}, address=peer) as client:
            location = client.get("/api/databases/").headers["location"]
        assert location.startswith(f"{scheme}://")


def test_refusals_of_a_known_key_are_not_hidden_among_others(
    platform: Installation, api: httpx.Client
) -> None:
    """The audit takes a share of unknown keys from everywhere, and besides those of known ones."""
    made = data(api.post("/api/api-keys", json={"name": "gone", "scopes": ["audit:read"]}), 201)
    data(api.delete(f"/api/api-keys/{made['id']}"))
    for network in range(30):
        with visitor(platform, f"127.4.{network}.1", "tnt_unknown") as client:
            for _ in range(8):
                client.get("/api/databases")
    with visitor(platform, "127.0.3.20", made["key"]) as client:
        answer = client.get("/api/databases")
    problem(answer, 401)
    assert audited_address(api, answer) == "127.0.3.20"
