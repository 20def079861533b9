"""What a newcomer missed: customers that are removed, filters that name what there is."""

from collections.abc import Callable

import httpx
import psycopg
import pytest

from answers import data, problem
from harness import Installation
from persons import Person, make_user, some_email


def test_a_customer_is_removed_once_it_has_nothing(
    platform: Installation, api: httpx.Client
) -> None:
    email = some_email()
    database = data(
        api.post("/api/databases", json={"name": "shop", "ownerEmail": email, "shadow": False}), 201
    )
    user = make_user(api, customer_email=email)
    key = data(
        api.post(
            "/api/api-keys",
            json={"name": "ci", "scopes": ["keys:write"], "customer_email": email},
        ),
        201,
    )
    with platform.client(key["key"]) as client:
        asked = {"name": "its own", "scopes": ["keys:write"]}
        data(client.post("/api/api-keys", json=asked), 201)
        assert problem(client.get("/api/customers"), 403)["code"] == "forbidden"
    (customer,) = data(api.get("/api/customers", params={"email": email.upper()}))
    path = f"/api/customers/{customer['id']}"
    numbers = ("databases", "users", "api_keys", "backups", "operations")
    assert [customer[number] for number in numbers] == [1, 1, 2, 0, 0]
    refused = problem(api.delete(path), 409)
    assert f"{email} still has 1 database, 1 user, 2 API keys." in refused["detail"]
    assert "tenantry key revoke" in refused["hint"]

    data(api.delete(f"/api/users/{user['id']}"))
    # The key that it created ends with it, and both are removed with the customer.
    data(api.delete(f"/api/api-keys/{key['id']}"))
    assert data(api.get(path))["api_keys"] == 0
    platform.tenantry("db", "delete", database["id"], "--yes")
    done = platform.tenantry("customer", "remove", email)
    assert f"{email} is removed" in done.stderr
    problem(api.get(path), 404)
    (entry,) = data(api.get("/api/audit-logs", params={"action": "customer.remove", "limit": 1}))
    assert entry["resource_name"] == email
    # Its address is free again.
    made = make_user(api, email=email, customer_email=email)
    assert made["customer_email"] == email


@pytest.mark.parametrize(
    ("path", "wanted", "said"),
    [
        ("audit-logs", {"action": "database.crate"}, "Did you mean database.create?"),
        ("audit-logs", {"action": "nonsense"}, "They are access, alert.acknowledge, "),
        ("audit-logs", {"result": "refuse"}, "Did you mean refused?"),
        ("audit-logs", {"actor": "administator"}, "Did you mean administrator?"),
        ("audit-logs/export", {"result": "refuse"}, "Did you mean refused?"),
        ("operations", {"kind": "backup.crate"}, "Did you mean backup.create?"),
        ("operations", {"status": "runing"}, "Did you mean running?"),
        ("databases", {"status": "deletd"}, "is none of active, branching, deleting."),
        ("databases", {"environment": "prod"}, "Did you mean production?"),
        ("databases", {"owner": "nobody@nowhere.example"}, "there is no customer nobody@"),
    ],
)
def test_a_filter_that_can_match_nothing_says_so(
    api: httpx.Client, path: str, wanted: dict[str, str], said: str
) -> None:
    reported = problem(api.get(f"/api/{path}", params=wanted), 422)
    assert said in reported["errors"][0]["message"]
    assert [error["field"] for error in reported["errors"]] == list(wanted)


def test_what_has_not_happened_yet_is_nothing_and_no_mistake(
    api: httpx.Client, people: Callable[..., Person]
) -> None:
    ann = people()
    client = ann.come_in()
    for wanted in ({"action": "branch.promote"}, {"actor": ann.email, "result": "failed"}):
        assert data(client.get("/api/audit-logs", params=wanted)) == []
    assert data(client.get("/api/databases", params={"owner": ann.email})) == []
    # Others' addresses and keys look like those that do not exist.
    other = people()
    problem(client.get("/api/audit-logs", params={"actor": other.email}), 422)
    problem(client.get("/api/databases", params={"owner": other.email}), 422)
    assert data(api.get("/api/audit-logs", params={"actor": other.email, "result": "failed"})) == []


def test_options_in_capitals_are_taken_on_the_pooled_port(platform: Installation) -> None:
    url = platform.create()["connection_string_pooled"]
    options = "-c JIT=off -c EXTRA_FLOAT_DIGITS=1 --CLIENT-MIN-MESSAGES=error -c DATESTYLE=German"
    with psycopg.connect(url, options=options) as session:
        assert session.execute("SHOW DateStyle").fetchone() == ("German, DMY",)
    # A schema that is asked for and not set would do harm: it is refused in any case.
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        psycopg.connect(url, options="-c SEARCH_PATH=app")


def test_the_pooler_is_shown_as_it_is_measured(platform: Installation, api: httpx.Client) -> None:
    made = platform.create()
    with psycopg.connect(made["connection_string_pooled"]) as session:
        session.execute("SELECT 1")
        shown = data(api.get("/api/pooler"))
        (pool,) = [p for p in shown["pools"] if p["database"] == made["database_name"]]
    assert pool["username"] == made["username"]
    assert pool["servers_active"] == 1
    assert shown["memory_limit_bytes"] > shown["memory_bytes"] > 0
