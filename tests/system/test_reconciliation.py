"""What was changed by hand, or left by a crash, is as it should be after a pass of the worker."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import STRINGS, ask, do, eventually, hurry, refusal
from harness import Installation, as_service_user


class Drift:
    """Databases to which something was done by hand; a pass has come by since."""

    def __init__(self, platform: Installation) -> None:
        self.platform = platform
        names = ("role", "main", "shadow", "limit", "renamed", "password", "untouched")
        self.databases = {name: platform.create(friendlyName=name) for name in names}
        self.unwanted_shadow = platform.create(shadow=False)
        self.users = platform.create(maxConnections=3)
        self.doomed = platform.create()
        self.stuck, self.unmanaged = uuid.uuid4(), f"tenant_{uuid.uuid4().hex[:12]}"
        do(self.databases["untouched"]["connection_string"], "CREATE TABLE t AS SELECT 1 AS i")
        do(self.databases["shadow"]["connection_string"], "CREATE TABLE t AS SELECT 2 AS i")
        for part in (self._in_the_cluster, self._in_the_rows, self._in_the_files):
            part()

    def _in_the_cluster(self) -> None:
        def of(name: str, field: str) -> str:
            return str(self.databases[name][field])

        role = of("role", "username")
        for name in (of("role", "database_name"), of("role", "database_name") + "_shadow"):
            with self.platform.superuser(dbname=name) as server:
                server.execute(f'REASSIGN OWNED BY "{role}" TO tenantry_owner'.encode())
                server.execute(f'DROP OWNED BY "{role}"'.encode())
        with self.platform.superuser() as server:
            for statement in (
                f'DROP ROLE "{role}"',
                f'ALTER DATABASE "{of("main", "database_name")}"'
                f' RENAME TO "{of("main", "database_name")}_kept"',
                f'DROP DATABASE "{of("shadow", "database_name")}_shadow" WITH (FORCE)',
                f'ALTER ROLE "{of("limit", "username")}" CONNECTION LIMIT 1000',
                "CREATE ROLE user_nobodys LOGIN",
                f'CREATE DATABASE "{self.unmanaged}"',
                f"ALTER ROLE \"{self._warm()[1]}\" LOGIN PASSWORD 'known' CONNECTION LIMIT 5",
            ):
                server.execute(statement.encode())

    def _warm(self) -> tuple[str, str]:
        """The database and the role of a warm row; all may have just been given away."""
        found: list[tuple[str, str]] = []

        def look() -> bool:
            with self.platform.control() as control:
                found[:] = control.execute(
                    "SELECT database_name, username FROM databases WHERE status = 'warm'"
                    " ORDER BY created_at DESC"
                ).fetchall()
            return bool(found)

        eventually(look)
        return found[0]

    def _in_the_rows(self) -> None:
        with self.platform.control() as control:
            control.execute(
                "INSERT INTO databases (id, cluster_id, database_name, username, status)"
                " SELECT %s, id, 'tenant_stuck', 'user_stuck', 'creating' FROM clusters"
                " WHERE name = 'shared-1'",
                (self.stuck,),
            )
            control.execute(
                "UPDATE databases SET status = 'deleting' WHERE id = %s", (self.doomed["id"],)
            )

    def _in_the_files(self) -> None:
        home = self.platform.home
        self.files = {
            path: path.read_text()
            for path in (
                home / "clusters" / "shared-1" / "data" / "pg_hba.conf",
                home / "clusters" / "shared-1" / "data" / "pg_ident.conf",
                home / "clusters" / "control" / "data" / "pg_hba.conf",
                home / "clusters" / "shared-1" / "data" / "postgresql.conf",
                home / "pooler" / "pgbouncer.ini",
                home / "pooler" / "hba.conf",
                home / "pooler" / "users.ini",
                home / "pooler" / "databases.ini",
            )
        }
        for path, text in self.files.items():
            if path.name == "users.ini":
                path.write_text("[users]\n")
            elif path.name.endswith("hba.conf"):
                path.write_text(f"host all all 0.0.0.0/0 trust\n{text}")
            else:
                path.write_text(f"{text}\n# by hand\n")

    def reconcile(self) -> None:
        """Have the worker start again: it begins with a pass."""
        log = self.platform.home / "logs" / "tenantry.log"
        before = log.read_text().count("reconciliation.ended")
        pids = self.platform.pids()
        os.kill(pids["supervisor"], signal.SIGHUP)
        for name in ("worker", "api"):  # else the old one may answer, and be gone then
            eventually(partial(self._runs_again, name, pids[name]))
        eventually(lambda: log.read_text().count("reconciliation.ended") > before)
        eventually(self._answers)

    def _runs_again(self, name: str, old: int) -> bool:
        return self.platform.pids().get(name, old) != old

    def _answers(self) -> bool:
        try:
            with self.platform.client() as client:
                return client.get("/health").is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def repaired() -> Iterator[Drift]:
    """An installation of its own: much in it is changed behind its back."""
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
        drift = Drift(installation)
        drift.reconcile()
        yield drift
    finally:
        installation.remove()


def test_a_dropped_database_is_reported_of_and_not_made_again_empty(repaired: Drift) -> None:
    """An empty one in its place would hide that what was in it is gone."""
    database = repaired.databases["main"]
    with repaired.platform.client() as client:
        found = client.get("/api/audit-logs", params={"resource_id": database["id"]})
        reported = [row["action"] for row in data(found)]
        row = data(client.get(f"/api/databases/{database['id']}"))
        parts = {part["name"]: part for part in client.get("/ready").json()["parts"]}
        refused = problem(client.post(f"/api/databases/{database['id']}/rotate-password"), 409)
    assert "missing" in refused["detail"]
    assert reported.count("database.missing") == 1
    assert row["missing_since"] is not None
    assert parts["databases"]["state"] == "warning"
    assert parts["databases"]["detail"].startswith("1 missing")
    assert database["database_name"] not in repaired.platform.inventory()[1]


def test_a_missing_database_that_is_put_back_is_served_again(repaired: Drift) -> None:
    database, name = repaired.databases["main"], repaired.databases["main"]["database_name"]
    with repaired.platform.superuser() as server:
        server.execute(f'ALTER DATABASE "{name}_kept" RENAME TO "{name}"'.encode())
    repaired.reconcile()
    with repaired.platform.client() as client:
        assert data(client.get(f"/api/databases/{database['id']}"))["missing_since"] is None
    for string in STRINGS:
        assert ask(database[string], "SELECT current_user") == database["username"]


def test_a_dropped_shadow_is_made_again(repaired: Drift) -> None:
    database = repaired.databases["shadow"]
    assert ask(database["shadow_database_url_pooled"], "SELECT current_user")
    assert ask(database["connection_string"], "SELECT i FROM t") == 2


def test_a_dropped_role_is_made_again_and_opened_by_a_rotation(repaired: Drift) -> None:
    database = repaired.databases["role"]
    with repaired.platform.client() as client:
        path = f"/api/databases/{database['id']}/rotate-password"
        opened = data(client.post(path))
    for string in STRINGS:
        assert ask(opened[string], "SELECT current_user") == database["username"]


def test_a_connection_limit_is_put_right(repaired: Drift) -> None:
    with repaired.platform.superuser() as server:
        row = server.execute(
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s",
            (repaired.databases["limit"]["username"],),
        ).fetchone()
    assert row == (50,)


def test_a_shadow_that_nobody_wants_is_dropped(repaired: Drift) -> None:
    _, databases = repaired.platform.inventory()
    assert repaired.unwanted_shadow["database_name"] in databases
    assert f"{repaired.unwanted_shadow['database_name']}_shadow" not in databases


def test_a_row_that_was_stuck_is_finished(repaired: Drift) -> None:
    rows = {row["id"]: row for row in repaired.platform.rows()}
    assert rows[str(repaired.stuck)]["status"] in {"warm", "active"}
    roles, databases = repaired.platform.inventory()
    assert "user_stuck" in roles
    assert {"tenant_stuck", "tenant_stuck_shadow"} <= databases


def test_a_deletion_that_was_cut_off_is_finished(repaired: Drift) -> None:
    assert repaired.doomed["id"] not in {row["id"] for row in repaired.platform.rows()}
    roles, databases = repaired.platform.inventory()
    assert repaired.doomed["username"] not in roles
    assert not {repaired.doomed["database_name"], repaired.doomed["database_name"] + "_shadow"} & (
        databases
    )


def test_a_role_of_nobody_is_dropped(repaired: Drift) -> None:
    roles, _ = repaired.platform.inventory()
    assert "user_nobodys" not in roles


def test_a_database_of_nobody_is_left_alone_and_reported(repaired: Drift) -> None:
    """It may be all that is left of a tenant whose row was lost."""
    _, databases = repaired.platform.inventory()
    assert repaired.unmanaged in databases
    log = (repaired.platform.home / "logs" / "tenantry.log").read_text()
    assert any(
        "database.unknown" in line and repaired.unmanaged in line for line in log.splitlines()
    )


def test_no_warm_databases_role_is_open(repaired: Drift) -> None:
    warm = {row["username"] for row in repaired.platform.rows() if row["status"] == "warm"}
    with repaired.platform.superuser() as server:
        open_roles = {
            row[0]
            for row in server.execute(
                "SELECT rolname FROM pg_authid WHERE rolcanlogin OR rolpassword IS NOT NULL"
            )
        }
    assert warm
    assert not warm & open_roles


def test_files_are_as_they_were(repaired: Drift) -> None:
    for path, text in repaired.files.items():
        if path.name == "users.ini":
            assert f"{repaired.users['username']} = max_user_connections=2" in path.read_text()
        else:
            assert path.read_text() == text, path


def test_files_are_in_force_as_they_were(repaired: Drift) -> None:
    """What was written by hand opened every endpoint; a reload has closed them again."""
    untouched = repaired.databases["untouched"]
    for string in STRINGS:
        assert "authentication failed" in refusal(
            untouched[string].replace(":" + untouched["password"], ":x")
        )
    with repaired.platform.superuser() as server:
        rules = server.execute(
            "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'trust' AND type <> 'local'"
        ).fetchone()
    assert rules == (0,)


def test_what_was_not_touched_is_untouched(repaired: Drift) -> None:
    assert ask(repaired.databases["untouched"]["connection_string_pooled"], "SELECT i FROM t") == 1


PASS = """
import asyncio
from tenantry.base import settings
from tenantry.services.platform import open_platform
from tenantry.services.reconciling import Pass

async def main():
    async with open_platform(settings.load()) as platform:
        passed = Pass()
        await platform.reconciliation.reconcile(passed)
        print(passed.done)

asyncio.run(main())
"""


def test_another_pass_finds_nothing_to_do(repaired: Drift) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PASS],
        env=repaired.platform.env,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        **as_service_user(),
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_seen_in_a_database_of_an_older_version_is_limited(platform: Installation) -> None:
    database = platform.create()
    raw = "SELECT count(*) > 0 FROM pg_stat_get_activity(NULL) WHERE datid IS NULL"
    with platform.superuser(dbname=database["database_name"]) as inside:
        inside.execute(
            "GRANT EXECUTE ON FUNCTION pg_stat_get_activity(int) TO PUBLIC;"
            " COMMENT ON FUNCTION pg_catalog.tenantry_sessions() IS 'of an older version'"
        )
    assert ask(database["connection_string"], raw) is True
    with platform.control() as control:
        control.execute("TRUNCATE ownership_checks")
    platform.check_ownership()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(database["connection_string"], raw)
