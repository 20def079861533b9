"""The system user: it goes with the last of root's homes, if we have made it."""

import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenantry.base.errors import MachineError
from tenantry.cli import entry_point
from tenantry.host import environment, homes

A, B = Path("/srv/a"), Path("/srv/b")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[str | Path]]:
    """The programs that were run, on a machine whose user we have made."""
    commands: list[Sequence[str | Path]] = []
    monkeypatch.setattr(homes, "_HOMES", tmp_path / "etc" / "homes")
    monkeypatch.setattr(environment, "run", commands.append)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_gecos="Tenantry", pw_uid=-1))
    return commands


def test_it_stays_until_the_last_home_is_gone(
    ran: list[Sequence[str | Path]], tmp_path: Path
) -> None:
    for home in (A, B, A):
        homes.remember_home(home)
    assert homes.remove_user(A) == "the installation in /srv/b runs as it"
    assert ran == []
    assert homes.remove_user(B) is None
    assert ran == [["userdel", "tenantry"]]
    assert not (tmp_path / "etc").exists()


@pytest.mark.usefixtures("ran")
def test_it_stays_while_a_program_runs_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Sequence[str | Path]) -> None:
        raise MachineError("user tenantry is currently used by process 7")

    monkeypatch.setattr(environment, "run", refuse)
    monkeypatch.setattr(homes, "_REST_SECONDS", 0.0)
    homes.remember_home(A)
    assert homes.remove_user(A) == (
        "user tenantry is currently used by process 7; afterwards: sudo userdel tenantry"
    )


def test_it_is_tried_again_while_the_last_programs_end(
    ran: list[Sequence[str | Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_once(command: Sequence[str | Path]) -> None:
        ran.append(command)
        if len(ran) == 1:
            raise MachineError("user tenantry is currently used by process 7")

    monkeypatch.setattr(environment, "run", refuse_once)
    homes.remember_home(A)
    assert homes.remove_user(A) is None
    assert len(ran) == 2


def test_one_that_somebody_else_has_made_stays(
    ran: list[Sequence[str | Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_gecos=""))
    homes.remember_home(A)
    assert homes.remove_user(A) == "Tenantry has not made it"
    assert ran == []


@pytest.mark.usefixtures("ran")
def test_root_makes_the_home_in_which_another_user_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *to: given.append(to))
    monkeypatch.setattr(homes, "require_reachable", lambda _: None)
    user = SimpleNamespace(pw_gecos="Tenantry", pw_uid=7, pw_gid=8)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: user)
    home = tmp_path / "new" / "home"
    assert homes.is_for_root_to_make(home)
    homes.ensure_home(home)
    assert given == [(home, 0, 8)]
    assert home.stat().st_mode & 0o7777 == 0o1775
    (home / "clusters").mkdir()
    assert not homes.is_for_root_to_make(home)  # it is in use
    homes.ensure_home(home)
    assert len(given) == 1
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not homes.is_for_root_to_make(tmp_path / "other")


def test_it_is_said_which_user_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(13, "Permission denied", "/srv/home/lock")
    monkeypatch.setenv("TENANTRY_HOME", "/srv/home")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="tenantry"))
    said = entry_point._not_permitted(denied)
    assert said.detail == (
        "Everything runs as the user tenantry, which may not use /srv/home/lock: Permission denied."
    )
    assert said.hint == (
        "As root: install -d -o tenantry -g tenantry /srv/home; or set TENANTRY_HOME to a folder"
        " that this user can use."
    )
    foreign = PermissionError(13, "Permission denied", "/etc/shadow")
    assert "install" not in (entry_point._not_permitted(foreign).hint or "")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ann"))
    assert "Run it as root (sudo)" in (entry_point._not_permitted(denied).hint or "")
