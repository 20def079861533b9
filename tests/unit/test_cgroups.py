"""Control groups of both versions: the kernel's files are in a temporary folder.

What the kernel makes of it is seen by tests/system/test_cpu_shares.py, on version 1. Version 2 as
systemd delegates it can be rendered only, where no systemd runs.
"""

import os
from pathlib import Path

import pytest

from tenantry.base.errors import MachineError
from tenantry.host import cgroups

HOME = Path("/var/lib/tenantry")
OWNER = (os.getuid(), os.getgid())
ID = "tenantry/536d96889642"

Written = list[tuple[str, str]]


class Machine:
    """A machine with groups below a folder, and what was written to them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.mounts, self.own = folder / "mounts", folder / "own"
        self.own.write_text("0::/\n")
        self.written: Written = []
        monkeypatch.setattr(cgroups, "_MOUNTS", self.mounts)
        monkeypatch.setattr(cgroups, "_OWN", self.own)
        monkeypatch.setattr(cgroups, "_write", self._write)

    def first_version(self) -> None:
        for name in ("cpu,cpuacct", "memory", "pids"):
            (self.folder / name).mkdir()
        self.mounts.write_text(
            "".join(
                f"cgroup {self.folder}/{name} cgroup rw,relatime,{name} 0 0\n"
                for name in ("cpu,cpuacct", "memory", "pids")
            )
            + f"cgroup2 {self.folder} cgroup2 rw,relatime 0 0\n"
        )

    def second_version(self) -> None:
        (self.folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        self.mounts.write_text(f"cgroup2 {self.folder} cgroup2 rw,nosuid 0 0\n")

    def since(self) -> Written:
        found, self.written = self.written, []
        return found

    def _write(self, path: Path, value: object) -> None:
        self.written.append((str(path.relative_to(self.folder)), str(value)))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def prepared() -> cgroups.Groups:
    cgroups.prepare(HOME, owner=OWNER)
    assert cgroups.missing(HOME) is None
    found = cgroups.find(HOME)
    assert found is not None
    assert found.has_limits
    return found


def test_version_1_has_a_folder_in_each_hierarchy(machine: Machine) -> None:
    machine.first_version()
    groups = prepared()
    cpu = f"cpu,cpuacct/{ID}"
    assert machine.since() == [
        ("cpu,cpuacct/tenantry/cpu.shares", "10240"),
        (f"{cpu}/platform/cgroup.procs", str(os.getpid())),
    ]

    groups.ensure("databases/tenant_a")
    groups.set_weight("databases/tenant_a", 50)
    groups.add("databases/tenant_a", [7, 8])
    assert machine.since() == [
        (f"{cpu}/databases/tenant_a/cpu.shares", "512"),
        (f"{cpu}/databases/tenant_a/cgroup.procs", "7"),
        (f"{cpu}/databases/tenant_a/cgroup.procs", "8"),
    ]

    groups.ensure("instances/shop", limits=True)
    groups.limit("instances/shop", cpus=1.5, memory_bytes=2**30, pids=None)
    groups.add("instances/shop", [9])
    assert machine.since() == [
        (f"{cpu}/instances/shop/cpu.cfs_quota_us", "150000"),
        (f"memory/{ID}/instances/shop/memory.limit_in_bytes", str(2**30)),
        (f"pids/{ID}/instances/shop/pids.max", "max"),
        (f"{cpu}/instances/shop/cgroup.procs", "9"),
        (f"memory/{ID}/instances/shop/cgroup.procs", "9"),
        (f"pids/{ID}/instances/shop/cgroup.procs", "9"),
    ]


def test_version_2_enables_controllers_above_each_group(machine: Machine) -> None:
    machine.second_version()
    groups = prepared()
    every = "+cpu +memory +pids"
    assert machine.since() == [
        ("cgroup.subtree_control", every),
        ("tenantry/cgroup.subtree_control", every),
        (f"{ID}/cgroup.subtree_control", every),
        ("tenantry/cpu.weight", "1000"),
        (f"{ID}/platform/cgroup.procs", str(os.getpid())),
    ]

    groups.ensure("databases/tenant_a")
    groups.set_weight("databases/tenant_a", 50)
    assert machine.since() == [
        # Not memory: what sessions share would be charged to the one that touched it first.
        (f"{ID}/databases/cgroup.subtree_control", "+cpu"),
        (f"{ID}/databases/tenant_a/cpu.weight", "50"),
    ]

    groups.ensure("instances/shop", limits=True)
    groups.limit("instances/shop", cpus=None, memory_bytes=None, pids=100)
    groups.add("instances/shop", [9])
    assert machine.since()[3:] == [
        (f"{ID}/instances/shop/cpu.max", "max 100000"),
        (f"{ID}/instances/shop/memory.max", "max"),
        (f"{ID}/instances/shop/pids.max", "100"),
        (f"{ID}/instances/shop/cgroup.procs", "9"),
    ]


def test_a_unit_that_systemd_delegates_to_is_the_subtree(machine: Machine) -> None:
    machine.second_version()
    unit = machine.folder / "system.slice/tenantry.service"
    (unit / "platform").mkdir(parents=True)
    machine.own.write_text("0::/system.slice/tenantry.service/platform\n")
    cgroups.prepare(HOME)
    assert machine.since() == [
        ("system.slice/tenantry.service/cgroup.subtree_control", "+cpu +memory +pids")
    ]
    found = cgroups.find(HOME)
    assert found is not None
    assert set(found.folders.values()) == {unit}


def test_where_there_are_none_it_says_why(machine: Machine) -> None:
    machine.mounts.write_text(f"proc {machine.folder} proc rw 0 0\n")
    cgroups.prepare(HOME, owner=OWNER)
    assert "No hierarchy" in (cgroups.missing(HOME) or "")
    machine.second_version()
    cgroups.prepare(HOME)
    assert cgroups.find(HOME) is None
    assert "does not exist: root creates it" in (cgroups.missing(HOME) or "")


def test_installations_have_groups_of_their_own(machine: Machine) -> None:
    machine.first_version()
    prepared()
    assert cgroups.find(Path("/srv/other")) is None


def test_what_a_group_has_used(machine: Machine) -> None:
    machine.first_version()
    first = prepared()
    first.ensure("instances/shop", limits=True)
    (first.folders["cpuacct"] / "instances/shop/cpuacct.usage").write_text("2500000000\n")
    (first.folders["memory"] / "instances/shop/memory.usage_in_bytes").write_text("4096\n")
    assert first.usage("instances/shop") == cgroups.Usage(2.5, 4096)

    second = cgroups.Groups(True, dict.fromkeys(first.folders, machine.folder))
    (machine.folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (machine.folder / "memory.current").write_text("4096\n")
    assert second.usage("") == cgroups.Usage(2.5, 4096)


def test_groups_are_listed_and_removed_with_those_in_them(machine: Machine) -> None:
    machine.first_version()
    groups = prepared()
    groups.ensure("databases/tenant_a")
    groups.ensure("databases/tenant_b")
    assert groups.names("databases") == {"tenant_a", "tenant_b"}
    assert groups.remove("databases/tenant_a")
    assert groups.remove("databases/tenant_a")
    assert groups.names("databases") == {"tenant_b"}
    cgroups.remove(HOME)
    assert [*(machine.folder / "memory").iterdir()] == []
    assert cgroups.find(HOME) is None


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    groups = cgroups.Groups(False, {"cpu": tmp_path})
    with pytest.raises(MachineError, match=r"missing/cpu\.shares: No such file"):
        groups.set_weight("missing", 100)
