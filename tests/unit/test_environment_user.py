"""The system user: it goes with the last of root's homes, if we have made it."""

import pwd
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenantry.base.errors import MachineError
from tenantry.host import environment

A, B = Path("/srv/a"), Path("/srv/b")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[str | Path]]:
    """The programs that were run, on a machine whose user we have made."""
    commands: list[Sequence[str | Path]] = []
    monkeypatch.setattr(environment, "_HOMES", tmp_path / "etc" / "homes")
    monkeypatch.setattr(environment, "run", commands.append)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_gecos="Tenantry", pw_uid=-1))
    return commands


def test_it_stays_until_the_last_home_is_gone(
    ran: list[Sequence[str | Path]], tmp_path: Path
) -> None:
    for home in (A, B, A):
        environment.remember_home(home)
    assert environment.remove_user(A) == "the installation in /srv/b runs as it"
    assert ran == []
    assert environment.remove_user(B) is None
    assert ran == [["userdel", "tenantry"]]
    assert not (tmp_path / "etc").exists()


@pytest.mark.usefixtures("ran")
def test_it_stays_while_a_program_runs_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Sequence[str | Path]) -> None:
        raise MachineError("user tenantry is currently used by process 7")

    monkeypatch.setattr(environment, "run", refuse)
    monkeypatch.setattr(environment, "_REST_SECONDS", 0.0)
    environment.remember_home(A)
    assert environment.remove_user(A) == (
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
    environment.remember_home(A)
    assert environment.remove_user(A) is None
    assert len(ran) == 2


def test_one_that_somebody_else_has_made_stays(
    ran: list[Sequence[str | Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_gecos=""))
    environment.remember_home(A)
    assert environment.remove_user(A) == "Tenantry has not made it"
    assert ran == []
