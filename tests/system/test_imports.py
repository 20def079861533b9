"""Databases imported from another server, and from a dump, through the product's endpoints."""

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from answers import data, problem
from clients import ask, changed, do, eventually, login, refusal, run
from harness import Installation
from imported import ROWS, SHOP, checksum, ended, is_clean, is_empty, owners
from tenantry.host import processes


@pytest.fixture(scope="module")
def source(platform: Installation) -> dict[str, Any]:
    """A database that stands for one elsewhere: it is reached by TLS at this machine's name."""
    made = platform.create(friendlyName="Source", shadow=False)
    do(made["connection_string"], SHOP)
    return made


def imported(
    api: httpx.Client, database: dict[str, Any], source: str, **asked: object
) -> dict[str, Any]:
    answer = api.post(f"/api/databases/{database['id']}/import", json={"from": source, **asked})
    assert answer.status_code == 202, answer.text
    return ended(api, data(answer, 202))


def test_a_database_is_made_as_a_copy_of_one_elsewhere(
    api: httpx.Client, source: dict[str, Any]
) -> None:
    answer = api.post(
        "/api/databases",
        json={"friendlyName": "Copy", "import_from": source["connection_string"]},
    )
    assert answer.status_code == 201, answer.text
    made = data(answer, 201)
    operation = ended(api, data(api.get(f"/api/operations/{made['operation_id']}")))
    assert operation["status"] == "succeeded", operation
    result = operation["result"]
    assert {t["name"]: t["rows"] for t in result["tables"]} == ROWS | {"sales.totals": 1}
    there = {t["name"]: t["source_rows"] for t in result["tables"]}
    assert there == ROWS | {"sales.totals": None}, "a materialized view is filled again"
    assert result["differences"] == []
    here = made["connection_string"]
    assert checksum(here) == checksum(source["connection_string"])
    assert owners(here) == [made["username"]]
    do(here, "INSERT INTO customers (name) VALUES (' new '); DROP SCHEMA sales CASCADE")
    assert ask(here, "SELECT max(id) FROM customers") == 501


# ── what is reported before anything is made ─────────────────────────────────────


def test_a_database_that_has_tables_is_left_alone(
    api: httpx.Client, source: dict[str, Any]
) -> None:
    path = f"/api/databases/{source['id']}/import"
    reported = problem(api.post(path, json={"from": source["connection_string"]}), 409)
    assert "already" in reported["detail"]


def databases(platform: Installation, api: httpx.Client) -> set[str]:
    """The databases that there are, but for the warm pool, which is refilled meanwhile."""
    rows = [row for row in platform.rows() if row["status"] not in {"creating", "warm"}]
    return {row["id"] for row in (*rows, *data(api.get("/api/databases")))}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong"}, "authentication failed"),
        ({"port": "1"}, "refused"),
        ({"dbname": "nobodys"}, r"authentication failed|permission|no pg_hba\.conf entry"),
    ],
)
def test_a_source_that_does_not_answer_is_reported_and_nothing_is_made(
    platform: Installation,
    api: httpx.Client,
    source: dict[str, Any],
    change: dict[str, str],
    said: str,
) -> None:
    url = urlsplit(source["connection_string"])
    user, password = change.get("user", url.username), change.get("password", url.password)
    database = change.get("dbname", url.path.strip("/"))
    there = f"postgresql://{user}:{password}@localhost:{change.get('port', url.port)}/{database}"
    before = databases(platform, api)
    reported = problem(
        api.post("/api/databases", json={"friendlyName": "No", "import_from": there}), 422
    )
    assert reported["code"] == "source_error"
    assert re.search(said, reported["detail"]), reported
    assert str(url.password) not in str(reported)
    assert databases(platform, api) <= before


def test_a_customer_cannot_have_this_machine_connected_to(
    platform: Installation, api: httpx.Client, source: dict[str, Any]
) -> None:
    key = data(
        api.post(
            "/api/api-keys",
            json={
                "name": "ann",
                "scopes": ["databases:read", "databases:write"],
                "customer_email": "ann@example.com",
            },
        ),
        201,
    )["key"]
    with platform.client(key) as ann:
        made = data(ann.post("/api/databases", json={"friendlyName": "Ann's"}), 201)
        path = f"/api/databases/{made['id']}/import"
        for host in ("localhost", "127.0.0.1", "[::1]", "127.1", "169.254.169.254", "10.1.2.3"):
            reported = problem(ann.post(path, json={"from": f"postgresql://a:b@{host}/c"}), 403)
            assert "address" in reported["detail"]
        foreign = f"/api/databases/{source['id']}/import"
        problem(ann.post(foreign, json={"from": source["connection_string"]}), 404)


# ── dumps ────────────────────────────────────────────────────────────────────

_BAIT = 6000


@pytest.fixture(scope="module")
def dump(platform: Installation, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A dump in the custom format, with a statement in it to put others in place of."""
    made = platform.create(friendlyName="Dumped", shadow=False)
    do(
        made["connection_string"],
        "CREATE TABLE bait (x int); INSERT INTO bait SELECT generate_series(1, 10);"
        f"CREATE VIEW bait_view AS SELECT '{'x' * _BAIT}'::text AS x",
    )
    file = tmp_path_factory.mktemp("dump") / "bait.dump"
    run("pg_dump", "--format=custom", f"--file={file}", made["connection_string"])
    return file.read_bytes()


def hostile(dump: bytes, statements: str) -> bytes:
    """The dump, whose view is other SQL: pg_restore sends whatever is there."""
    view = f"CREATE VIEW public.bait_view AS\n SELECT '{'x' * _BAIT}'::text AS x;\n".encode()
    assert dump.count(view) == 1
    return dump.replace(view, statements.encode().ljust(len(view)))


def uploaded(api: httpx.Client, database: dict[str, Any], dump: bytes) -> dict[str, Any]:
    answer = api.post(
        f"/api/databases/{database['id']}/import",
        params={"jobs": 1},  # with more, another session fails by the new password
        content=dump,
        headers={"Content-Type": "application/octet-stream"},
    )
    return ended(api, data(answer, 202))


@pytest.fixture(scope="module")
def target(platform: Installation) -> dict[str, Any]:
    """An empty database, which it is again after each import that fails."""
    return platform.create(friendlyName="Target")


Bait = tuple[dict[str, Any], dict[str, Any], bytes]


@pytest.fixture
def bait(source: dict[str, Any], target: dict[str, Any], dump: bytes) -> Bait:
    """A bystander, a target, and a dump to make hostile."""
    return source, target, dump


def test_a_dump_is_taken_in(platform: Installation, api: httpx.Client, dump: bytes) -> None:
    made = platform.create(friendlyName="From a dump")
    operation = uploaded(api, made, dump)
    assert operation["status"] == "succeeded", operation
    assert operation["result"]["rows"] == 10
    assert ask(made["connection_string"], "SELECT sum(x) FROM bait") == 55
    is_clean(platform)


@pytest.mark.parametrize(
    "statements",
    [
        "COPY public.bait TO PROGRAM 'touch {marker}'",
        "COPY public.bait (x) FROM '/etc/hostname'",
        "SELECT pg_catalog.lo_import('/etc/hostname')",
        "CREATE EXTENSION dblink",
        "ALTER SYSTEM SET log_statement = 'all'",
        "SET SESSION AUTHORIZATION tenantry_admin",
        "RESET SESSION AUTHORIZATION; RESET ROLE; CREATE ROLE evil SUPERUSER",
        "SET ROLE tenantry_platform",
        "SET ROLE {bystander}",
        "SET ROLE {tenant}",
        "ALTER ROLE {tenant} PASSWORD 'known'",
        "ALTER DATABASE {database} OWNER TO CURRENT_USER",
        "CREATE FUNCTION public.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER evil ON ddl_command_start EXECUTE FUNCTION public.f()",
        "CREATE SCHEMA evil; CREATE FUNCTION evil.f() RETURNS int SECURITY DEFINER LANGUAGE sql"
        " AS 'SELECT 1'; SELECT pg_catalog.lo_create(0) FROM generate_series(1, 3000); SELECT 1/0",
        "SELECT count(pg_catalog.pg_advisory_lock(i)) FROM generate_series(1, 1000000) i",
    ],
)
def test_a_hostile_dump_gets_nowhere(
    platform: Installation, api: httpx.Client, bait: Bait, statements: str
) -> None:
    source, target, dump = bait
    marker = platform.home / "marker"
    evil = statements.format(
        marker=marker,
        bystander=source["username"],
        tenant=target["username"],
        database=target["database_name"],
    )
    operation = uploaded(api, target, hostile(dump, evil))
    assert operation["status"] == "failed", operation
    assert operation["error"]["detail"]
    assert not marker.exists()
    assert is_empty(target)
    is_clean(platform)


TROJAN = """
    ALTER ROLE CURRENT_USER PASSWORD 'known';
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
    CREATE SCHEMA kept;
    CREATE FUNCTION kept.f() RETURNS text SECURITY DEFINER LANGUAGE sql
        AS 'SELECT current_user::text';
    GRANT USAGE ON SCHEMA kept TO PUBLIC;
    SELECT pg_catalog.lo_create(0) FROM generate_series(1, 2500);
    GRANT ALL ON public.bait TO {bystander};
"""


def test_what_a_dump_leaves_is_its_tenants_alone(
    platform: Installation, api: httpx.Client, source: dict[str, Any], dump: bytes
) -> None:
    made = platform.create(friendlyName="Trojan")
    statements = TROJAN.format(bystander=source["username"])
    operation = uploaded(api, made, hostile(dump, statements))
    assert operation["status"] == "succeeded", operation
    is_clean(platform)
    here = made["connection_string"]
    assert ask(here, "SELECT kept.f()") == made["username"]
    assert ask(here, "SELECT count(*) FROM pg_default_acl") == 0
    assert (
        ask(
            here,
            "SELECT count(*) FROM pg_largeobject_metadata WHERE lomowner = current_user::regrole",
        )
        == 2500
    )
    refusal(changed(source["connection_string"], dbname=made["database_name"]))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "nor SQL"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "nor SQL"),
        ("\ufeffSELECT 1;".encode("utf-16-le"), "PowerShell"),
        (b"\x1f\x8b\x08" + b"\0" * 600, "gzip"),
    ],
)
def test_what_is_no_dump_is_refused(
    platform: Installation, api: httpx.Client, target: dict[str, Any], body: bytes, said: str
) -> None:
    answer = api.post(
        f"/api/databases/{target['id']}/import",
        content=body,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert said in problem(answer, 422)["errors"][0]["message"]
    is_clean(platform)


def test_a_dump_that_is_sent_twice_is_taken_in_once(
    platform: Installation, api: httpx.Client, dump: bytes
) -> None:
    made = platform.create(friendlyName="Sent twice")
    headers = {"Content-Type": "application/octet-stream", "Idempotency-Key": made["id"]}
    path = f"/api/databases/{made['id']}/import"
    first = api.post(path, content=dump, headers=headers)
    operation = data(first, 202)
    assert ended(api, operation)["status"] == "succeeded"
    again = api.post(path, content=dump, headers=headers)
    assert data(again, 202)["id"] == operation["id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = api.post(path, content=hostile(dump, "SELECT 1"), headers=headers)
    assert problem(other, 422)["code"] == "idempotency_key_reused"
    is_clean(platform)


def test_one_that_never_ends_is_cancelled(
    platform: Installation, api: httpx.Client, target: dict[str, Any], dump: bytes
) -> None:
    answer = api.post(
        f"/api/databases/{target['id']}/import",
        content=hostile(dump, "SELECT pg_catalog.pg_sleep(1e6)"),
        headers={"Content-Type": "application/octet-stream"},
    )
    operation = data(answer, 202)
    path = f"/api/operations/{operation['id']}"

    def sleeps() -> bool:
        with platform.superuser() as server:
            return bool(
                server.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1e6)%'"
                    " AND usename LIKE 'tenantry_visitor%'"
                ).fetchone()
            )

    eventually(sleeps)
    busy = api.post(
        f"/api/databases/{target['id']}/import",
        content=dump,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert busy.status_code == 409, busy.text
    data(api.post(f"{path}/cancel"), 202)
    assert ended(api, operation)["status"] == "cancelled"
    assert not sleeps()
    assert is_empty(target)
    is_clean(platform)


# ── the promise ──────────────────────────────────────────────────────────────


def test_the_source_s_password_is_nowhere(
    platform: Installation, api: httpx.Client, source: dict[str, Any]
) -> None:
    word = urlsplit(source["connection_string"]).password
    assert word is not None
    made = platform.create(friendlyName="Searched")
    with login(source["connection_string"]) as there, there.transaction():
        # pg_dump waits for it, so that there is time to look.
        there.execute("ALTER VIEW sales.open SET (security_barrier = true)")
        path = f"/api/databases/{made['id']}/import"
        operation = data(api.post(path, json={"from": source["connection_string"]}), 202)
        assert word not in str(operation)
        scratch = platform.home / "scratch"
        eventually(lambda: processes.started_on(scratch))
        every = [processes.command_line(int(p.name)) for p in Path("/proc").glob("[0-9]*")]
        assert word not in str(every)
        look_for(platform, word, made["database_name"])
    assert ended(api, operation)["status"] == "succeeded"
    audited = data(api.get("/api/audit-logs", params={"resource_id": made["id"]}))
    done, reported = [each for each in audited if each["action"] == "database.import"]
    assert (done["result"], reported["result"]) == ("ok", "accepted")
    assert reported["details"]["host"] == "localhost"
    assert reported["details"]["database"] == source["database_name"]
    look_for(platform, word, made["database_name"])


def look_for(platform: Installation, word: str, imported_into: str) -> None:
    """In both clusters, and in all files of the home. It has to be nowhere."""
    for cluster, database in (("control", "tenantry_control"), ("shared-1", imported_into)):
        port = 5432 if cluster == "control" else platform.pg_port
        reported = run(
            "pg_dump",
            f"--host={platform.home / 'run' / cluster}",
            f"--port={port}",
            "--username=tenantry_admin",
            database,
        )
        assert "PostgreSQL database dump" in reported
        assert word not in reported
    # As it goes on, files and folders vanish: os.walk passes those by, Path.rglob does not.
    for folder, _, names in os.walk(platform.home):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                assert not path.is_file() or word.encode() not in path.read_bytes(), path


# ── the command line, and the rest ───────────────────────────────────────────


def test_the_command_line_imports_from_where_nothing_is_left(
    platform: Installation, source: dict[str, Any]
) -> None:
    url = source["connection_string"]
    reported = platform.tenantry("db", "create", "--name", "moved", "--import", stdin=f"{url}\n")
    assert "4 tables with 801 rows" in reported.stderr
    platform.create(name="again")
    refused = platform.tenantry("import", "again", stdin="", check=False)
    assert refused.returncode == 1
    assert "TENANTRY_IMPORT_FROM" in refused.stderr
    reported = platform.tenantry(
        "import", "again", "--schema", "public", "--json", stdin=f"{url}\n"
    )
    result = json.loads(reported.stdout)["result"]
    assert [each["name"] for each in result["tables"]] == sorted(
        name for name in ROWS if name.startswith("public.")
    )


def test_a_dump_goes_through_the_command_line(
    platform: Installation, dump: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "bait.dump"
    file.write_bytes(dump)
    platform.create(name="dumped")
    assert "10 rows" in platform.tenantry("import", "dumped", "--file", str(file)).stderr


def test_tables_can_be_left_out_and_other_logins_read_the_rest(
    platform: Installation, api: httpx.Client, source: dict[str, Any]
) -> None:
    made = platform.create(friendlyName="Partly")
    reader = data(api.post(f"/api/databases/{made['id']}/roles", json={"name": "reader"}), 201)
    operation = imported(
        api,
        made,
        source["connection_string"],
        exclude_tables=["sales.orders_2026", 'odd "name" of Ünal'],
        jobs=4,
    )
    assert operation["status"] == "succeeded", operation
    assert {each["name"] for each in operation["result"]["tables"]} == {
        "public.customers",
        "sales.totals",
    }
    assert ask(reader["connection_string"], "SELECT count(*) FROM sales.totals") == 1


def test_one_that_outgrows_its_quota_is_taken_back(
    platform: Installation, api: httpx.Client
) -> None:
    large = platform.create(friendlyName="Large", shadow=False)
    do(
        large["connection_string"],
        "CREATE TABLE t AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 60000)",
    )
    small = platform.create(friendlyName="Small", diskQuotaBytes=32 * 1024 * 1024, shadow=False)
    path = f"/api/databases/{small['id']}/import"
    reported = problem(api.post(path, json={"from": large["connection_string"]}), 409)
    assert "quota" in reported["detail"]
    # As a dump it is small, and grows only here.
    dump = subprocess.run(
        ["pg_dump", "--format=custom", large["connection_string"]],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert len(dump) < 1024 * 1024
    operation = uploaded(api, small, dump)
    assert operation["status"] == "failed", operation
    assert "quota" in operation["error"]["detail"]
    assert is_empty(small)
    eventually(lambda: data(api.get(f"/api/databases/{small['id']}"))["disk"]["state"] == "ok")
    do(small["connection_string"], "CREATE TABLE mine (x int)")
