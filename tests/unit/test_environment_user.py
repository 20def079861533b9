"""The system user: it goes with the last of root's homes, if we have made it."""

import pwd
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenantry.host import environment

A, B = Path("/srv/a"), Path("/srv/b")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[str | Path]]:
    """The programs that were run, on a machine whose user we have made."""
    commands: list[Sequence[str | Path]] = []
    monkeypatch.setattr(environment, "_HOMES", tmp_path / "etc" / "homes")
    monkeypatch.setattr(environment, "run", commands.append)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_gecos="Tenantry"))
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


def test_one_that_somebody_else_has_made_stays(
    ran: list[Sequence[str | Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_gecos=""))
    environment.remember_home(A)
    assert environment.remove_user(A) == "Tenantry has not made it"
    assert ran == []
