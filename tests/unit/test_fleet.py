"""The file that lists further clusters, their names, and each one's part of the machine."""

import datetime as dt
import tempfile
import uuid
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import pytest

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.base.settings import Settings
from tenantry.control.clusters import ClusterRow
from tenantry.host import packages
from tenantry.pg import parameters
from tenantry.services.cluster_additions.service import _free_name, _usable
from tenantry.services.clusters import fleet as fleet_module
from tenantry.services.clusters.fleet import Fleet, Member


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
        databases=0,
        placed=0,
        allotted=0,
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
    with pytest.raises(MachineError, match="PostgreSQL 9 is not installed"):
        fleet.named("shared-1")


def test_programs_that_are_gone_are_missed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = home / "15" / "bin"
    programs.mkdir(parents=True)
    for name in ("initdb", "pg_ctl", "postgres", "psql"):
        (programs / name).touch(0o755)
    search = lru_cache(partial(packages.find_postgres, library=home))
    monkeypatch.setattr(fleet_module, "_looked_up", search)
    data = home / "clusters" / "shared-1" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    fleet = Fleet(Settings(home=home))
    assert fleet.first.bindir == programs
    (programs / "postgres").unlink()
    with pytest.raises(MachineError, match="PostgreSQL 15 is not installed"):
        fleet.named("shared-1")
