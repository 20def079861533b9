"""When sites are backed up, which backups expire, and what stays of replaced data."""

import datetime as dt
import itertools
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from database_rows import site_row
from tenantry.base.errors import Conflict
from tenantry.control.site_backups import SiteBackupRow, Standing
from tenantry.services.repository.plan import Schedule
from tenantry.services.site_backups import flow, plan

SITE, OTHER = uuid.UUID(int=5), uuid.UUID(int=6)
NOW = dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
DAILY = Schedule(time=dt.time(2), weekday=6, window=7 * DAY)
MIB = 1024 * 1024


def standing(**differing: Any) -> Standing:
    usual = Standing(SITE, "shop", None, NOW - DAY, NOW - DAY, ["/backups"], None, busy=False)
    return replace(usual, **differing)


def backup(number: int, age: dt.timedelta, **differing: Any) -> SiteBackupRow:
    usual = SiteBackupRow(
        id=uuid.UUID(int=number),
        site_id=SITE,
        site_name="shop",
        customer_id=None,
        origin="scheduled",
        status="ready",
        size_bytes=100,
        sha256="a",
        memory_bytes=30 * MIB,
        keys=1,
        server="Redis 7.0.15",
        places=["/backups"],
        created_at=NOW - age,
        finished_at=NOW - age,
        site_deleted_at=None,
    )
    return replace(usual, **differing)


@pytest.mark.parametrize(
    ("differing", "due"),
    [
        ({}, True),
        ({"since": NOW - 9 * HOUR}, False),  # since this night's time
        ({"since": NOW - 11 * HOUR}, True),
        ({"busy": True}, False),
        ({"failed_at": NOW - dt.timedelta(minutes=14)}, False),
        ({"failed_at": NOW - dt.timedelta(minutes=15)}, True),
    ],
)
def test_when_a_backup_is_due(differing: dict[str, Any], due: bool) -> None:
    assert plan.is_due(DAILY, standing(**differing), NOW) is due


def test_before_the_time_of_the_day_the_day_before_counts() -> None:
    early = NOW.replace(hour=1)
    assert not plan.is_due(DAILY, standing(since=early - 22 * HOUR), early)
    assert plan.is_due(DAILY, standing(since=early - 24 * HOUR), early)


def test_what_expires() -> None:
    held = [
        backup(1, 9 * DAY),
        backup(2, 9 * DAY, origin="manual"),
        backup(3, 8 * DAY),
        backup(4, 6 * DAY),
        backup(5, 30 * DAY, site_id=OTHER),  # the newest of its site
        backup(6, 9 * DAY, status="making"),
        backup(7, 9 * DAY, status="deleting"),
    ]
    assert plan.expired(held, 7 * DAY, NOW) == [uuid.UUID(int=1), uuid.UUID(int=3)]


def test_backups_of_a_deleted_site_expire_with_the_newest() -> None:
    for since, gone in ((6 * DAY, []), (8 * DAY, [uuid.UUID(int=2), uuid.UUID(int=1)])):
        held = [
            backup(1, 10 * DAY, site_deleted_at=NOW - since),
            backup(2, 20 * DAY, site_deleted_at=NOW - since, origin="manual"),
        ]
        assert plan.expired(held, 7 * DAY, NOW) == gone


@pytest.mark.parametrize(("memory_mb", "fits"), [(64, True), (32, True), (28, True), (16, False)])
def test_what_fits_into_a_site(memory_mb: int, fits: bool) -> None:
    site = site_row(SITE, memory_mb=memory_mb)
    if fits:
        plan.require_fitting(site, backup(1, DAY))
        return
    with pytest.raises(Conflict, match="30 MiB in memory, and the site 16 MiB") as raised:
        plan.require_fitting(site, backup(1, DAY))
    assert "--memory 30MB" in str(raised.value.hint)


def test_a_site_that_keeps_nothing_has_no_backups() -> None:
    plan.require_keeping(site_row(SITE, persistence="aof"))
    for isolation, hint in (("dedicated", "persistence aof"), ("shared", "isolation dedicated")):
        with pytest.raises(Conflict) as raised:
            plan.require_keeping(site_row(SITE, isolation=isolation))
        assert hint in str(raised.value.hint)


def test_what_needs_attention() -> None:
    fresh, failed = standing(), standing(name="b", failed_at=NOW)
    old = [standing(name=f"old-{each}", since=NOW - 3 * DAY) for each in range(5)]
    new = standing(since=NOW, last_at=None, places=[])
    assert plan.troubles([fresh, new], ["/backups"], NOW) is None
    assert plan.troubles([fresh, new], ["/backups", "s3"], NOW) == (
        "The last backup of sites is not in every repository: shop."
    )
    said = plan.troubles([fresh, failed, *old], ["/backups"], NOW) or ""
    assert said.startswith("The last backup of sites failed: b. GET /api/operations?kind=site.")
    assert said.endswith("no backup of the last two days: old-0, old-1, old-2 and 2 more.")


# ── what a restore leaves ────────────────────────────────────────────────────


def put(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "data").write_text(name)


def test_former_names_lead_to_what_replaced_them(tmp_path: Path) -> None:
    names = ["appendonlydir", *(f"aof-{number}" for number in range(45))]
    put(tmp_path, names[0])
    for previous, name in itertools.pairwise(names):
        put(tmp_path, name)
        for _ in "12":  # a step may be repeated
            flow._replace(tmp_path, previous, name)
        assert (tmp_path / names[0] / "data").read_text() == name
    assert sorted(each.name for each in tmp_path.iterdir() if not each.is_symlink()) == ["aof-44"]
    assert (tmp_path / "aof-20" / "data").read_text() == "aof-44"


@pytest.mark.parametrize("previous", ["", "aof-1"])
def test_nothing_is_deleted_that_was_not_replaced(tmp_path: Path, previous: str) -> None:
    put(tmp_path, "aof-1")
    flow._replace(tmp_path, previous, "aof-1")
    assert (tmp_path / "aof-1" / "data").read_text() == "aof-1"
    assert len(list(tmp_path.iterdir())) == 1
