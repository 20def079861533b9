"""Which pgBackRest is used, and when a newer one is built."""

import os
from pathlib import Path

import pytest

from tenantry.base.errors import MachineError
from tenantry.base.settings import Settings
from tenantry.host import backports, backup_engines, packages
from tenantry.host.engines import upstream
from tenantry.host.packages import PostgresEngine
from tenantry.services.clusters import fleet
from tenantry.services.clusters.fleet import Fleet


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program of Debian 12's package."""
    program = tmp_path / "usr" / "pgbackrest"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho pgBackRest 2.45\n")
    program.chmod(0o755)
    for module in (backup_engines, packages):
        monkeypatch.setattr(module, "PGBACKREST", program)
    return program


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    found = tmp_path / "engines"
    found.mkdir()
    return found


def put(engines: Path, version: str) -> Path:
    program = engines / f"pgbackrest-{version}" / "pgbackrest"
    program.parent.mkdir()
    program.touch()
    return program


def test_the_newest_is_used(packaged: Path, engines: Path) -> None:
    found = backup_engines.find_pgbackrest(engines)
    assert found is not None
    assert (found.release, found.path) == ("2.45", packaged)
    put(engines, "2.9.1-1")
    newest = put(engines, "2.54.2-1+deb13u1")
    assert backup_engines.program(engines) == newest
    put(engines, "2.40-1")
    assert backup_engines.program(engines) == newest


@pytest.mark.parametrize(
    ("version", "known"),
    [("2.40", []), ("2.45", [15]), ("2.48", [15, 16]), ("2.53", [15, 16]),
     ("2.53.1", [15, 16, 17]), ("2.54.2", [15, 16, 17]), ("2.55.0", [15, 16, 17, 18])],
)  # fmt: skip
def test_it_knows_the_servers_of_its_time(version: str, known: list[int]) -> None:
    engine = backup_engines.PgBackRestEngine(upstream(version), Path())
    assert [each for each in range(13, 21) if engine.knows(each)] == known


def test_one_of_another_user_is_none(
    packaged: Path, engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = put(engines, "2.54.2-1")
    if os.geteuid() == 0:
        os.chown(strange, 65_534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    assert backup_engines.program(engines) == packaged


def test_a_missing_one_is_where_the_package_has_it(engines: Path) -> None:
    here = backup_engines.find_pgbackrest(engines)
    assert backup_engines.program(engines) == packages.PGBACKREST
    assert here is None or here.path == packages.PGBACKREST


@pytest.mark.usefixtures("packaged")
async def test_a_newer_one_is_searched_once_a_day_and_only_if_a_server_needs_it(
    engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    async def backport(_: Path, suite: str, newest: int, __: object) -> bool:
        tried.append(f"{suite} for {newest}")
        if suite == "sid":
            raise MachineError("its files are not there.")
        put(engines, "2.54.2-1")
        return True

    async def nothing(_: object) -> list[str]:
        return []

    monkeypatch.setattr(backup_engines, "_backport", backport)
    monkeypatch.setattr(backports, "suites", lambda: ("sid", "trixie"))
    monkeypatch.setattr(packages, "missing", nothing)
    said: list[str] = []
    await backup_engines.ensure_pgbackrest(engines, said.append, newest=15)
    assert (tried, said) == ([], [])
    await backup_engines.ensure_pgbackrest(engines, said.append, newest=17)
    assert tried == ["sid for 17", "trixie for 17"]
    assert said[-1] == "No pgBackRest can be had from sid: its files are not there."
    await backup_engines.ensure_pgbackrest(engines, said.append, newest=17)
    await backup_engines.ensure_pgbackrest(engines, said.append, newest=18)  # tomorrow
    assert len(tried) == 2


@pytest.mark.usefixtures("packaged")
def test_new_clusters_have_a_version_that_can_be_backed_up(
    engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [PostgresEngine(15, Path("/15")), PostgresEngine(17, Path("/17"))]
    monkeypatch.setattr(fleet, "installed_servers", lambda _: there)
    home = Path("/home-of-none")
    with_backups = Fleet(Settings(home=home, engines=engines))
    without = Fleet(Settings(home=home, engines=engines, backups=False))
    assert (with_backups.usable_versions(), with_backups.newest_version()) == ([15], 15)
    assert (without.usable_versions(), without.newest_version()) == ([15, 17], 17)
    put(engines, "2.54.2-1")
    assert with_backups.newest_version() == 17
