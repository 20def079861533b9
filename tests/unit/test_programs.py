"""The programs on everybody's PATH: nobody else's file is replaced or removed."""

from pathlib import Path

import pytest

from tenantry.host import programs

SCRIPTS = {"bash": f"complete -F f tenantry # {programs.COMPLETE_VARIABLE}"}


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "local"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The folder of programs of an environment in a home."""
    folder = tmp_path / "home" / "venv" / "bin"
    folder.mkdir(parents=True)
    for name in programs.NAMES:
        (folder / name).touch()
    return folder


def test_all_are_linked_and_again_changes_nothing(local: Path, environment: Path) -> None:
    for _ in range(2):
        assert programs.link(environment, SCRIPTS, local=local) == []
        links = {path.name: path.readlink() for path in (local / "bin").iterdir()}
        assert links == {name: environment / name for name in programs.NAMES}
    script = local / programs.COMPLETIONS["bash"]
    assert script.read_text() == SCRIPTS["bash"] + "\n"
    assert len(programs.unlink(environment, local=local)) == len(programs.NAMES) + 1
    assert [path for path in local.rglob("*") if not path.is_dir()] == []
    assert programs.unlink(environment, local=local) == []


def test_what_others_have_there_stays_and_is_said(
    local: Path, environment: Path, tmp_path: Path
) -> None:
    theirs, elsewhere = local / "bin" / "pg-status", tmp_path / "elsewhere"
    script = local / programs.COMPLETIONS["bash"]
    for path in (theirs, elsewhere, script):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    (local / "bin" / "pg-backup-control").symlink_to(elsewhere)
    (local / "bin" / "pg-list-databases").symlink_to(tmp_path / "nowhere")
    said = programs.link(environment, SCRIPTS, local=local)
    assert said == [
        f"{local / 'bin' / name} is somebody else's."
        for name in ("pg-status", "pg-list-databases", "pg-backup-control")
    ] + [f"{script} is somebody else's."]
    assert programs.unlink(environment, local=local) == [local / "bin" / "tenantry"]
    assert theirs.read_text() == elsewhere.read_text() == script.read_text() == "theirs"
    assert (local / "bin" / "pg-list-databases").is_symlink()


def test_a_second_home_leaves_the_first_ones_links(local: Path, environment: Path) -> None:
    programs.link(environment, SCRIPTS, local=local)
    second = environment.parents[2] / "second" / "venv" / "bin"
    second.mkdir(parents=True)
    (second / "tenantry").touch()
    assert len(programs.link(second, SCRIPTS, local=local)) == len(programs.NAMES)
    assert programs.unlink(second, local=local) == []
    assert (local / "bin" / "tenantry").readlink() == environment / "tenantry"
    assert (local / programs.COMPLETIONS["bash"]).exists()


def test_a_link_into_a_home_that_is_gone_is_replaced(local: Path, environment: Path) -> None:
    (local / "bin").mkdir(parents=True)
    (local / "bin" / "tenantry").symlink_to("/nowhere/venv/bin/tenantry")
    assert programs.link(environment, SCRIPTS, local=local) == []
    assert (local / "bin" / "tenantry").readlink() == environment / "tenantry"


def test_a_checkout_is_not_linked(local: Path, tmp_path: Path) -> None:
    assert programs.link(tmp_path, SCRIPTS, local=local) == []
    assert not local.exists()


def test_a_place_that_cannot_be_written_is_said(local: Path, environment: Path) -> None:
    local.write_text("a file")
    said = programs.link(environment, SCRIPTS, local=local)
    assert len(said) == len(programs.NAMES)
    assert all("Not a directory" in problem for problem in said)
