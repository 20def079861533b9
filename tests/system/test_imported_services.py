"""Databases of other services imported: roles, publications, settings, and packed dumps."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql

from answers import data, problem
from clients import ask, do, run
from harness import Installation
from imported import ended, is_clean, is_empty
from terminals import Terminal
from unusual_schemas import together

Row = dict[str, Any]

DUMPS = Path(__file__).parents[1] / "dumps"

SERVICE = """
    CREATE SCHEMA extensions;
    CREATE EXTENSION pg_trgm SCHEMA extensions;
    SET timezone = 'Europe/Paris';
    CREATE FUNCTION hour(at timestamptz) RETURNS int LANGUAGE sql IMMUTABLE
        AS $$ SELECT extract(hour FROM at)::int $$;
    CREATE TABLE notes (id int PRIMARY KEY, owner uuid, body text,
        at timestamptz DEFAULT '2020-01-01 12:00Z', hour int GENERATED ALWAYS AS (hour(at)) STORED);
    INSERT INTO notes VALUES (1, NULL, 'first'), (2, NULL, 'second');
    CREATE UNLOGGED TABLE visits AS SELECT generate_series(1, 9) n;
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY read_all ON notes FOR SELECT TO signed_in, passer_by USING (true);
    COMMENT ON POLICY read_all ON notes IS 'everybody';
    CREATE POLICY own ON notes TO passer_by USING (owner IS NOT NULL);
    COMMENT ON POLICY own ON notes IS 'owners';
    GRANT SELECT, UPDATE ON notes TO signed_in;
    CREATE PUBLICATION mine FOR TABLE notes WITH (publish = 'insert');
    ALTER ROLE CURRENT_USER IN DATABASE {database} SET search_path = "$user", public, extensions;
    ALTER ROLE CURRENT_USER IN DATABASE {database} SET timezone = 'Europe/Paris';
    ALTER ROLE CURRENT_USER IN DATABASE {database} SET work_mem = '5MB';
"""


@pytest.fixture(scope="module")
def service(platform: Installation) -> Iterator[Row]:
    """A database with roles such as Supabase's and Neon's."""
    made = platform.create(friendlyName="Service", shadow=False)
    with platform.superuser() as server:
        server.execute("CREATE ROLE signed_in; CREATE ROLE passer_by")
        name = sql.Identifier(made["database_name"])
        server.execute(sql.SQL("ALTER DATABASE {} SET app.settings.key = 'secret'").format(name))
    do(made["connection_string"], SERVICE.format(database=made["database_name"]))
    yield made
    with platform.superuser() as server:
        server.execute("ALTER ROLE signed_in RENAME TO gone_signed_in")
        server.execute("ALTER ROLE passer_by RENAME TO gone_passer_by")


def imported(api: httpx.Client, database: Row, source: Row, **asked: object) -> Row:
    body = {"from": source["connection_string"], **asked}
    operation = ended(
        api, data(api.post(f"/api/databases/{database['id']}/import", json=body), 202)
    )
    assert operation["status"] == "succeeded", operation
    result: Row = operation["result"]
    return result


def uploaded(
    api: httpx.Client, database: Row, dump: bytes, **asked: str | list[str]
) -> httpx.Response:
    return api.post(
        f"/api/databases/{database['id']}/import",
        params=asked,
        content=dump,
        headers={"Content-Type": "application/octet-stream"},
    )


POLICIES = """
    SELECT string_agg(format('%s to %s (%s)', polname, polroles::regrole[],
        obj_description(oid, 'pg_policy')), '; ' ORDER BY polname) FROM pg_policy
"""


def test_unknown_roles_are_left_out_and_settings_and_publications_come_along(
    platform: Installation, api: httpx.Client, service: Row
) -> None:
    made = platform.create(friendlyName="Without roles", shadow=False)
    result = imported(api, made, service)
    assert result["differences"] == []
    assert {t["name"]: t["rows"] for t in result["tables"]} == {
        "public.notes": 2,
        "public.visits": 9,
    }
    assert result["left_out"] == [
        "owners and grants for signed_in",
        "policy own on public.notes: left out, unknown here: role passer_by",
        "policy read_all on public.notes: left out, unknown here: roles signed_in, passer_by",
        "setting app.settings.key, which tenants cannot bring",
        "setting work_mem, which tenants cannot bring",
    ]
    here = made["connection_string"]
    assert ask(here, "SELECT count(*) FROM pg_policy") == 0
    assert ask(here, "SELECT relrowsecurity FROM pg_class WHERE relname = 'notes'") is True
    assert ask(here, "SELECT array_agg(tablename::text) FROM pg_publication_tables") == ["notes"]
    owner = "SELECT pubowner::regrole::text = current_user AND pubinsert AND NOT pubdelete"
    assert ask(here, f"{owner} FROM pg_publication") is True
    assert ask(here, "SHOW search_path") == '"$user", public, extensions'
    assert ask(here, "SHOW timezone") == "Europe/Paris"
    assert ask(here, "SELECT array_agg(DISTINCT hour) FROM notes") == [13]
    assert ask(here, "SELECT similarity('a', 'a')") == 1
    is_clean(platform)


def test_roles_are_mapped_to_logins_of_the_database(
    platform: Installation, api: httpx.Client, service: Row
) -> None:
    made = platform.create(friendlyName="With roles", shadow=False)
    role = {"name": "app", "access": "read_only"}
    app = data(api.post(f"/api/databases/{made['id']}/roles", json=role), 201)
    path = f"/api/databases/{made['id']}/import"
    body = {"from": service["connection_string"], "unmapped_roles": "refuse"}
    refused = problem(api.post(path, json={**body, "map_roles": {"passer_by": "app"}}), 422)
    assert refused["errors"][0]["code"] == "unmapped_roles"
    assert refused["errors"][0]["message"].endswith(": signed_in")
    foreign = {"passer_by": service["username"]}
    refused = problem(api.post(path, json={**body, "map_roles": foreign}), 422)
    assert "names no login of this database" in refused["errors"][0]["message"]
    mapped = {"signed_in": "app", "passer_by": made["username"]}
    result = imported(api, made, service, unmapped_roles="refuse", map_roles=mapped)
    assert result["left_out"] == [
        "setting app.settings.key, which tenants cannot bring",
        "setting work_mem, which tenants cannot bring",
    ]
    here = made["connection_string"]
    assert ask(here, POLICIES) == (
        f"own to {{{made['username']}}} (owners); "
        f"read_all to {{{app['username']},{made['username']}}} (everybody)"
    )
    reader = app["connection_string"]
    assert ask(reader, "SELECT count(*) FROM notes") == 2
    assert ask(reader, "SHOW timezone") == "Europe/Paris"
    assert ask(here, f"SELECT has_table_privilege('{app['username']}', 'notes', 'UPDATE')") is True


def test_the_command_line_maps_roles_of_a_dump(platform: Installation) -> None:
    platform.create(name="neon", shadow=False)
    dump = str(DUMPS / "neon.sql")
    refused = platform.tenantry("import", "neon", "--file", dump, "--map-role", "anon", check=False)
    assert refused.returncode == 1
    assert "OLD=NEW" in refused.stderr
    reported = platform.tenantry(
        *("import", "neon", "--file", dump, "--json"), "--map-role", "neondb_owner=postgres",
        check=False,
    )  # fmt: skip
    assert "names no login of this database" in reported.stderr
    reported = platform.tenantry("import", "neon", "--file", dump, "--json")
    assert json.loads(reported.stdout)["result"]["rows"] == 1


# ── what an import would bring ───────────────────────────────────────────────


def roles(preview: Row) -> dict[str, tuple[int, int, str | None]]:
    """Of each role that does not own all of it: policies, grants, the login that stands for it."""
    return {
        each["name"]: (each["policies"], each["grants"], each["login"])
        for each in preview["roles"]
        if not each["owns"]
    }


def test_a_preview_shows_what_a_server_has(
    platform: Installation, api: httpx.Client, service: Row
) -> None:
    made = platform.create(friendlyName="Looks", shadow=False)
    data(api.post(f"/api/databases/{made['id']}/roles", json={"name": "app"}), 201)
    path = f"/api/databases/{made['id']}/import/preview"
    found = data(api.post(path, json={"from": service["connection_string"]}))
    assert found["version"].startswith("15.")
    assert found["schemas"] == ["public"]
    assert {each["name"] for each in found["tables"]} == {"notes", "visits"}
    assert found["size_bytes"] == sum(each["size_bytes"] for each in found["tables"]) > 0
    assert found["extensions"] == [{"name": "pg_trgm", "available": True, "used_by": []}]
    assert roles(found) == {"passer_by": (2, 0, None), "signed_in": (1, 2, None)}
    [owner] = [each for each in found["roles"] if each["owns"]]
    assert owner["name"] == service["username"]
    assert found["logins"] == [made["username"], "app", "anon", "authenticated", "service_role"]
    assert found["upload_id"] is None
    assert ask(made["connection_string"], "SELECT count(*) FROM pg_class WHERE relkind = 'r'"
               " AND relnamespace = 'public'::regnamespace") == 0  # fmt: skip
    excluded = {"from": service["connection_string"], "exclude_tables": ["visits"]}
    assert [each["name"] for each in data(api.post(path, json=excluded))["tables"]] == ["notes"]


def test_a_dump_that_was_looked_at_is_imported_without_being_sent_again(
    platform: Installation, api: httpx.Client, service: Row, tmp_path: Path
) -> None:
    source = service["connection_string"]
    run("pg_dump", "--format=directory", f"--file={tmp_path / 'folder'}", source)
    run("pg_dump", "--format=custom", f"--file={tmp_path / 'custom'}", source)
    dumps = [
        packed(tmp_path / "folder"),
        gzip.compress((tmp_path / "custom").read_bytes()),
        run("pg_dump", source).encode(),
    ]
    headers = {"Content-Type": "application/octet-stream"}
    for wrong in ({}, {"from": source, "upload_id": str(uuid4())}):
        problem(api.post(f"/api/databases/{service['id']}/import", json=wrong), 422)
    for dump in dumps:
        made = platform.create(friendlyName="Looks", shadow=False)
        path = f"/api/databases/{made['id']}/import"
        found = data(api.post(f"{path}/preview", content=dump, headers=headers))
        assert roles(found) == {"passer_by": (2, 0, None), "signed_in": (1, 1, None)}
        assert [each["name"] for each in found["tables"]] == ["notes", "visits"]
        other = platform.create(friendlyName="Another", shadow=False)
        body = {"upload_id": found["upload_id"], "map_roles": {"passer_by": made["username"]}}
        foreign = f"/api/databases/{other['id']}/import"
        refused = problem(api.post(foreign, json={"upload_id": found["upload_id"]}), 422)
        assert refused["errors"][0]["code"] == "unknown_upload"
        problem(api.post(path, json={**body, "map_roles": {"passer_by": "nobody"}}), 422)
        operation = ended(api, data(api.post(path, json=body), 202))
        assert operation["status"] == "succeeded", operation
        assert operation["result"]["rows"] == 11
        problem(api.post(path, json=body), 422)
        is_clean(platform)


def test_the_command_line_asks_who_stands_for_a_role(
    platform: Installation, service: Row, tmp_path: Path
) -> None:
    """On a terminal; elsewhere, and with --yes, roles are left out and reported of."""
    made = platform.create(name="asked", shadow=False)
    dump = str(tmp_path / "dump.sql")
    script = (DUMPS / "neon.sql").read_text()
    Path(dump).write_text(script.replace("anon", "reports").replace("authenticated", "web_user"))
    words: tuple[str, ...] = ("import", "asked", "--file", dump)
    with Terminal(*words, env=platform.env, size=(24, 200)) as terminal:
        terminal.expect("Login for reports (0 policies, 1 grants)")
        for line in ("", "somebody", made["username"]):
            terminal.type(line)
        code, seen = terminal.end()
    assert code == 0, seen
    assert "There is no login somebody" in seen
    assert "made without" not in seen
    assert ask(made["connection_string"], "SELECT polroles::regrole[]::text FROM pg_policy") == (
        f"{{{made['username']}}}"
    )
    platform.create(name="unasked", shadow=False)
    reported = platform.tenantry("import", "unasked", "--file", dump, "--preview")
    assert "web_user" in reported.stdout
    assert "public.notes" in reported.stdout
    reported = platform.tenantry(
        "import", "unasked", "--preview", "--json", stdin=service["connection_string"]
    )
    assert {each["name"] for each in json.loads(reported.stdout)["tables"]} == {"notes", "visits"}
    words = ("import", "unasked", "--file", dump, "--yes")
    with Terminal(*words, env=platform.env, size=(24, 200)) as terminal:
        code, seen = terminal.end()
    assert code == 0, seen
    assert "Left out: policy read_all on public.notes" in seen


# ── forms of dumps ───────────────────────────────────────────────────────────


def packed(folder: Path) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as made:
        made.add(folder, "shop")
    return target.getvalue()


def test_archives_of_every_form_are_read(
    platform: Installation, api: httpx.Client, service: Row, tmp_path: Path
) -> None:
    source = service["connection_string"]
    for form in ("custom", "tar", "directory"):
        run("pg_dump", f"--format={form}", f"--file={tmp_path / form}", source)
    forms = {
        "custom, gzipped": gzip.compress((tmp_path / "custom").read_bytes()),
        "tar": (tmp_path / "tar").read_bytes(),
        "folder, packed": packed(tmp_path / "directory"),
    }
    for form, dump in forms.items():
        made = platform.create(friendlyName=form, shadow=False)
        mapped = [f"{each}={made['username']}" for each in ("signed_in", service["username"])]
        operation = ended(api, data(uploaded(api, made, dump, map_role=mapped), 202))
        assert operation["status"] == "succeeded", (form, operation)
        assert operation["result"]["rows"] == 11, form
        assert operation["result"]["left_out"] == [
            "policy own on public.notes: left out, unknown here: role passer_by",
            "policy read_all on public.notes: made without role passer_by",
            "setting app.settings.key, which tenants cannot bring",
            "setting work_mem, which tenants cannot bring",
        ]
        here = made["connection_string"]
        assert ask(here, "SHOW search_path") == '"$user", public, extensions'
        assert ask(here, "SHOW timezone") == "Europe/Paris"
        assert ask(here, POLICIES) == f"read_all to {{{made['username']}}} (everybody)"
        assert ask(here, "SELECT count(*) FROM pg_publication_tables") == 1
    is_clean(platform)


def test_losses_of_a_dump_need_consent(
    platform: Installation, api: httpx.Client, tmp_path: Path
) -> None:
    source = platform.create(friendlyName="Loses", shadow=False)
    with psycopg.connect(source["connection_string"], autocommit=True) as session:
        together(["unique index that is none"]).create(session)
        session.execute("CREATE TABLE key (id int PRIMARY KEY)")
        session.execute("CREATE TABLE refers (id int CONSTRAINT to_key REFERENCES key)")
    for form in ("custom", "plain"):
        file = tmp_path / form
        run("pg_dump", f"--format={form}", f"--file={file}", source["connection_string"])
        made = platform.create(friendlyName=form, shadow=False)
        operation = ended(api, data(uploaded(api, made, file.read_bytes()), 202))
        assert operation["status"] == "failed"
        assert "accept_losses" in operation["error"]["hint"]
        assert "could not create unique index" in operation["error"]["detail"]
        assert is_empty(made)
        sent = uploaded(api, made, file.read_bytes(), accept_losses="true")
        operation = ended(api, data(sent, 202))
        assert operation["status"] == "succeeded", operation
        reported = operation["result"]["left_out"]
        [lost] = [each for each in reported if not each.startswith("owners and grants")]
        assert "f0_u" in lost
        assert "could not create unique index" in lost
        here = made["connection_string"]
        assert ask(here, "SELECT count(*) FROM f0") == 2
        assert ask(here, "SELECT conname::text FROM pg_constraint WHERE contype = 'f'") == "to_key"
    is_clean(platform)


def test_a_newer_archive_is_reported_of_before_it_is_taken_in(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create(friendlyName="Newer", shadow=False)
    dump = (DUMPS / "made_by_18.dump").read_bytes()
    for form in (dump, gzip.compress(dump)):
        answer = uploaded(api, made, form)
        if answer.status_code == 202:
            reported = ended(api, data(answer, 202))["error"]
        else:
            reported = problem(answer, 409)
        assert reported["code"] == "newer_dump"
        assert "newer pg_dump (18)" in reported["detail"]
        assert "pg_dump --format=plain" in reported["hint"]
    is_clean(platform)
