"""The unit file: whatever stands in a setting, systemd reads the same back."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.host import systemd
from tenantry.host.systemd import Unit

printable = st.text().filter(str.isprintable)


def unit(home: str = "/var/lib/tenantry", **environment: str) -> Unit:
    return Unit("tenantry", Path(home), Path(home) / "venv/bin/tenantry", "tenantry", environment)


def lines(unit: Unit) -> list[str]:
    return systemd.render(unit).splitlines()


def read_back(word: str) -> str:
    """A quoted word as systemd reads it: specifiers first, then escapes (systemd.syntax(7))."""
    assert word[0] == word[-1] == '"'
    plain, rest = "", word[1:-1].replace("%%", "%")
    while rest:
        assert not rest.startswith('"'), "a quote ends the word early"
        taken = 2 if rest.startswith("\\") else 1
        plain, rest = plain + rest[taken - 1], rest[taken:]
    return plain


@given(printable)
def test_a_setting_reaches_the_platform_as_it_is(value: str) -> None:
    [line] = [line for line in lines(unit(TENANTRY_DOMAIN=value)) if "TENANTRY_DOMAIN" in line]
    assert read_back(line.removeprefix("Environment=")) == f"TENANTRY_DOMAIN={value}"


@given(printable)
def test_a_setting_adds_no_line(value: str) -> None:
    assert len(lines(unit(TENANTRY_DOMAIN=value))) == len(lines(unit(TENANTRY_DOMAIN="x")))


@pytest.mark.parametrize("value", ["a\nUser=root", "a\rb", "a\0b", "a\u2028b"])
def test_a_control_character_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput):
        systemd.render(unit(TENANTRY_DOMAIN=value))


def test_tenants_are_served_on_while_the_supervisor_is_gone() -> None:
    assert {"KillMode=process", "OOMPolicy=continue", "Restart=on-failure"} <= set(lines(unit()))


def test_a_unit_delegates_control_groups_where_it_can_be_started_again() -> None:
    with_groups = set(systemd.render(replace(unit(), delegates=True)).splitlines())
    assert with_groups - set(lines(unit())) == {
        "Delegate=cpu memory pids",
        "DelegateSubgroup=platform",
    }
    assert set(lines(unit())) - with_groups == {"ProtectControlGroups=yes"}


def test_only_an_edge_gets_the_right_to_low_ports() -> None:
    with_edge = set(systemd.render(replace(unit(), low_ports=True)).splitlines())
    assert with_edge - set(lines(unit())) == {
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
    }
    assert "CapabilityBoundingSet=" in lines(unit())


def test_a_unit_is_known_by_its_home(tmp_path: Path) -> None:
    """Another home's last part may be the same, and its unit's name then, too."""
    (tmp_path / "tenantry.service").write_text(systemd.render(unit('/srv/a "b"')))
    for home, is_its in (('/srv/a "b"', True), ("/srv/a", False), ("/mnt/a", False)):
        assert systemd.is_installed("tenantry", Path(home), units=tmp_path) is is_its
    assert not systemd.is_installed("tenantry-b", Path("/srv/b"), units=tmp_path)


def test_it_is_the_homes_user_and_place() -> None:
    found = lines(unit("/srv/my home"))
    assert "User=tenantry" in found
    assert 'ExecStart="/srv/my home/venv/bin/tenantry" up' in found
    assert 'Environment="TENANTRY_HOME=/srv/my home"' in found
    assert 'ReadWritePaths="/srv/my home"' in found


@pytest.mark.parametrize(("home", "hidden"), [("/var/lib/t", "yes"), ("/home/ann/t", "no")])
def test_homes_of_people_are_hidden_unless_it_lives_in_one(home: str, hidden: str) -> None:
    assert f"ProtectHome={hidden}" in lines(unit(home))


def with_filter(home: str) -> Unit:
    return replace(unit(home), site_table="tenantry_5432_sites")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_roots_program_may_set_rules_and_nothing_else() -> None:
    found = systemd.render_filter(with_filter("/srv/100% my $HOME")).splitlines()
    assert {"CapabilityBoundingSet=CAP_NET_ADMIN", "NoNewPrivileges=yes", "Type=oneshot"} <= set(
        found
    )
    assert not [line for line in found if line.startswith("User=")]
    (command,) = (line.partition("=")[2] for line in found if line.startswith("ExecStart="))
    # Neither the platform's variables nor its folders reach Python: -I.
    assert command == (
        '"/srv/100%% my $$HOME/venv/bin/python" -I -m tenantry.filtering tenantry_5432_sites'
    )


def test_only_the_platforms_user_reaches_roots_program() -> None:
    found = systemd.render_socket(with_filter("/srv/my 1%")).splitlines()
    assert "ListenStream=/srv/my 1%%/allowlists.sock" in found
    assert {"SocketUser=tenantry", "SocketMode=0600", "Accept=yes"} <= set(found)
    with pytest.raises(InvalidInput):
        systemd.render_socket(with_filter("/srv/a\nSocketMode=0666"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs services")
@pytest.mark.skipif(systemd.is_running(), reason="would start a service on this machine")
async def test_the_units_of_allowlists_come_and_go_with_the_service(tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("tenantry", "python"):
        program = tmp_path / "venv/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    names = ["tenantry-sites.socket", "tenantry-sites@.service", "tenantry.service"]
    await systemd.install(with_filter(str(tmp_path)), said.append, units=tmp_path)
    assert names_in(tmp_path) == [*names, "venv"]
    assert said[-1].endswith("systemctl enable --now tenantry.service tenantry-sites.socket")
    await systemd.uninstall("tenantry", said.append, units=tmp_path)
    assert names_in(tmp_path) == ["venv"]
    # One that systemd rejects leaves none of them.
    (tmp_path / "venv/bin/python").unlink()
    if shutil.which("systemd-analyze"):
        with pytest.raises(MachineError):
            await systemd.install(with_filter(str(tmp_path)), print, units=tmp_path)
        assert names_in(tmp_path) == ["venv"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs services")
@pytest.mark.skipif(systemd.is_running(), reason="would start a service on this machine")
async def test_without_systemd_the_unit_is_checked_and_left_with_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    program = tmp_path / "venv/bin/tenantry"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for _ in range(2):
        await systemd.install(unit(str(tmp_path)), said.append, units=tmp_path)
    rendered = systemd.render(unit(str(tmp_path)))
    of_newer = systemd.render(replace(unit(str(tmp_path)), delegates=True))
    assert (tmp_path / "tenantry.service").read_text() in {rendered, of_newer}
    assert said[1] == (
        "systemd does not run here. Where it does: systemctl enable --now tenantry.service"
    )
    await systemd.uninstall("tenantry", said.append, units=tmp_path)
    assert not (tmp_path / "tenantry.service").exists()
    await systemd.uninstall("tenantry", said.append, units=tmp_path)
    assert said[-1] == "There is no tenantry.service."


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs services")
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
async def test_a_unit_that_systemd_rejects_is_not_left_there(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"not executable|not found|No such file"):
        await systemd.install(unit(str(tmp_path / "missing")), print, units=tmp_path)
    assert not (tmp_path / "tenantry.service").exists()
