"""The edge in front of a platform: host names, HTTPS, and whose address a request has."""

import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import jwt
import psycopg
import pytest

from answers import data
from clients import ask as ask_sql
from clients import changed, do, eventually, is_open, login, refusal, run, succeeded
from harness import NO_TLS, Installation, free_ports
from tenantry.host.certificates import OwnAuthority

DOMAIN = "edge.localhost"
SCHEMA = """
CREATE TABLE todos (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task text NOT NULL);
INSERT INTO todos (task) VALUES ('one');
CREATE FUNCTION sent() RETURNS json LANGUAGE sql AS
    $$ SELECT current_setting('request.headers', true)::json $$;
GRANT SELECT ON todos TO anon;
GRANT EXECUTE ON FUNCTION sent() TO anon;
"""
FORGED = {
    "X-Forwarded-For": "127.0.0.9",
    "X-Real-Ip": "127.0.0.9",
    "Forwarded": "for=127.0.0.9",
    "X_Forwarded_For": "127.0.0.9",
}


@pytest.fixture(scope="module")
def edged() -> Iterator[Installation]:
    """An installation of its own: the edge is off in those that modules share."""
    http_port, https_port, challenge_port, sql_port = free_ports(4)
    installation = Installation(
        environment={
            "TENANTRY_EDGE": "on",
            "TENANTRY_DOMAIN": DOMAIN,
            "TENANTRY_EDGE_HTTP_PORT": str(http_port),
            "TENANTRY_EDGE_HTTPS_PORT": str(https_port),
            "TENANTRY_EDGE_CHALLENGE_PORT": str(challenge_port),
            "TENANTRY_EDGE_SQL": "on",
            "TENANTRY_EDGE_SQL_PORT": str(sql_port),
            "TENANTRY_CACHE_HOST": "0.0.0.0",  # noqa: S104 (so that it has TLS)
        }
    )
    try:
        installation.up()
        yield installation
    finally:
        installation.remove()


@pytest.fixture(scope="module")
def served(edged: Installation) -> dict[str, Any]:
    """A database with a data API, whose route is in force."""
    row = edged.create()
    do(changed(row["connection_string"], hostaddr="127.0.0.1"), SCHEMA)
    with edged.client() as api:
        enabled = data(api.put(f"/api/databases/{row['id']}/data-api", json={}))
    row |= enabled
    eventually(lambda: todos(edged, row).is_success)
    return row


def https(edged: Installation) -> int:
    return int(edged.environment["TENANTRY_EDGE_HTTPS_PORT"])


def ask(
    edged: Installation,
    name: str,
    path: str,
    *,
    address: str = "127.0.0.1",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """What a client at an address is answered by a host name, verified by the platform's CA."""
    trusted = ssl.create_default_context(cafile=edged.home / "ca.crt")
    transport = httpx.HTTPTransport(verify=trusted, local_address=address)
    host = f"{name}.{DOMAIN}"
    with httpx.Client(transport=transport, trust_env=False, timeout=30) as client:
        return client.get(
            f"https://127.0.0.1:{https(edged)}{path}",
            headers={"Host": f"{host}:{https(edged)}", **(headers or {})},
            extensions={"sni_hostname": host},
        )


def todos(edged: Installation, row: dict[str, Any], **more: Any) -> httpx.Response:
    name = row["database_name"].replace("_", "-")
    headers = {"apikey": row["anon_key"], **more.pop("headers", {})}
    return ask(edged, f"{name}.rest", "/rest/v1/todos?select=task", headers=headers, **more)


def test_the_fixed_names_are_served_with_https_and_headers(edged: Installation) -> None:
    answer = ask(edged, "api", "/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    console = ask(edged, "console", "/sign-in")
    assert 'name="' in console.text
    assert console.headers["referrer-policy"] == "same-origin"
    assert ask(edged, "console", "/").headers["location"].startswith("/")


def test_a_server_with_tls_is_verified_and_served_while_it_runs(edged: Installation) -> None:
    assert ask(edged, "cache", "/v1/caches").status_code == 404
    with edged.client() as api:
        made = data(api.post("/api/sites", json={"name": "shop"}), 201)
    assert made["cache_url"] == f"https://cache.{DOMAIN}:{https(edged)}"
    path = f"/v1/caches/{made['id']}/entries/search"
    eventually(lambda: ask(edged, "cache", path).status_code == 401)
    assert ask(edged, "cache", path).headers["content-type"] == "application/problem+json"
    with edged.client() as api:
        assert api.delete(f"/api/sites/{made['id']}").is_success
    eventually(lambda: ask(edged, "cache", path).text == "404 page not found\n")


def test_a_request_by_http_is_redirected(edged: Installation) -> None:
    url = f"http://127.0.0.1:{edged.environment['TENANTRY_EDGE_HTTP_PORT']}/docs?x=1"
    with httpx.Client(trust_env=False, verify=NO_TLS) as client:
        found = client.get(url, headers={"Host": f"api.{DOMAIN}"})
        assert found.status_code == 301
        assert found.headers["location"] == f"https://api.{DOMAIN}:{https(edged)}/docs?x=1"
        posted = client.post(url, headers={"Host": f"api.{DOMAIN}"})
        assert posted.status_code == 308
        assert client.get(url, headers={"Host": "evil.example"}).status_code == 404


def test_status_and_ready_show_it(edged: Installation) -> None:
    (part,) = [each for each in edged.status()["parts"] if each["name"] == "edge"]
    assert part["state"] == "running"
    assert f"https://*.{DOMAIN}:{https(edged)}" in part["detail"]
    with edged.client() as api:
        parts = {each["name"]: each for each in api.get("/ready").json()["parts"]}
    assert parts["edge"]["state"] == "up"


def test_a_database_has_a_host_name_of_its_own(edged: Installation, served: dict[str, Any]) -> None:
    name = served["database_name"].replace("_", "-")
    root = f"https://{name}.rest.{DOMAIN}:{https(edged)}"
    assert served["rest_url"] == f"{root}/rest/v1"
    found = todos(edged, served)
    assert (found.status_code, found.json()) == (200, [{"task": "one"}])
    assert found.headers["strict-transport-security"] == "max-age=31536000"
    # As supabase-js has it: a key, and a user's token.
    token = jwt.encode({"role": "anon"}, served["jwt_secret"], algorithm="HS256")
    assert todos(edged, served, headers={"Authorization": f"Bearer {token}"}).is_success
    document = ask(edged, f"{name}.rest", "/rest/v1/", headers={"apikey": served["anon_key"]})
    assert document.json()["host"] == f"{name}.rest.{DOMAIN}:{https(edged)}"


def test_queries_arrive_as_they_were_sent(edged: Installation, served: dict[str, Any]) -> None:
    name = served["database_name"].replace("_", "-")
    headers = {"apikey": served["anon_key"]}
    for condition in ("or=(task.eq.one,task.eq.a;b)", "task=eq.one%3B", "task=like.*n*"):
        path = f"/rest/v1/todos?select=task&{condition}"
        direct = f"http://127.0.0.1:{edged.rest_port}/{served['database_name']}{path}"
        found = ask(edged, f"{name}.rest", path, headers=headers)
        with httpx.Client(trust_env=False, verify=NO_TLS) as client:
            assert found.text == client.get(direct, headers=headers).text
        assert found.status_code == 200


def test_a_host_name_leads_to_no_other_database(
    edged: Installation, served: dict[str, Any]
) -> None:
    own = served["database_name"]
    missing = ask(edged, "tenant-nobodys.rest", "/rest/v1/todos")
    assert missing.headers["content-type"] == "application/problem+json"
    assert (missing.status_code, "tenant_nobodys" in missing.json()["detail"]) == (404, True)
    for name in (own.replace("_", "-"), "tenant-nobodys"):
        for path in (f"/{own}/rest/v1/todos", f"/rest/{own}/todos"):
            assert ask(edged, f"{name}.rest", path).status_code == 404


def test_the_allowlist_sees_the_clients_address_and_no_forged_one(
    edged: Installation, served: dict[str, Any]
) -> None:
    path = f"/api/databases/{served['id']}/whitelist"
    with edged.client() as api:
        entry = data(api.post(path, json={"ip_address": "127.0.0.9"}), 201)
    eventually(lambda: todos(edged, served).status_code == 403)
    assert todos(edged, served, address="127.0.0.9").is_success
    assert "127.0.0.1" in todos(edged, served).text
    named = [
        FORGED,
        {"Connection": "X-Tenantry-Edge, X-Forwarded-For", **FORGED},
        {"Connection": "Upgrade, X-Tenantry-Edge", "Upgrade": "websocket", **FORGED},
        {"X-Tenantry-Edge": "guess", **FORGED},
    ]
    for headers in named:
        assert todos(edged, served, headers=headers).status_code == 403, headers
    direct = f"http://127.0.0.1:{edged.rest_port}/{served['database_name']}/rest/v1/todos"
    with httpx.Client(trust_env=False, verify=NO_TLS) as client:
        for headers in ({}, *named):
            key = {"apikey": served["anon_key"]}
            assert client.get(direct, headers=key | headers).status_code == 403, headers
    with edged.client() as api:
        assert api.delete(f"{path}/{entry['id']}").is_success
    eventually(lambda: todos(edged, served).is_success)


def test_the_key_of_the_edge_reaches_no_tenants_code(
    edged: Installation, served: dict[str, Any]
) -> None:
    name = served["database_name"].replace("_", "-")
    headers = {"apikey": served["anon_key"]}
    sent = ask(edged, f"{name}.rest", "/rest/v1/rpc/sent", headers=headers)
    assert sent.status_code == 200
    assert sent.json()["x-forwarded-for"] == "127.0.0.1"
    key = (edged.home / "edge" / "key").read_text()
    assert len(key) == 64
    assert key not in sent.text
    assert "x-tenantry-edge" not in sent.json()
    mode = {each.name: each.stat().st_mode & 0o777 for each in (edged.home / "edge").iterdir()}
    assert set(mode.values()) == {0o600}


def test_no_client_of_the_edge_is_a_program_of_this_machine(edged: Installation) -> None:
    assert edged.get("/metrics").status_code == 200
    assert ask(edged, "api", "/metrics").status_code == 401
    parts = ask(edged, "api", "/ready").json()["parts"]
    assert {each["detail"] for each in parts} == {None}
    tried = {"Connection": "X-Tenantry-Edge, X-Forwarded-For, X-Forwarded-Host"}
    assert ask(edged, "api", "/metrics", headers=tried).status_code == 401


@pytest.fixture(scope="module")
def shop(edged: Installation) -> dict[str, Any]:
    """An instance, with strings by its own port and by its name at the edge."""
    with edged.client() as api:
        body = {"name": "shop", "kind": "dedicated", "cpus": 1, "memory_mb": 256}
        row: dict[str, Any] = data(api.post("/api/databases", json=body), 202)
        succeeded(api, row["operation_id"])
        strings = data(api.get(f"/api/databases/{row['id']}/connection-strings"))["connection"]
    direct = changed(row["connection_string"], hostaddr="127.0.0.1")
    place = {"host": strings["host"], "port": str(strings["port"])}
    verify = {"sslmode": "verify-full", "sslrootcert": str(edged.home / "ca.crt")}
    return row | place | {"direct": direct, "by_name": changed(direct, **place, **verify)}


def admitted(
    edged: Installation, row: dict[str, Any], host: str, *, address: str = "127.0.0.1"
) -> bool:
    """Whether a client that asks for a host at the edge is asked for its password there."""
    asked = f"user\0{row['username']}\0database\0{row['database_name']}\0\0".encode()
    trusted = ssl.create_default_context(cafile=edged.home / "ca.crt")
    trusted.check_hostname = False
    place = ("127.0.0.1", int(edged.environment["TENANTRY_EDGE_SQL_PORT"]))
    with socket.create_connection(place, timeout=20, source_address=(address, 0)) as plain:
        plain.sendall(bytes.fromhex("0000000804d2162f"))
        assert plain.recv(1) == b"S"
        with suppress(OSError), trusted.wrap_socket(plain, server_hostname=host) as secured:
            secured.sendall(struct.pack("!II", len(asked) + 8, 3 << 16) + asked)
            return secured.recv(1) == b"R"
    return False


def test_an_instance_is_reached_by_its_name(edged: Installation, shop: dict[str, Any]) -> None:
    assert shop["host"] == f"shop-production-postgres.db.{DOMAIN}"
    assert shop["port"] == edged.environment["TENANTRY_EDGE_SQL_PORT"]
    assert ask_sql(shop["by_name"], "SELECT current_database()") == shop["database_name"]
    assert run("psql", "-wAtc", "SELECT 7", shop["by_name"]).strip() == "7"
    assert ask_sql(shop["direct"]) == 1
    (part,) = [each for each in edged.status()["parts"] if each["name"] == "edge"]
    assert f"and {shop['port']}" in part["detail"]
    with ThreadPoolExecutor(1) as others, login(shop["by_name"]) as session:
        running = others.submit(session.execute, "SELECT pg_sleep(60)")

        def has_ended() -> bool:
            session.cancel_safe()  # by TLS and by the name, with libpq 17 or later
            return running.done()

        eventually(has_ended)
        assert isinstance(running.exception(), psycopg.errors.QueryCanceled)


def test_a_name_leads_to_one_server_only(
    edged: Installation, served: dict[str, Any], shop: dict[str, Any]
) -> None:
    shared = served["database_name"].replace("_", "-")
    for name in (DOMAIN, f"{shared}.db.{DOMAIN}", f"crm-production-postgres.db.{DOMAIN}"):
        assert not admitted(edged, served, name)
    assert admitted(edged, shop, shop["host"])
    login_of_other = changed(
        shop["by_name"],
        user=served["username"],
        password=served["password"],
        dbname=served["database_name"],
    )
    assert "password authentication failed" in refusal(login_of_other)


def test_an_allowlist_is_obeyed_by_name_and_ends_sessions(
    edged: Installation, shop: dict[str, Any]
) -> None:
    path = f"/api/databases/{shop['id']}/whitelist"
    with edged.client() as api:
        with login(shop["by_name"]) as session:
            far = data(api.post(path, json={"ip_address": "127.0.0.9"}), 201)
            assert not is_open(session)
        assert admitted(edged, shop, shop["host"], address="127.0.0.9")
        assert not admitted(edged, shop, shop["host"])
        # Its rules admit the edge's address, which a program of this machine has, too.
        with login(shop["direct"]) as local:
            eventually(lambda: not is_open(local))
        near = data(api.post(path, json={"ip_address": "127.0.0.1"}), 201)
        with login(shop["by_name"]) as session:
            assert api.delete(f"{path}/{far['id']}").is_success
            assert is_open(session), "nobody from elsewhere is at the edge"
        assert not admitted(edged, shop, shop["host"], address="127.0.0.9")
        assert api.delete(f"{path}/{near['id']}").is_success
        assert admitted(edged, shop, shop["host"], address="127.0.0.9")


def test_other_names_and_old_protocols_are_refused(edged: Installation) -> None:
    trusted = ssl.create_default_context(cafile=edged.home / "ca.crt")
    with (
        socket.create_connection(("127.0.0.1", https(edged)), timeout=10) as plain,
        pytest.raises(ssl.SSLError),
    ):
        trusted.wrap_socket(plain, server_hostname="evil.example")
    done = subprocess.run(
        ["openssl", "s_client", "-tls1_1", "-connect", f"127.0.0.1:{https(edged)}"],
        capture_output=True,
        input=b"",
        timeout=20,
        check=False,
    )
    assert b"no peer certificate available" in done.stdout


def test_a_renewed_certificate_is_served_by_the_same_process(edged: Installation) -> None:
    pid, file = edged.pids()["edge"], edged.home / "edge" / "fixed.pem"
    names = [f"{name}.{DOMAIN}" for name in ("api", "console", "cache")]
    own = OwnAuthority(edged.home / "ca.crt", edged.home / "tls" / "ca.key")
    new = own.issue(names)
    owner = file.stat()
    file.write_bytes(new.render())
    os.chown(file, owner.st_uid, owner.st_gid)
    eventually(lambda: shown(edged) == new.fingerprint)
    assert edged.pids()["edge"] == pid


def shown(edged: Installation) -> str:
    trusted = ssl.create_default_context(cafile=edged.home / "ca.crt")
    with (
        socket.create_connection(("127.0.0.1", https(edged)), timeout=10) as plain,
        trusted.wrap_socket(plain, server_hostname=f"api.{DOMAIN}") as secured,
    ):
        der = secured.getpeercert(binary_form=True) or b""
    return hashlib.sha256(der).hexdigest()


def test_a_manual_change_is_reverted(edged: Installation) -> None:
    routes = edged.home / "edge" / "routes.yml"
    wanted = routes.read_text()
    routes.write_text("http: {}\n")
    eventually(lambda: routes.read_text() == wanted)
    eventually(lambda: answers(edged))


def test_one_that_is_killed_is_started_again(edged: Installation) -> None:
    pid = edged.pids()["edge"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: edged.pids().get("edge", pid) != pid)
    eventually(lambda: answers(edged))


def answers(edged: Installation) -> bool:
    try:
        return ask(edged, "api", "/health").is_success
    except httpx.TransportError:
        return False


def test_down_stops_it(edged: Installation) -> None:
    assert "edge" in edged.pids()
    edged.down()
    assert "edge" not in edged.pids()
    with pytest.raises(httpx.ConnectError):
        ask(edged, "api", "/health")


def test_a_taken_port_changes_nothing_and_names_its_owner() -> None:
    installation = Installation()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        http_port, challenge_port = free_ports(2)
        installation.environment = {
            "TENANTRY_EDGE": "on",
            "TENANTRY_DOMAIN": DOMAIN,
            "TENANTRY_EDGE_HTTP_PORT": str(http_port),
            "TENANTRY_EDGE_HTTPS_PORT": str(number),
            "TENANTRY_EDGE_CHALLENGE_PORT": str(challenge_port),
        }
        try:
            done = installation.tenantry("up", "--detach", check=False)
            assert done.returncode == 1
            assert f"Port {number}, which the edge needs, is used by python" in done.stderr
            assert f"(process {os.getpid()})" in done.stderr
            assert "TENANTRY_EDGE_HTTPS_PORT" in done.stderr
            assert not (installation.home / "clusters").exists()
            assert installation.processes() == []
        finally:
            installation.remove()
