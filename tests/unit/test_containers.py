"""What a container of a cluster is, and the engines that cannot be used."""

import io
import socket
import tarfile
from pathlib import Path

import pytest

from tenantry.host import containers
from tenantry.host.containers import EngineUnavailable
from tenantry.pg import docker_driver, postgres_image
from tenantry.pg.drivers import UNLIMITED, Limits


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("tcp://127.0.0.1:2375", "not reached by a Unix socket"),
        ("ssh://root@example.com", "not reached by a Unix socket"),
        ("unix:///nowhere/docker.sock", "no container engine"),
        ("unix:///etc/passwd", "no container engine"),
    ],
)
async def test_an_engine_elsewhere_is_refused(
    where: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", where)
    with pytest.raises(EngineUnavailable, match=reason):
        await containers.check()


async def test_an_engine_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "docker.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await containers.check()


def test_a_limit_of_processors_that_is_absent_is_lifted() -> None:
    none = {"CpuPeriod": 100_000, "CpuQuota": -1}
    assert docker_driver._resources(UNLIMITED) == none
    assert docker_driver._resources(Limits(cpus=0.25, memory_bytes=1 << 29, pids=100)) == {
        "CpuPeriod": 100_000,
        "CpuQuota": 25_000,
        "Memory": 1 << 29,
        "MemorySwap": 1 << 29,
        "PidsLimit": 100,
    }


@pytest.mark.parametrize("image", [None, "postgres:17"])
def test_an_image_knows_the_peers_of_postgresql(image: str | None, tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("a program")
    program.chmod(0o4755)
    context = io.BytesIO()
    postgres_image._write(context, image, [] if image else [program])
    with tarfile.open(fileobj=context) as archive:
        dockerfile, users = (
            archive.extractfile(name).read().decode()  # type: ignore[union-attr]
            for name in ("Dockerfile", "root/etc/passwd")
        )
        names = set(archive.getnames())
        assert dockerfile == f"FROM {image or 'scratch'}\nCOPY root /\n"
        assert users.startswith("root:x:0:0:")
        assert (f"root{program}" in names) is (image is None)
        if image is None:
            assert archive.getmember(f"root{program}").mode == 0o755
