"""Killed while a site is created or deleted: it runs with its secrets, or nothing is left of it."""

import re
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from scene import Scene

from clients import eventually
from tenantry.host import processes
from tenantry.host.reachability import listening
from tenantry.services.sites.model import platform_password


def folders(scene: Scene) -> list[Path]:
    return list((scene.installation.home / "sites").iterdir())


def status_of(scene: Scene, site_id: str) -> str:
    found = scene.ask("GET", f"/api/sites/{site_id}")
    assert found is not None
    return str(found.json()["data"]["status"])


def test_killed_when_its_row_is_there(scene: Scene) -> None:
    body: dict[str, object] = {"name": "killed", "memory_mb": 8}
    key = {"Idempotency-Key": str(uuid4())}
    scene.arm("api", "request.committed", "api")
    assert scene.ask("POST", "/api/sites", json=body, headers=key) is None
    scene.wait_restarted("api")
    scene.reconcile()
    again = scene.ask("POST", "/api/sites", json=body, headers=key)
    assert again is not None
    made = again.json()["data"]
    eventually(lambda: status_of(scene, made["id"]) == "active")
    assert len(folders(scene)) == 1
    assert made["api_key"]
    gone = scene.ask("DELETE", f"/api/sites/{made['id']}")
    assert gone is not None
    assert gone.status_code == 200
    assert folders(scene) == []


def test_killed_when_its_process_is_gone(scene: Scene) -> None:
    made = scene.ask("POST", "/api/sites", json={"name": "killed", "memory_mb": 8})
    assert made is not None
    site = made.json()["data"]
    pid = processes.read_pid(scene.installation.home / "sites" / site["id"] / "redis.pid")
    assert pid
    scene.arm("api", "site_delete.removed", "api")
    assert scene.ask("DELETE", f"/api/sites/{site['id']}") is None
    scene.wait_restarted("api")
    scene.reconcile()
    left = scene.ask("GET", "/api/sites")
    assert left is not None
    assert (left.json()["data"], folders(scene)) == ([], [])
    assert not processes.is_alive(pid)


def test_killed_before_its_allowlist_is_in_force(scene: Scene) -> None:
    made = scene.ask("POST", "/api/sites", json={"name": "killed", "memory_mb": 8})
    assert made is not None
    site = made.json()["data"]
    path, port = f"/api/sites/{site['id']}/whitelist", int(site["redis_url"].split(":")[-1][:-2])
    assert "::" in listening(port)
    scene.arm("api", "request.committed", "api")
    key = {"Idempotency-Key": str(uuid4())}
    body: dict[str, object] = {"ip_address": "192.0.2.1"}
    assert scene.ask("POST", path, json=body, headers=key) is None
    # The worker sees to it, before any pass of reconciliation.
    eventually(lambda: listening(port) == ["127.0.0.1", "::1"])
    scene.wait_restarted("api")
    again = scene.ask("POST", path, json=body, headers=key)
    assert again is not None
    assert again.json()["data"]["closes"]
    gone = scene.ask("DELETE", f"/api/sites/{site['id']}")
    assert gone is not None
    assert folders(scene) == []


@pytest.mark.parametrize("step", ["users_removed", "removed"])
def test_killed_while_it_leaves_a_shared_process(scene: Scene, step: str) -> None:
    sites = []
    for name in ("killed", "neighbour"):
        body: dict[str, object] = {"name": name, "isolation": "shared"}
        made = scene.ask("POST", "/api/sites", json=body)
        assert made is not None
        sites.append(made.json()["data"])
    folder = scene.installation.home / "sites" / "shared"
    pid = processes.read_pid(folder / "redis.pid")
    assert pid
    with redis.Redis.from_url(sites[0]["redis_url"], ssl_cert_reqs="none") as client:
        client.set(f"{sites[0]['key_prefix']}a", "1")
    scene.arm("api", f"site_delete.{step}", "api")
    assert scene.ask("DELETE", f"/api/sites/{sites[0]['id']}") is None
    scene.wait_restarted("api")
    scene.reconcile()
    left = scene.ask("GET", "/api/sites")
    assert left is not None
    assert [each["name"] for each in left.json()["data"]] == ["neighbour"]
    assert sites[0]["id"] not in (folder / "users.acl").read_text()
    assert processes.is_alive(pid)
    config = (folder / "redis.conf").read_text()
    password = platform_password((scene.installation.home / "seal.key").read_bytes(), "shared")
    with redis.Redis(
        unix_socket_path=re.search(r"^unixsocket (.*)$", config, re.MULTILINE)[1],  # type: ignore[index]
        username="platform",
        password=password.reveal(),
    ) as client:
        assert client.dbsize() == 0
    gone = scene.ask("DELETE", f"/api/sites/{sites[1]['id']}")
    assert gone is not None
    assert folders(scene) == []
    assert not processes.is_alive(pid)
