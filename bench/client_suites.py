"""Client libraries' own tests, unmodified, on a tenant's direct string and on a plain PostgreSQL.

SQLAlchemy's dialect suite and psycopg2's tests come from their source distributions. Psycopg 3 has
its tests in its repository only: they come from Debian's source package, where apt can fetch one,
or from a source tree that PSYCOPG_SOURCE names. Django's runner tests a project of ours in the
shadow database. All are installed into an environment of its own. The plain server is of the same
version and as initdb makes it, the role an ordinary owner of its database. What counts are tests
that fail for the tenant and not there.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from support import (
    Aim,
    Report,
    as_service_user,
    free_ports,
    installation,
    machine,
    run,
    say,
)
from tenantry.base.errors import TenantryError
from tenantry.host import backports, commands
from tenantry.host.packages import find_postgres

OWNER, PASSWORD, DATABASE = "owner", "ordinary", "ordinary"
SUITE_SECONDS = 3600
SUITES_IN_DEBIAN = ("sid", "trixie", "bookworm")
# Versions whose source and binary distributions belong together.
SQLALCHEMY, PSYCOPG2 = "2.1.9", "2.9.13"

Outcomes = dict[str, str]  # of each test: passed, failed, skipped


@dataclass(frozen=True, slots=True)
class Target:
    """A database, as its owner reaches it, and one that the owner's tests may have."""

    url: str
    for_tests: str

    @property
    def environment(self) -> dict[str, str]:
        """libpq's variables."""
        parts = urlsplit(self.url)
        return {
            "PGHOST": parts.hostname or "",
            "PGPORT": str(parts.port),
            "PGUSER": parts.username or "",
            "PGPASSWORD": parts.password or "",
            "PGDATABASE": parts.path[1:],
        }


# ── where they run ───────────────────────────────────────────────────────────


@contextmanager
def plain_server(folder: Path) -> Iterator[Target]:
    """A new server with the defaults of initdb, and an ordinary owner of an empty database."""
    (port,) = free_ports(1)
    folder.mkdir()
    if owner := as_service_user():
        os.chown(folder, owner["user"], owner["group"])
    bin_dir = find_postgres(folder).bindir

    def execute(program: str, *arguments: str) -> None:
        subprocess.run(
            [bin_dir / program, "-D", folder / "data", *arguments],
            check=True, cwd=folder, stdout=sys.stderr, **owner,
        )  # fmt: skip

    execute("initdb", "--auth-local=trust", "--auth-host=scram-sha-256", "-U", "postgres")
    options = f"-p {port} -k {folder} -c fsync=off"
    execute("pg_ctl", "--wait", "--log", str(folder / "log"), "-o", options, "start")
    try:
        with psycopg.connect(
            host=str(folder), port=port, user="postgres", dbname="postgres", autocommit=True
        ) as server:
            server.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(OWNER), sql.Literal(PASSWORD)
                )
            )
            for name in (DATABASE, f"{DATABASE}_shadow"):
                server.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(
                        sql.Identifier(name), sql.Identifier(OWNER)
                    )
                )
        url = f"postgresql://{OWNER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}"
        yield Target(url, f"{DATABASE}_shadow")
    finally:
        execute("pg_ctl", "--wait", "--mode=immediate", "stop")


def prepare(target: Target) -> None:
    """What SQLAlchemy's README.unittests.rst has one make first."""
    with psycopg.connect(target.url, autocommit=True) as session:
        session.execute(
            "CREATE SCHEMA IF NOT EXISTS test_schema; CREATE SCHEMA IF NOT EXISTS test_schema_2;"
            " CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext"
        )


# ── what is run ──────────────────────────────────────────────────────────────


class Tools:
    """An environment of its own, and the source trees that have the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.python = folder / "venv" / "bin" / "python"

    def install(self, *requirements: str) -> None:
        self._pip("install", "--quiet", *requirements)

    def _pip(self, *words: str) -> None:
        subprocess.run([self.python, "-m", "pip", *words], check=True, stdout=sys.stderr)

    def sources(self, name: str, version: str) -> Path:
        """The unpacked source distribution of a project on the package index."""
        self._pip("download", "--quiet", "--no-deps", f"--no-binary={name}", f"{name}=={version}",
            f"--dest={self._folder}")  # fmt: skip
        shutil.unpack_archive(self._folder / f"{name}-{version}.tar.gz", self._folder)
        return self._folder / f"{name}-{version}"

    def of_psycopg(self) -> Path:
        """The source tree of psycopg 3, with its tests. Raises TenantryError if there is none."""
        if given := os.environ.get("PSYCOPG_SOURCE"):
            return Path(given)
        return asyncio.run(self._from_debian("psycopg3"))

    async def _from_debian(self, package: str) -> Path:
        for suite in SUITES_IN_DEBIAN:
            folder = self._folder / suite
            folder.mkdir()
            try:
                packages = await backports.SourcePackages.of(suite, folder)
                found = await packages.download(package, await packages.newest(package))
                await commands.run(["dpkg-source", "--extract", found, folder / "source"])
            except TenantryError as error:
                say(f"{package} of {suite}: {error}"[:300])
                if suite == SUITES_IN_DEBIAN[-1]:
                    raise
            else:
                return folder / "source"
        raise AssertionError

    def pytest(self, where: Path, environment: Mapping[str, str], *words: str) -> Outcomes:
        report = self._folder / "report.xml"
        report.unlink(missing_ok=True)
        subprocess.run(
            [self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line",
             f"--junitxml={report}", *words],
            cwd=where, env={**os.environ, **environment}, stdout=sys.stderr, check=False,
            timeout=SUITE_SECONDS,
        )  # fmt: skip
        return dict(outcomes(report))


def outcomes(report: Path) -> Iterator[tuple[str, str]]:
    """Each test's outcome by pytest's JUnit report."""
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 (pytest has just written it)
        found = {child.tag for child in case}
        outcome = "failed" if found & {"failure", "error"} else "passed"
        yield (
            f"{case.get('classname')}.{case.get('name')}",
            ("skipped" if "skipped" in found else outcome),
        )


Suite = Callable[[Target], Outcomes]


def sqlalchemy_suite(tools: Tools, *, quick: bool) -> Suite:
    where = tools.sources("sqlalchemy", SQLALCHEMY)
    tools.install("pytest>8,<10", "psycopg[binary]", f"sqlalchemy[asyncio]=={SQLALCHEMY}")
    some = ("-k", "InsertBehavior or HasTable") if quick else ()

    def suite(target: Target) -> Outcomes:
        url = target.url.replace("postgresql://", "postgresql+psycopg://")
        return tools.pytest(where, {}, "test/dialect/test_suite.py", f"--dburi={url}", *some)

    return suite


def psycopg2_suite(tools: Tools, *, quick: bool) -> Suite:
    where = tools.sources("psycopg2", PSYCOPG2)
    tools.install("pytest>8,<10", f"psycopg2-binary=={PSYCOPG2}")
    shutil.rmtree(where / "lib", ignore_errors=True)  # what is installed is tested
    some = ("-k", "ConnectionTests") if quick else ()

    def suite(target: Target) -> Outcomes:
        environment = target.environment | {"PSYCOPG2_TESTDB": target.environment["PGDATABASE"]}
        return tools.pytest(where, environment, "tests", *some)

    return suite


def psycopg_suite(tools: Tools, *, quick: bool) -> Suite:
    where = tools.of_psycopg()
    version = next(
        line.partition('"')[2].rstrip('"')
        for line in (where / "psycopg" / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    )
    tools.install(f"psycopg[binary,pool,test]=={version}")
    some = ("-k", "test_connection_info") if quick else ()

    def suite(target: Target) -> Outcomes:
        words = ("tests", f"--test-dsn={target.url}", "-m", "not slow and not timing and not mypy")
        return tools.pytest(where, {}, *words, *some)

    return suite


DJANGO_FILES = {
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
""",
    "settings.py": """
import os
SECRET_KEY = "tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"],
    "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"],
    "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
    "TEST": {"NAME": os.environ["TEST_NAME"]}, "DISABLE_SERVER_SIDE_CURSORS": True}}
""",
    "tests.py": """
from django.contrib.auth.models import User
from django.db import connection
from django.test import TestCase
class Tests(TestCase):
    def test_rows(self):
        User.objects.create(username="one")
        self.assertEqual([user.username for user in User.objects.iterator()], ["one"])
        self.assertEqual(connection.settings_dict["NAME"], connection.settings_dict["TEST"]["NAME"])
""",
}


def django_suite(tools: Tools, *, quick: bool) -> Suite:
    """Django's test runner, in the database that is there for tests."""
    del quick
    tools.install("django>=5.2,<6", "psycopg[binary]")
    project = tools.python.parents[2] / "django"
    project.mkdir()
    for name, text in DJANGO_FILES.items():
        (project / name).write_text(text)

    def suite(target: Target) -> Outcomes:
        done = subprocess.run(
            [tools.python, "manage.py", "test", "--keepdb", "--noinput"],
            cwd=project, env={**os.environ, **target.environment, "TEST_NAME": target.for_tests},
            stdout=sys.stderr, check=False, timeout=SUITE_SECONDS,
        )  # fmt: skip
        return {"manage.py test --keepdb": "failed" if done.returncode else "passed"}

    return suite


SUITES: dict[str, Callable[..., Suite]] = {
    "sqlalchemy": sqlalchemy_suite,
    "psycopg": psycopg_suite,
    "psycopg2": psycopg2_suite,
    "django": django_suite,
}


def compare(suite: Suite, targets: Mapping[str, Target]) -> dict[str, Any]:
    """Counts for each target, and the tests that fail for the tenant."""
    found = {}
    for name, target in targets.items():
        prepare(target)
        found[name] = suite(target)
        say(f"{name}: {counts(found[name])}")
    failed = {
        name: {test for test, outcome in each.items() if outcome == "failed"}
        for name, each in found.items()
    }
    return {
        **{name: counts(each) for name, each in found.items()},
        "failed_for_the_tenant_only": sorted(failed["tenant"] - failed["plain"]),
        "failed_for_both": sorted(failed["tenant"] & failed["plain"]),
    }


def counts(found: Outcomes) -> dict[str, int]:
    return {word: list(found.values()).count(word) for word in ("passed", "failed", "skipped")}


def benchmark(quick: bool) -> Report:
    results: dict[str, object] = {}
    aims = []
    with (
        installation(warm_pool=0) as here,
        tempfile.TemporaryDirectory(prefix="suites-") as name,
    ):
        Path(name).chmod(0o755)
        with plain_server(Path(name) / "plain") as plain:
            for suite, made in SUITES.items():
                folder = Path(name) / suite
                folder.mkdir(mode=0o755)
                try:
                    ready = made(Tools(folder), quick=quick)
                except TenantryError as error:
                    results[suite] = {"not_run": str(error)[:300]}
                    continue
                row = here.create(maxConnections=100)
                tenant = Target(row["connection_string"], f"{row['database_name']}_shadow")
                found = compare(ready, {"tenant": tenant, "plain": plain})
                results[suite] = found
                aims += [
                    Aim.at_most(f"{suite}: failures of the tenant's only",
                        len(found["failed_for_the_tenant_only"]), 0),
                    Aim.at_least(f"{suite}: passed for the tenant", found["tenant"]["passed"], 1),
                ]  # fmt: skip
        return Report(machine(here), results, aims)


if __name__ == "__main__":
    run("client_suites", __doc__ or "", benchmark)
