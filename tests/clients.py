"""What the system tests come to a database with: libpq's programs, Python, and patience."""

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from typing import Any, LiteralString
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from redis.backoff import NoBackoff
from redis.retry import Retry

from answers import data
from harness import Installation
from tenantry.host import files

STRINGS = (
    "connection_string",
    "connection_string_pooled",
    "shadow_database_url",
    "shadow_database_url_pooled",
)
# Logins of operations, which end with these; those of short visits come and go all the time.
VISITORS: LiteralString = (
    "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'tenantry_visitor_')"
    " AND coalesce(rolvaliduntil, 'infinity') = 'infinity'"
)
ENDPOINTS = ("connection_string", "connection_string_pooled")
# What a tenant is answered that asks for a database of others.
CLOSED = dict(
    zip(ENDPOINTS, ("no pg_hba.conf entry", "permission denied for database"), strict=True)
)
CLONES_FROM = 18  # of PostgreSQL


def hurry(platform: Installation) -> None:
    """Have a platform's servers trust this machine not to lose its power: no fsync."""
    for folder in platform.home.glob("clusters/*/data"):
        (folder / "custom.conf").write_text("fsync = off\n")
        (folder / "custom.conf").chmod(0o644)
        os.kill(int((folder / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGHUP)


def redis_client(url: str, **tls: str) -> redis.Redis:
    """A client of a site's Redis that tries once."""
    client: redis.Redis = redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=10, retry=Retry(NoBackoff(), 0), **tls
    )
    return client


def redis_answers(url: str) -> bool:
    """Whether a site's Redis answers; its certificate is not verified.

    redis-py leaves a socket open when a Redis ends while a connection begins.
    """
    parsed, tls = urlsplit(url), ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    place = (parsed.hostname or "", parsed.port or 0)
    try:
        with socket.create_connection(place, timeout=5) as plain, tls.wrap_socket(plain) as there:
            there.sendall(b"PING\r\n")
            return there.recv(64).startswith(b"-NOAUTH")
    except OSError:
        return False


def run(*words: str, **env: str) -> str:
    """Run a program to its end and return what it printed."""
    done = subprocess.run(
        words, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def block_copy(platform: Installation) -> str:
    """How a small database that nobody is in is branched on this machine."""
    with platform.superuser() as server:
        version = server.info.server_version // 10_000
    return "clone" if version >= CLONES_FROM and files.shares_blocks(platform.home) else "template"


def verified(platform: Installation, url: str) -> str:
    """A connection string with which libpq verifies the server's certificate and its name."""
    verify = url.replace("sslmode=require", "sslmode=verify-full")
    assert verify != url
    return f"{verify}&sslrootcert={platform.home / 'ca.crt'}"


def changed(url: str, **parameters: str) -> str:
    """A connection string with other parameters: dbname, user, password, sslmode, …"""
    return make_conninfo(url, **parameters)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def login(url: str) -> psycopg.Connection[TupleRow]:
    """An open session in autocommit mode."""
    return psycopg.connect(url, autocommit=True, connect_timeout=15)


def is_open(session: psycopg.Connection[TupleRow]) -> bool:
    """Whether a session has not been ended."""
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def ask(url: str, query: str = "SELECT 1") -> object:
    """The first value that a session of its own is answered."""
    with login(url) as session:
        row = session.execute(query.encode()).fetchone()
    return row[0] if row else None


def do(url: str, statements: str) -> None:
    """Have a session of its own do this."""
    with login(url) as session:
        session.execute(statements.encode())


def refusal(url: str, *, seconds: float = 12.0) -> str:
    """Why a session is refused; it has to be, before ``login`` loses its patience."""
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError) as refused:
        ask(url)
    took = time.monotonic() - began
    assert took < seconds, f"refused after {took:.1f} s only"
    return str(refused.value)


def eventually(holds: Callable[[], object], *, seconds: float = 120.0, every: float = 0.05) -> None:
    """Wait until something holds for which there is no event to wait for.

    ``seconds`` is for tests of how long that takes: a machine may have much else to do. Looking
    takes a quarter of the time at most, since what is waited for needs the processor, too.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if holds():
            return
        now = time.monotonic()
        assert now < deadline, f"not so within {seconds:.0f} s"
        time.sleep(max(every, 3 * (now - began)))


def finished(api: httpx.Client, operation_id: str) -> dict[str, Any]:
    """An operation that has ended, in whatever way."""
    path = f"/api/operations/{operation_id}"
    eventually(lambda: data(api.get(path))["finished_at"], seconds=240)
    operation: dict[str, Any] = data(api.get(path))
    return operation


def succeeded(api: httpx.Client, operation_id: str) -> dict[str, Any]:
    """An operation that has succeeded."""
    ended = finished(api, operation_id)
    assert ended["status"] == "succeeded", ended
    return ended
