"""Whether each format of ``tenantry db url`` connects with its client, pasted as it is printed.

Each client asks on the direct and on the pooled string who and where it is. A string that verifies
the server must also fail where ``ca.crt`` is another authority's. The clients are those of npm, of
PyPI (requirements/clients.txt) and of Debian, which are installed; what cannot be had is reported.
"""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support import Aim, Installation, Report, installation, machine, run, say
from tenantry.base.errors import MachineError
from tenantry.host import environment, packages
from tenantry.host.certificates import OwnAuthority

PROGRAMS = Path(__file__).resolve().parent / "client_programs"
REQUIREMENTS = PROGRAMS.parents[1] / "requirements" / "clients.txt"
CACHE = Path("/var/cache/tenantry" if os.geteuid() == 0 else Path.home() / ".cache/tenantry")
JDBC = Path("/usr/share/java/postgresql.jar")
GO_SOURCES = Path("/usr/share/gocode")
PRISMA = {"PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true"}  # it is downloaded otherwise, and not needed
ENDPOINTS = {"direct": "connection_string", "pooled": "connection_string_pooled"}
NODE = ("node", "prisma", "drizzle")
SECONDS = 120


@dataclass(frozen=True, slots=True)
class Client:
    """A client, the format it takes, and the program that reads its string from CONNECTION."""

    name: str
    format: str
    command: list[str]


# ── installing ───────────────────────────────────────────────────────────────


def node() -> list[Client]:
    """The packages that package-lock.json pins; Prisma makes its client from a schema."""
    lock = (PROGRAMS / "package-lock.json").read_bytes()
    folder = CACHE / f"clients-node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / "generated").exists():
        shutil.copytree(PROGRAMS, folder, dirs_exist_ok=True)
        quiet = ("--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund")
        call(["npm", "ci", *quiet], folder, {})
        call(["npx", "prisma", "generate", "--schema=schema.prisma"], folder, PRISMA)
    shutil.copy(PROGRAMS / "connect.js", folder)
    formats = {"drizzle": "drizzle", "prisma": "prisma"}
    return [
        Client(name, formats.get(name, "node"), ["node", str(folder / "connect.js"), name])
        for name in ("pg", "knex", "sequelize", "typeorm", "drizzle", "prisma")
    ]


def python() -> list[Client]:
    program = environment.ensure_packages(CACHE / "clients", REQUIREMENTS) / "bin" / "python"
    script = str(PROGRAMS / "connect.py")
    names = ("django", "sqlalchemy psycopg", "sqlalchemy psycopg2", "asyncpg")
    return [Client(name, name.split()[0], [str(program), script, name]) for name in names]


def jdbc() -> list[Client]:
    if not JDBC.exists() or shutil.which("java") is None:
        apt(["libpostgresql-jdbc-java", "default-jdk-headless"])
    command = ["java", "-classpath", str(JDBC), str(PROGRAMS / "Connect.java")]
    return [Client("jdbc", "jdbc", command)]


def go() -> list[Client]:
    if not (GO_SOURCES / "src/github.com/jackc/pgx/v4").exists() or shutil.which("go") is None:
        apt(["golang-go", "golang-github-lib-pq-dev", "golang-github-jackc-pgx-v4-dev"])
    program = CACHE / "clients-go"
    build = ["go", "build", "-o", str(program), str(PROGRAMS / "connect.go")]
    variables = {"GOPATH": str(GO_SOURCES), "GO111MODULE": "off", "GOCACHE": str(CACHE / "go")}
    call(build, PROGRAMS, variables)
    return [
        Client("lib/pq", "go", [str(program), "postgres"]),
        Client("pgx", "go", [str(program), "pgx"]),
    ]


def psql() -> list[Client]:
    query = "SELECT current_user || '|' || current_database()"
    return [Client("psql", "psql", ["sh", "-c", f'psql -wAtc "{query}" "$CONNECTION"'])]


def apt(names: list[str]) -> None:
    async def install() -> None:
        await packages.refresh()
        await packages.install(names, say)

    asyncio.run(install())


def call(command: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Run a program and return what it printed. Raises MachineError."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    except OSError as error:
        raise MachineError(f"{command[0]}: {error.strerror}.") from None
    if done.returncode != 0:
        raise MachineError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout.strip()


# ── connecting ───────────────────────────────────────────────────────────────


def strings(here: Installation, made: Mapping[str, Any], *options: str) -> dict[str, Any]:
    """What ``db url`` prints with these options."""
    words = ("db", "url", str(made["id"]), "--password-stdin", "--json", *options)
    reported: dict[str, Any] = json.loads(here.tenantry(*words, stdin=made["password"]).stdout)
    return reported


def ask(client: Client, string: str) -> str:
    """Whom and where the client finds itself, or why it does not connect."""
    with TemporaryDirectory() as folder:  # no file that happens to be here is to help
        try:
            return call(client.command, Path(folder), {"CONNECTION": string, "HOME": folder})
        except MachineError as error:
            return error.detail


def try_client(here: Installation, made: Mapping[str, Any], client: Client, other: Path) -> Any:
    """What became of each string: it connects, or why not; one that verifies has to refuse."""
    found: dict[str, Any] = {"format": client.format}
    meant = f"{made['username']}|{made['database_name']}"
    options = [("", ())] if client.format in NODE else [("", ()), ("verified ", ("--verify-full",))]
    began = time.monotonic()
    for label, verify in options:
        reported = strings(here, made, "--format", client.format, *verify)
        for endpoint, name in ENDPOINTS.items():
            answer = ask(client, reported[name])
            found[label + endpoint] = True if answer == meant else answer
    reported = strings(
        here, made, "--format", client.format, "--verify-full", "--ca-file", str(other)
    )
    answer = ask(client, reported[ENDPOINTS["direct"]])
    found["refuses another authority"] = answer != meant and "certif" in answer.lower()
    if not found["refuses another authority"]:
        found["said"] = answer
    found["seconds"] = round(time.monotonic() - began, 1)
    say(f"{client.name}: {found}")
    return found


def benchmark(_: bool) -> Report:
    results: dict[str, Any] = {}
    clients: list[Client] = []
    for group in (psql, python, node, jdbc, go):
        began = time.monotonic()
        try:
            clients += group()
            results[f"installing {group.__name__}"] = round(time.monotonic() - began, 1)
        except MachineError as error:
            results[f"installing {group.__name__}"] = error.detail
        say(f"{group.__name__}: {results[f'installing {group.__name__}']}")
    with installation(warm_pool=1) as here, TemporaryDirectory() as folder:
        authority = OwnAuthority(Path(folder) / "other.crt", Path(folder) / "other.key")
        authority.ensure()
        made = here.create(friendlyName="Clients")
        for client in clients:
            results[client.name] = try_client(here, made, client, Path(folder) / "other.crt")
        of = machine(here)
    tries = [
        outcome is True
        for client in clients
        for name, outcome in results[client.name].items()
        if name not in {"format", "seconds", "said"}
    ]
    aims = [
        Aim.at_least("groups of clients that were there", len({*map(kind, clients)}), 5),
        Aim.at_least("tries that came out right", sum(tries), len(tries)),
    ]
    return Report(of, results, aims)


def kind(client: Client) -> str:
    return client.command[0]


if __name__ == "__main__":
    run("client_strings", __doc__, benchmark)
