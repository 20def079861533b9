"""Allowlists at both endpoints, from addresses that really differ."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from answers import data, problem
from clients import eventually, is_open
from harness import Installation
from inside import inside
from tenantry.base import logs, settings
from tenantry.control import audit, whitelist
from tenantry.control.store import Tx
from tenantry.control.whitelist import Admission, NewEntry
from tenantry.host.packages import find_jemalloc
from tenantry.services.platform import open_platform
from tenantry.services.repository.service import Repositories

V4 = ("127.0.3.1", "127.0.3.2")
V6 = ("fd00:7e57::1", "fd00:7e57::2")
ENDPOINTS = ("direct", "pooled")


@pytest.fixture(scope="module")
def ipv6_addresses() -> Iterator[None]:
    """Two IPv6 addresses of this machine's own; IPv4 has a whole network of them on loopback."""
    if os.geteuid() != 0:
        pytest.skip("a second IPv6 address on loopback needs root")
    for address in V6:
        subprocess.run(
            ["ip", "-6", "addr", "replace", f"{address}/128", "dev", "lo", "nodad"], check=True
        )
    yield
    for address in V6:
        subprocess.run(["ip", "-6", "addr", "del", f"{address}/128", "dev", "lo"], check=False)


class Relay:
    """Carries one endpoint's bytes from a local port, so that the server sees another address."""

    def __init__(self, source: str, port: int) -> None:
        self._source = source
        self._server = "::1" if ":" in source else "127.0.0.1", port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server, source_address=(self._source, 0))
                self._sockets += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextlib.contextmanager
def relay(platform: Installation, source: str, endpoint: str) -> Iterator[int]:
    port = platform.pg_port if endpoint == "direct" else platform.pool_port
    with contextlib.closing(Relay(source, port)) as carrying:
        yield carrying.port


def connect(database: dict[str, Any], port: int) -> psycopg.Connection[TupleRow]:
    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user=database["username"],
        password=database["password"],
        dbname=database["database_name"],
        sslmode="require",
        connect_timeout=10,
        autocommit=True,
    )


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
def test_matrix(
    platform: Installation,
    api: httpx.Client,
    request: pytest.FixtureRequest,
    family: tuple[str, str],
    endpoint: str,
) -> None:
    if family is V6:
        request.getfixturevalue("ipv6_addresses")
    here, there = family
    database, neighbour = platform.create(), platform.create()
    url = f"/api/databases/{database['id']}/whitelist"
    with contextlib.ExitStack() as open_things:
        near = open_things.enter_context(relay(platform, here, endpoint))
        far = open_things.enter_context(relay(platform, there, endpoint))

        def session(of: dict[str, Any], port: int) -> psycopg.Connection[TupleRow]:
            return open_things.enter_context(contextlib.closing(connect(of, port)))

        before, beside = session(database, far), session(neighbour, far)
        assert is_open(before)
        answer = api.post(url, json={"ipAddress": here}).json()
        entry = answer["data"]
        assert (entry["closes"], entry["ended_sessions"]) == (True, 1)
        assert "all others are refused from now on" in answer["message"]
        # The first entry closes the database to all others, their open sessions included.
        assert not is_open(before)
        with pytest.raises(psycopg.OperationalError):
            connect(database, far)
        inside = session(database, near)
        assert is_open(inside)
        # Removed while connected: another entry stays, so that the database stays closed.
        other = api.post(url, json={"ipAddress": "192.0.2.1"}).json()["data"]
        assert (other["closes"], other["ended_sessions"]) == (False, 0)
        removed = api.delete(f"{url}/{entry['id']}").json()["data"]
        assert (removed["opens"], removed["ended_sessions"]) == (False, 1)
        assert not is_open(inside)
        with pytest.raises(psycopg.OperationalError):
            connect(database, near)
        # Without a list it is open again, and its neighbour never noticed anything.
        answer = api.delete(f"{url}/{other['id']}").json()
        assert (answer["data"]["opens"], answer["data"]["ended_sessions"]) == (True, 0)
        assert "may be reached from everywhere" in answer["message"]
        for port in (near, far):
            assert is_open(session(database, port))
        assert is_open(beside)


def test_the_list_is_normalised_and_reported(platform: Installation, api: httpx.Client) -> None:
    database = platform.create()
    url = f"/api/databases/{database['id']}/whitelist"
    first = api.post(url, json={"ipAddress": "10.1.2.3/8", "description": "the office"})
    assert first.status_code == 201
    assert first.json()["data"]["ip_address"] == "10.0.0.0/8"
    assert "10.1.2.3/8 was taken for all of 10.0.0.0/8." in first.json()["message"]
    again = api.post(url, json={"ip_address": "::ffff:10.9.9.9/104"})
    assert again.json()["data"]["id"] == first.json()["data"]["id"]
    reported = api.get(url).json()
    assert [entry["ip_address"] for entry in reported["data"]] == ["10.0.0.0/8"]
    assert reported["caller_address"] == "127.0.0.1"
    for nonsense in ("example.com", "1.2.3.4/99", "0.0.0.0/0\nlocal all all trust"):
        answer = api.post(url, json={"ipAddress": nonsense})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    log = api.get("/api/audit-logs", params={"resource_id": database["id"]}).json()["data"]
    assert [entry["action"] for entry in log[:2]] == ["whitelist.add", "whitelist.add"]


def test_a_list_is_replaced_as_it_was_shown_before(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    url = f"/api/databases/{database['id']}/whitelist"
    entries = [
        {"ip_address": "192.0.2.0/24", "description": "office", "expires_at": None},
        {"ip_address": "127.0.3.1", "description": None, "expires_at": None},
    ]

    def preview(of: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = data(api.post(f"{url}/preview", json={"entries": of}))
        return found

    with (
        contextlib.closing(connect(database, platform.pg_port)) as direct,
        contextlib.closing(connect(database, platform.pool_port)) as pooled,
    ):
        assert is_open(direct)
        assert is_open(pooled)
        shown = preview(entries)
        assert (shown["closes"], shown["opens"]) == (True, False)
        assert [(each["action"], each["ip_address"]) for each in shown["changes"]] == [
            ("add", "192.0.2.0/24"),
            ("add", "127.0.3.1/32"),
        ]
        ending = {each.pop("endpoint"): each for each in shown["ending_sessions"]}
        one = {"username": database["username"], "address": "127.0.0.1", "sessions": 1}
        assert ending == {"shared-1": one, "pooler": one}
        assert preview([])["ending_sessions"] == []  # all are admitted
        # Somebody else changes it: what was shown is not what would be done.
        other = {"ip_address": "127.0.0.0/8", "description": "all of this machine"}
        data(api.post(url, json=other), 201)
        wanted = {"entries": entries, "version": shown["version"]}
        assert problem(api.put(url, json=wanted), 409)["code"] == "whitelist_changed"
        assert is_open(direct)
        assert is_open(pooled)
        shown = preview(entries)
        assert [each["action"] for each in shown["changes"]] == ["add", "add", "remove"]
        assert not shown["closes"]
        wanted = {"entries": entries, "version": shown["version"]}
        for _ in range(2):  # sent again, it is in force already
            listed = data(api.put(url, json=wanted))
            assert [each["ip_address"] for each in listed] == ["192.0.2.0/24", "127.0.3.1/32"]
        assert not is_open(direct)
        assert not is_open(pooled)
    assert preview(entries)["changes"] == []
    gone = preview([])
    assert (gone["opens"], [each["action"] for each in gone["changes"]]) == (True, ["remove"] * 2)


def test_what_an_entry_that_is_listed_is_not_reported_stays(
    platform: Installation, api: httpx.Client
) -> None:
    url = f"/api/databases/{platform.create()['id']}/whitelist"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    whole = {"ip_address": "192.0.2.1", "description": "a visitor's network", "expires_at": soon}
    first = api.post(url, json=whole).json()["data"]
    again = api.post(url, json={"ip_address": "192.0.2.1"}).json()["data"]
    assert again == first | {"closes": False}
    changed = api.post(url, json={"ip_address": "192.0.2.1", "expires_at": None}).json()["data"]
    assert changed == again | {"expires_at": None}
    # A whole list says all of each entry.
    api.put(url, json={"entries": [{"ip_address": "192.0.2.1"}]}).raise_for_status()
    (reported,) = api.get(url).json()["data"]
    assert (reported["id"], reported["description"], reported["expires_at"]) == (
        first["id"],
        None,
        None,
    )


def test_an_entry_that_has_come_to_its_end_admits_nobody(
    platform: Installation, api: httpx.Client
) -> None:
    database = platform.create()
    url = f"/api/databases/{database['id']}/whitelist"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    api.post(url, json={"ipAddress": V4[0], "expiresAt": soon}).raise_for_status()
    with (
        relay(platform, V4[0], "direct") as port,
        contextlib.closing(connect(database, port)) as session,
    ):
        with platform.control() as control:
            control.execute(
                "UPDATE ip_whitelist SET expires_at = now() - interval '1 s'"
                " WHERE database_id = %s",
                (database["id"],),
            )
        eventually(lambda: not is_open(session))


async def sweep_while_one_is_admitted(
    _: Repositories, database_id: str, address: str, conninfo: str
) -> bool:
    """End foreign sessions; one is admitted, and comes, once the lists have first been read.

    Returns whether it is still there.
    """
    logs.configure("sweep")  # to standard error
    read = whitelist.admissions
    came: list[psycopg.AsyncConnection[TupleRow]] = []
    async with open_platform(settings.load()) as platform:

        async def read_and_admit(tx: Tx) -> list[Admission]:
            found = await read(tx)
            whitelist.admissions = read
            entry = NewEntry(ip_network(address), None, None)
            async with platform.store.transaction(audit.PLATFORM) as other:
                await whitelist.put(other, UUID(database_id), entry)
                await platform.network.apply(other)
            came.append(await psycopg.AsyncConnection.connect(conninfo))
            return found

        whitelist.admissions = read_and_admit
        await platform.network.end_foreign_sessions()
    async with came[0] as session:
        try:
            await session.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_who_has_just_been_admitted_stays(
    platform: Installation, api: httpx.Client, endpoint: str
) -> None:
    database = platform.create()
    url = f"/api/databases/{database['id']}/whitelist"
    api.post(url, json={"ipAddress": "192.0.2.1"}).raise_for_status()
    with relay(platform, V4[0], endpoint) as port:
        # The platform's user may not look for a client's certificate in the home of who tests.
        conninfo = make_conninfo(
            database["connection_string"], host="127.0.0.1", port=port, sslcert="/none"
        )
        assert inside(platform, sweep_while_one_is_admitted, database["id"], V4[0], conninfo)


@pytest.mark.skipif(find_jemalloc() is None, reason="needs jemalloc (package libjemalloc2)")
def test_many_rules_are_freed_without_being_copied(platform: Installation) -> None:
    """See decision 0008: with glibc's own malloc 10,000 rules cost each login 8 ms."""
    pid = platform.pids()["shared-1"]
    assert "libjemalloc.so.2" in Path(f"/proc/{pid}/maps").read_text()
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"MALLOC_CONF=narenas:1,thp:always,dirty_decay_ms:60000" in environment


def test_the_audit_keeps_the_first_of_a_long_list(
    platform: Installation, api: httpx.Client
) -> None:
    """Whoever replaces it again and again must not fill the audit with it."""
    path = f"/api/databases/{platform.create()['id']}"
    entries = [{"ip_address": f"192.0.2.{number}"} for number in range(200)]
    assert api.put(f"{path}/whitelist", json={"entries": entries}).is_success
    wanted = {"resource_id": path.rpartition("/")[2], "limit": "1"}
    (row,) = api.get("/api/audit-logs", params=wanted).json()["data"]
    assert (row["details"]["count"], len(row["details"]["networks"])) == (200, 10)
