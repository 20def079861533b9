"""The data API of all databases, through the pooler, with each database for itself."""

import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest

from answers import data
from clients import do, eventually, login
from harness import NO_TLS, Installation, kill
from tenantry.host import processes

Row = dict[str, Any]
SCHEMA = """
CREATE TABLE todos (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task text NOT NULL,
    owner text DEFAULT current_setting('request.jwt.claims', true)::json->>'sub');
INSERT INTO todos (task) VALUES ('one'), ('two');
GRANT SELECT, INSERT ON todos TO anon, authenticated;
"""

# A function can catch what cancels it, but not that its session ends.
HANGS = """
CREATE OR REPLACE FUNCTION hang() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        BEGIN
            PERFORM pg_sleep(600);
        EXCEPTION WHEN query_canceled THEN NULL;
        END;
    END LOOP;
END $$
"""


@dataclass
class Served:
    """A database with a data API, and a client without a token."""

    row: Row
    api: Row
    http: httpx.Client

    @property
    def url(self) -> str:
        return str(self.row["connection_string"])

    def token(self, **claims: object) -> dict[str, str]:
        encoded = jwt.encode(
            {"role": "authenticated", **claims}, self.api["jwt_secret"], algorithm="HS256"
        )
        return {"Authorization": f"Bearer {encoded}"}


@pytest.fixture(scope="module")
def served(platform: Installation) -> Iterator[list[Served]]:
    """Two databases, and the process that has started for them."""
    made = []
    with platform.client() as api:
        for _ in range(2):
            row = platform.create(maxConnections=20)
            do(row["connection_string"], SCHEMA)
            enabled = data(api.put(f"/api/databases/{row['id']}/data-api", json={}))
            client = httpx.Client(
                base_url=f"http://127.0.0.1:{platform.rest_port}/{row['database_name']}/rest/v1",
                timeout=60,
                trust_env=False,
                verify=NO_TLS,
            )
            made.append(Served(row, enabled, client))
    eventually(lambda: _answers(made[0].http))
    yield made
    for each in made:
        each.http.close()


@pytest.fixture
def one(served: list[Served]) -> Served:
    return served[0]


def _answers(client: httpx.Client, path: str = "/todos") -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


def test_rows_are_read_by_anybody_and_written_with_a_token(one: Served) -> None:
    found = one.http.get("/todos", params={"select": "task", "order": "id", "limit": "2"})
    assert (found.status_code, found.text) == (200, '[{"task":"one"}, \n {"task":"two"}]')
    refused = one.http.post("/todos", json={"task": "no"})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    wanted = {"Prefer": "return=representation"}
    made = one.http.post("/todos", json={"task": "ann's"}, headers=one.token(sub="ann") | wanted)
    assert made.status_code == 201
    assert made.json()[0]["owner"] == "ann"
    key = {"apikey": one.api["anon_key"]} | wanted
    assert one.http.post("/todos", json={"task": "anon's"}, headers=key).status_code == 201


def test_both_paths_lead_to_a_database_and_others_to_none(
    platform: Installation, one: Served
) -> None:
    name = one.row["database_name"]
    for path in (f"/rest/{name}/todos", f"/{name}/rest/v1/todos"):
        assert one.http.get(f"http://127.0.0.1:{platform.rest_port}{path}").is_success
    for path in ("/", "/todos", f"/{name}/todos", "/rest/tenant_other/todos"):
        found = one.http.get(f"http://127.0.0.1:{platform.rest_port}{path}")
        assert found.status_code == 404
        assert found.headers["content-type"] == "application/problem+json"


def test_tokens_are_of_one_database_and_of_its_roles(served: list[Served]) -> None:
    one, other = served
    wrong = one.http.get("/todos", headers=other.token())
    assert (wrong.status_code, wrong.json()["code"]) == (401, "PGRST301")
    for role in (one.row["username"], "tenantry_admin", f"{one.row['username']}__authenticator"):
        refused = one.http.get("/todos", headers=one.token(role=role))
        assert (refused.status_code, refused.json()["code"]) == (401, "22023")


def test_changes_of_the_schema_are_seen(one: Served) -> None:
    do(one.url, "ALTER TABLE todos ADD COLUMN size int DEFAULT 7")
    # The column is not in the schema cache, which is read again before the answer.
    assert one.http.get("/todos?select=size&limit=1").json() == [{"size": 7}]
    assert one.http.get("/plans").status_code == 404
    do(one.url, "CREATE TABLE plans (id int); GRANT SELECT ON plans TO anon")
    assert one.http.get("/plans").json() == []
    do(one.url, "COMMENT ON TABLE plans IS 'What is planned'; DROP TABLE IF EXISTS passing")
    eventually(lambda: "What is planned" in one.http.get("/").text)
    do(one.url, "REVOKE SELECT ON plans FROM anon")
    assert one.http.get("/plans").status_code == 401


SPOIL = """
CREATE FUNCTION spoil() RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN ALTER ROLE anon SET work_mem = '77kB'; END $$;
"""
MEMORY = "CREATE FUNCTION memory() RETURNS text RETURN current_setting('work_mem')"


def test_nobody_sets_parameters_for_the_requests_of_a_neighbour(
    platform: Installation, served: list[Served]
) -> None:
    """A role that all databases share can change its own settings, as any role can."""
    one, other = served
    do(one.url, SPOIL)
    key = {"apikey": one.api["anon_key"]}
    assert one.http.post("/rpc/spoil", headers=key).status_code == 204
    with platform.superuser() as server:
        found = server.execute("SELECT rolconfig FROM pg_roles WHERE rolname = 'anon'").fetchone()
        assert found == (["work_mem=77kB"],)
        # The function is new, so that the schema cache is read again, with the roles' settings.
        do(other.url, MEMORY)
        assert other.http.get("/rpc/memory").json() != "77kB"
        server.execute("ALTER ROLE anon RESET ALL")


def test_the_allowlist_is_of_client_addresses(served: list[Served], api: httpx.Client) -> None:
    one, other = served
    path = f"/api/databases/{other.row['id']}/whitelist"
    data(api.put(path, json={"entries": [{"ip_address": "203.0.113.7"}]}))
    claim = {"X-Forwarded-For": "203.0.113.7"}  # by no proxy of ours

    def refused() -> bool:
        answer = other.http.get("/todos", headers=claim)
        return answer.status_code == 403 and answer.json()["code"] == "address_not_allowed"

    eventually(refused)
    assert one.http.get("/todos").is_success
    data(api.put(path, json={"entries": []}))
    eventually(lambda: _answers(other.http))


def test_browsers_are_answered_by_the_origins_of_the_database(one: Served) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "PATCH"}
    found = one.http.options("/todos", headers=asked)
    assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, "*")
    page = one.http.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    root = str(one.http.base_url).partition("/tenant_")[0]
    for asset in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
        assert one.http.get(f"{root}{asset}").is_success
    document = one.http.get("/").json()
    assert document["swagger"] == "2.0"
    assert "/todos" in document["paths"]


PAGE = """
CREATE DOMAIN "text/html" AS text;
CREATE FUNCTION page() RETURNS "text/html" STABLE LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('response.headers', '[{"Set-Cookie": "__Host-tenantry=x"}]', true);
    RETURN '<script>1</script>' || coalesce(current_setting('request.cookies', true), ''); END $$;
CREATE FUNCTION big(n int) RETURNS json STABLE RETURN to_json(repeat('x', n));
"""


def test_tenants_do_not_own_the_origin(one: Served) -> None:
    do(one.url, PAGE)
    sent = {"Cookie": "__Host-tenantry=session", "Accept": "text/html"}
    found = one.http.get("/rpc/page", headers=sent)
    assert found.status_code == 200
    assert "session" not in found.text
    assert "set-cookie" not in found.headers
    assert found.headers["content-security-policy"] == "sandbox"


def test_an_answer_counts_until_it_is_read(platform: Installation, one: Served) -> None:
    path = "/rpc/big?n=15000000"
    request = f"GET /rest/{one.row['database_name']}{path} HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", platform.rest_port)) as reader:
        reader.sendall(request.encode())
        reader.recv(1)
        found = one.http.get(path)
        assert (found.status_code, found.json()["code"]) == (503, "answers_too_large")
        assert one.http.get("/rpc/big?n=10").is_success
    eventually(lambda: _answers(one.http, path))


def test_a_body_has_a_limit(one: Served) -> None:
    with httpx.Client(timeout=60, trust_env=False, verify=NO_TLS) as client:
        url = f"{one.http.base_url}todos"
        found = client.post(url, content=b"x" * (10 * 1024 * 1024 + 1), headers=one.token())
    assert (found.status_code, found.json()["code"]) == (413, "body_too_large")


def test_a_slow_database_delays_no_other(served: list[Served]) -> None:
    one, other = served
    blocker = login(other.url)
    with blocker, blocker.transaction():
        blocker.execute("LOCK TABLE todos")
        with httpx.Client(timeout=1, trust_env=False, verify=NO_TLS) as client:
            for _ in range(3):
                with pytest.raises(httpx.ReadTimeout):
                    client.get(f"{other.http.base_url}todos")
        assert one.http.get("/todos").is_success  # while the other is locked
    assert other.http.get("/todos").is_success


def test_it_is_a_part_that_is_reported_and_counted(
    platform: Installation, one: Served, api: httpx.Client
) -> None:
    parts = {each["name"]: each for each in platform.status()["parts"]}
    assert parts["rest"]["state"] == "running"
    assert parts["rest"]["detail"].startswith(f"data API, http://localhost:{platform.rest_port}")
    ready = {each["name"]: each["state"] for each in api.get("/ready").json()["parts"]}
    assert ready["rest"] == "up"
    counted = api.get("/metrics").text
    name = one.row["database_name"]
    assert (
        f'tenantry_data_api_requests_total{{database="{name}",process="rest",status="200"}}'
        in counted
    )
    assert f'tenantry_data_api_cache_bytes{{database="{name}",process="rest"}}' in counted
    log = (platform.home / "logs" / "tenantry.log").read_text()
    assert "ann's" not in log
    assert one.api["anon_key"] not in log


@pytest.mark.parametrize("part", ["pooler", "rest"])
def test_it_recovers_from_a_killed_process(
    platform: Installation, one: Served, api: httpx.Client, part: str
) -> None:
    """And what its requests left in the server ends long before their time is over."""
    do(one.url, HANGS)
    path = f"/api/databases/{one.row['id']}/data-api"
    assert api.put(path, json={"statement_timeout_ms": 3_600_000}).is_success
    before = platform.pids()[part]
    with ThreadPoolExecutor(1) as thread:
        hanging = thread.submit(one.http.post, "/rpc/hang", headers=one.token())
        eventually(lambda: _hangs(platform, one))
        kill(before, signal.SIGKILL)
        hanging.exception()
    eventually(lambda: platform.pids().get(part, before) != before)
    eventually(lambda: _answers(one.http))
    eventually(lambda: not _hangs(platform, one))
    assert api.put(path, json={}).is_success


def _hangs(platform: Installation, one: Served) -> bool:
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = %s AND usename LIKE '%%_authenticator' AND wait_event = 'PgSleep'
    """
    with platform.superuser() as server:
        [found] = server.execute(query, (one.row["database_name"],)).fetchone() or [0]
    return bool(found)


def test_it_recovers_from_sessions_that_the_server_ends(
    platform: Installation, one: Served
) -> None:
    with platform.superuser() as server:
        server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (one.row["database_name"],),
        )
    eventually(lambda: _answers(one.http))


def test_it_ends_with_the_last_data_api(
    platform: Installation, served: list[Served], api: httpx.Client
) -> None:
    pid = platform.pids()["rest"]
    for each in served:
        assert api.delete(f"/api/databases/{each.row['id']}/data-api").is_success
    eventually(lambda: not processes.is_alive(pid))
    assert "rest" not in {each["name"] for each in platform.status()["parts"]}
