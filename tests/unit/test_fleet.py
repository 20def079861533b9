"""The file that lists further clusters, their names, and each one's part of the machine."""

import asyncio
import datetime as dt
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.base.settings import Settings
from tenantry.control.clusters import ClusterRow
from tenantry.pg import parameters
from tenantry.pg.clusters import Cluster
from tenantry.services.cluster_additions.service import _free_name, _usable
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path, as a home has to have."""
    with tempfile.TemporaryDirectory(prefix="tnt-") as folder:
        yield Path(folder)


def row(name: str) -> ClusterRow:
    return ClusterRow(
        id=uuid.uuid4(),
        name=name,
        kind="shared",
        driver="process",
        version=15,
        socket_dir=f"/run/{name}",
        port=5432,
        max_databases=2000,
        created_at=dt.datetime.now(dt.UTC),
        full_backup_since=None,
        ready=True,
        wanted="running",
        cpus=None,
        memory_mb=None,
        container_name=None,
        auto_suspend_seconds=None,
        auto_suspend_direct=None,
    )


def test_members_are_as_they_were_written(home: Path) -> None:
    fleet = Fleet(Settings(home=home))
    assert fleet.members() == []
    assert not fleet.write([])
    assert not (home / "clusters.json").exists()
    members = [Member(name=f"shared-{n}", driver="process", port=5500 + n) for n in (2, 3)]
    assert fleet.write(members)
    assert not fleet.write(members)
    assert fleet.members() == members


def test_a_stopped_instance_is_a_member_that_does_not_serve(home: Path) -> None:
    fleet = Fleet(Settings(home=home, memory_mb=1 << 14))
    one, two = (
        Member(
            name=f"db-{name}", driver="process", port=port, kind="dedicated", memory_mb=256, cpus=1
        )
        for name, port in (("one", 5500), ("two", 5501))
    )
    fleet.put(one)
    fleet.put(two)
    fleet.put(one.model_copy(update={"wanted": "stopped"}))
    assert [each.name for each in fleet.of_tenants] == ["shared-1", "db-two", "db-one"]
    assert [each.name for each in fleet.serving] == ["shared-1", "db-two"]
    assert [each.name for each in fleet.wanted] == ["control", "shared-1", "db-two"]
    assert [each.name for each in fleet.shared] == ["shared-1"]
    instance = fleet.named("db-two")
    assert (instance.limits.cpus, instance.limits.memory_bytes) == (1, 256 << 20)
    assert fleet.sizing_of(instance) == parameters.size(parameters.Machine.this(256))
    assert fleet.sizing_of(fleet.first) == parameters.size(parameters.Machine.this(1 << 14))
    fleet.remove("db-one")
    assert [each.name for each in fleet.members()] == ["db-two"]


@pytest.mark.parametrize("text", ["", "[", '[{"name": "shared-2"}]', "{}"])
def test_a_damaged_file_is_not_taken_for_none(home: Path, text: str) -> None:
    (home / "clusters.json").write_text(text)
    with pytest.raises(MachineError, match="damaged"):
        Fleet(Settings(home=home)).members()


def test_each_shared_cluster_gets_an_equal_part(home: Path) -> None:
    fleet = Fleet(Settings(home=home, memory_mb=1 << 14))
    whole = fleet.sizing
    fleet.write([Member(name=f"shared-{n}", driver="process", port=5500 + n) for n in (2, 3, 4)])
    machine = parameters.Machine.this(1 << 14)
    assert fleet.sizing == parameters.size(machine.part(4))
    assert fleet.sizing.shared_buffers_mb == whole.shared_buffers_mb // 4


@pytest.mark.parametrize(("memory_mb", "most"), [(256, 1), (1023, 1), (1024, 2), (4096, 8)])
def test_a_shared_cluster_needs_half_a_gibibyte(home: Path, memory_mb: int, most: int) -> None:
    assert Fleet(Settings(home=home, memory_mb=memory_mb)).most_shared == most


def test_the_first_free_number_is_the_name() -> None:
    assert _free_name([row("control"), row("shared-1")]) == "shared-2"
    assert _free_name([row("shared-1"), row("shared-2"), row("shared-4")]) == "shared-3"


@pytest.mark.parametrize("name", ["shared-1", "pooler", "shared", "shared-1-b", "api", "worker-2"])
def test_a_name_that_is_taken_or_alike(name: str) -> None:
    with pytest.raises(InvalidInput):
        _usable(name, [row("control"), row("shared-1")])


def test_another_name() -> None:
    assert _usable("ssd", [row("control"), row("shared-1")]) == "ssd"


def test_what_has_changed_is_looked_at_again(home: Path) -> None:
    fleet = Fleet(Settings(home=home))
    second = Member(name="shared-2", driver="process", port=5500)
    assert fleet.write([second])
    assert fleet.members() == [second]
    fleet.members().clear()  # the caller's own list
    assert fleet.members() == [second]
    (home / "clusters.json").unlink()
    assert fleet.members() == []

    data = home / "clusters" / "shared-1" / "data"
    newest = fleet.newest_version()
    assert fleet.first.bindir.parent.name == str(newest)
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text(f"{newest}\n")
    assert fleet.first.bindir.parent.name == str(newest)
    data.rename(data.with_name("before"))
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")  # as after a restore of another version
    assert fleet.first.bindir.parent.name == "9"


def test_programs_that_are_gone_are_missed_by_their_cluster_only(home: Path) -> None:
    fleet = Fleet(Settings(home=home))
    old = Member(name="db-old", driver="process", port=5500, kind="dedicated", version=9)
    fleet.put(old)
    fleet.put(Member(name="db-new", driver="process", port=5501, kind="dedicated"))
    assert [each.name for each in fleet.every] == ["control", "shared-1", "db-old", "db-new"]
    with pytest.raises(MachineError, match="PostgreSQL 9 is not installed") as raised:
        asyncio.run(fleet.ensure_running(fleet.named("db-old")))
    assert "apt-get install postgresql-9" in (raised.value.hint or "")
    assert not fleet.named("db-old").folder.exists()


def test_nobody_starts_what_somebody_else_stops(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor finds a dead instance, and meanwhile its owner stops it."""
    fleet = Fleet(Settings(home=home))
    member = Member(name="db-one", driver="process", port=5500, kind="dedicated")
    fleet.put(member)
    instance = fleet.named("db-one")
    began, done = asyncio.Event(), list[str]()

    async def start(_: Fleet, cluster: Cluster) -> None:
        began.set()
        await asyncio.sleep(0)  # others get their turn
        done.append(f"started {cluster.name}")

    async def stop(cluster: Cluster) -> None:
        done.append(f"stopped {cluster.name}")

    monkeypatch.setattr(Fleet, "start", start)
    monkeypatch.setattr(Cluster, "stop", stop)

    async def stopped() -> None:
        await began.wait()
        fleet.put(member.model_copy(update={"wanted": "stopped"}))
        await fleet.stop(instance)

    async def race() -> None:
        await asyncio.gather(fleet.ensure_wanted(instance), stopped())
        await fleet.ensure_wanted(instance)

    asyncio.run(race())
    assert done == ["started db-one", "stopped db-one"]


def test_a_cluster_in_a_container_sees_what_is_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fleet, "usable_versions", lambda _: [15, 17])
    settings = Settings(home=home, postgres_image="postgres:{version}-bookworm")
    fleet = Fleet(settings)
    found = fleet.of(Member(name="one", driver="docker", port=5500))
    assert found.driver.name == "docker"
    assert found.log_dir == home / "logs" / "one"
    assert found.image == "postgres:17-bookworm"
    assert found.shared == (home / "pgbackrest", settings.repository_dir / "archive" / "one")
    tls = home / "tls"
    tls.mkdir()
    for text in ("old", "new"):
        (tls / "server.pem").write_text(text)
        fleet.ensure_certificate(found)
        assert (found.address.socket_dir / "server.pem").read_text() == text


def test_only_the_port_of_an_instance_is_the_listeners() -> None:
    member = Member(
        name="db-a",
        driver="process",
        port=5500,
        kind="dedicated",
        auto_suspend_seconds=60,
        auto_suspend_direct="wake",
    )
    assert member.forwards
    assert not member.model_copy(update={"kind": "shared"}).forwards
