"""Branches, through the product's endpoints: whole, apart from their parent, and no more open."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import ENDPOINTS, VISITORS, ask, block_copy, do, eventually, login, refusal
from harness import Installation

Row = dict[str, Any]

FILLED = """
    CREATE SCHEMA app;
    CREATE EXTENSION pg_trgm SCHEMA app;
    CREATE TABLE app.people (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, email text);
    INSERT INTO app.people (name, email)
        SELECT 'n' || i, 'person' || i || '@example.org' FROM generate_series(1, 5000) i;
    CREATE INDEX ON app.people USING gin (name app.gin_trgm_ops);
    CREATE FUNCTION app.hidden() RETURNS int LANGUAGE sql RETURN 1;
    REVOKE EXECUTE ON FUNCTION app.hidden() FROM PUBLIC;
    ALTER TABLE app.people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON app.people TO CURRENT_USER USING (true);
"""
CHECKSUM = "SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM app.people p"
MASKING = "UPDATE app.people SET email = id || '@masked.example'"

Begin = Callable[..., Row]


@pytest.fixture
def parent(platform: Installation) -> Row:
    database = platform.create(name=f"shop-{uuid4().hex[:8]}", shadow=False)
    do(database["connection_string"], FILLED)
    return database


@pytest.fixture
def begin(api: httpx.Client) -> Iterator[Begin]:
    """Begins a branch; all are deleted at the end."""
    made: list[str] = []

    def begin(parent: Row, **asked: object) -> Row:
        path = f"/api/databases/{parent['id']}/branches"
        branch: Row = data(api.post(path, json={"name": f"b-{uuid4().hex[:8]}", **asked}), 202)
        made.append(branch["id"])
        return branch

    yield begin
    for identifier in made:
        api.delete(f"/api/databases/{identifier}")


def ended(api: httpx.Client, operation: Row) -> Row:
    """An operation, once it has ended."""
    last: Row = {}

    def over() -> bool:
        last.update(data(api.get(f"/api/operations/{operation['id']}")))
        return last["finished_at"] is not None

    eventually(over)
    return last


def whole(api: httpx.Client, branch: Row) -> Row:
    """The result of making a branch."""
    operation = ended(api, branch["operation"])
    assert operation["status"] == "succeeded", operation
    return dict(operation["result"])


def gone(platform: Installation, branch: Row) -> bool:
    """Whether nothing is left of a branch, nor of what made it."""
    roles, databases = platform.inventory()
    with platform.superuser() as server:
        visitors = server.execute(VISITORS).fetchall()
    scratch = platform.home / "scratch" / branch["operation"]["id"]
    return (
        branch["username"] not in roles
        and branch["database_name"] not in databases
        and not visitors
        and not scratch.exists()
    )


def wait_quiet(platform: Installation, database: Row) -> None:
    """Wait until nobody is connected: who leaves is not gone at once."""
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"

    def is_quiet() -> bool:
        with platform.superuser() as server:
            return server.execute(sessions, (database["database_name"],)).fetchone() == (0,)

    eventually(is_quiet)


def test_one_of_a_quiet_database(
    platform: Installation, api: httpx.Client, parent: Row, begin: Begin
) -> None:
    before = ask(parent["connection_string"], CHECKSUM)
    wait_quiet(platform, parent)
    branch = begin(parent, shadow=True)
    assert (branch["status"], branch["environment"]) == ("branching", "development")
    assert whole(api, branch)["method"] == block_copy(platform)
    found = data(api.get(f"/api/databases/{branch['id']}"))
    assert (found["parent_id"], found["status"]) == (parent["id"], "active")
    assert found["branched_at"] is not None
    assert found["max_connections"] == parent["max_connections"]
    for endpoint in (*ENDPOINTS, "shadow_database_url"):
        assert ask(branch[endpoint]) == 1
    assert ask(branch["connection_string_pooled"], CHECKSUM) == before
    owner = "SELECT tableowner FROM pg_tables WHERE schemaname = 'app'"
    assert ask(branch["connection_string"], owner) == branch["username"]
    # What either writes, the other does not see.
    do(branch["connection_string"], "DELETE FROM app.people WHERE id > 10")
    do(parent["connection_string"], "INSERT INTO app.people (name) VALUES ('parent')")
    assert ask(branch["connection_string"], "SELECT count(*) FROM app.people") == 10
    assert ask(parent["connection_string"], "SELECT count(*) FROM app.people") == 5001
    # Each gets into its own only.
    assert "no pg_hba.conf entry" in refusal(
        branch["connection_string"].replace(branch["database_name"], parent["database_name"])
    )
    assert "no pg_hba.conf entry" in refusal(
        parent["connection_string"].replace(parent["database_name"], branch["database_name"])
    )
    listed = data(api.get(f"/api/databases/{parent['id']}/branches"))
    assert [each["id"] for each in listed] == [branch["id"]]


def test_one_of_a_busy_database(
    platform: Installation, api: httpx.Client, parent: Row, begin: Begin
) -> None:
    """The parent's sessions go on without an error, and nothing waits for long."""
    stop = threading.Event()
    errors: list[str] = []
    written = 0

    def write() -> None:
        nonlocal written
        try:
            with login(parent["connection_string"]) as session:
                while not stop.is_set():
                    session.execute(
                        "WITH moved AS (DELETE FROM app.people WHERE id = (SELECT min(id) FROM"
                        " app.people) RETURNING name) INSERT INTO app.people (name)"
                        " SELECT name FROM moved"
                    )
                    written += 1
        except psycopg.Error as error:
            errors.append(str(error))

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        eventually(lambda: written > 10)
        branch = begin(parent)
        assert whole(api, branch)["method"] == "dump"
        before = written
        eventually(lambda: written > before)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert errors == []
    # A moment at which no move was half done.
    assert ask(branch["connection_string"], "SELECT count(*) FROM app.people") == 5000
    hidden = "SELECT has_function_privilege('public', 'app.hidden()', 'EXECUTE')"
    assert ask(branch["connection_string"], hidden) is False
    assert ask(branch["connection_string_pooled"], "SELECT app.similarity('a', 'a')::int") == 1
    # The parent goes without its branch; nothing of it is known there any more.
    assert api.delete(f"/api/databases/{parent['id']}").is_success
    eventually(lambda: parent["username"] not in platform.inventory()[0])
    assert data(api.get(f"/api/databases/{branch['id']}"))["parent_id"] is None
    assert ask(branch["connection_string"], "SELECT count(*) FROM app.people") == 5000


def test_the_allowlist_is_the_parents(api: httpx.Client, parent: Row, begin: Begin) -> None:
    entry = {"ip_address": "192.0.2.0/24", "description": "office"}
    data(api.post(f"/api/databases/{parent['id']}/whitelist", json=entry), 201)
    branch = begin(parent)
    whole(api, branch)
    entries = data(api.get(f"/api/databases/{branch['id']}/whitelist"))
    assert [(each["ip_address"], each["description"]) for each in entries] == [
        ("192.0.2.0/24", "office")
    ]
    for endpoint in ENDPOINTS:
        assert refusal(branch[endpoint])
    data(api.put(f"/api/databases/{branch['id']}/whitelist", json={"entries": []}))
    assert ask(branch["connection_string"], "SELECT count(*) FROM app.people") == 5000


def test_what_the_login_had_set(api: httpx.Client, parent: Row, begin: Begin) -> None:
    """Names with commas and quotes, too; a policy that names the login is the branch's."""
    me, database = parent["username"], parent["database_name"]
    do(parent["connection_string"], f"""
        ALTER ROLE {me} SET search_path = app, "a, ""b", public;
        ALTER ROLE {me} IN DATABASE {database} SET application_name = 'it''s, me';
    """)  # fmt: skip
    branch = begin(parent)
    whole(api, branch)
    assert ask(branch["connection_string"], "SHOW search_path") == 'app, "a, ""b", public'
    assert ask(branch["connection_string"], "SHOW application_name") == "it's, me"
    assert ask(branch["connection_string"], "SELECT count(*) FROM people") == 5000


def test_one_that_is_cancelled(
    platform: Installation, api: httpx.Client, parent: Row, begin: Begin
) -> None:
    with login(parent["connection_string"]) as session, session.transaction():
        session.execute("LOCK TABLE app.people")  # which the dump waits for
        branch = begin(parent)
        problem(api.delete(f"/api/databases/{branch['id']}"), 409)
        path = f"/api/operations/{branch['operation']['id']}"
        eventually(lambda: data(api.get(path))["step"] == "copy")
        data(api.post(f"{path}/cancel"), 202)
        assert ended(api, branch["operation"])["status"] == "cancelled"
    eventually(lambda: gone(platform, branch))
    problem(api.get(f"/api/databases/{branch['id']}"), 404)
    assert ask(parent["connection_string"], "SELECT count(*) FROM app.people") == 5000


def test_masking(platform: Installation, api: httpx.Client, parent: Row, begin: Begin) -> None:
    path = f"/api/databases/{parent['id']}/masking"
    reported = problem(api.post(f"/api/databases/{parent['id']}/branches", json={
        "name": "masked", "masked": True}), 422)  # fmt: skip
    assert reported["errors"][0]["field"] == "masked"
    assert data(api.get(path)) == {"sql": None, "updated_at": None}
    assert data(api.put(path, json={"sql": MASKING}))["sql"] == MASKING
    branch = begin(parent)  # masked, since there is one
    assert whole(api, branch)["masked"] is True
    reported_of = "SELECT count(*) FROM app.people WHERE email NOT LIKE '%@masked.example'"
    assert ask(branch["connection_string"], reported_of) == 0
    # Nor do its statistics tell of what was there.
    stats = "SELECT count(*) FROM pg_stats WHERE histogram_bounds::text LIKE '%@example.org%'"
    assert ask(branch["connection_string"], stats) == 0
    assert ask(parent["connection_string"], reported_of) == 5000
    plain = begin(parent, masked=False)
    whole(api, plain)
    assert ask(plain["connection_string"], reported_of) == 5000
    data(api.put(path, json={"sql": f"{MASKING}; SELECT 1 / 0"}))
    broken = begin(parent)
    operation = ended(api, broken["operation"])
    assert (operation["status"], operation["error"]["code"]) == ("failed", "masking_failed")
    assert "division by zero" in operation["error"]["detail"]
    eventually(lambda: gone(platform, broken))
    problem(api.get(f"/api/databases/{broken['id']}"), 404)
    # It has no more rights than the branch's own role.
    data(api.put(path, json={"sql": "SELECT pg_read_file('/etc/passwd')"}))
    refused = ended(api, begin(parent)["operation"])
    assert "permission denied" in refused["error"]["detail"]
    assert data(api.put(path, json={"sql": None}))["sql"] is None


def test_one_that_expires(
    platform: Installation, api: httpx.Client, parent: Row, begin: Begin
) -> None:
    path = f"/api/databases/{parent['id']}/branches"
    both = {"name": "x", "expires_in": 60, "expires_at": "2099-01-01T00:00:00Z"}
    for asked in (both, {"name": "x", "expires_in": 5}, {"name": "X"}, {}):
        problem(api.post(path, json=asked), 422)
    branch = begin(parent, expires_in=3600)
    whole(api, branch)
    assert branch["expires_at"] is not None
    own = f"/api/databases/{branch['id']}"
    assert data(api.patch(own, json={"expires_at": None}))["expires_at"] is None
    later = "2099-01-01T00:00:00Z"
    assert data(api.patch(own, json={"expiresAt": later}))["expires_at"] == later
    refused = problem(api.patch(f"/api/databases/{parent['id']}", json={"expires_at": later}), 422)
    assert refused["errors"][0]["field"] == "expires_at"
    with platform.control() as control:
        control.execute("UPDATE databases SET expires_at = now() WHERE id = %s", (branch["id"],))
    eventually(lambda: gone(platform, branch))
    log = data(api.get("/api/audit-logs", params={"resource_id": branch["id"]}))
    assert [each["action"] for each in log] == [
        "database.deleted", "database.delete", "branch.expire", "database.update",
        "database.update", "branch.create", "branch.create",
    ]  # fmt: skip


def test_reset_and_promote(api: httpx.Client, parent: Row, begin: Begin) -> None:
    """The strings stay, what they lead to changes; whoever is pooled waits, and goes on."""
    role = data(api.post(f"/api/databases/{parent['id']}/roles", json={"name": "reads"}), 201)
    branch = begin(parent)
    whole(api, branch)
    do(branch["connection_string"], "DELETE FROM app.people; CREATE TABLE app.own (n int)")
    count = "SELECT count(*) FROM app.people"
    path = f"/api/databases/{parent['id']}/branches"
    with login(branch["connection_string_pooled"]) as pooled:
        assert pooled.execute(count.encode()).fetchone() == (0,)
        reset = ended(api, data(api.post(f"{path}/{branch['id']}/reset", json={}), 202))
        assert reset["status"] == "succeeded", reset
        assert pooled.execute(count.encode()).fetchone() == (5000,)
    assert ask(branch["connection_string"], "SELECT to_regclass('app.own') IS NULL") is True
    after = data(api.get(f"/api/databases/{branch['id']}"))
    assert after["branched_at"][:26] == reset["result"]["branched_at"][:26] > branch["created_at"]
    # Now the other way.
    do(branch["connection_string"], "DELETE FROM app.people WHERE id > 7")
    with login(parent["connection_string_pooled"]) as pooled:
        assert pooled.execute(count.encode()).fetchone() == (5000,)
        asked = data(api.post(f"/api/databases/{branch['id']}/promote"), 202)
        assert asked["resource_id"] == parent["id"]
        promoted = ended(api, asked)
        assert promoted["status"] == "succeeded", promoted
        assert pooled.execute(count.encode()).fetchone() == (7,)
    owner = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'app'"
    assert ask(parent["connection_string"], owner) == parent["username"]
    assert ask(role["connection_string"], "SELECT count(*) FROM pg_tables") != 0
    do(parent["connection_string"], "CREATE POLICY r ON app.people FOR SELECT USING (true)")
    assert ask(role["connection_string"], count) == 7
    do(parent["connection_string"], "DELETE FROM app.people")
    assert ask(branch["connection_string"], count) == 7
    # What the parent was can be had back.
    kept = data(api.get(f"/api/databases/{parent['id']}/replaced"))
    assert [each["database_name"] for each in kept] == [promoted["result"]["replaced"]]
    wanted = {"to": "previous", "as": "in_place"}
    back = ended(api, data(api.post(f"/api/databases/{parent['id']}/restore", json=wanted), 202))
    assert back["status"] == "succeeded", back
    assert ask(parent["connection_string"], count) == 5000
    assert ask(role["connection_string"], "SELECT count(*) FROM pg_tables") != 0


def test_what_cannot_be_reset_or_promoted(
    platform: Installation, api: httpx.Client, parent: Row, begin: Begin
) -> None:
    branch = begin(parent)
    path = f"/api/databases/{parent['id']}/branches"
    problem(api.post(f"{path}/{branch['id']}/reset", json={}), 409)  # still being made
    problem(api.post(f"/api/databases/{branch['id']}/promote"), 409)
    whole(api, branch)
    for identifier in (parent["id"], uuid4(), "x"):
        problem(api.post(f"{path}/{identifier}/reset", json={}), 404)
    assert "no parent" in problem(api.post(f"/api/databases/{parent['id']}/promote"), 409)["detail"]
    problem(api.post(f"{path}/{branch['id']}/reset", json={"masked": True}), 422)
    # Backups are off here.
    at = parent["created_at"]
    for body in ({"name": "then", "at": at}, {"name": "then", "at": "2000-01-01T00:00:00Z"}):
        assert api.post(path, json=body).status_code in {409, 422}
    # A masking that fails leaves the branch as it was.
    data(api.put(f"/api/databases/{parent['id']}/masking", json={"sql": "SELECT 1 / 0"}))
    do(branch["connection_string"], "DELETE FROM app.people WHERE id > 3")
    failed = ended(api, data(api.post(f"{path}/{branch['id']}/reset", json={}), 202))
    assert (failed["status"], failed["error"]["code"]) == ("failed", "masking_failed")
    assert ask(branch["connection_string"], "SELECT count(*) FROM app.people") == 3
    beside = [name for name in platform.inventory()[1] if name.startswith(branch["database_name"])]
    assert beside == [branch["database_name"]]


def test_limits_and_names(
    platform: Installation, api: httpx.Client, parent: Row, begin: Begin
) -> None:
    path = f"/api/databases/{parent['id']}/branches"
    branch = begin(parent, plan="hobby", environment="staging")
    assert branch["limits"]["max_connections"] == 10
    # Its name is taken from the first moment on, and it can only be watched.
    taken = {"name": branch["name"], "environment": "staging"}
    assert problem(api.post(path, json=taken), 409)["code"] == "name_taken"
    whole(api, branch)
    assert problem(api.post(path, json={"name": "x", "plan": "none"}), 422)
    for identifier in (uuid4(), "x"):
        problem(api.post(f"/api/databases/{identifier}/branches", json={"name": "x"}), 404)
        problem(api.get(f"/api/databases/{identifier}/branches"), 404)
        problem(api.get(f"/api/databases/{identifier}/masking"), 404)
        problem(api.put(f"/api/databases/{identifier}/masking", json={"sql": "x"}), 404)
    with platform.control() as control:
        control.execute(
            "INSERT INTO databases (id, cluster_id, database_name, username, status, parent_id,"
            " friendly_name) SELECT gen_random_uuid(), cluster_id, 'n' || i, 'n' || i, 'branching',"
            " id, 'x' FROM databases, generate_series(1, 9) i WHERE id = %s",
            (parent["id"],),
        )
        full = problem(api.post(path, json={"name": "one-too-many"}), 409)
        control.execute("DELETE FROM databases WHERE parent_id = %s AND username LIKE 'n_'",
                        (parent["id"],))  # fmt: skip
    assert "10 branches" in full["detail"]


def test_a_customers_own(platform: Installation, api: httpx.Client) -> None:
    """A customer makes branches of its databases, within what they may take, and of no others."""
    ann, bob = (f"{uuid4().hex[:8]}@example.com" for _ in "12")
    database = platform.create(ownerEmail=ann, plan="premium", shadow=False)
    keys = {}
    for email in (ann, bob):
        asked = {
            "name": email,
            "scopes": ["databases:read", "databases:write"],
            "customer_email": email,
        }
        keys[email] = data(api.post("/api/api-keys", json=asked), 201)["key"]
    path = f"/api/databases/{database['id']}/branches"
    with platform.client(keys[bob]) as foreign:
        problem(foreign.post(path, json={"name": "x"}), 404)
        problem(foreign.get(path), 404)
    with platform.client(keys[ann]) as own:
        branch = data(own.post(path, json={"name": "mine"}), 202)
        # An administrator has given the database a larger plan than its owner's.
        granted = {each["name"]: each for each in data(api.get("/api/plans"))}["standard"]
        assert branch["plan"] == "standard"
        assert branch["limits"] == {name: granted[name] for name in branch["limits"]}
        assert database["limits"]["max_connections"] == 2 * branch["limits"]["max_connections"]
        whole(own, branch)
        assert [each["id"] for each in data(own.get(path))] == [branch["id"]]
        assert ask(branch["connection_string"]) == 1
        data(api.patch(f"/api/databases/{database['id']}", json={"plan": "hobby"}))
        problem(own.post(path, json={"name": "more", "plan": "premium"}), 403)
        data(own.delete(f"/api/databases/{branch['id']}"))


def test_the_same_request_makes_one(api: httpx.Client, parent: Row) -> None:
    path, key = f"/api/databases/{parent['id']}/branches", {"Idempotency-Key": str(uuid4())}
    first, again = (data(api.post(path, json={"name": "once"}, headers=key), 202) for _ in "12")
    assert first == again
    whole(api, first)
    assert ask(first["connection_string"], "SELECT count(*) FROM app.people") == 5000
    assert api.delete(f"/api/databases/{first['id']}").is_success


def test_the_command_line(platform: Installation, parent: Row) -> None:
    name = parent["database_name"]
    wait_quiet(platform, parent)
    made = platform.tenantry("branch", "create", name, "try-it", "--expires", "2d")
    assert f"by {block_copy(platform)}" in made.stderr
    assert "in 48 h" in platform.tenantry("branch", "list", name).stdout
    platform.tenantry("branch", "masking", name, "--file", "-", stdin=MASKING)
    assert MASKING in platform.tenantry("branch", "masking", name).stdout
    platform.tenantry("branch", "masking", name, "--remove")
    platform.tenantry("db", "update", "try-it", "--expires", "never")
    assert "in " not in platform.tenantry("branch", "list", name).stdout
    platform.tenantry("db", "delete", "try-it", "--env", "development", "--yes")
