"""What a recovery begins with, and that neither of two clusters of two moments loses anything."""

import datetime as dt
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from database_rows import database_row
from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.pg.pgbackrest_output import Backup, Contents
from tenantry.services.cluster_restores import plan
from tenantry.services.home_files import HomeFiles, WrongKey, render_environment
from tenantry.services.side_clusters.model import OutsideWindow

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
HISTORY = "1\t0/3000000\tno recovery target specified\n\n2\t1/2A000160\tbefore 2026-11-21\n"


def backup(hours: int, *, damaged: bool = False) -> Backup:
    stopped = NOON + hours * HOUR
    return Backup(1, f"{hours}F", "full", stopped, stopped, None, (), "", "", 1, 1, damaged)


def contents(*backups: Backup) -> Contents:
    return Contents("control", 1, None, backups, None, 7)


def test_the_newest_backup_before_the_moment_comes_first() -> None:
    held = contents(backup(0), backup(1, damaged=True), backup(2), backup(3))
    assert [each.label for each in plan.candidates(held, None)] == ["3F", "2F", "0F"]
    assert [each.label for each in plan.candidates(held, NOON + 2.5 * HOUR)] == ["2F", "0F"]
    # It ended within that second, nobody knows when.
    assert [each.label for each in plan.candidates(held, NOON + 2 * HOUR)] == ["0F"]


def test_what_cannot_be_reached_is_refused() -> None:
    with pytest.raises(OutsideWindow, match="2026-11-21 12:00:01"):
        plan.candidates(contents(backup(0)), NOON)
    with pytest.raises(MachineError, match="holds no backup of control"):
        plan.candidates(contents(backup(0, damaged=True)), None)


@pytest.mark.parametrize(
    ("last", "unread"),
    [
        (None, None),
        ("00000002000000010000002A", None),
        ("00000002000000010000002B", "00000002000000010000002B"),
        ("000000020000000200000000", "000000020000000200000000"),
        ("0000000200000000000000FF", None),
        ("00000003000000020000002B", None),  # of this recovery itself, that was cut off
    ],
)
def test_a_gap_in_the_log_is_noticed_by_what_is_behind_it(
    last: str | None, unread: str | None
) -> None:
    assert plan.unread(last, HISTORY) == unread


suffixes = [letter * 12 for letter in "bcdf"]
statuses = st.sampled_from(["creating", "warm", "active", "deleting"])


@given(
    st.dictionaries(st.sampled_from(suffixes), statuses),
    st.sets(st.sampled_from(suffixes)),
    st.sets(st.sampled_from(suffixes)),
)
def test_neither_side_loses_anything(
    known: dict[str, str], there: set[str], given_away: set[str]
) -> None:
    rows = [database_row(suffix, status=status) for suffix, status in known.items()]
    databases = {f"tenant_{suffix}" for suffix in there}
    passwords = {f"user_{suffix}" for suffix in given_away}
    found = plan.reconcile(rows, databases, passwords)
    # Nothing that somebody has, by either side, is dropped or given to another.
    for row in (*found.discard, *found.forget):
        assert row.status in {"creating", "warm"}
    assert not {row.username for row in found.discard} & passwords
    waiting = {row for row in rows if row.status in {"creating", "warm"}}
    assert {*found.discard, *found.forget} == waiting
    # Every database that is there is one's that is known, discarded for nobody's, or reported of.
    kept = {row.database_name for row in rows if row not in waiting}
    discarded = {row.database_name for row in found.discard}
    assert databases <= kept | discarded | {*found.differences.unmanaged}
    for row in rows:
        if row.status == "active":
            missing = row.database_name not in databases
            assert (row.database_name in found.differences.missing) == missing
            assert (row.database_name in found.differences.closed) == (
                not missing and row.username not in passwords
            )


def test_the_homes_files_are_sealed_by_the_key() -> None:
    kept = HomeFiles.model_validate(
        {"files": {"seal.key": b"AAEC/w=="}, "settings": {"TENANTRY_DOMAIN": "it's.example"}}
    )
    text = kept.sealed(Secret("right"))
    assert HomeFiles.opened(text, Secret("right")) == kept
    assert "AAEC" not in text
    with pytest.raises(WrongKey):
        HomeFiles.opened(text, Secret("wrong"))
    with pytest.raises(WrongKey):
        HomeFiles.opened(text[:-8] + "AAAAAAA=", Secret("right"))
    with pytest.raises(MachineError, match="damaged"):
        HomeFiles.opened("no base64!", Secret("right"))


def test_what_a_home_has_is_not_overwritten(tmp_path: Path) -> None:
    kept = HomeFiles.model_validate(
        {"files": {"seal.key": b"AAEC/w==", "../evil": b"AAEC/w=="}, "settings": {}}
    )
    (tmp_path / "seal.key").write_bytes(b"mine")
    assert kept.put_back(Home(tmp_path)) == []
    (tmp_path / "seal.key").unlink()
    assert kept.put_back(Home(tmp_path)) == ["seal.key"]
    assert (tmp_path / "seal.key").read_bytes() == b"\0\1\2\xff"
    assert (tmp_path / "seal.key").stat().st_mode & 0o777 == 0o600


def test_settings_are_read_back_as_they_were(tmp_path: Path) -> None:

    values = {"A": "it's", "B": "a\\b #c", "C": ""}
    (tmp_path / "env").write_text(render_environment(values))
    assert dotenv_values(tmp_path / "env") == values
