"""Extensions, through the product's endpoints."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from answers import data, problem
from clients import ask, do
from harness import Installation

Row = dict[str, Any]

TROJAN = """
    CREATE TABLE reported (who text);
    CREATE FUNCTION public.tell() RETURNS text LANGUAGE plpgsql
        AS $$ BEGIN INSERT INTO public.reported VALUES (session_user); RETURN ''; END $$;
    CREATE VIEW public.pg_extension AS SELECT public.tell() AS extname;
    CREATE VIEW public.pg_available_extensions AS SELECT public.tell() AS name;
    ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog;
"""


def path(database: Row) -> str:
    return f"/api/databases/{database['id']}/extensions"


def installed(api: httpx.Client, database: Row) -> dict[str, Row]:
    return {each["name"]: each for each in data(api.get(path(database))) if each["schema"]}


def test_one_is_added_and_removed(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    do(database["connection_string"], f"CREATE SCHEMA own; {TROJAN}")
    assert set(installed(api, database)) == {"plpgsql"}
    made = data(api.post(path(database), json={"name": "pg_trgm", "schema": "own"}), 201)
    assert (made["schema"], made["installed_version"]) == ("own", made["default_version"])
    again = api.post(path(database), json={"name": "pg_trgm"})
    assert data(again, 201)["schema"] == "own"
    assert ask(database["connection_string"], "SELECT own.similarity('a', 'a')::int") == 1
    owner = "SELECT extowner::regrole::text FROM pg_catalog.pg_extension WHERE extname = 'pg_trgm'"
    assert ask(database["connection_string"], owner) == database["username"]
    gone = data(api.delete(f"{path(database)}/pg_trgm"))
    assert gone["installed_version"] is None
    assert set(installed(api, database)) == {"plpgsql"}
    assert ask(database["connection_string"], "SELECT count(*) FROM reported") == 0
    log = data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    assert [row["action"] for row in log[:2]] == ["extension.remove", "extension.add"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"name": "file_fdw"}, "refused_extension"),
        ({"name": "postgres_fdw"}, "refused_extension"),
        ({"name": "dblink"}, "refused_extension"),
        ({"name": "adminpack"}, "refused_extension"),
        ({"name": "pg_stat_statements"}, "refused_extension"),
        ({"name": "plpython3u"}, "unavailable_extension"),
        ({"name": "no_such_thing"}, "unavailable_extension"),
        ({"name": "pg_trgm", "schema": "nowhere"}, "invalid"),
        ({"name": "pg_trgm", "schema": "pg_catalog"}, None),
        ({"name": 'x"; DROP'}, None),
        ({"name": "../../etc"}, None),
        ({}, None),
    ],
)
def test_what_is_not_offered_is_refused(
    platform: Installation, api: httpx.Client, asked: Row, code: str | None
) -> None:
    database = platform.create(shadow=False)
    reported = problem(api.post(path(database), json=asked), 422)
    if code:
        assert reported["errors"][0]["code"] == code
    assert set(installed(api, database)) == {"plpgsql"}


def test_what_is_in_the_way_or_in_use_is_reported(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create(shadow=False)
    do(
        database["connection_string"],
        "CREATE FUNCTION similarity(text, text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    reported = problem(api.post(path(database), json={"name": "pg_trgm"}), 409)
    assert "similarity" in reported["detail"]
    data(api.post(path(database), json={"name": "citext"}), 201)
    do(database["connection_string"], "CREATE TABLE t (c citext)")
    reported = problem(api.delete(f"{path(database)}/citext"), 409)
    assert "other objects depend on it" in reported["detail"]
    problem(api.delete(f"{path(database)}/plpgsql"), 409)
    for name in ("hstore", "nothing", "%22"):
        problem(api.delete(f"{path(database)}/{name}"), 404)
    problem(api.get(f"/api/databases/{uuid4()}/extensions"), 404)


def test_the_command_line(platform: Installation) -> None:
    name = platform.create(shadow=False)["database_name"]
    platform.tenantry("extension", "add", name, "hstore")
    listed = platform.tenantry("extension", "list", name).stdout
    assert "hstore" in listed
    assert "file_fdw" not in listed
    platform.tenantry("extension", "remove", name, "hstore")
    refused = platform.tenantry("extension", "add", name, "file_fdw", check=False)
    assert (refused.returncode, "is not offered" in refused.stderr) == (1, True)
