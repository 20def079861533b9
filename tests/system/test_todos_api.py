"""The blueprint todos by its data API, as a new database has it: a session of curl."""

import httpx
import pytest

from answers import data
from clients import eventually
from harness import NO_TLS, Installation
from imported import ended

Row = dict[str, object]
PUBLIC = ["Read the manual", "Say hello"]
RETURNED = {"Prefer": "return=representation"}


@pytest.fixture(scope="module")
def created(platform: Installation) -> Row:
    return platform.create(blueprint="todos", seeds="development")


@pytest.fixture
def todos(platform: Installation, created: Row) -> httpx.Client:
    """A client without a token, of an API that answers."""
    client = platform.anonymous()
    client.base_url = httpx.URL(
        f"http://127.0.0.1:{platform.rest_port}/{created['database_name']}/rest/v1"
    )
    eventually(lambda: _is_served(client))
    return client


def _is_served(client: httpx.Client) -> bool:
    try:
        return client.get("/todos").is_success
    except httpx.TransportError:
        return False


def titles(client: httpx.Client, headers: dict[str, str] | None = None) -> list[str]:
    answer = client.get("/todos", params={"order": "title"}, headers=headers)
    return [each["title"] for each in answer.raise_for_status().json()]


def test_whoever_asks_reads_and_a_token_writes(
    platform: Installation, created: Row, todos: httpx.Client
) -> None:
    assert created["roles"] == []
    assert titles(todos) == PUBLIC
    command = platform.tenantry("data-api", "token", str(created["id"]), "--sub", "ann")
    ann = {"Authorization": f"Bearer {command.stdout.strip()}"}

    new = {"title": "My first todo", "completed": False}
    assert todos.post("/todos", json=new).status_code == 401
    made = todos.post("/todos", json=new, headers=ann | RETURNED)
    assert made.status_code == 201
    [row] = made.json()
    assert (row["customer_id"], row["title"]) == ("ann", "My first todo")
    assert titles(todos, ann) == ["My first todo", "Polish the clock", *PUBLIC]
    assert titles(todos) == PUBLIC

    its = f"/todos?id=eq.{row['id']}"
    assert todos.patch(its, json={"completed": True}).status_code == 401
    changed = todos.patch(its, json={"completed": True}, headers=ann | RETURNED)
    assert [each["completed"] for each in changed.json()] == [True]
    assert todos.delete(its).status_code == 401
    others = todos.delete("/todos?customer_id=is.null", headers=ann | RETURNED)
    assert (others.status_code, others.json()) == (200, [])
    assert todos.delete(its, headers=ann).status_code == 204
    assert titles(todos, ann) == ["Polish the clock", *PUBLIC]


def test_an_open_one_lets_anybody_write_what_is_public(
    api: httpx.Client, created: Row, todos: httpx.Client
) -> None:
    opened = created["data_api"]
    assert isinstance(opened, dict)
    key = {"apikey": opened["anon_key"]}
    assert todos.post("/todos", json={"title": "x"}, headers=key).status_code == 401
    path = f"/api/databases/{created['id']}/data-api"
    answer = api.put(path, json={"schemas": ["api"], "open": True})
    assert "without a token" in answer.json()["message"]
    eventually(lambda: todos.post("/todos", json={"title": "x"}).status_code == 201)
    assert todos.delete("/todos?customer_id=not.is.null", headers=RETURNED).json() == []
    assert todos.delete("/todos?title=eq.x", headers=key | RETURNED).json() == []
    assert todos.delete("/todos?title=eq.x").status_code == 204
    assert titles(todos) == PUBLIC
    data(api.put(path, json={"schemas": ["api"]}))


def test_a_repeat_under_the_same_key_shows_the_same_keys(api: httpx.Client) -> None:
    asked = {"friendlyName": "Todos", "blueprint": "todos"}
    key = {"Idempotency-Key": "todos-api"}
    first, again = (
        data(api.post("/api/databases", json=asked, headers=key), 201) for _ in range(2)
    )
    assert len(first["data_api"]["jwt_secret"]) == 64
    assert first["data_api"] == again["data_api"]


def test_an_earlier_version_has_no_data_api_until_it_is_enabled(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create(blueprint="todos@2")
    assert made["data_api"] is None
    path = f"/api/databases/{made['id']}"
    operation = data(api.post(f"{path}/blueprint", json={}), 202)
    assert ended(api, operation)["status"] == "succeeded"
    enabled = data(api.put(f"{path}/data-api", json={"schemas": ["api"]}))
    url = f"http://127.0.0.1:{platform.rest_port}/{made['database_name']}/rest/v1/todos"
    eventually(lambda: httpx.get(url, trust_env=False, verify=NO_TLS).is_success)
    role = {"apikey": enabled["service_role_key"]}
    answer = httpx.post(url, json={"title": "x"}, headers=role, trust_env=False, verify=NO_TLS)
    assert answer.status_code == 201
