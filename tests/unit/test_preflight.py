"""Findings before the start: each says what is wrong and what to do about it."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tenantry.base.errors import MachineError
from tenantry.host import preflight
from tenantry.host.preflight import Finding, Port

GIB = 1 << 30


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def port(number: int, host: str = "127.0.0.1") -> Port:
    return Port("the API", host, number, "TENANTRY_API_PORT")


def test_a_port_in_use_names_who_uses_it_and_the_setting(taken: int) -> None:
    found = preflight.check_port(port(taken))
    assert found.level == "problem"
    assert f"Port {taken}, which the API needs, is used by" in found.detail
    assert f"(process {os.getpid()})" in found.detail
    assert "TENANTRY_API_PORT" in found.hint


def test_a_port_in_use_on_another_address_is_in_the_way_of_all_addresses(taken: int) -> None:
    assert preflight.check_port(port(taken, "")).level == "problem"


def test_a_port_that_has_just_been_closed_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)):
            listener.accept()[0].close()  # leaves TIME_WAIT behind
    assert preflight.check_port(port(number)).level == "ok"


def test_an_address_of_another_machine_is_a_problem() -> None:
    found = preflight.check_port(port(3000, "192.0.2.1"))
    assert (found.level, "cannot be had" in found.detail) == ("problem", True)


def test_a_port_of_roots_is_a_problem_even_for_root() -> None:
    assert preflight.check_port(port(1)).level == "problem"


def test_a_part_that_its_service_may_give_low_ports_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(preflight, "_first_open_port", lambda: 1024)
    found = preflight.check_port(replace(port(1), may_be_low=True))
    assert (found.level, "tenantry service install" in found.hint) == ("problem", True)


class Usage(NamedTuple):
    free: int
    total: int = 100 * GIB


@pytest.mark.parametrize(
    ("free", "level"), [(GIB - 1, "problem"), (GIB, "warning"), (5 * GIB, "ok")]
)
def test_space_is_warned_of_before_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(free))
    assert preflight.check_space(tmp_path / "not" / "there" / "yet").level == level


MIB = 2**20


@pytest.mark.parametrize(
    ("free", "level"), [(24 * MIB - 1, "problem"), (24 * MIB, "warning"), (5 * GIB, "ok")]
)
def test_an_installation_that_has_data_starts_with_little_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    (tmp_path / "clusters").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(free))
    found = preflight.check_space(tmp_path)
    assert found.level == level
    if level != "ok":
        assert "TENANTRY_HOME" not in found.hint  # an empty one would start elsewhere
        assert "TENANTRY_BACKUP_DIR" in found.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
async def test_a_file_of_settings_that_cannot_be_read_is_given_with_a_command(
    open_folder: Path,
) -> None:
    os.chmod(open_folder, 0o777)  # noqa: PTH101, S103
    file = open_folder / "tenantry.env"
    file.touch(mode=0o600)
    found = await preflight.check_home(open_folder, "nobody")
    assert (found.level, found.hint) == ("problem", f"As root: chown nobody: {file}")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
@pytest.mark.parametrize(("mode", "level"), [(0o755, "problem"), (0o777, "ok")])
async def test_a_home_is_to_be_used_by_the_user_it_runs_as(
    open_folder: Path, mode: int, level: str
) -> None:
    os.chmod(open_folder, mode)  # noqa: PTH101
    assert (await preflight.check_home(open_folder, "nobody")).level == level
    assert (await preflight.check_home(open_folder, None)).level == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
async def test_data_of_another_user_is_a_problem(open_folder: Path) -> None:
    os.chmod(open_folder, 0o777)  # noqa: PTH101, S103
    os.mkdir(open_folder / "clusters")  # noqa: PTH102
    found = await preflight.check_home(open_folder, "nobody")
    assert (found.level, "clusters" in found.detail) == ("problem", True)


async def test_a_home_that_is_not_there_yet_is_no_problem(tmp_path: Path) -> None:
    assert (await preflight.check_home(tmp_path / "new", None)).level == "ok"


def test_root_and_others_cannot_run_postgresql() -> None:
    assert preflight.check_user("root").level == "problem"
    assert preflight.check_user("no-such-user").level == "problem"
    assert preflight.check_user("nobody").level == "ok"


def test_all_problems_are_reported_at_once_each_with_its_hint() -> None:
    one, other = Finding("problem", "a", "No A.", "Get A."), Finding("problem", "b", "No B.", "B?")
    preflight.require([Finding("ok", "a", "fine"), Finding("warning", "b", "hm", "look")])
    with pytest.raises(MachineError) as raised:
        preflight.require([one])
    assert (raised.value.detail, raised.value.hint) == ("No A.", "Get A.")
    with pytest.raises(MachineError) as raised:
        preflight.require([one, other])
    assert "- No A. Get A.\n- No B. B?" in raised.value.detail
