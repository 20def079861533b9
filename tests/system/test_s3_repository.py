"""A repository in S3 beside the local one: all is in both, and neither holds up the other."""

import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from s3_server import BUCKET, S3Server, s3_server

from answers import data, problem
from clients import ask, do, eventually, hurry, redis_answers, redis_client
from harness import Installation, kill
from inside import inside
from tenantry.base import settings
from tenantry.host import processes
from tenantry.services.platform import open_platform
from tenantry.services.repository.service import Repositories

pytestmark = pytest.mark.takes_minutes

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=a-key/20260101/us-east-1/s3/aws4_request"}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    folder = Path(tempfile.mkdtemp(prefix="tnt-s3-"))
    folder.chmod(0o755)
    try:
        with s3_server(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def backed(s3: S3Server) -> Iterator[Installation]:
    """A platform with both repositories."""
    installation = Installation(
        {"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0", **s3.settings()}
    )
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


async def secure(repositories: Repositories) -> object:
    await repositories.secure("shared-1")
    return await repositories.secure("control")


def held(platform: Installation) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(
        platform.tenantry("cluster", "backups", "shared-1", "--json").stdout
    )
    return reported


async def restored_from_s3(repositories: Repositories) -> object:
    """The system's identity in a copy that was restored from S3 alone, and that of the cluster."""
    cluster = repositories.cluster("shared-1")
    folder = cluster.folder.parents[1] / "scratch" / "from-s3"
    await repositories.pgbackrest.restore("shared-1", folder, repository=2)
    return [
        (data / "global" / "pg_control").read_bytes()[:8].hex() for data in (folder, cluster.data)
    ]


def test_a_backup_goes_into_both(backed: Installation, s3: S3Server) -> None:
    made = backed.back_up("shared-1")
    assert [each["repository"] for each in made["backups"]] == [1, 2]
    local, remote = held(backed)["repositories"]
    assert local["problem"] is None
    assert (remote["place"], remote["problem"]) == (f"{s3.endpoint}/{BUCKET}/tenantry", None)
    assert backed.cluster("verify", "shared-1").returncode == 0
    copy, original = inside(backed, restored_from_s3)
    assert copy == original


def test_what_is_in_the_bucket_is_encrypted(backed: Installation, s3: S3Server) -> None:
    with s3.client() as client:
        path = f"/{BUCKET}/tenantry/backup/shared-1/backup.info"
        info = client.get(path, headers=SIGNED)
    assert info.status_code == 200
    assert info.content.startswith(b"Salted__")  # OpenSSL's mark
    assert b"backrest" not in info.content
    configuration = backed.home / "pgbackrest" / "pgbackrest.conf"
    assert configuration.stat().st_mode & 0o777 == 0o600
    for log in (backed.home / "logs").iterdir():
        assert "a-secret-key" not in log.read_text(errors="replace")


# ── sites of the AI cache ────────────────────────────────────────────────────


def ended(platform: Installation, operation: dict[str, Any]) -> dict[str, Any]:
    """An operation, once it has ended."""
    path = f"/api/operations/{operation['id']}"
    with platform.client() as api:
        eventually(lambda: data(api.get(path))["finished_at"])
        found: dict[str, Any] = data(api.get(path))
    return found


def client_of(platform: Installation, site: dict[str, Any]) -> redis.Redis:
    """A client of a site that tries once."""
    return redis_client(site["redis_url"], ssl_ca_certs=str(platform.home / "ca.crt"))


def site_value(platform: Installation, site: dict[str, Any]) -> str | None:
    """What a site has under its key ``a``, once it answers."""
    eventually(lambda: redis_answers(site["redis_url"]))
    with client_of(platform, site) as client:
        found: str | None = client.get(f"{site['key_prefix']}a")
        return found


def put(platform: Installation, site: dict[str, Any], value: str) -> None:
    with client_of(platform, site) as client:
        client.set(f"{site['key_prefix']}a", value)


@pytest.fixture(scope="module")
def site(backed: Installation) -> dict[str, Any]:
    """A site that keeps its data, and has a backup of ``first``."""
    body = {"name": "kept", "memory_mb": 8, "persistence": "aof"}
    with backed.client() as api:
        made: dict[str, Any] = data(api.post("/api/sites", json=body), 201)
        put(backed, made, "first")
        done = ended(backed, data(api.post(f"/api/sites/{made['id']}/backups"), 202))
    assert (done["status"], done["result"]["keys"], done["result"]["lacking"]) == (
        "succeeded",
        1,
        {},
    )
    assert len(done["result"]["places"]) == 2
    return made | {"backup_id": done["result"]["backup_id"]}


def test_a_site_is_restored_from_either_repository(
    backed: Installation, s3: S3Server, site: dict[str, Any]
) -> None:
    name = f"sites/{site['id']}/{site['backup_id']}.rdb"
    local = next(path for path in backed.home.rglob(name))
    with s3.client() as client:
        remote = client.get(f"/{BUCKET}/tenantry/{name}", headers=SIGNED)
    for content in (local.read_bytes(), remote.content):
        assert content.startswith(b"Salted__")
        assert b"first" not in content
    path, folder = f"/api/sites/{site['id']}", backed.home / "sites" / site["id"]
    with backed.client() as api:
        damages: list[Callable[[], object]] = [partial(change_a_byte, local), local.unlink]
        for damage in damages:
            damage()
            put(backed, site, "second")
            done = ended(backed, data(api.post(f"{path}/restore", json={}), 202))
            assert (done["status"], done["result"]) == (
                "succeeded",
                {"backup_id": site["backup_id"], "keys": 1},
            )
            assert site_value(backed, site) == "first"
            (kept,) = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
            assert (folder / "appendonlydir").resolve() == kept
        kill(processes.read_pid(folder / "redis.pid"), signal.SIGKILL)
        assert site_value(backed, site) == "first"
        eventually(lambda: api.get("/ready").status_code == 200)


def change_a_byte(file: Path) -> None:
    """Change a byte in the midst of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_site_whose_backup_is_damaged_everywhere_stays_as_it_is(
    backed: Installation, site: dict[str, Any]
) -> None:
    path = f"/api/sites/{site['id']}"
    with backed.client() as api, backed.control() as control:
        put(backed, site, "third")
        made = ended(backed, data(api.post(f"{path}/backups"), 202))["result"]["backup_id"]
        control.execute("UPDATE site_backups SET sha256 = repeat('0', 64) WHERE id = %s", (made,))
        put(backed, site, "fourth")
        before = processes.read_pid(backed.home / "sites" / site["id"] / "redis.pid")
        done = ended(backed, data(api.post(f"{path}/restore", json={"backup_id": made}), 202))
        assert (done["status"], done["error"]["code"]) == ("failed", "backup_damaged")
        assert site_value(backed, site) == "fourth"
        assert processes.read_pid(backed.home / "sites" / site["id"] / "redis.pid") == before
        assert data(api.delete(f"{path}/backups/{made}"))["status"] == "deleted"
        assert made not in [each["id"] for each in data(api.get(f"{path}/backups"))]
        missing = problem(api.post(f"{path}/restore", json={"backup_id": made}), 404)
        assert "no such backup" in missing["detail"]
        assert problem(api.patch(path, json={"memory_mb": 0}), 422)


def test_customers_have_the_backups_of_their_own_sites(
    backed: Installation, site: dict[str, Any]
) -> None:
    scopes = ["databases:read", "databases:write", "backups:read", "backups:write"]
    body = {"name": "c", "scopes": scopes, "customer_email": "x@example.com"}
    with backed.client() as api:
        key = data(api.post("/api/api-keys", json=body), 201)["key"]
    theirs, wanted = f"/api/sites/{site['id']}", {"backup_id": site["backup_id"]}
    with backed.client(key) as client:
        made = data(client.post("/api/sites", json={"name": "own", "memory_mb": 8}), 201)
        own = f"/api/sites/{made['id']}"
        assert "keeps nothing" in problem(client.post(f"{own}/backups"), 409)["detail"]
        data(client.patch(own, json={"persistence": "aof"}))
        assert "no backup yet" in problem(client.post(f"{own}/restore", json={}), 409)["detail"]
        for path in (own, theirs):
            problem(client.post(f"{path}/restore", json=wanted), 404)
            problem(client.delete(f"{path}/backups/{site['backup_id']}"), 404)
        problem(client.get(f"{theirs}/backups"), 404)
        problem(client.post(f"{theirs}/backups"), 404)
        done = ended(backed, data(client.post(f"{own}/backups"), 202))
        assert done["status"] == "succeeded", done
        data(client.delete(own))
        (left,) = data(client.get(f"{own}/backups"))
        assert (left["id"], left["site_name"]) == (done["result"]["backup_id"], "own")
        problem(client.post(f"{own}/restore", json={}), 404)
        data(client.delete(f"{own}/backups/{left['id']}"))


def test_backups_of_a_site_by_the_clock(backed: Installation, site: dict[str, Any]) -> None:
    path = f"/api/sites/{site['id']}/backups"
    with backed.client() as api, backed.control() as control:
        control.execute("UPDATE sites SET created_at = now() - interval '3 days'")
        control.execute(
            "UPDATE site_backups SET created_at = created_at - interval '9 days'"
            " WHERE site_id = %s",
            (site["id"],),
        )
        eventually(lambda: [each["origin"] for each in data(api.get(path))][:1] == ["scheduled"])
        eventually(lambda: data(api.get(path))[0]["status"] == "ready")
        parts = {each["name"]: each["state"] for each in api.get("/ready").json()["parts"]}
        assert parts["site backups"] == "up"
        line = r"^tenantry_site_backup_age_seconds\{.*\} (\S+)$"
        age = re.search(line, api.get("/metrics").text, re.MULTILINE)
        assert age is not None
        assert 0 <= float(age[1]) < 600
        listed = [each["id"] for each in data(api.get(path))]
        assert site["backup_id"] in listed  # on demand: it stays
    # Those that were deleted are gone from the repositories.
    stored = backed.home / "backups" / "repository" / "sites"
    eventually(lambda: {each.stem for each in stored.rglob("*.rdb")} <= {*listed})


async def begin_due(_: Repositories) -> object:
    """Have the next minute's backups begun now, unless the worker has just done it."""
    async with open_platform(settings.load()) as platform:
        await platform.cluster_backups.look_into_others()
        await platform.cluster_backups.begin_due()
    return None


def last_backup_started(platform: Installation) -> object:
    """What the last operation that backs up the shared cluster was reported."""
    with platform.control() as control:
        (params,) = control.execute(
            "SELECT params FROM operations WHERE kind = 'cluster.backup'"
            " AND params ->> 'cluster' = 'shared-1' ORDER BY created_at DESC LIMIT 1"
        ).fetchone() or (None,)
    return params


def measure(platform: Installation, name: str) -> float:
    """What /metrics shows of the shared cluster."""
    reported = platform.get("/metrics").text
    line = re.search(rf'^{name}{{cluster="shared-1".*}} (\S+)$', reported, re.MULTILINE)
    assert line is not None, reported
    return float(line[1])


def backups_part(platform: Installation) -> str:
    """What /ready warns of about backups."""
    answer = platform.get("/ready")
    assert answer.status_code == 200
    part = next(each for each in answer.json()["parts"] if each["name"] == "backups")
    assert part["state"] == "warning"
    return str(part["detail"])


def shows(reported: Callable[[], str], expected: Sequence[str]) -> bool:
    text = reported()
    return all(each in text for each in expected)


def labels(platform: Installation, repository: int) -> list[str]:
    return [e["label"] for e in held(platform)["backups"] if e["repository"] == repository]


def test_nothing_here_waits_for_an_s3_that_hangs(backed: Installation, s3: S3Server) -> None:
    if not labels(backed, 2):  # this test runs alone
        backed.back_up("shared-1")
    eventually(lambda: measure(backed, "tenantry_log_behind_segments") == 0)
    before = {number: labels(backed, number) for number in (1, 2)}
    with s3.hanging():
        began = time.monotonic()
        with backed.superuser() as server:
            for _ in range(8):
                server.execute("SELECT pg_current_xact_id()")
                server.execute("SELECT pg_switch_wal()")
        inside(backed, secure)
        assert time.monotonic() - began < 80  # it took 86 seconds on an idle machine
        assert measure(backed, "tenantry_log_behind_segments") >= 8
        failed = " ".join(backed.cluster("backup", "shared-1").stderr.split())
        assert f"and not in {s3.endpoint}/{BUCKET}/tenantry: " in failed
        assert measure(backed, "tenantry_archive_failing") == 0
        expected = (
            f"the last backup failed: The backup is in {backed.home}",
            f"the write-ahead log does not reach {s3.endpoint}",
            "the local repository has them",
        )
        for reported in (backed.warnings, partial(backups_part, backed)):
            eventually(partial(shows, reported, expected), seconds=150)
    eventually(lambda: measure(backed, "tenantry_log_behind_segments") == 0)
    assert len(labels(backed, 1)) == len(before[1]) + 1
    assert labels(backed, 2) == before[2]
    with backed.control() as control:
        control.execute("UPDATE operations SET finished_at = finished_at - interval '15 min'")
    inside(backed, begin_due)
    wanted = {"cluster": "shared-1", "type": "incr", "repositories": [2]}
    assert last_backup_started(backed) == wanted
    eventually(lambda: len(labels(backed, 2)) == len(before[2]) + 1)
    assert len(labels(backed, 1)) == len(before[1]) + 1


def test_what_cannot_be_carried_of_one_cluster_holds_up_no_other(backed: Installation) -> None:
    worker = backed.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)  # so that nothing is carried before it is damaged
    try:
        inside(backed, secure)
        archive = backed.home / "backups" / "repository" / "archive" / "control"
        newest = max(archive.glob("*/*/*-*"))
        whole = newest.read_bytes()
        newest.write_bytes(whole[:-1000])
    finally:
        os.kill(worker, signal.SIGCONT)
    eventually(lambda: measure(backed, "tenantry_log_behind_segments") == 0)
    eventually(lambda: newest.name[:24] in backed.warnings("control"))
    assert "does not reach" not in backed.warnings("shared-1")
    newest.write_bytes(whole)
    eventually(lambda: "does not reach" not in backed.warnings("control"))


def test_what_s3_has_lost_is_put_back(backed: Installation, s3: S3Server) -> None:
    where = "tenantry/archive/shared-1/"

    def log() -> list[str]:
        with s3.client() as client:
            reported = client.get(f"/{BUCKET}", params={"prefix": where}, headers=SIGNED).text
        return sorted(re.findall(rf"<Key>({where}[^<]*-[0-9a-f]{{40}}\.zst)</Key>", reported))

    lost = log()[-1]
    with s3.client() as client:
        assert client.delete(f"/{BUCKET}/{lost}", headers=SIGNED).is_success
    assert lost not in log()
    assert backed.cluster("verify", "shared-1").returncode == 0
    assert lost in log()


def test_all_comes_back_from_s3_alone(backed: Installation, site: dict[str, Any]) -> None:
    """Home and local repository are gone. It comes back as at a moment before the last one."""
    database = backed.create(name="shop")
    do(database["connection_string"], "CREATE TABLE kept AS SELECT generate_series(1, 100) AS n")
    for cluster in ("control", "shared-1"):
        backed.back_up(cluster)
    do(database["connection_string"], "INSERT INTO kept VALUES (101)")
    moment = inside(backed, secure)
    do(database["connection_string"], "INSERT INTO kept VALUES (102)")
    inside(backed, secure)
    eventually(lambda: measure(backed, "tenantry_log_behind_segments") == 0)
    admin_key = backed.key
    with tempfile.TemporaryDirectory() as elsewhere:
        key = Path(elsewhere) / "backup.key"
        key.write_text((backed.home / "backup.key").read_text())
        backed.destroy()
        words = ["--from", "s3", "--key-file", str(key), "--to", moment, "--yes"]
        assert "before that moment" not in backed.tenantry("recover", *words).stderr
    backed.up()
    hurry(backed)
    assert backed.key == admin_key
    assert ask(database["connection_string"], "SELECT sum(n) FROM kept") == 5151
    with backed.client() as api:
        wanted = {"backup_id": site["backup_id"]}
        done = ended(backed, data(api.post(f"/api/sites/{site['id']}/restore", json=wanted), 202))
        assert done["status"] == "succeeded", done
    assert site_value(backed, site) == "first"
    # The local repository begins again, beside the one that knows all.
    backed.back_up("shared-1")


def test_without_s3_the_local_one_is_still_reported_of(backed: Installation, s3: S3Server) -> None:
    s3.stop()
    try:
        began = time.monotonic()
        local, remote = held(backed)["repositories"]
        assert time.monotonic() - began < 35
    finally:
        s3.start()
    assert (local["problem"], bool(local["restorable_from"])) == (None, True)
    assert "localhost" in remote["problem"]
