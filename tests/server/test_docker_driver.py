"""The drivers: the same of a cluster in a container as of one without, and what differs."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString, TypeVar

import pytest

from container_engines import SYSTEM_USER, Engine, as_platform, missing, namespace
from tenantry.base.errors import MachineError
from tenantry.base.secrets import Secret
from tenantry.host import processes
from tenantry.host.containers import EngineFailed, EngineUnavailable
from tenantry.host.packages import PGBACKREST, find_postgres
from tenantry.pg import hba
from tenantry.pg.clusters import DRIVERS, Cluster, ClusterFiles
from tenantry.pg.connections import ADMIN, Address, connect, fetch_value
from tenantry.pg.drivers import UNLIMITED, Limits
from tenantry.pg.pgbackrest import PgBackRest
from tenantry.pg.repositories import LocalRepository, Stanza

T = TypeVar("T")

PORT = 5599
MIB = 1 << 20
LIMITS = Limits(cpus=1.5, memory_bytes=512 * MIB, pids=200)
RULES = "local all all peer map=platform\nhost all all 0.0.0.0/0 trust\n"

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"missing: {missing()}")


def run(work: Coroutine[Any, Any, T]) -> T:
    with as_platform():
        return asyncio.run(work)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="tnt-engine-"))
    folder.chmod(0o711)
    started = Engine(folder)
    os.environ["DOCKER_HOST"] = started.url
    try:
        started.start()
        yield started
    finally:
        del os.environ["DOCKER_HOST"]
        started.stop()


@pytest.fixture(scope="module")
def plain() -> Iterator[Cluster]:
    """A running cluster without a container."""
    with driven("process", UNLIMITED) as found:
        yield found


@pytest.fixture(scope="module")
def contained(engine: Engine) -> Iterator[Cluster]:
    """A running cluster in a container of the engine."""
    assert os.environ["DOCKER_HOST"] == engine.url
    with driven("docker", LIMITS) as found:
        yield found


@pytest.fixture(params=["plain", "contained"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of them."""
    found: Cluster = request.getfixturevalue(request.param)
    return found


@contextmanager
def driven(driver: str, limits: Limits) -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="tnt-driven-"))
    shutil.chown(home, SYSTEM_USER, SYSTEM_USER)
    found = Cluster(
        name="driven",
        folder=home / "cluster",
        address=Address(home / "run", PORT),
        bindir=find_postgres(home / "engines").bindir,
        log_dir=home / "logs",
        driver=DRIVERS[driver],
        limits=limits,
        container_name="one-production-postgres",
    )
    try:
        run(created(found))
        yield found
    finally:
        run(found.remove())
        shutil.rmtree(home)


def parameters(cluster: Cluster, **more: str) -> ClusterFiles:
    values = {
        "port": str(PORT),
        # Without a container the port would be one of this machine's.
        "listen_addresses": "*" if cluster.driver.name == "docker" else "",
        "unix_socket_directories": str(cluster.address.socket_dir),
        "shared_buffers": "16MB",
        **more,
    }
    user = pwd.getpwnam(SYSTEM_USER).pw_name
    return ClusterFiles(
        parameters="".join(f"{name} = '{value}'\n" for name, value in values.items()),
        identities=hba.render_identities("platform", [(user, ADMIN)]),
        rules=RULES,
    )


async def created(cluster: Cluster) -> None:
    cluster.log_dir.mkdir()
    await cluster.ensure_initialised(RULES)
    cluster.ensure_files(parameters(cluster))
    await cluster.ensure_running()
    await execute(cluster, "CREATE TABLE held AS SELECT 1 AS n")


async def execute(cluster: Cluster, statement: LiteralString) -> None:
    async with connect(cluster.address, user=ADMIN, search_path="public") as admin:
        await admin.execute(statement)


def value(cluster: Cluster, query: LiteralString) -> Any:
    async def ask() -> Any:
        async with connect(cluster.address, user=ADMIN, search_path="public") as admin:
            return await fetch_value(admin, query)

    return run(ask())


def group(pid: int, controller: str, first: str, second: str) -> str:
    """The value of a process's control group: by the file of version 1, or that of version 2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{names}{path}/{first}").read_text().strip()
    path = Path(f"/proc/{pid}/cgroup").read_text().strip().rpartition(":")[2]
    return Path(f"/sys/fs/cgroup{path}/{second}").read_text().strip()


# ── by each driver ───────────────────────────────────────────────────────────


def test_it_is_found_by_its_process(cluster: Cluster) -> None:
    pid = cluster.pid()
    assert pid is not None
    assert processes.started_by(pid, "postgres", cluster.data)
    system_id = value(cluster, "SELECT system_identifier FROM pg_control_system()")
    with as_platform():
        assert cluster.system_id() == system_id % 2**64


def test_a_stop_loses_nothing(cluster: Cluster) -> None:
    run(execute(cluster, "INSERT INTO held VALUES (2)"))
    for _ in range(2):
        run(cluster.stop())
        assert cluster.pid() is None
    assert not (cluster.data / "postmaster.pid").exists()
    for started in (True, False):
        assert run(cluster.ensure_running()) is started
    assert value(cluster, "SELECT count(*) FROM held WHERE n = 2") == 1


def test_a_killed_postmaster_is_started_again(cluster: Cluster) -> None:
    run(execute(cluster, "INSERT INTO held VALUES (3)"))
    pid = cluster.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    run(processes.wait_gone(pid))
    assert cluster.pid() is None
    assert run(cluster.ensure_running())
    assert value(cluster, "SELECT count(*) FROM held WHERE n = 3") == 1


def test_it_reads_its_files_again(cluster: Cluster) -> None:
    with as_platform():
        assert cluster.ensure_files(parameters(cluster, work_mem="7MB"))
        cluster.reload()
    while value(cluster, "SHOW work_mem") != "7MB":
        time.sleep(0.05)


def test_its_use_is_counted(cluster: Cluster) -> None:
    value(cluster, "SELECT count(*) FROM generate_series(1, 1000000)")
    used = run(cluster.driver.usage(cluster))
    assert used is not None
    assert used.cpu_seconds > 0
    assert used.memory_bytes > 4 * MIB
    assert used.started_at.timestamp() <= time.time() + 1


def test_a_start_that_fails_says_why(cluster: Cluster) -> None:
    run(cluster.stop())
    with pytest.raises(MachineError, match="no_such_parameter"):
        run(cluster.ensure_running(options=["-c", "no_such_parameter=1"]))
    assert cluster.pid() is None
    run(cluster.ensure_running())


# ── in containers ────────────────────────────────────────────────────────────


def test_other_machines_reach_its_port_with_their_own_addresses(
    contained: Cluster, engine: Engine
) -> None:
    with engine.neighbour("10.99.0.1", "10.99.0.2") as neighbour:
        found = subprocess.run(
            ["nsenter", f"--net=/proc/{neighbour}/ns/net", contained.bindir / "psql", "-XAtw",
             f"host=10.99.0.1 port={PORT} user={ADMIN} dbname=postgres",
             "-c", "SELECT host(inet_client_addr())"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    assert found.stdout.strip() == "10.99.0.2"


def test_it_can_do_no_more_than_serve(contained: Cluster) -> None:
    pid = contained.pid()
    assert pid is not None
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert fields["NoNewPrivs"] == "1"
    for kind in ("net", "pid", "ipc", "mnt"):
        assert namespace(pid, kind) != namespace(os.getpid(), kind)
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    options = {words[4]: words[5].split(",") for words in mounts}
    assert "ro" in options["/"]
    ours = {path for path in options if path.startswith(str(contained.folder.parent))}
    assert ours == {
        str(contained.folder), str(contained.address.socket_dir), str(contained.log_dir)
    }  # fmt: skip


def test_its_limits_are_in_force_and_change_while_it_runs(contained: Cluster) -> None:
    for limits in (
        LIMITS,
        Limits(cpus=None, memory_bytes=384 * MIB, pids=100),
        Limits(cpus=0.5, memory_bytes=768 * MIB, pids=300),
    ):
        pid = contained.pid()
        assert pid is not None
        assert run(contained.driver.limit(contained, limits))
        assert group(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(
            limits.memory_bytes
        )
        assert group(pid, "pids", "pids.max", "pids.max") == str(limits.pids)
        quotas = {"-1", "max"} if limits.cpus is None else {str(round(limits.cpus * 100_000))}
        assert group(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in quotas
        assert contained.pid() == pid


def test_it_archives(contained: Cluster) -> None:
    home = contained.folder.parent
    archiver = PgBackRest(PGBACKREST, home / "pgbackrest")
    repository = LocalRepository(home / "repository")
    shared = (archiver.folder, repository.path / "archive" / contained.name)
    archiving = replace(contained, shared=shared)
    stanza = Stanza(contained.name, contained.data, contained.address)

    async def begin() -> None:
        await contained.stop()
        archiver.ensure_configuration([repository], [stanza], Secret("passphrase"))
        command = archiver.archive_command(contained.name)
        contained.ensure_files(parameters(contained, archive_mode="on", archive_command=command))
        await archiving.ensure_running()
        await archiver.create_stanza(contained.name)
        await execute(contained, "SELECT pg_switch_wal()")

    run(begin())
    try:
        while value(contained, "SELECT archived_count FROM pg_stat_archiver") == 0:
            time.sleep(0.1)
    finally:
        run(contained.stop())
        with as_platform():
            contained.ensure_files(parameters(contained))
        run(contained.ensure_running())
    assert list(shared[1].glob("*/*/*.zst"))


def test_a_container_that_was_removed_is_created_again(contained: Cluster, engine: Engine) -> None:
    engine.docker("rm", "--force", contained.container_name)
    assert contained.pid() is None
    assert run(contained.ensure_running())
    assert value(contained, "SELECT count(*) FROM held WHERE n = 1") == 1


def test_a_container_of_somebody_else_stays(contained: Cluster) -> None:
    other = replace(contained, folder=contained.folder.with_name("other"))
    with pytest.raises(EngineFailed, match="belongs to something else"):
        run(other.driver.end_orphans(other))
    assert contained.pid() is not None


def test_an_image_of_the_administrators_is_used(contained: Cluster, engine: Engine) -> None:
    base = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "tenantry-postgres")
    run(contained.stop())
    other = replace(contained, image=base.split()[0])
    assert run(other.ensure_running())
    assert value(other, "SELECT count(*) FROM held WHERE n = 1") == 1
    run(other.stop())
    with pytest.raises(EngineFailed, match="no-such-image"):
        run(replace(contained, image="localhost:1/no-such-image").ensure_running())
    assert run(contained.ensure_running())


def test_without_its_engine_it_serves_and_can_be_stopped(
    contained: Cluster, engine: Engine
) -> None:
    engine.kill()
    try:
        assert contained.pid() is not None
        assert value(contained, "SELECT count(*) FROM held WHERE n = 1") == 1
        with pytest.raises(EngineUnavailable, match="does not answer"):
            run(contained.driver.limit(contained, LIMITS))
        run(contained.stop())
        assert contained.pid() is None
        with pytest.raises(EngineUnavailable):
            run(contained.ensure_running())
    finally:
        engine.start()
    assert run(contained.ensure_running())
    assert value(contained, "SELECT count(*) FROM held WHERE n = 1") == 1


def test_nothing_of_a_removed_cluster_is_left(contained: Cluster, engine: Engine) -> None:
    run(contained.remove())
    assert engine.docker("ps", "--all", "--quiet") == ""
    assert not contained.folder.exists()
