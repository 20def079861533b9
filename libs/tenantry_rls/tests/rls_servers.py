"""A real PostgreSQL, and a real PgBouncer in transaction mode before it."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

DEADLINE = 15  # seconds, for PgBouncer to listen
OWNER, APP = "rls_owner", "rls_app"


@dataclass(frozen=True)
class Servers:
    """Sockets in one folder; whoever reaches them is whom they say they are (trust)."""

    folder: Path

    def dsn(self, dbname: str = "postgres", *, user: str = "postgres") -> str:
        return make_conninfo(host=str(self.folder), user=user, dbname=dbname)

    def pooled(self, dbname: str, *, user: str = APP) -> str:
        return make_conninfo(host=str(self.folder), port=6432, user=user, dbname=dbname)

    def execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as superuser:
            superuser.execute(statement)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of a new database, dropped afterwards."""
        name = f"rls_{uuid4().hex[:10]}"
        self.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(OWNER)
            )
        )
        try:
            yield name
        finally:
            self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _account() -> str | None:
    """Whom to run the servers as: PostgreSQL refuses to be root's."""
    if os.geteuid() != 0:
        return None
    for name in ("tenantry", "postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.exit("These tests need a user other than root to run PostgreSQL as.", returncode=1)


def _pgbouncer() -> Path:
    """The newest PgBouncer: of Tenantry's engines where they are, else the installed one."""
    engines = Path(os.environ.get("TENANTRY_ENGINES", "/nowhere")).glob("pgbouncer-*/pgbouncer")
    found = max(engines, default=None) or shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    return Path(found)


@contextmanager
def running() -> Iterator[Servers]:
    """Both servers, in a folder of their own; gone afterwards."""
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="rls-"))
    if account:
        shutil.chown(folder, account, account)
    started: dict[str, Any] = {
        "cwd": folder,
        "user": account,
        "group": account,
        "extra_groups": [] if account else None,
        "env": {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
    }
    initdbs = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    programs = max(initdbs, key=lambda path: int(path.parts[-3])).parent
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run([programs / program, "-D", data, *arguments], check=True, **started)

    pooler: subprocess.Popen[bytes] | None = None
    try:
        run("initdb", "--no-sync", "--auth=trust", "-U", "postgres", "-E", "UTF8", "--no-locale")
        options = {
            "unix_socket_directories": str(folder),
            "listen_addresses": "",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "shared_buffers": "32MB",
            "log_min_messages": "fatal",
        }
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        run("pg_ctl", "--wait", "--log", str(folder / "log"), "start")
        try:
            here = Servers(folder)
            for role in (OWNER, APP):
                here.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
            (folder / "pgbouncer.ini").write_text(
                f"[databases]\n* = host={folder}\n[pgbouncer]\nlisten_addr =\n"
                f"unix_socket_dir = {folder}\nlisten_port = 6432\nauth_type = trust\n"
                f"auth_file = {folder}/users\npool_mode = transaction\ndefault_pool_size = 3\n"
                f"max_prepared_statements = 200\nlogfile = {folder}/pgbouncer.log\n"
            )
            (folder / "users").write_text(f'"{APP}" ""\n"{OWNER}" ""\n')
            pooler = subprocess.Popen(
                [_pgbouncer(), "-q", folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, **started
            )
            _wait_for(folder / ".s.PGSQL.6432", pooler)
            yield here
        finally:
            if pooler is not None:
                pooler.kill()
                pooler.wait()
            run("pg_ctl", "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _wait_for(socket: Path, pooler: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + DEADLINE
    while not socket.exists():
        if pooler.poll() is not None or time.monotonic() > deadline:
            pytest.exit("PgBouncer does not start.", returncode=1)
        time.sleep(0.02)


Run = Callable[..., "list[tuple[Any, ...]]"]


def runner(dsn: str) -> Run:
    """A function that executes statements in one committed transaction, and gives the last rows."""

    def run(*statements: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(dsn) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return run
