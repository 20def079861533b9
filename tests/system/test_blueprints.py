"""Blueprints through the product's endpoints: a database that is made with one, or given one."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from answers import data, problem
from clients import ask, do, eventually, login
from harness import Installation

Row = dict[str, Any]

NOWHERE = "/api/databases/0190a5a0-0000-7000-8000-000000000000/blueprint"
NOTES = Path(__file__).parents[1] / "blueprints" / "notes"
SEEDED = (
    "SELECT set_config('app.current_customer_id', '00000000-0000-0000-0000-000000000001', false);"
    "SELECT count(*) FROM notes"
)


def made(platform: Installation, reference: str = "notes", **asked: object) -> Row:
    """A database that was made with a blueprint, which is there when the answer comes."""
    row = platform.create(blueprint=reference, **asked)
    name, _, version = reference.partition("@")
    assert row["blueprint"] == {"name": name, "version": int(version or 2)}
    return row


def path(database: Row, more: str = "") -> str:
    return f"/api/databases/{database['id']}/blueprint{more}"


def ended(api: httpx.Client, operation: Row) -> Row:
    rows: list[Row] = []

    def over() -> bool:
        rows.append(data(api.get(f"/api/operations/{operation['id']}")))
        return rows[-1]["finished_at"] is not None

    eventually(over)
    return rows[-1]


def brought(api: httpx.Client, database: Row, **asked: object) -> Row:
    """What came of giving a database a blueprint, or a later version of it."""
    started: Row = data(api.post(path(database), json=asked), 202)
    done = ended(api, started)
    assert done["status"] == "succeeded", done["error"]
    return started | {"result": done["result"]}


def seeded(url: str) -> int:
    # In one transaction: on the pooled port a session is reset after each.
    with login(url) as session, session.transaction():
        session.execute(SEEDED.partition(";")[0].encode())
        row = session.execute(SEEDED.partition(";")[2].encode()).fetchone()
    assert row is not None
    return int(row[0])


ONE = 'title = "Mine"\ndescription = "My own."\n[[versions]]\nmigration = 1\nsummary = "one"\n'
TWO = ONE + '[[versions]]\nmigration = 2\nsummary = "two"\n'


def own(manifest: str = ONE, **migrations: str) -> Row:
    """A folder of one's own, as the API takes it."""
    files = migrations or {"1_a.up.sql": "CREATE TABLE a (i int);"}
    listed = [{"name": f"migrations/{name}", "sql": text} for name, text in files.items()]
    return {"manifest": manifest, "files": listed}


def test_they_are_listed_and_shown(api: httpx.Client) -> None:
    listed = {each["name"]: each for each in data(api.get("/api/blueprints"))}
    assert listed["notes"]["version"] == 2
    shown = data(api.get("/api/blueprints/notes"))
    assert shown["readme"].startswith("# Notes")
    assert [each["migration"] for each in shown["versions"]] == [2, 3]
    assert shown["roles"] == [{"name": "app", "access": "read_write"}]
    assert shown["isolation"] == {"column": "customer_id"}
    assert shown["data_api"] is None
    assert next(each["title"] for each in shown["migrations"]) == "create_notes"
    assert problem(api.get("/api/blueprints/nothing"), 404)["code"] == "blueprint_not_found"
    assert problem(api.get("/api/blueprints/..%2fnotes"), 404)


def test_a_database_is_made_with_one_in_one_call(platform: Installation, api: httpx.Client) -> None:
    database = made(platform, seeds="development")
    url = database["connection_string"]
    assert seeded(url) == 2
    assert ask(url, "SELECT version FROM schema_migrations") == 3
    (role,) = database["roles"]
    assert role["username"] == f"{database['username']}_app"
    assert seeded(role["connection_string"]) == 2
    assert seeded(role["connection_string_pooled"]) == 2
    assert data(api.get(f"/api/databases/{database['id']}"))["blueprint"]["version"] == 2
    assert data(api.get(path(database))) == {
        "name": "notes",
        "version": 2,
        "newest": 2,
        "behind": False,
        "migration": 3,
        "dirty": False,
    }
    found = data(api.get("/api/databases", params={"blueprint": "notes", "limit": 1000}))
    assert database["id"] in {each["id"] for each in found}
    assert data(api.get("/api/databases", params={"blueprint": "nothing"})) == []
    operation = data(api.get(f"/api/operations/{database['operation_id']}"))
    assert (operation["kind"], operation["result"]["seeds"]) == (
        "database.blueprint",
        "development",
    )


def test_a_repeated_request_gets_the_same_answer(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    asked = {"friendlyName": "Twice", "blueprint": "notes"}
    first = api.post("/api/databases", json=asked, headers=headers)
    again = api.post("/api/databases", json=asked, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert data(again, 201) == data(first, 201)
    assert ask(data(again, 201)["roles"][0]["connection_string"]) == 1
    assert data(again, 201)["blueprint"]["version"] == 2


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"blueprint": "nothing"}, "blueprint"),
        ({"blueprint": "notes@9"}, "blueprint"),
        ({"blueprint": "notes@x"}, "blueprint"),
        ({"blueprint": "../notes"}, "blueprint"),
        ({"blueprint": "notes", "seeds": "nothing"}, "seeds"),
        ({"seeds": "development"}, "body"),
        ({"blueprint": "notes", "importFrom": "postgresql://x/y"}, "body"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_made(
    api: httpx.Client, asked: Row, field: str
) -> None:
    name = f"n{uuid4().hex}"
    reported = problem(api.post("/api/databases", json={"friendlyName": name, **asked}), 422)
    assert reported["errors"][0]["field"] == field
    assert data(api.get("/api/databases", params={"search": name})) == []


def test_one_that_is_there_is_given_one_and_upgraded(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    url = database["connection_string"]
    do(url, "CREATE TABLE mine ()")
    assert problem(api.get(path(database)), 404)["code"] == "blueprint_not_found"
    first = brought(api, database, blueprint="notes@1", seeds="development")
    assert [role["name"] for role in first["roles"]] == ["app"]
    assert (first["result"]["version"], len(first["result"]["steps"])) == (1, 2)
    standing = data(api.get(path(database)))
    assert (standing["version"], standing["behind"]) == (1, True)
    again = brought(api, database)
    assert again["roles"] == []
    assert (again["result"]["version"], len(again["result"]["steps"])) == (2, 1)
    assert seeded(url) == 2
    assert brought(api, database, version=2)["result"]["steps"] == []
    back = problem(api.post(path(database), json={"version": 1}), 409)
    assert back["code"] == "blueprint_backwards"
    assert "Restore it" in back["hint"]
    assert data(api.get(f"/api/databases/{database['id']}"))["blueprint"]["version"] == 2
    done, started, *_ = data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    assert (done["action"], done["result"]) == ("database.blueprint", "ok")
    assert (started["result"], started["details"]["version"]) == ("accepted", 2)
    assert started["details"]["operation_id"] == done["details"]["operation_id"]


def test_a_database_has_one_blueprint(platform: Installation, api: httpx.Client) -> None:
    database = made(platform)
    refused = problem(api.post(path(database), json={"blueprint": "mine", **own()}), 409)
    assert refused["code"] == "foreign_migrations"


def test_a_folder_of_ones_own(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    files = {"1_a.up.sql": "CREATE TABLE a ();", "2_b.up.sql": "SELECT 1/0;"}
    started = data(api.post(path(database), json={"blueprint": "mine", **own(TWO, **files)}), 202)
    failed = ended(api, started)
    assert failed["error"]["code"] == "migration_failed"
    assert "2_b.up.sql, line 1: division by zero" in failed["error"]["detail"]
    assert data(api.get(f"/api/databases/{database['id']}"))["blueprint"] is None
    # What was applied is its own, so it goes on from there.
    files["2_b.up.sql"] = "CREATE TABLE b ();"
    brought(api, database, blueprint="mine", version=1, **own(TWO, **files))
    # The platform has the files from now on.
    assert brought(api, database)["result"]["version"] == 2
    assert data(api.get(path(database)))["name"] == "mine"
    taken = api.post(path(database), json={"blueprint": "notes", **own()})
    assert problem(taken, 422)["errors"][0]["field"] == "blueprint"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, None),
        ({"blueprint": "nothing"}, "blueprint"),
        ({"blueprint": "notes@2", "version": 2}, "body"),
        ({"blueprint": "mine", "manifest": "x = "}, "body"),
        ({"blueprint": "mine", **own("title = 1")}, "blueprint.toml.title"),
        ({"blueprint": "mine", **own(**{"2_b.up.sql": ""})}, "blueprint.toml"),
        ({"blueprint": "notes", "version": 0}, "version"),
        ({"blueprint": "mine@1", **own()}, "body"),
    ],
)
def test_what_cannot_be_given_is_refused(
    platform: Installation, api: httpx.Client, asked: Row, field: str | None
) -> None:
    database = platform.create()
    answer = api.post(path(database), json=asked)
    if field is None:
        assert problem(answer, 404)["code"] == "blueprint_not_found"
    else:
        assert field in {each["field"] for each in problem(answer, 422)["errors"]}
    assert ask(database["connection_string"], "SELECT to_regclass('schema_migrations')") is None


def test_seeds_that_fail_leave_the_schema_and_no_row(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    asked = own()
    asked["manifest"] += '[seeds]\nbad = "seeds/bad.sql"\n'
    asked["files"].append(
        {"name": "seeds/bad.sql", "sql": "INSERT INTO a VALUES (1);\nSELECT 1/0;"}
    )
    started = data(
        api.post(path(database), json={"blueprint": "mine", "seeds": "bad", **asked}), 202
    )
    failed = ended(api, started)
    assert failed["error"]["code"] == "seeds_failed"
    assert "seeds/bad.sql, line 2: division by zero" in failed["error"]["detail"]
    assert ask(database["connection_string"], "SELECT count(*) FROM a") == 0
    assert data(api.get(path(database)))["version"] == 1


def test_a_customer_gives_one_to_their_own_only(platform: Installation, api: httpx.Client) -> None:
    foreign = made(platform)
    email = f"{uuid4().hex}@example.com"
    scopes = ["databases:read", "databases:write"]
    key = data(
        api.post("/api/api-keys", json={"name": "x", "scopes": scopes, "customerEmail": email}),
        201,
    )
    with platform.client(key["key"]) as client:
        mine = data(
            client.post("/api/databases", json={"name": "mine", "blueprint": "notes@1"}), 201
        )
        assert mine["blueprint"] == {"name": "notes", "version": 1}
        brought(client, mine)
        listed = data(client.get("/api/databases", params={"blueprint": "notes"}))
        assert [each["id"] for each in listed] == [mine["id"]]
        for answer in (
            client.get(path(foreign)),
            client.post(path(foreign), json={}),
            client.get(NOWHERE),
            client.post(NOWHERE, json={}),
        ):
            assert problem(answer, 404)["code"] == "not_found"


def test_the_command_does_it(platform: Installation, tmp_path: Path) -> None:
    def blueprint(*words: str) -> Any:
        return json.loads(platform.tenantry("blueprint", *words, "--json").stdout)

    assert "notes" in {each["name"] for each in blueprint("list")}
    assert blueprint("show", "notes")["version"] == 2
    name = f"n{uuid4().hex[:8]}"
    words = ("--name", name, "--blueprint", "notes@1", "--seeds", "development", "--json")
    database = json.loads(platform.tenantry("db", "create", *words).stdout)
    assert seeded(database["connection_string"]) == 2
    assert blueprint("upgrade", "--database", name)["result"]["version"] == 2
    folder = tmp_path / "our-schema"
    (folder / "migrations").mkdir(parents=True)
    (folder / "migrations" / "1_a.up.sql").write_text("CREATE TABLE a (i int);")
    (folder / "blueprint.toml").write_text(ONE)
    other = platform.create()["database_name"]
    assert blueprint("apply", str(folder), "--database", other)["result"] == {
        "blueprint": "our-schema",
        "version": 1,
        "migration": 1,
        "steps": [{"version": 1, "direction": "up", "file": "1_a.up.sql", "empty": False}],
        "seeds": None,
    }


def compared(api: httpx.Client, database: Row) -> tuple[bool, set[tuple[str, str, str]]]:
    """Whether a database has drifted, and how what is in it."""
    reported = data(api.get(path(database, "/diff")))
    return reported["drifted"], {
        (each["status"], each["kind"], each["name"]) for each in reported["differences"]
    }


def test_a_comparison_shows_what_has_drifted_and_what_is_beside(
    platform: Installation, api: httpx.Client
) -> None:
    database = made(platform, seeds="development")
    url, app = database["connection_string"], f"{database['username']}_app"
    assert compared(api, database) == (False, set())
    do(url, "CREATE TABLE mine (i int PRIMARY KEY); CREATE SCHEMA more; CREATE VIEW v AS SELECT 1")
    beside = {("extra", "table", "public.mine"), ("extra", "schema", "more")}
    assert compared(api, database) == (False, beside | {("extra", "view", "public.v")})
    do(url, "DROP VIEW v; ALTER POLICY own ON notes USING (true)")
    do(url, f"REVOKE INSERT ON notes FROM {app}")
    reported = data(api.get(path(database, "/diff")))
    assert reported["drifted"]
    (policy,) = (each for each in reported["differences"] if each["kind"] == "policy")
    assert (policy["name"], policy["found"]) == (
        "public.notes.own",
        "permissive for all to public using (true)",
    )
    assert "app.current_customer_id" in policy["expected"]
    (grant,) = (each for each in reported["differences"] if each["kind"] == "grant")
    assert (grant["name"], grant["expected"]) == (
        f"public.notes to {app}",
        "delete, insert, select, update",
    )
    assert "scratch" not in {row["status"] for row in platform.rows()}


def test_a_database_is_compared_at_the_version_at_which_it_is(
    platform: Installation, api: httpx.Client
) -> None:
    database = made(platform, "notes@1")
    assert compared(api, database) == (False, set())
    name = database["database_name"]
    done = platform.tenantry("blueprint", "diff", "--database", name, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    do(database["connection_string"], "ALTER TABLE notes ADD pinned int")
    done = platform.tenantry("blueprint", "diff", "--database", name, check=False)
    assert (done.returncode, done.stdout) == (1, "extra column public.notes.pinned\n")
    do(database["connection_string"], "DELETE FROM schema_migrations")
    lost = problem(api.get(path(database, "/diff")), 409)
    assert lost["code"] == "foreign_migrations"


def test_files_that_make_a_scratch_have_nobodys_rights(
    platform: Installation, api: httpx.Client
) -> None:
    """A folder of one's own is run again for a comparison, and can be anything."""
    database = platform.create()
    text = (
        "DO $$ BEGIN IF session_user LIKE 'user%' THEN RAISE EXCEPTION '% is of %', session_user,"
        " (SELECT max(roleid::regrole::text) FROM pg_auth_members"
        " WHERE member = session_user::regrole); END IF; END $$"
    )
    brought(api, database, blueprint="mine", **own(**{"1_a.up.sql": text}))
    reported = problem(api.get(path(database, "/diff")), 409)
    assert re.search(r"line 1: user_(\w{12}) is of tenant_\1_shadow\.", reported["detail"])
    assert database["username"] not in reported["detail"]
    again = problem(api.get(path(database, "/diff")), 409)
    assert again["detail"] != reported["detail"], "each has a login of its own"


def test_a_branch_has_the_blueprint_of_its_parent(
    platform: Installation, api: httpx.Client
) -> None:
    parent = made(platform, "notes@1")
    branch = data(
        api.post(f"/api/databases/{parent['id']}/branches", json={"name": f"b{uuid4().hex}"}), 202
    )
    assert ended(api, branch["operation"])["status"] == "succeeded"
    brought(api, branch)
    assert compared(api, branch) == (False, set())
    promoted = data(api.post(f"/api/databases/{branch['id']}/promote", json={}), 202)
    assert ended(api, promoted)["status"] == "succeeded"
    after = data(api.get(f"/api/databases/{parent['id']}"))["blueprint"]
    assert after == {"name": "notes", "version": 2}


def test_all_that_have_it_are_upgraded_and_selected(
    platform: Installation, api: httpx.Client
) -> None:
    two = [made(platform, "notes@1", environment="staging") for _ in range(2)]
    names = {each["database_name"] for each in two}
    words = ("blueprint", "upgrade", "--all", "notes", "--env", "staging", "--json")
    done = json.loads(platform.tenantry(*words).stdout)
    assert [each["result"]["version"] for each in done] == [2, 2]
    listed = platform.tenantry("db", "list", "--blueprint", "notes", "--env", "staging", "--json")
    assert {each["database_name"] for each in json.loads(listed.stdout)} == names
    files = [
        {"name": each.name, "sql": each.read_text()} for each in (NOTES / "migrations").iterdir()
    ]
    files.append({"name": "000004_more.up.sql", "sql": "CREATE TABLE more ();"})
    asked = {"files": files, "environment": "staging", "blueprint": "notes"}
    started = data(api.post("/api/migrations", json=asked), 202)
    assert ended(api, started)["result"]["succeeded"] == 2
    report = data(api.get(f"/api/migrations/{started['id']}"))
    assert {each["database_name"] for each in report} == names
    none = api.post("/api/migrations", json=asked | {"blueprint": "nothing"})
    assert problem(none, 404)["code"] == "not_found"
