"""A real HTTP server that answers in the API's shapes, and the program run against it."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tenantry.cli import client, main

SHOP = "0b5f7c1e-6a54-4d0e-9d3f-2a6a2f0f7a11"
MASK = "***"
OPERATION = "7e2d0a44-93b8-4cf6-8a56-0d2b8a3a9f01"


def database(**changes: Any) -> dict[str, Any]:
    """A row of ``GET /api/databases``."""
    return {
        "id": SHOP,
        "name": "shop",
        "friendly_name": "The shop",
        "database_name": "tenant_bcdfghjkmnpq",
        "username": "user_bcdfghjkmnpq",
        "owner_email": "ann@example.com",
        "environment": "production",
        "tags": [],
        "kind": "shared",
        "driver": "process",
        "version": 15,
        "container_name": None,
        "cpus": None,
        "memory_mb": None,
        "plan": "standard",
        "max_connections": 20,
        "limits": {
            "max_connections": 20,
            "pool_size": 16,
            "reserve_pool_size": 0,
            "disk_quota_bytes": 10 * 2**30,
            "temp_file_limit_bytes": 2**31,
            "statement_timeout_ms": 3_600_000,
            "lock_timeout_ms": 300_000,
            "idle_in_transaction_session_timeout_ms": 0,
            "cpu_weight": 100,
        },
        "password_changed_at": "2026-01-02T03:04:05.678901+00:00",
        "rotate_password_days": None,
        "auto_suspend_seconds": None,
        "auto_suspend_direct": "wake",
        "password_rotates_at": None,
        "last_active_at": None,
        "watched_since": "2026-01-02T03:04:05.678901+00:00",
        "paused": None,
        "log": {
            "statements": "none",
            "min_duration_ms": None,
            "errors": False,
            "keep_days": None,
            "paused_until": None,
        },
        "disk": {"used_bytes": 15_728_640, "quota_bytes": 10 * 2**30, "state": "ok"},
        "status": "active",
        "created_at": "2026-01-02T03:04:05.678901+00:00",
        **changes,
    }


def strings(password: str = MASK) -> dict[str, Any]:
    """The four connection strings of that row."""
    login = f"postgresql://user_bcdfghjkmnpq:{password}@db.example.com"
    name = "tenant_bcdfghjkmnpq"
    return {
        "database_name": name,
        "connection_string": f"{login}:5432/{name}?sslmode=require",
        "connection_string_pooled": f"{login}:6432/{name}?sslmode=require",
        "shadow_database_url": f"{login}:5432/{name}_shadow?sslmode=require",
        "shadow_database_url_pooled": f"{login}:6432/{name}_shadow?sslmode=require",
    }


POOLER = {
    "version": "PgBouncer 1.26.1",
    "pool_size": 25,
    "budget": 60,
    "memory_bytes": 7_000_000,
    "memory_limit_bytes": 268_435_456,
    "clients": 7,
    "servers": 8,
    "pools": [
        {
            "database": "tenant_a",
            "username": "user_a",
            "clients_active": 5,
            "clients_waiting": 2,
            "servers_active": 5,
            "servers_idle": 3,
            "longest_wait_seconds": 0.12,
        }
    ],
    "stats": [],
}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeApi:
    """Answers that a test scripts; the last one for a route is given again and again."""

    home: Path
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    scripts: dict[tuple[str, str], list[tuple[int, bytes | None, str]]] = field(
        default_factory=dict
    )
    on_request: Callable[[Request], None] = lambda _: None
    headers: dict[str, str] = field(default_factory=dict)

    def on(
        self, method: str, path: str, data: Any = None, *, status: int = 200, **more: Any
    ) -> None:
        envelope = {"success": True, **more, "data": data}
        self.add(method, path, status, json.dumps(envelope).encode(), "application/json")

    def refuse(self, method: str, path: str, status: int, code: str, **more: Any) -> None:
        problem = {"type": "about:blank", "status": status, "success": False, "code": code, **more}
        self.add(method, path, status, json.dumps(problem).encode(), "application/problem+json")

    def lose(self, method: str, path: str) -> None:
        """Take the request, and break the connection off without an answer."""
        self.add(method, path, 0, None, "")

    def text(self, path: str, text: str, *, status: int = 200, kind: str = "text/plain") -> None:
        self.add("GET", path, status, text.encode(), kind)

    def add(self, method: str, path: str, status: int, body: bytes | None, kind: str) -> None:
        self.scripts.setdefault((method, path), []).append((status, body, kind))

    def asked(self, method: str, path: str) -> list[Request]:
        return [r for r in self.requests if (r.method, r.path) == (method, path)]


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        request = Request(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query)),
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(raw) if "json" in self.headers.get("content-type", "") else None,
        )
        self.api.requests.append(request)
        self.api.on_request(request)
        script = self.api.scripts.get((self.command, parts.path))
        if not script:
            script = [(404, b'{"code":"not_found","title":"No such route","status":404}', "x/y")]
        status, body, kind = script.pop(0) if len(script) > 1 else script[0]
        if body is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in self.api.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 (http.server's names)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A server, and an environment that names it."""
    with TemporaryDirectory() as home:  # pytest's own are too long for a home
        yield from _serve(monkeypatch, Path(home))


def _serve(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[FakeApi]:
    fake = FakeApi(home)
    handler = type("Handler", (_Handler,), {"api": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("NO_COLOR", "FORCE_COLOR", "TENANTRY_DEBUG", "PGSSLROOTCERT", "PGSERVICE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TENANTRY_URL", fake.url)
        monkeypatch.setenv("TENANTRY_API_KEY", "tnt_key")
        monkeypatch.setenv("TENANTRY_HOME", str(home))
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        monkeypatch.setattr(client, "_POLL_SECONDS", 0.01)
        yield fake
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Ended:
    """What a run of the program came to."""

    code: object
    out: str
    err: str


@dataclass(frozen=True)
class Cli:
    """The program in this process, by its true entry point."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, program: Callable[[], object] = main.run) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["tenantry", *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            program()
        return Ended(end.value.code, *self.capsys.readouterr())


def start(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    """The program in a process of its own."""
    program = "from tenantry.cli.main import run; run()"
    return subprocess.Popen([sys.executable, "-c", program, *arguments], **options)


def on_a_terminal(
    *arguments: str, typed: str = "", no_color: bool = False, columns: int = 0
) -> tuple[int, str]:
    """Run the program on a terminal of its own; its exit code, and what stood there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm", **({"NO_COLOR": "1"} if no_color else {})}
    env.pop("COLUMNS", None)
    process = start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    os.write(ours, typed.encode())
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
    os.close(ours)
    return process.wait(60), seen.decode()
