"""The links to environments: what is kept for a rollback, and whose environments are trusted."""

import os
from pathlib import Path

import pytest

from tenantry.base.errors import MachineError
from tenantry.host import environment

A, B, C = (f"venv-{digit * 16}" for digit in "abc")


@pytest.fixture(name="venv")
def _venv(tmp_path: Path) -> Path:
    """The link of a home, to A, and two more environments; each has packages of its own."""
    for name in (A, B, C):
        packages = name.replace("venv-", "venv-packages-")
        for folder in (tmp_path / name, tmp_path / packages):
            folder.mkdir()
            (folder / "complete").touch()
        (tmp_path / name / "packages").write_text(packages)
    venv = tmp_path / "venv"
    venv.symlink_to(A)
    return venv


def leads_to(link: Path) -> str:
    return str(link.readlink())


def test_nothing_is_kept_at_first(venv: Path) -> None:
    assert environment.previous(venv) is None
    with pytest.raises(MachineError, match="No other release is kept"):
        environment.roll_back(venv)
    assert leads_to(venv) == A


def test_a_rollback_swaps_and_can_be_undone(venv: Path) -> None:
    previous = venv.with_name("venv-previous")
    previous.symlink_to(B)
    environment.roll_back(venv)
    assert (leads_to(venv), leads_to(previous)) == (B, A)
    environment.roll_back(venv)
    assert (leads_to(venv), leads_to(previous)) == (A, B)


def test_after_a_kill_amid_a_rollback_there_is_nothing_to_return_to(venv: Path) -> None:
    venv.with_name("venv-previous").symlink_to(A)
    assert environment.previous(venv) is None


def test_one_that_is_incomplete_or_elsewhere_is_not_returned_to(venv: Path, tmp_path: Path) -> None:
    previous = venv.with_name("venv-previous")
    previous.symlink_to(B)
    (tmp_path / B / "complete").unlink()
    assert environment.previous(venv) is None
    previous.unlink()
    previous.symlink_to(f"/elsewhere/{C}")
    assert environment.previous(venv) == tmp_path / C


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
def test_root_trusts_no_environment_of_another_user(venv: Path, tmp_path: Path) -> None:
    """The platform's user may add to root's home, and must not become root by that."""
    previous = venv.with_name("venv-previous")
    previous.symlink_to(B)
    os.lchown(previous, 65_534, 65_534)
    assert environment.previous(venv) is None
    os.lchown(previous, 0, 0)
    os.chown(tmp_path / B, 65_534, 65_534)
    assert environment.previous(venv) is None
    planted = tmp_path / C
    os.chown(planted, 65_534, 65_534)
    environment._ensure_filled(planted, (planted / "ours").touch)
    assert planted.stat().st_uid == 0
    assert (planted / "ours").exists()


def test_what_is_linked_to_or_wanted_is_not_removed(venv: Path, tmp_path: Path) -> None:
    venv.with_name("venv-previous").symlink_to(B)
    environment._remove_old(venv, keep=set())
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        *("venv", "venv-previous", A, B),
        *(name.replace("venv-", "venv-packages-") for name in (A, B)),
    }


def test_an_update_keeps_the_one_before(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str) -> Path:
        return venv.with_name(name)

    monkeypatch.setattr(environment, "ensure_packages", lambda *_: made(A))
    monkeypatch.setattr(environment, "_overlay", lambda *_: made(B))
    monkeypatch.setattr(environment, "_packages", lambda *_: made(A))
    monkeypatch.setattr(environment, "ensure_overlay", lambda *_, **__: made(B))
    for _ in range(2):  # again changes nothing
        environment.ensure(venv, Path("/checkout"))
        assert leads_to(venv) == B
        assert environment.previous(venv) == made(A)
