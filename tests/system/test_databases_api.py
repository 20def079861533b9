"""/api/databases: what is asked, what is answered, and what the servers have then."""

import datetime as dt
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import ENDPOINTS, STRINGS, ask, changed, eventually, login, refusal
from harness import Installation
from tenantry.api.database_answers import Database

# What it takes on disk, and whether it is used, is looked at now and then.
NOW_AND_THEN = dict.fromkeys(("disk", "last_active_at", "watched_since"))


def is_database(reported: dict[str, Any]) -> bool:
    """Whether an answer has all fields of a database, of their types, and no others."""
    return reported == Database.model_validate(reported).model_dump(mode="json")


def some_name() -> str:
    return f"n{uuid.uuid4().hex[:12]}"


# Create


def test_a_new_database_is_reported_in_full(platform: Installation, api: httpx.Client) -> None:
    name = some_name()
    answer = api.post(
        "/api/databases",
        json={
            "friendlyName": "Café „Zum Löwen“",
            "name": name,
            "ownerEmail": "Owner@Example.com",
            "environment": "staging",
            "maxConnections": 20,
        },
    )
    assert answer.json()["message"]
    made = data(answer, 201)
    assert is_database({field: made[field] for field in Database.model_fields})
    assert made["friendly_name"] == "Café „Zum Löwen“"
    assert (made["name"], made["owner_email"]) == (name, "owner@example.com")
    assert (made["environment"], made["max_connections"]) == ("staging", 20)
    assert (made["kind"], made["shadow"], made["status"]) == ("shared", True, "active")
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(made["created_at"])
    assert dt.timedelta(0) < age < dt.timedelta(minutes=5)

    password, user, base = made["password"], made["username"], made["database_name"]
    assert (base[:7], user[:5]) == ("tenant_", "user_")
    assert base.removeprefix("tenant_") == user.removeprefix("user_")
    assert len(password) == 24

    def url(port: int, database: str) -> str:
        return f"postgresql://{user}:{password}@localhost:{port}/{database}?sslmode=require"

    assert {string: made[string] for string in STRINGS} == {
        "connection_string": url(platform.pg_port, base),
        "connection_string_pooled": url(platform.pool_port, base),
        "shadow_database_url": url(platform.pg_port, f"{base}_shadow"),
        "shadow_database_url_pooled": url(platform.pool_port, f"{base}_shadow"),
    }
    verified = "&sslaccept=strict&sslcert=ca.crt&sslmode=verify-full&sslrootcert=ca.crt"
    direct, pooled = f"{verified}&schema=public", f"{verified}&pgbouncer=true&schema=public"
    assert made["prisma"] == {
        "database_url": url(platform.pool_port, base) + pooled,
        "direct_url": url(platform.pg_port, base) + direct,
        "shadow_database_url": url(platform.pg_port, f"{base}_shadow") + direct,
        "shadow_database_url_pooled": url(platform.pool_port, f"{base}_shadow") + pooled,
    }
    assert made["connection"] == {
        "host": "localhost",
        "host_detail": None,
        "port": platform.pg_port,
        "username": user,
        "password": password,
        "database": base,
        "sslmode": "require",
    }


def test_names_are_taken_in_either_case_of_writing(api: httpx.Client) -> None:
    snake = data(
        api.post("/api/databases", json={"friendly_name": "Snake", "max_connections": 7}), 201
    )
    assert (snake["friendly_name"], snake["max_connections"]) == ("Snake", 7)
    camel = data(
        api.patch(f"/api/databases/{snake['id']}", json={"friendlyName": "C", "maxConnections": 8})
    )
    assert (camel["friendly_name"], camel["max_connections"]) == ("C", 8)


def test_what_is_left_out_has_a_default(api: httpx.Client) -> None:
    made = data(api.post("/api/databases", json={"name": some_name()}), 201)
    assert made["friendly_name"] == made["name"]
    assert (made["environment"], made["max_connections"]) == ("production", 50)
    assert made["owner_email"] is None


def test_without_a_shadow_there_is_none(platform: Installation) -> None:
    made = platform.create(shadow=False)
    assert made["shadow"] is False
    assert made["shadow_database_url"] is made["shadow_database_url_pooled"] is None
    assert made["prisma"].keys() == {"database_url", "direct_url"}


def test_a_name_is_taken_once_for_an_owner_and_an_environment(api: httpx.Client) -> None:
    name, owner = some_name(), f"{some_name()}@example.com"

    def create(**asked: str) -> httpx.Response:
        return api.post("/api/databases", json={"name": name, "ownerEmail": owner, **asked})

    first = data(create(), 201)
    reported = problem(create(), 409)
    assert reported["code"] == "name_taken"
    assert name in reported["detail"]
    other = data(create(environment="development"), 201)
    data(create(ownerEmail=f"{some_name()}@example.com"), 201)
    reported = problem(
        api.patch(f"/api/databases/{other['id']}", json={"environment": "production"}), 409
    )
    assert reported["code"] == "name_taken"
    api.delete(f"/api/databases/{first['id']}")
    data(create(), 201)


def test_of_many_who_ask_for_one_name_one_gets_it(platform: Installation) -> None:
    name = some_name()

    def create(_: int) -> int:
        with platform.client() as client:
            return client.post("/api/databases", json={"name": name}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(create, range(6))) == [201, 409, 409, 409, 409, 409]


@pytest.mark.parametrize("callers", [12, 24])
def test_a_burst_larger_than_the_warm_pool_is_served(platform: Installation, callers: int) -> None:
    """The warm pool holds four."""
    together = threading.Barrier(callers)

    def create(number: int) -> dict[str, Any]:
        with platform.client() as client:
            together.wait()
            made: dict[str, Any] = data(
                client.post("/api/databases", json={"friendlyName": f"Burst {number}"}), 201
            )
        assert ask(made["connection_string_pooled"], "SELECT current_user") == made["username"]
        assert ask(made["shadow_database_url"], "SELECT current_user") == made["username"]
        return made

    with ThreadPoolExecutor(callers) as pool:
        made = list(pool.map(create, range(callers)))
    for field in ("id", "database_name", "username", "password"):
        assert len({each[field] for each in made}) == callers
    assert {each["friendly_name"] for each in made} == {f"Burst {n}" for n in range(callers)}


# Show, list, search


def test_a_database_is_shown_as_it_is_listed_and_without_its_password(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create(ownerEmail=f"{some_name()}@example.com")
    shown = api.get(f"/api/databases/{made['id']}")
    listed = api.get("/api/databases", params={"owner": made["owner_email"]})
    assert is_database(data(shown))
    assert [each | NOW_AND_THEN for each in data(listed)] == [data(shown) | NOW_AND_THEN]
    assert listed.json()["count"] == 1
    for answer in (shown, listed):
        assert made["password"] not in answer.text


@pytest.fixture(scope="module")
def shelf(platform: Installation) -> dict[str, dict[str, Any]]:
    """Databases of one owner, by friendly name."""
    owner = f"{some_name()}@example.com"
    asked: list[dict[str, str]] = [
        {"friendlyName": "Hundred 100% sure", "environment": "production"},
        {"friendlyName": "Hundred 1000 sure", "environment": "staging"},
        {"friendlyName": "snake_case", "environment": "staging"},
        {"friendlyName": "snakeXcase", "environment": "development"},
        {"friendlyName": r"back\slash", "environment": "development", "name": some_name()},
    ]
    made = [platform.create(ownerEmail=owner, **each) for each in asked]
    return {each["friendly_name"]: each for each in made}


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("100%", {"Hundred 100% sure"}),
        ("hundred", {"Hundred 100% sure", "Hundred 1000 sure"}),
        ("e_c", {"snake_case"}),
        ("k\\s", {r"back\slash"}),
        ("\\", {r"back\slash"}),
        ("%%", set()),
        ("' OR true --", set()),
    ],
)
def test_search_takes_every_letter_as_it_is(
    api: httpx.Client, shelf: dict[str, dict[str, Any]], search: str, found: set[str]
) -> None:
    owner = next(iter(shelf.values()))["owner_email"]
    rows = data(api.get("/api/databases", params={"owner": owner, "search": search}))
    assert {row["friendly_name"] for row in rows} == found


def test_search_looks_into_names_and_owners(
    api: httpx.Client, shelf: dict[str, dict[str, Any]]
) -> None:
    one = shelf[r"back\slash"]
    for text in (one["name"], one["database_name"], one["database_name"].upper()):
        rows = data(api.get("/api/databases", params={"search": text}))
        assert [row["id"] for row in rows] == [one["id"]]
    rows = data(api.get("/api/databases", params={"search": one["owner_email"]}))
    assert {row["id"] for row in rows} == {each["id"] for each in shelf.values()}


def test_filters_narrow_the_list(api: httpx.Client, shelf: dict[str, dict[str, Any]]) -> None:
    owner = next(iter(shelf.values()))["owner_email"]

    def found(**filters: str) -> set[str]:
        rows = data(api.get("/api/databases", params={"owner": owner, **filters}))
        return {row["friendly_name"] for row in rows}

    assert found(environment="staging") == {"Hundred 1000 sure", "snake_case"}
    assert found(environment="staging", search="snake") == {"snake_case"}
    assert found(status="active") == set(shelf)
    assert found(status="deleting") == set()
    assert found(owner=owner.upper()) == set(shelf)
    refused = api.get("/api/databases", params={"owner": "nobody@example.com"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "owner"


def test_pages_hold_each_row_once_while_rows_are_added(
    platform: Installation, api: httpx.Client
) -> None:
    owner = f"{some_name()}@example.com"
    there = [platform.create(friendlyName=f"Row {n}", ownerEmail=owner)["id"] for n in range(25)]
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        query = {"owner": owner, "limit": "7"} | ({"cursor": cursor} if cursor else {})
        reported = api.get("/api/databases", params=query).json()
        assert reported["count"] == len(reported["data"]) <= 7
        seen += [row["id"] for row in reported["data"]]
        pages += 1
        cursor = reported.get("next_cursor")
        if cursor is None:
            break
        platform.create(friendlyName="Added", ownerEmail=owner)
    assert seen == there[::-1]
    assert pages == 4


def test_pages_hold_each_row_once_while_rows_go(platform: Installation, api: httpx.Client) -> None:
    owner = f"{some_name()}@example.com"
    there = [platform.create(ownerEmail=owner)["id"] for _ in range(5)]
    first = api.get("/api/databases", params={"owner": owner, "limit": 2}).json()
    api.delete(f"/api/databases/{there[3]}")  # the very row that the cursor names
    rest = api.get(
        "/api/databases", params={"owner": owner, "limit": 5, "cursor": first["next_cursor"]}
    ).json()
    assert [row["id"] for row in rest["data"]] == [there[2], there[1], there[0]]
    assert "next_cursor" not in rest


# Update


def test_labels_and_limits_are_changed(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(name=some_name())
    wanted = {
        "friendly_name": "New name",
        "name": some_name(),
        "environment": "development",
        "max_connections": 3,
    }
    answer = api.patch(f"/api/databases/{made['id']}", json=wanted)
    after = data(answer)
    assert {field: after[field] for field in wanted} == wanted
    assert after["updated_at"] > after["created_at"] == made["created_at"]
    of_sizes = {"operation_id": None, "pending_restart": None}
    shown = data(api.get(f"/api/databases/{made['id']}")) | of_sizes
    assert shown | NOW_AND_THEN == after | NOW_AND_THEN
    with platform.superuser() as server:
        limit = server.execute(
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (made["username"],)
        ).fetchone()
    assert limit == (3,)


def test_a_database_that_is_nobodys_is_given_to_somebody_once(
    platform: Installation, api: httpx.Client
) -> None:
    name, owner, other = some_name(), f"{some_name()}@example.com", f"{some_name()}@example.com"
    made = platform.create(name=name)
    path = f"/api/databases/{made['id']}"
    keys = {
        email: data(
            api.post(
                "/api/api-keys",
                json={
                    "name": "k",
                    "scopes": ["databases:read", "databases:write"],
                    "customer_email": email,
                },
            ),
            201,
        )["key"]
        for email in (owner, other)
    }
    with platform.client(keys[owner]) as theirs, platform.client(keys[other]) as others:
        problem(theirs.patch(path, json={"owner_email": owner}), 404)
        taken = platform.create(name=name, ownerEmail=owner)
        problem(api.patch(path, json={"owner_email": owner}), 409)
        assert theirs.delete(f"/api/databases/{taken['id']}").is_success
        given = data(api.patch(path, json={"owner_email": owner}))
        assert given["owner_email"] == owner
        assert data(theirs.get(path))["owner_email"] == owner
        assert data(theirs.patch(path, json={"owner_email": owner}))["owner_email"] == owner
        problem(others.get(path), 404)
        problem(theirs.patch(path, json={"owner_email": other}), 403)
        problem(api.patch(path, json={"owner_email": other}), 409)
    assert ask(made["connection_string"]) == 1
    asked = {"action": "database.update", "resource_id": made["id"]}
    updates = data(api.get("/api/audit-logs", params=asked))
    given_to = [row["details"]["owner_email"] for row in updates if "owner_email" in row["details"]]
    assert given_to == [[None, owner]]


def test_tags_are_set_changed_and_listed_by(platform: Installation, api: httpx.Client) -> None:
    word, owner = some_name(), f"{some_name()}@example.com"
    made = platform.create(name=some_name(), ownerEmail=owner, tags=["team-a", word, word])
    assert made["tags"] == sorted(["team-a", word])
    other = platform.create(name=some_name(), tags=[word])
    path = f"/api/databases/{made['id']}"

    def found(*tags: str, **more: str) -> set[str]:
        params: dict[str, Any] = {"tag": list(tags), **more}
        return {row["id"] for row in data(api.get("/api/databases", params=params))}

    assert found(word) == {made["id"], other["id"]}
    assert found(word, "team-a") == {made["id"]}
    assert found(word, owner=owner, search=made["name"]) == {made["id"]}
    assert found(word, "no-such-tag") == set()
    assert problem(api.get("/api/databases?tag=A"), 422)["errors"][0]["field"] == "tag.0"
    asked = {"name": "k", "scopes": ["databases:read"], "customer_email": owner}
    with platform.client(data(api.post("/api/api-keys", json=asked), 201)["key"]) as theirs:
        listed = data(theirs.get("/api/databases", params={"tag": word}))
        assert [row["id"] for row in listed] == [made["id"]]
    assert data(api.patch(path, json={"tags": [word, "b"]}))["tags"] == sorted(["b", word])
    assert data(api.patch(path, json={"friendly_name": "X", "tags": None}))["tags"] == sorted(
        ["b", word]
    )
    assert data(api.patch(path, json={"tags": []}))["tags"] == []
    asked_for = {"action": "database.update", "resource_id": made["id"]}
    details = [row["details"] for row in data(api.get("/api/audit-logs", params=asked_for))]
    assert [each.get("tags") for each in details] == [
        [sorted(["b", word]), []],
        None,
        [sorted(["team-a", word]), sorted(["b", word])],
    ]


def test_what_a_change_leaves_out_stays(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(name=some_name(), maxConnections=9, environment="staging")
    after = data(api.patch(f"/api/databases/{made['id']}", json={"friendlyName": "Only this"}))
    kept = ("name", "environment", "max_connections", "owner_email", "database_name", "username")
    assert {field: after[field] for field in kept} == {field: made[field] for field in kept}
    assert ask(made["connection_string"]) == 1


# Connection strings and statistics


def test_connection_strings_are_masked(platform: Installation, api: httpx.Client) -> None:
    made = platform.create()
    answer = api.get(f"/api/databases/{made['id']}/connection-strings")
    reported = data(answer)
    assert made["password"] not in answer.text
    for string in STRINGS:
        assert reported[string] == made[string].replace(made["password"], "***")
    assert reported["prisma"] == {
        key: url.replace(made["password"], "***") for key, url in made["prisma"].items()
    }
    assert reported["connection"] == made["connection"] | {"password": "***"}
    assert (reported["database_id"], reported["username"]) == (made["id"], made["username"])
    assert reported["database_name"] == made["database_name"]


def test_statistics_show_what_is_used(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(maxConnections=11)

    def stats() -> dict[str, Any]:
        reported: dict[str, Any] = data(api.get(f"/api/databases/{made['id']}/stats"))
        return reported

    before = stats()
    assert (before["database_id"], before["database_name"]) == (made["id"], made["database_name"])
    assert (before["max_connections"], before["active_connections"]) == (11, 0)
    assert before["size_bytes"] > 5_000_000
    assert before["size_pretty"].endswith(" MB")
    assert dt.datetime.fromisoformat(before["stats_since"]).tzinfo is not None
    with login(made["connection_string"]) as one, login(made["shadow_database_url"]):
        one.execute("CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            one.execute("SELECT 1/0")
        for _ in range(20):
            one.execute("SELECT count(*) FROM t")
        assert stats()["active_connections"] == 2
    # The server counts a session's work when the session ends, or a moment later.
    eventually(lambda: stats()["transactions_committed"] >= before["transactions_committed"] + 21)
    eventually(lambda: stats()["active_connections"] == 0)
    after = stats()
    assert after["transactions_rolled_back"] == before["transactions_rolled_back"] + 1
    assert after["size_bytes"] > before["size_bytes"] + 2_000_000
    assert 0.5 < after["cache_hit_ratio"] <= 1


# Delete


def test_a_deletion_leaves_nothing_but_the_audit(platform: Installation, api: httpx.Client) -> None:
    made = platform.create()
    sessions = [login(made[string]) for string in STRINGS]
    for session in sessions:
        session.execute("SELECT 1")

    answer = api.delete(f"/api/databases/{made['id']}")
    reported = answer.json()["data"]
    assert (reported["id"], reported["status"]) == (
        made["id"],
        {200: "deleted", 202: "deleting"}[answer.status_code],
    )
    for string in STRINGS:
        refusal(made[string])

    def operation() -> dict[str, Any]:
        found: dict[str, Any] = data(api.get(f"/api/operations/{reported['operation_id']}"))
        return found

    eventually(lambda: operation()["status"] == "succeeded")
    assert (operation()["progress"], operation()["resource_id"]) == (1, made["id"])
    assert operation()["result"] == {"id": made["id"], "status": "deleted"}
    assert operation()["error"] is operation()["step"] is None
    assert operation()["resource_name"] == made["database_name"]
    assert operation()["database"] == {
        "id": made["id"],
        "database_name": made["database_name"],
        **dict.fromkeys(("name", "friendly_name", "environment")),
    }

    for session in sessions:
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        session.close()
    roles, databases = platform.inventory()
    assert made["username"] not in roles
    assert not {made["database_name"], f"{made['database_name']}_shadow"} & databases
    for path in ("", "/stats", "/connection-strings"):
        assert problem(api.get(f"/api/databases/{made['id']}{path}"), 404)["code"] == "not_found"
    problem(api.delete(f"/api/databases/{made['id']}"), 404)
    problem(api.patch(f"/api/databases/{made['id']}", json={"friendlyName": "x"}), 404)
    problem(api.post(f"/api/databases/{made['id']}/rotate-password"), 404)
    audit = data(api.get("/api/audit-logs", params={"resource_id": made["id"]}))
    assert [row["action"] for row in audit] == [
        "database.deleted",
        "database.delete",
        "database.create",
    ]


def test_many_deletions_at_once_leave_the_api_answering(platform: Installation) -> None:
    made = [platform.create() for _ in range(16)]
    together = threading.Barrier(len(made))

    def delete(database: dict[str, Any]) -> int:
        with platform.client() as client:
            together.wait()
            return client.delete(f"/api/databases/{database['id']}").status_code

    with ThreadPoolExecutor(len(made)) as pool, platform.client() as client:
        deletions = [pool.submit(delete, each) for each in made]
        slowest = 0.0
        while not all(deletion.done() for deletion in deletions):
            began = time.monotonic()
            data(client.get("/api/databases", params={"limit": 1}))
            slowest = max(slowest, time.monotonic() - began)
    assert {deletion.result() for deletion in deletions} <= {200, 202}
    assert slowest < 10  # which is how long a request waits for a connection at most

    def gone() -> bool:
        roles, databases = platform.inventory()
        return not roles & {each["username"] for each in made} and not databases & {
            each["database_name"] for each in made
        }

    eventually(gone)


# Rotate


def test_a_new_password_is_in_force_at_once_on_both_ports(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create()
    for string in ENDPOINTS:
        assert ask(made[string]) == 1
    before = made["password"]
    for _ in range(3):
        reported = data(api.post(f"/api/databases/{made['id']}/rotate-password"))
        assert reported.keys() == made.keys() - {"roles", "data_api", "size_limits"}
        assert reported["password"] != before
        for string in STRINGS:
            assert reported[string] == made[string].replace(made["password"], reported["password"])
            assert ask(reported[string]) == 1
            assert "authentication failed" in refusal(changed(reported[string], password=before))
        before = reported["password"]


def test_open_sessions_survive_new_passwords(platform: Installation, api: httpx.Client) -> None:
    """Also when the pooler has to open server connections for those who came before."""
    made = platform.create()
    stop = threading.Event()

    def work(url: str) -> int:
        done = 0
        with login(url) as session:
            while not stop.is_set():
                with session.transaction():
                    session.execute("SELECT pg_sleep(0.005)")
                done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(work, made[string]) for string in ENDPOINTS for _ in range(4)]
        idle = [login(made[string]) for string in STRINGS if string.endswith("_pooled")]
        try:
            for _ in range(5):
                data(api.post(f"/api/databases/{made['id']}/rotate-password"))
                time.sleep(0.1)
        finally:
            stop.set()
        assert all(worker.result() > 10 for worker in workers)
    with platform.superuser() as server:
        server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            (made["username"],),
        )
    for session in idle:
        with session:
            assert session.execute("SELECT 1").fetchone() == (1,)


def test_of_many_rotations_at_once_the_last_one_counts(platform: Installation) -> None:
    made = platform.create()
    together = threading.Barrier(12)

    def rotate(_: int) -> str:
        with platform.client() as client:
            together.wait()
            reported = data(client.post(f"/api/databases/{made['id']}/rotate-password"))
        return str(reported["connection_string"])

    with ThreadPoolExecutor(12) as pool:
        urls = set(pool.map(rotate, range(12)))
    assert len(urls) == 12

    def works(url: str) -> bool:
        try:
            return ask(url) == 1
        except psycopg.OperationalError:
            return False

    assert sum(map(works, urls)) == 1
