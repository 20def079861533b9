"""Sizes of plans: what customers create without a size has the plan's, and no more is granted."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answers import data, problem
from browsing import visiting
from clients import succeeded
from harness import Installation
from persons import some_email

Row = dict[str, Any]
SCOPES = ["databases:read", "databases:write"]


@pytest.fixture(autouse=True)
def emptied(api: httpx.Client) -> Iterator[None]:
    """Leave no site, and the plans as they were."""
    before = plans(api)
    yield
    for site in data(api.get("/api/sites")):
        data(api.delete(f"/api/sites/{site['id']}"))
    for name, plan in plans(api).items():
        if plan != before[name]:
            sizes = {each: before[name][each] for each in before[name] if is_size(each)}
            data(api.patch(f"/api/plans/{name}", json=sizes))


def is_size(field: str) -> bool:
    return field in {"max_sites", "max_instances"} or field.startswith(("site_", "instance_"))


def plans(api: httpx.Client) -> dict[str, Row]:
    return {plan["name"]: plan for plan in data(api.get("/api/plans"))}


@pytest.fixture
def email() -> str:
    return some_email()


@pytest.fixture
def customer(platform: Installation, api: httpx.Client, email: str) -> Iterator[httpx.Client]:
    body = {"name": "its own", "scopes": SCOPES, "customer_email": email}
    with platform.client(data(api.post("/api/api-keys", json=body), 201)["key"]) as client:
        yield client


def give(api: httpx.Client, email: str, plan: str) -> Row:
    (found,) = data(api.get("/api/customers", params={"email": email}))
    changed: Row = data(api.patch(f"/api/customers/{found['id']}", json={"plan": plan}))
    return changed


def test_a_site_has_the_sizes_of_its_customers_plan(
    api: httpx.Client, customer: httpx.Client, email: str
) -> None:
    (found,) = data(api.get("/api/customers", params={"email": email}))
    assert found["plan"] == "standard"
    first = data(customer.post("/api/sites", json={"name": "first"}), 201)
    assert (first["memory_mb"], first["max_clients"]) == (32, 100)
    assert give(api, email, "hobby")["plan"] == "hobby"
    second = data(customer.post("/api/sites", json={"name": "second"}), 201)
    assert (second["memory_mb"], second["max_clients"]) == (16, 50)
    shared = {"name": "tiny", "isolation": "shared"}
    third = data(customer.post("/api/sites", json=shared), 201)
    assert (third["memory_mb"], third["max_clients"]) == (4, 20)
    refused = problem(customer.post("/api/sites", json={"name": "fourth"}), 409)
    assert refused["detail"] == "A customer with the plan hobby may have 3 sites."
    # What it has is neither taken away nor made smaller, but may not grow.
    path = f"/api/sites/{first['id']}"
    assert data(customer.patch(path, json={"memory_mb": 24}))["memory_mb"] == 24
    assert "grants: 16" in problem(customer.patch(path, json={"memory_mb": 32}), 403)["detail"]


def test_more_than_a_plan_grants_is_for_administrators(
    api: httpx.Client, customer: httpx.Client
) -> None:
    for asked in (
        {"memory_mb": 33},
        {"max_clients": 101},
        {"isolation": "shared", "memory_mb": 40},
    ):
        refused = problem(customer.post("/api/sites", json={"name": "x", **asked}), 403)
        assert "above what the plan standard grants" in refused["detail"]
        assert "another plan" in refused["hint"]
    assert data(customer.get("/api/sites")) == []
    site = data(customer.post("/api/sites", json={"name": "x", "memory_mb": 8}), 201)
    path = f"/api/sites/{site['id']}"
    problem(customer.patch(path, json={"memory_mb": 33}), 403)
    assert data(api.patch(path, json={"memory_mb": 40, "max_clients": 200}))["memory_mb"] == 40
    # It may keep what an administrator has granted it.
    kept = data(customer.patch(path, json={"memory_mb": 40, "max_clients": 150}))
    assert (kept["memory_mb"], kept["max_clients"]) == (40, 150)


def test_an_administrator_changes_the_sizes_of_a_plan(
    api: httpx.Client, customer: httpx.Client
) -> None:
    path = "/api/plans/standard"
    changed = data(api.patch(path, json={"max_sites": 1, "siteMemoryMb": 9}))
    assert (changed["max_sites"], changed["site_memory_mb"]) == (1, 9)
    assert changed["site_max_clients"] == 100
    assert data(customer.post("/api/sites", json={"name": "one"}), 201)["memory_mb"] == 9
    problem(customer.post("/api/sites", json={"name": "two"}), 409)
    (entry,) = data(api.get("/api/audit-logs", params={"action": "plan.update", "limit": 1}))
    assert entry["resource_name"] == "standard"
    assert entry["details"] == {"max_sites": [None, 1], "site_memory_mb": [32, 9]}
    assert data(api.patch(path, json={"max_sites": None}))["max_sites"] is None
    data(customer.post("/api/sites", json={"name": "two"}), 201)
    problem(customer.patch(path, json={"max_sites": 100}), 403)


def test_a_new_database_has_its_owners_plan(
    api: httpx.Client, customer: httpx.Client, email: str
) -> None:
    def created(client: httpx.Client, **asked: object) -> Row:
        body = {"friendlyName": "X", "shadow": False, **asked}
        made: Row = data(client.post("/api/databases", json=body), 201)
        return made

    assert created(customer)["plan"] == created(api)["plan"] == "standard"
    give(api, email, "premium")
    mine = created(customer)
    assert (mine["plan"], mine["max_connections"]) == ("premium", 100)
    assert created(api, ownerEmail=email)["plan"] == "premium"
    assert created(customer, plan="hobby")["plan"] == "hobby"
    give(api, email, "hobby")
    small = created(customer)
    assert (small["plan"], small["max_connections"]) == ("hobby", 10)
    for asked in ({"plan": "standard"}, {"maxConnections": 11}):
        body = {"friendlyName": "X", **asked}
        refused = problem(customer.post("/api/databases", json=body), 403)
        assert "above what the plan hobby grants" in refused["detail"]
    assert created(api, ownerEmail=email, plan="premium")["plan"] == "premium"
    # What it has keeps its plan.
    assert data(customer.get(f"/api/databases/{mine['id']}"))["plan"] == "premium"


def test_no_plan_is_had_by_way_of_own_limits(api: httpx.Client, customer: httpx.Client) -> None:
    """Limits that hide for now what a larger plan grants do not let a customer choose it."""
    body = {"friendlyName": "X", "shadow": False}
    made = data(customer.post("/api/databases", json=body), 201)
    path, low = f"/api/databases/{made['id']}", {"plan": "premium", **made["limits"]}
    for refused in (
        problem(customer.post("/api/databases", json=body | low), 403),
        problem(customer.patch(path, json=low), 403),
    ):
        assert "by the plan premium above what the plan standard grants" in refused["detail"]
    assert [each["id"] for each in data(customer.get("/api/databases"))] == [made["id"]]
    after = data(customer.patch(path, json=dict.fromkeys(made["limits"])))
    assert (after["plan"], after["max_connections"]) == ("standard", 50)
    # What an administrator has given the database its owner may have, though its plan is smaller.
    data(api.patch(path, json={"plan": "premium", "max_connections": 5}))
    after = data(customer.patch(path, json={"max_connections": None}))
    assert (after["plan"], after["max_connections"]) == ("premium", 100)


def test_a_restored_copy_has_no_more_than_its_customers_plan(
    api: httpx.Client, customer: httpx.Client, email: str
) -> None:
    body = {"friendlyName": "X", "shadow": False, "ownerEmail": email, "plan": "premium"}
    original = data(api.post("/api/databases", json=body | {"pool_size": 3}), 201)
    path = f"/api/databases/{original['id']}"
    backup = succeeded(api, data(api.post(f"{path}/backups", json={}), 202)["id"])
    for client, plan, connections in ((customer, "standard", 50), (api, "premium", 100)):
        asked = {"to": backup["result"]["backup_id"]}
        restored = succeeded(client, data(client.post(f"{path}/restore", json=asked), 202)["id"])
        copy = data(api.get(f"/api/databases/{restored['result']['database_id']}"))
        assert (copy["plan"], copy["max_connections"]) == (plan, connections)
        assert (copy["limits"]["pool_size"], copy["owner_email"]) == (3, email)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"site_memory_mb": 7}, "site_memory_mb"),
        ({"max_sites": "3"}, "max_sites"),
        ({"instance_memory_mb": 127}, "instance_memory_mb"),
        ({"instance_cpus": 0}, "instance_cpus"),
        ({"site_max_clients": 10_001}, "site_max_clients"),
        ({"max_connections": 5}, "max_connections"),
    ],
)
def test_sizes_that_cannot_be(api: httpx.Client, body: Row, field: str) -> None:
    before = plans(api)
    refused = problem(api.patch("/api/plans/hobby", json=body), 422)
    assert field in [each["field"] for each in refused["errors"]]
    assert plans(api) == before


def test_a_plan_or_a_customer_that_is_not_there(
    api: httpx.Client, customer: httpx.Client, email: str
) -> None:
    problem(api.patch("/api/plans/gold", json={"max_sites": 1}), 404)
    problem(api.patch("/api/plans/%00", json={"max_sites": 1}), 422)
    (found,) = data(api.get("/api/customers", params={"email": email}))
    path = f"/api/customers/{found['id']}"
    refused = problem(api.patch(path, json={"plan": "premum"}), 422)
    assert "Did you mean premium?" in refused["errors"][0]["message"]
    problem(customer.patch(path, json={"plan": "premium"}), 403)
    problem(api.patch("/api/customers/x", json={"plan": "premium"}), 404)


def test_the_console_and_the_command_line_change_plans(
    platform: Installation, api: httpx.Client, customer: httpx.Client, email: str
) -> None:
    data(customer.get("/api/sites"))  # the key made the customer
    with visiting(platform, platform.key) as visitor:
        assert "Save hobby" in visitor.page("/plans")
        form = {"max_sites": "", "site_memory_mb": "24", "site_max_clients": "50"}
        form |= {"max_instances": "2", "instance_cpus": "0.5", "instance_memory_mb": ""}
        shown = plans(api)["hobby"]
        form |= {f"was_{field}": str(shown[field]) for field in form}
        assert visitor.http.post("/plans/hobby", data=form).status_code == 303
        refused = visitor.http.post("/plans/hobby", data=form | {"site_memory_mb": "1"})
        assert (refused.status_code, "Memory of a site, MiB" in refused.text) == (422, True)
        page = visitor.page(f"/customers?search={email}")
        assert f"Plan of {email}" in page
        (found,) = data(api.get("/api/customers", params={"email": email}))
        path = f"/customers/{found['id']}/update"
        assert visitor.http.post(path, data={"plan": "hobby"}).status_code == 303
    hobby = plans(api)["hobby"]
    assert (hobby["max_sites"], hobby["instance_memory_mb"]) == (None, None)
    assert (hobby["max_instances"], hobby["instance_cpus"]) == (2, 0.5)
    assert data(customer.post("/api/sites", json={"name": "one"}), 201)["memory_mb"] == 24
    done = platform.tenantry("plan", "update", "hobby", "--max-sites", "1", "--site-memory", "16MB")
    assert "1 of 16 MiB, 50 clients" in done.stdout
    platform.tenantry("customer", "update", email, "--plan", "premium")
    assert "premium" in platform.tenantry("customer", "show", email).stdout
    assert "10 of 4 GiB, 4 CPUs" in platform.tenantry("plan", "list").stdout
    assert "100 of 256 MiB, 1,000 clients" in platform.tenantry("plan", "list").stdout
