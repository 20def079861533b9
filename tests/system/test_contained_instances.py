"""An instance in a container, from its creation to its deletion."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answers import data
from clients import ask, do, eventually, succeeded
from container_engines import Engine, missing
from harness import Installation, free_ports

Row = dict[str, Any]

NAME = "shop-production-postgres"

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"missing: {missing()}")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="tnt-engine-"))
    folder.chmod(0o711)
    started = Engine(folder)
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def platform(engine: Engine) -> Iterator[Installation]:
    """An installation of its own, which uses the engine."""
    (port,) = free_ports(1)
    found = Installation(
        {
            "DOCKER_HOST": engine.url,
            "TENANTRY_WARM_POOL": "1",
            "TENANTRY_INSTANCE_PORTS": f"{port}-{port}",
        }
    )
    try:
        found.up()
        yield found
    finally:
        found.remove()


def test_an_instance_lives_in_a_container(platform: Installation, engine: Engine) -> None:
    body = {"name": "shop", "kind": "dedicated", "driver": "docker", "cpus": 1, "memory_mb": 256}
    with platform.client() as api:
        made: Row = data(api.post("/api/databases", json=body), 202)
        succeeded(api, made["operation_id"])
        pooled = made["connection_string_pooled"]
        do(pooled, "CREATE TABLE held AS SELECT 1 AS n")
        assert engine.docker("ps", "--format", "{{.Names}}") == made["container_name"] == NAME

        # The supervisor replaces a container that was removed by hand.
        engine.docker("rm", "--force", NAME)
        eventually(lambda: engine.docker("ps", "--quiet"))
        eventually(lambda: reached(pooled))

        for verb, running in (("stop", ""), ("start", NAME)):
            operation = data(api.post(f"/api/databases/{made['id']}/{verb}"), 202)
            succeeded(api, operation["id"])
            assert engine.docker("ps", "--format", "{{.Names}}") == running
        assert ask(pooled, "SELECT n FROM held") == 1

        path = f"/api/databases/{made['id']}"
        limits = "{{.HostConfig.Memory}} {{.HostConfig.CpuQuota}}"
        for size, shown in (
            ({"memory_mb": 512, "cpus": 1.5}, f"{512 << 20} 150000"),
            ({"memory_mb": 256, "cpus": None}, f"{256 << 20} -1"),
        ):
            found = data(api.patch(path, json=size))
            assert found["operation_id"] is None
            assert engine.docker("inspect", "--format", limits, NAME) == shown
        settings = {"parameters": {"max_locks_per_transaction": "100000000"}, "restart": True}
        refused = data(api.patch(f"{path}/settings", json=settings), 202)["operation_id"]
        eventually(lambda: data(api.get(f"/api/operations/{refused}"))["finished_at"], seconds=240)
        assert data(api.get(f"/api/operations/{refused}"))["status"] == "failed"
        assert ask(pooled, "SELECT n FROM held") == 1

        assert api.delete(path).is_success
        eventually(lambda: api.get(path).status_code == 404)
    platform.reconcile()
    assert engine.docker("ps", "--all", "--quiet") == ""
    assert {path.name for path in (platform.home / "clusters").iterdir()} == {"control", "shared-1"}


def reached(pooled: str) -> bool:
    try:
        return bool(ask(pooled, "SELECT n FROM held") == 1)
    except Exception:
        return False
