"""What runs against what is installed: apt's answers, /proc, published weaknesses, the window."""

import asyncio
import datetime as dt
import fcntl
import os
import re
from pathlib import Path

import pytest

import tenantry
from tenantry.host import weaknesses
from tenantry.host.engines import PgBouncerEngine
from tenantry.host.versions import (
    Package,
    code,
    packages_are_changing,
    read_policy,
    replaced_files,
)
from tenantry.services.restarts import in_window
from tenantry.services.versions import Part, known_packages

POLICY = """\
postgresql-15:
  Installed: 15.18-0+deb12u1
  Candidate: 15.20-0+deb12u1
  Version table:
     15.20-0+deb12u1 500
        500 mirror bookworm-security/main amd64 Packages
 *** 15.18-0+deb12u1 100
        100 /var/lib/dpkg/status
pgbouncer:
  Installed: (none)
  Candidate: 1.18.0-1
  Version table:
     1.18.0-1 500
"""


def test_apt_is_asked_once_by_all_processes_until_packages_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy").write_text(POLICY)
    asked = tmp_path / "asked"
    apt = tmp_path / "apt-cache"
    apt.write_text(f"#!/bin/sh\necho $3 >> {asked}\ncat {tmp_path}/policy\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    file = tmp_path / "packages.json"

    def known(*names: str, changed_at: float = 1.0) -> dict[str, Package]:
        return asyncio.run(known_packages(file, ["pgbouncer", *names], changed_at=changed_at))

    def times() -> int:
        return len(asked.read_text().splitlines())

    assert known() == known() == read_policy(POLICY)
    assert times() == 1
    known("postgresql-16")
    assert times() == 2
    known("postgresql-16", changed_at=2.0)
    assert times() == 3
    for bad in ("", "[]", '{"changed_at": 1.0, "names": ["pgbouncer"], "packages": {"a": {}}}'):
        file.write_text(bad)
        assert known() == read_policy(POLICY)
    assert times() == 6
    os.utime(file, (1, 1))
    known()
    assert times() == 7


def test_apts_answer_about_several_packages() -> None:
    assert read_policy(POLICY) == {
        "postgresql-15": Package("15.18-0+deb12u1", "15.20-0+deb12u1"),
        "pgbouncer": Package(None, "1.18.0-1"),
    }
    assert read_policy("") == {}


MAPS = """\
55d0c0000000-55d0c0100000 r--p 00000000 fe:00 1 /usr/lib/postgresql/15/bin/postgres (deleted)
55d0c0100000-55d0c0600000 r-xp 00100000 fe:00 1 /usr/lib/postgresql/15/bin/postgres (deleted)
7f0000000000-7f0000100000 r-xp 00000000 fe:00 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000200000-7f0000300000 r-xp 00000000 fe:00 3 /a folder/with spaces.so (deleted)
7f0000400000-7f0000500000 rw-s 00000000 00:01 4 /dev/zero (deleted)
7f0000600000-7f0000700000 rwxs 00000000 00:01 5 /SYSV00000000 (deleted)
7f0000800000-7f0000900000 r-xp 00000000 00:01 6 /memfd:jit (deleted)
7f0000a00000-7f0000b00000 r--p 00000000 fe:00 7 /usr/lib/locale/locale-archive (deleted)
7f0000c00000-7f0000d00000 rwxp 00000000 00:00 0
"""


def test_only_code_that_is_not_on_disk_any_more_counts(tmp_path: Path) -> None:
    """Not shared memory, not data."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "maps").write_text(MAPS)
    assert replaced_files(1, proc=tmp_path) == (
        "/a folder/with spaces.so",
        "/usr/lib/postgresql/15/bin/postgres",
    )
    assert replaced_files(2, proc=tmp_path) == ()


def test_apt_at_work_is_seen_by_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock-frontend"
    assert not packages_are_changing(lock=lock)
    with lock.open("w") as file:
        assert not packages_are_changing(lock=lock)
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert packages_are_changing(lock=lock)
    assert not packages_are_changing(lock=lock)


def test_weaknesses_end_with_the_release_that_ended_them() -> None:
    assert "CVE-2026-6473" in weaknesses.of_postgres(15, 17)
    assert "CVE-2026-6473" not in weaknesses.of_postgres(15, 18)
    assert weaknesses.of_postgres(15, 19)
    for major, newest in ((15, 20), (16, 16), (17, 12), (18, 7), (19, 0)):
        assert weaknesses.of_postgres(major, newest) == []
    assert weaknesses.of_postgres(18, 6) == ["CVE-2026-6460"]


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((1, 16, 1), False),
        ((1, 17, 0), True),
        ((1, 21, 0), True),
        ((1, 26, 0), True),
        ((1, 26, 1), False),
    ],
)
def test_the_weakness_of_names_that_do_not_exist(version: tuple[int, ...], has: bool) -> None:
    engine = PgBouncerEngine(version, Path("/x"))
    assert ("CVE-2026-107350" in [each.cve for each in engine.weaknesses()]) is has


def test_each_weakness_is_listed_once_for_a_major() -> None:
    for major in (15, 16, 17, 18):
        found = weaknesses.of_postgres(major, 0)
        assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("window", "hour", "inside"),
    [
        ("03:00-04:00", 3, True),
        ("03:00-04:00", 4, False),
        ("23:00-02:00", 1, True),
        ("23:00-02:00", 12, False),
        ("00:00-00:00", 12, True),
        ("off", 3, False),
    ],
)
def test_the_window_is_of_utc_and_may_span_midnight(window: str, hour: int, inside: bool) -> None:
    east = dt.timezone(dt.timedelta(hours=2))
    assert (
        in_window(window, dt.datetime(2026, 1, 31, hour, tzinfo=dt.UTC).astimezone(east)) is inside
    )


def test_what_runs_another_version_or_replaced_files_is_outdated() -> None:
    assert not Part("shared-1", "15.20", "15.20", "15.20").outdated
    assert not Part("shared-1", "15.20").outdated
    assert Part("shared-1", "15.18", "15.20").outdated
    assert Part("shared-1", "15.20", "15.20", replaced=("/x.so",)).outdated
    [said] = Part("shared-1", "15.18", "15.20").alerts()
    assert said.detail == "shared-1 runs 15.18, and 15.20 is installed."
    offered = Part("shared-1", "15.18", "15.18", "15.20", package="postgresql-15")
    assert [str(each) for each in offered.advice()] == [
        "shared-1: apt offers 15.20 for 15.18. As root, apt-get install --only-upgrade"
        " postgresql-15 upgrades it."
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("supervisor", "./tenantry down and ./tenantry up restart it to run the newer code."),
        ("api", "It is restarted in TENANTRY_MAINTENANCE_WINDOW; or at once: ./tenantry down and"
         " ./tenantry up restart it to run the newer code."),
    ],
)  # fmt: skip
def test_what_makes_a_program_run_the_newer_code_is_reported(name: str, hint: str) -> None:
    [said] = Part(name, "0.3.0+aaaaaaaa", "0.3.1+bbbbbbbb").alerts()
    assert said.detail == f"{name} runs 0.3.0+aaaaaaaa, and 0.3.1+bbbbbbbb is installed."
    assert said.hint == hint


@pytest.mark.parametrize(
    "part",
    [
        Part("shared-1", "15.18", weaknesses=("CVE-1",), package="postgresql-15"),
        Part("pooler", "1.24.1", weaknesses=("CVE-1",)),
        Part("pooler", "1.24.1", "1.24.1", "1.26.1", package="pgbouncer"),
        Part("pgBackRest", None, "2.45", "2.50", package="pgbackrest"),
        Part("shared-1", "15.20", replaced=("/x.so",)),
        Part("shared-1", "15.20", fails="undefined symbol"),
    ],
    ids=str,
)
def test_each_remark_shows_what_to_do(part: Part) -> None:
    [said] = [*part.alerts(), *part.advice()]
    assert said.hint
    assert part.package is None or part.package in said.hint


def test_the_code_has_a_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read from where it is installed now, and not from what was loaded before an upgrade."""
    link = tmp_path / "venv"

    def install(digest: str, version: str) -> None:
        folder = tmp_path / f"venv-{digest}/lib/python3.11/site-packages/tenantry"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f'"""Tenantry."""\n\n__version__ = "{version}"\n')
        link.unlink(missing_ok=True)
        link.symlink_to(f"venv-{digest}")

    install("0123456789abcdef", "0.3.0")
    loaded = link / "lib/python3.11/site-packages/tenantry/__init__.py"
    monkeypatch.setattr("tenantry.__file__", str(loaded))
    assert code() == "0.3.0+01234567"
    install("fedcba9876543210", "0.3.0")
    assert code() == "0.3.0+fedcba98"
    install("aaaaaaaaaaaaaaaa", "0.4.0")
    assert code() == "0.4.0+aaaaaaaa"


def test_the_code_here_has_a_version() -> None:
    assert re.fullmatch(re.escape(tenantry.__version__) + r"\+[0-9a-f]{8}", code())
