"""A real PostgreSQL with a schema to serve."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Server:
    """A socket in a folder of its own; whoever reaches it is who it claims to be (trust)."""

    folder: Path

    def dsn(self, user: str = "postgres") -> str:
        return make_conninfo(host=str(self.folder), user=user, dbname="postgres")

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as superuser:
            superuser.execute(statements.encode())

    def value(self, query: str) -> Any:
        with psycopg.connect(self.dsn(), autocommit=True) as superuser:
            row = superuser.execute(query.encode()).fetchone()
        return row[0] if row else None


def _account() -> str | None:
    """Whom to run the server as: PostgreSQL refuses to be root's."""
    if os.geteuid() != 0:
        return None
    for name in ("tenantry", "postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.exit("These tests need a user other than root to run PostgreSQL as.", returncode=1)


@contextmanager
def running(programs: Path | None = None) -> Iterator[Server]:
    """A server with the schema of schema.sql, by default of the newest that is installed."""
    if programs is None:
        initdbs = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        programs = max(initdbs, key=lambda path: int(path.parts[-3])).parent
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="rest-"))
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
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run([programs / program, "-D", data, *arguments], check=True, **started)

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
            "autovacuum": "off",
        }
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        run("pg_ctl", "--wait", "--log", str(folder / "log"), "start")
        try:
            here = Server(folder)
            here.execute((HERE / "schema.sql").read_text(encoding="utf-8"))
            yield here
        finally:
            run("pg_ctl", "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)
