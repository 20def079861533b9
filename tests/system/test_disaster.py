"""The disaster drill: a home is gone, and comes back from its repository and the key alone."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from answers import data
from clients import eventually, hurry
from harness import SERVICE_USER, Installation, free_ports
from inside import inside
from persons import Person, authenticator, make_user
from tenantry.services.repository.service import Repositories

DYING = Path(__file__).parent / "dying"
STEPS = (
    "files",
    "restored control",
    "recovered shared-1",
    "reconciled",
)
CHECKSUM = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY n)) FROM kept t"

Database = dict[str, Any]


async def secure(repositories: Repositories) -> object:
    await repositories.secure("shared-1")
    return await repositories.secure("control")


def ask(url: str, query: str) -> tuple[Any, ...] | None:
    with psycopg.connect(url, connect_timeout=15, prepare_threshold=None) as connection:
        return connection.execute(query.encode()).fetchone()


def fill(database: Database, rows: int) -> None:
    with psycopg.connect(database["connection_string"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int, said text)")
        connection.execute(
            "INSERT INTO kept SELECT n, md5(random()::text) FROM generate_series(1, %s) n", (rows,)
        )


def ended(api: httpx.Client, operation_id: str) -> None:
    path = f"/api/operations/{operation_id}"
    eventually(lambda: data(api.get(path))["status"] == "succeeded")


class Disaster:
    """An installation with tenants, and what of it is kept elsewhere."""

    def __init__(self) -> None:
        self.elsewhere = Path(tempfile.mkdtemp(prefix="tnt-elsewhere-"))
        self.elsewhere.chmod(0o755)
        self.repository = self.elsewhere / "repository"
        self.repository.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.repository, SERVICE_USER, SERVICE_USER)
        self.key = self.elsewhere / "backup.key"
        self.platform = Installation(
            {
                "TENANTRY_BACKUPS": "on",
                "TENANTRY_BACKUP_DIR": str(self.repository),
                "TENANTRY_WARM_POOL": "1",
                "TENANTRY_INSTANCE_PORTS": "{0}-{0}".format(*free_ports(1)),
            }
        )

    def live(self) -> None:
        self.platform.up()
        hurry(self.platform)
        self.databases = [self.platform.create(name=f"app-{n}") for n in range(3)]
        for count, database in enumerate(self.databases, start=1):
            fill(database, 100 * count)
        with self.platform.client() as api:
            data(
                api.put(
                    f"/api/databases/{self.databases[1]['id']}/whitelist",
                    json={"entries": [{"ip_address": "203.0.113.7"}]},
                )
            )
            self.customer_key = data(
                api.post("/api/api-keys", json={"name": "app", "scopes": ["databases:read"]}), 201
            )["key"]
            self.person = Person(self.platform, make_user(api)["email"])
        self.totp, _ = authenticator(self.person.come_in())
        for cluster in ("control", "shared-1"):
            self.platform.back_up(cluster)
        with self.platform.client() as api:  # stopped before its first backup
            body = {"name": "unsaved", "kind": "dedicated", "memory_mb": 128}
            self.unsaved = data(api.post("/api/databases", json=body), 202)
            ended(api, self.unsaved["operation_id"])
            ended(api, data(api.post(f"/api/databases/{self.unsaved['id']}/stop"), 202)["id"])
        # What came after the backups is in the log alone.
        self.databases.append(self.platform.create(name="late"))
        self.gone, self.closed = (self.platform.create(name=name) for name in ("gone", "closed"))
        for database in self.databases:
            if database is not self.databases[1]:
                fill(database, 50)
        self.sums = {name: self.checksum(name) for name in range(len(self.databases))}
        self.key.write_text((self.platform.home / "backup.key").read_text())
        self.admin_key = self.platform.key
        self.ca = (self.platform.home / "ca.crt").read_text()

    def part_ways(self) -> None:
        """Have the clusters end at different moments, as far as one can tell from them."""
        eventually(self.has_warm)
        pids = self.platform.pids()
        for part in ("supervisor", "worker", "api"):  # nobody repairs it meanwhile
            os.kill(pids[part], signal.SIGKILL)
        with self.platform.control() as control:
            warm = control.execute("SELECT database_name FROM databases WHERE status = 'warm'")
            self.given_away, *_ = (name for (name,) in warm.fetchall())
        with self.platform.superuser() as server:
            for name in (self.gone["database_name"], f"{self.gone['database_name']}_shadow"):
                server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
            server.execute(f'ALTER ROLE "{self.closed["username"]}" PASSWORD NULL'.encode())
            role = self.given_away.replace("tenant_", "user_")
            server.execute(f"ALTER ROLE \"{role}\" LOGIN PASSWORD 'somebody knows'".encode())
        inside(self.platform, secure)

    def has_warm(self) -> bool:
        with self.platform.control() as control:
            found = control.execute("SELECT FROM databases WHERE status = 'warm'")
            return found.rowcount > 0

    def checksum(self, number: int) -> object:
        name = self.databases[number]["database_name"]
        with self.platform.superuser(dbname=name) as server:
            return server.execute(CHECKSUM.replace("kept", "public.kept").encode()).fetchone()

    def recover(
        self, *more: str, check: bool = True, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        before = dict(self.platform.environment)
        self.platform.environment |= env
        try:
            words = ["--from", str(self.repository), "--key-file", str(self.key), "--yes", *more]
            return self.platform.tenantry("recover", *words, check=check)
        finally:
            self.platform.environment = before

    def remove(self) -> None:
        self.person.http.close()
        self.platform.remove()
        shutil.rmtree(self.elsewhere)


@pytest.fixture(scope="module")
def disaster() -> Iterator[Disaster]:
    found = Disaster()
    try:
        found.live()
        yield found
    finally:
        found.remove()


def test_another_key_is_reported_as_such(disaster: Disaster) -> None:
    disaster.part_ways()
    disaster.platform.destroy()
    right = disaster.key.read_text()
    disaster.key.write_text("0" * 64)
    refused = disaster.recover(check=False)
    disaster.key.write_text(right)
    assert refused.returncode == 1
    assert "not the backups' key" in refused.stderr
    assert not (disaster.platform.home / "clusters").exists()


def test_everything_comes_back_though_killed_at_each_step(disaster: Disaster) -> None:
    """The drill: checksums, passwords, API keys, allowlists, authenticators, further backups."""
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(DYING), *([before] if before else [])])
    for step in STEPS:
        done = disaster.recover(check=False, DIE_AT=step, PYTHONPATH=path)
        assert done.returncode == -signal.SIGKILL, (step, done.stderr)
    refused = disaster.platform.tenantry("up", "--detach", check=False)
    assert "not complete" in refused.stderr
    assert "has begun" in disaster.recover("--to", "1m", check=False).stderr
    reported = json.loads(disaster.recover("--json").stdout)
    assert [each["cluster"] for each in reported["clusters"]] == ["control", "shared-1"]
    assert all(each["last_commit"] and not each["unread"] for each in reported["clusters"])
    unmanaged = disaster.given_away
    lost = [disaster.gone, disaster.unsaved]
    assert reported["missing"] == [each["database_name"] for each in lost]
    assert reported["unmanaged"] == [unmanaged, f"{unmanaged}_shadow"]
    assert reported["closed"] == [disaster.closed["database_name"]]
    platform = disaster.platform
    platform.up()
    hurry(platform)
    check_all_is_back(disaster)
    totp = disaster.totp.now()
    challenge = data(disaster.person.login())["challenge"]
    assert disaster.person.answer(challenge, totp).status_code == 200
    platform.back_up("shared-1")
    # What the clusters did not agree on is reported, and neither dropped nor made up.
    _, there = platform.inventory()
    assert disaster.gone["database_name"] not in there
    assert unmanaged in there
    with platform.client() as api:
        for database in lost:
            assert data(api.get(f"/api/databases/{database['id']}"))["missing_since"]
        # It stays stopped, as it would start empty, and can be deleted.
        assert disaster.unsaved["cluster"] not in platform.pids()
        path = f"/api/databases/{disaster.unsaved['id']}"
        assert data(api.get(path))["status"] == "stopped"
        assert api.delete(path).is_success
        eventually(lambda: api.get(path).status_code == 404)
    assert unmanaged not in {row["database_name"] for row in platform.rows()}


def check_all_is_back(disaster: Disaster) -> None:
    platform = disaster.platform
    assert {n: disaster.checksum(n) for n in disaster.sums} == disaster.sums
    assert (platform.key, (platform.home / "ca.crt").read_text()) == (
        disaster.admin_key,
        disaster.ca,
    )
    for database in disaster.databases:
        for endpoint in ("connection_string", "connection_string_pooled"):
            url = f"{database[endpoint]}&sslmode=verify-full&sslrootcert={platform.home / 'ca.crt'}"
            if database is disaster.databases[1]:
                with pytest.raises(psycopg.OperationalError):
                    ask(url, CHECKSUM)
            else:
                assert ask(url, CHECKSUM) == disaster.sums[disaster.databases.index(database)]
    with platform.client(disaster.customer_key) as api:
        assert {row["name"] for row in data(api.get("/api/databases"))} >= {"app-0", "late"}
    with platform.client() as api:
        (row, *_) = data(api.get("/api/audit-logs", params={"action": "platform.recovered"}))
    assert row["details"]["from"] == str(disaster.repository)


def test_a_home_with_clusters_is_refused(disaster: Disaster) -> None:
    disaster.platform.down()
    refused = disaster.recover(check=False)
    assert refused.returncode == 1
    assert "never overwrites" in refused.stderr
    disaster.platform.up()
