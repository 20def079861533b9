"""A machine with nothing but Python: problems are reported and leave nothing, then it comes up.

The tests share one machine and build on each other, from the first to the last.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from bare_machine import CHECKOUT, BareMachine, bare_machine

from clients import eventually, login
from harness import free_ports
from pooled import pooled_clients, stand_still
from tenantry import __version__
from tenantry.host import packages

HOME = "/var/lib/tenantry"
THEIRS = "/usr/local/bin/pg-backup-control"
COMPLETION = "/usr/local/share/bash-completion/completions/tenantry"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for chroot and namespaces"),
    pytest.mark.skipif(
        not all(shutil.which(name) for name in ("unshare", "nsenter", "setpriv")),
        reason="needs unshare, nsenter and setpriv (package util-linux)",
    ),
    pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="needs Debian or Ubuntu"),
    pytest.mark.timeout(1800),
    pytest.mark.takes_minutes,
]


@pytest.fixture(scope="module")
def machine() -> Iterator[BareMachine]:
    with bare_machine() as machine:
        assert machine.run("useradd", "--create-home", "ann").returncode == 0
        yield machine


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    """Free ones: the network is this machine's, where others may use the usual ports."""
    names = ("TENANTRY_API_PORT", "TENANTRY_PG_PORT", "TENANTRY_POOL_PORT")
    return dict(zip(names, map(str, free_ports(3)), strict=True))


def reported(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """It failed, and said what happened and what to do, and did not fall over."""
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert [word for word in words if word not in said] == [], said


def nothing_runs(machine: BareMachine) -> bool:
    return [line for user, line in machine.processes() if user == "tenantry"] == []


# Nothing is there


def test_looking_installs_nothing(machine: BareMachine) -> None:
    status = machine.run("./tenantry", "status")
    assert (status.returncode, status.stdout) == (
        3,
        f"Nothing is installed in {HOME}; run ./tenantry up\n",
    )
    as_json = machine.run("./tenantry", "status", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)) == (3, {"parts": [], "clusters": []})
    assert machine.run("./tenantry", "down").returncode == 0
    assert "./tenantry up" in machine.run("./tenantry", "--help").stdout
    reported(machine.run("./tenantry", "doctor"), "missing: the package python3-venv")
    assert not (machine.root / HOME[1:]).exists()


def test_a_user_is_reported_what_to_have_installed(machine: BareMachine) -> None:
    shutil.copytree(
        machine.root / "root/tenantry", machine.root / "home/ann/tenantry", dirs_exist_ok=True
    )
    machine.run("chown", "--recursive", "ann:", "/home/ann/tenantry")
    up = machine.run("/home/ann/tenantry/tenantry", "up", user="ann")
    reported(up, "packages are missing: python3-venv", "sudo apt-get install")
    assert not (machine.root / "home/ann/.local").exists()


@pytest.mark.parametrize("command", ["up", "status", "doctor"])
def test_a_home_that_cannot_be_read_is_reported(machine: BareMachine, command: str) -> None:
    env = {"TENANTRY_HOME": "/root/home"}
    done = machine.run("/home/ann/tenantry/tenantry", command, user="ann", env=env)
    reported(done, "/root/home: Permission denied.", "TENANTRY_HOME")


def test_a_home_where_only_root_gets_is_reported(machine: BareMachine) -> None:
    up = machine.run("./tenantry", "up", env={"TENANTRY_HOME": "/root/home"})
    reported(up, "Only root can enter /root", "Set TENANTRY_HOME")
    assert not (machine.root / "root/home").exists()


def test_a_file_for_a_home_is_reported(machine: BareMachine) -> None:
    reported(
        machine.run("./tenantry", "up", env={"TENANTRY_HOME": "/etc/passwd"}), "/etc/passwd: Not a"
    )


def test_a_disk_that_is_too_small_is_reported(machine: BareMachine) -> None:
    machine.run("mkdir", "/srv/small")
    machine.run("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", "/srv/small")
    up = machine.run("./tenantry", "up", env={"TENANTRY_HOME": "/srv/small/home"})
    reported(up, "0.2 GiB of free space", "needs 1 GiB", "Free some")
    assert machine.run("ls", "/srv/small").stdout == ""
    assert machine.run("getent", "passwd", "tenantry").returncode != 0


def test_a_former_minor_release_of_postgresql_is_there(machine: BareMachine) -> None:
    """Where apt lists one: an upgrade comes later. Debian makes no cluster of its own."""
    assert machine.run("apt-get", "update").returncode == 0
    name, releases = postgres_releases(machine)
    if len(releases) > 1:
        drop_in = machine.root / "etc/postgresql-common/createcluster.d/none.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text("create_main_cluster = off\n")
        install(machine, name, releases[-1])
        drop_in.unlink()
        # Else apt upgrades it when something is installed that goes with it, as pgBackRest.
        assert machine.run("apt-mark", "hold", name, client_of(name)).returncode == 0


def postgres_releases(machine: BareMachine) -> tuple[str, list[str]]:
    """The newest supported package that apt lists, and its versions, newest first."""
    for major in reversed(packages.SUPPORTED):
        lines = machine.run("apt-cache", "madison", f"postgresql-{major}").stdout.splitlines()
        if versions := list(dict.fromkeys(line.split("|")[1].strip() for line in lines)):
            return f"postgresql-{major}", versions
    raise AssertionError("apt lists no PostgreSQL")


def client_of(name: str) -> str:
    return name.replace("postgresql-", "postgresql-client-")


def install(machine: BareMachine, name: str, version: str) -> None:
    done = machine.run(
        *("apt-get", "install", "--yes", "--no-install-recommends"),
        *(f"{name}={version}", f"{client_of(name)}={version}"),
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    assert done.returncode == 0, done.stderr


def test_a_port_in_use_is_reported_before_anything_runs(
    machine: BareMachine, ports: Mapping[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", int(ports["TENANTRY_POOL_PORT"]))):
        up = machine.run("./tenantry", "up", "--detach", env=ports)
    reported(up, ports["TENANTRY_POOL_PORT"], "TENANTRY_POOL_PORT to another port")
    assert nothing_runs(machine)


# It comes up


def test_a_kill_halfway_heals(machine: BareMachine, ports: Mapping[str, str]) -> None:
    """Drop the environment that the test before has left, and be killed while it is made again."""
    home = machine.root / HOME[1:]
    (home / "venv").unlink()
    for folder in home.glob("venv-*"):
        shutil.rmtree(folder)
    launcher = subprocess.Popen(
        machine.command("./tenantry", "up", "--detach", user="root", env=ports),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not list(home.glob("venv-packages-*/lib/python3*/site-packages/psycopg*")):
        assert time.monotonic() < deadline, "pip has not begun"
        time.sleep(0.1)
    machine.run("sh", "-c", "kill -KILL -1")
    assert launcher.wait(10) != 0
    assert not (home / "venv").exists()
    assert "Nothing is installed" in machine.run("./tenantry", "status").stdout


def test_it_comes_up_and_hands_out_a_database(
    machine: BareMachine, ports: Mapping[str, str]
) -> None:
    (machine.root / THEIRS[1:]).unlink(missing_ok=True)  # ours, of a start that was cut off
    (machine.root / THEIRS[1:]).write_text("theirs")
    up = machine.run("./tenantry", "up", "--detach", env=ports)
    assert up.returncode == 0, up.stdout + up.stderr
    assert f"Not linked: {THEIRS} is somebody else's." in up.stderr
    key = (machine.root / HOME[1:] / "admin.key").read_text().strip()
    assert key in up.stdout
    database = create_database(ports, key)
    for name in ("connection_string", "connection_string_pooled"):
        url = with_verified_server(database[name])
        asked = machine.run("psql", "--no-psqlrc", "-Atc", "select 6 * 7", url, user="ann")
        assert (asked.stdout, asked.stderr) == ("42\n", "")


def test_its_programs_are_on_path_for_everybody(
    machine: BareMachine, ports: Mapping[str, str]
) -> None:
    for user in ("root", "ann"):
        reported = machine.run("tenantry", "--version", user=user)
        assert (reported.stdout.split()[0], reported.stderr) == ("tenantry", "")
    listed = machine.run("pg-list-databases", "--json", env=ports)
    assert json.loads(listed.stdout)[0]["friendly_name"] == "shop", listed.stderr
    assert "shared-1" in machine.run("pg-status", env=ports).stdout
    assert (machine.root / THEIRS[1:]).read_text() == "theirs"
    complete = (
        f". {COMPLETION}; COMP_WORDS=(tenantry db ur); COMP_CWORD=2;"
        " _tenantry_completion tenantry; echo ${COMPREPLY[@]}"
    )
    assert machine.run("bash", "-c", complete, user="ann").stdout == "url\n"


def create_database(
    ports: Mapping[str, str], key: str, *, friendly: str = "shop"
) -> dict[str, Any]:
    answer = httpx.post(
        f"http://127.0.0.1:{ports['TENANTRY_API_PORT']}/api/databases",
        headers={"X-API-Key": key},
        json={
            "friendlyName": friendly,
            "ownerEmail": "ann@example.com",
            "maxConnections": 10,
            "blueprint": "hosting",
        },
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    assert data["blueprint"]["name"] == "hosting", "it comes with what is installed"
    return data


def with_verified_server(url: str) -> str:
    base, _, _ = url.partition("?")
    return f"{base}?sslmode=verify-full&sslrootcert={HOME}/ca.crt"


def test_nothing_of_it_serves_as_root_and_nothing_of_debians_runs(machine: BareMachine) -> None:
    running = [(user, line) for user, line in machine.processes() if "/proc/[0-9]" not in line]
    assert len(running) > 5
    assert {user for user, _ in running} == {"tenantry"}
    assert machine.run("pg_lsclusters", "--no-header").stdout == ""
    assert machine.run("ls", "/etc/postgresql").stdout == ""
    assert not os.path.lexists(machine.root / "usr/sbin/policy-rc.d")


def test_what_root_runs_is_not_for_the_service_to_change(machine: BareMachine) -> None:
    """Whoever takes over a server of ours must not become root by the next ./tenantry status."""
    program = f"cd {HOME} && mv venv own; touch venv/bin/tenantry; rm -f engines/*/pgbouncer; :"
    machine.run("runuser", "-u", "tenantry", "--", "sh", "-c", program)
    assert (machine.root / HOME[1:] / "venv").is_symlink()
    owners = machine.run("find", f"{HOME}/venv/", f"{HOME}/engines", "!", "-user", "root")
    assert (owners.stdout, owners.stderr) == ("", "")
    assert machine.run("sh", "-c", f"ls {HOME}/engines/*/pgbouncer").returncode == 0


def test_an_upgrade_of_postgresql_under_load_is_noticed_and_done(
    machine: BareMachine, ports: Mapping[str, str]
) -> None:
    """New sessions fail in PL/pgSQL after it: clusters are restarted, and pooled clients wait."""
    name, releases = postgres_releases(machine)
    if len(releases) == 1:
        pytest.skip("apt lists one release only")
    home = machine.root / HOME[1:]
    key = (home / "admin.key").read_text().strip()
    database = create_database(ports, key, friendly="upgraded")
    run = home / "run"
    with pooled_clients(database["connection_string_pooled"]) as clients:
        eventually(lambda: all(each.done for each in clients))
        machine.run("apt-mark", "unhold", name, client_of(name))
        install(machine, name, releases[0])
        for cluster in ("shared-1", "control"):
            eventually((run / f"{cluster}.restarted").exists, seconds=300)
        eventually(lambda: speaks_plpgsql(database["connection_string_pooled"]))
        eventually(lambda: not stand_still(clients))
    assert [each.failed for each in clients] == [[]] * len(clients)
    assert speaks_plpgsql(database["connection_string"])
    eventually(lambda: is_ready(ports))
    doctor = json.loads(machine.run("./tenantry", "doctor", "--json", env=ports).stdout)
    reported = {each["subject"]: each["detail"] for each in doctor if each["level"] == "ok"}
    for cluster in ("shared-1", "control"):
        assert reported[f"version of {cluster}"].startswith(f"{releases[0]} runs"), reported


def speaks_plpgsql(url: str) -> bool:
    """Whether a new session can run PL/pgSQL."""
    try:
        with closing(login(url)) as session:
            session.execute("DO $$ BEGIN END $$")
    except psycopg.Error:
        return False
    return True


def is_ready(ports: Mapping[str, str]) -> bool:
    try:
        url = f"http://127.0.0.1:{ports['TENANTRY_API_PORT']}/ready"
        return httpx.get(url, timeout=30).is_success
    except httpx.HTTPError:
        return False


def test_a_second_start_prepares_nothing_and_says_that_it_runs(
    machine: BareMachine, ports: Mapping[str, str]
) -> None:
    up = machine.run("./tenantry", "up", "--detach", env=ports)
    assert (up.returncode, "already runs" in up.stderr, "Preparing" in up.stderr) == (
        0,
        True,
        False,
    )
    status = machine.run("./tenantry", "status", "--json", env=ports)
    states = {part["state"] for part in json.loads(status.stdout)["parts"]}
    assert (status.returncode, states) == (0, {"running"})


def test_a_running_platform_is_switched_to_another_release_and_back(
    machine: BareMachine, ports: Mapping[str, str]
) -> None:
    """Pooled clients notice nothing."""
    key = (machine.root / HOME[1:] / "admin.key").read_text().strip()
    database = create_database(ports, key, friendly="released")
    module = machine.root / "root/tenantry/src/tenantry/__init__.py"
    code = module.read_text()
    module.write_text(code.replace(__version__, "99.0.0"))
    with pooled_clients(database["connection_string_pooled"]) as clients:
        eventually(lambda: all(each.done for each in clients))
        done = machine.run("./tenantry", "self-update", env=ports)
        assert done.returncode == 0, done.stdout + done.stderr
        assert version(ports) == "99.0.0"
        done = machine.run("tenantry", "self-update", "--rollback", env=ports)
        assert done.returncode == 0, done.stdout + done.stderr
        assert version(ports) == __version__
        eventually(lambda: not stand_still(clients))
    assert [each.failed for each in clients] == [[]] * len(clients)
    module.write_text(code)
    assert nothing_is_open_to_the_service_user(machine)


def version(ports: Mapping[str, str]) -> str:
    answer = httpx.get(f"http://127.0.0.1:{ports['TENANTRY_API_PORT']}/health", timeout=30)
    return str(answer.json()["version"])


def nothing_is_open_to_the_service_user(machine: BareMachine) -> bool:
    owners = machine.run(
        "find", f"{HOME}/venv", f"{HOME}/venv-previous", f"{HOME}/venv/", "!", "-user", "root"
    )
    return (owners.stdout, owners.stderr) == ("", "")


@pytest.mark.skipif(
    subprocess.run(
        ["git", "-C", CHECKOUT, "diff", "--quiet", "HEAD"], check=False, capture_output=True
    ).returncode
    != 0,
    reason="needs a clone without changes: a release is built from its commit",
)
def test_a_release_of_this_commit_is_the_same_code(
    machine: BareMachine, ports: Mapping[str, str], tmp_path: Path
) -> None:
    """The launchers of its package and of its wheel find nothing to prepare."""
    subprocess.run([CHECKOUT / "release", "--to", tmp_path], check=True, capture_output=True)
    shutil.copytree(tmp_path, machine.root / "root/release")
    [package], [wheel] = tmp_path.glob("*.deb"), tmp_path.glob("*.whl")
    done = machine.run("apt-get", "install", "--yes", f"/root/release/{package.name}")
    assert done.returncode == 0, done.stderr
    up = machine.run("/usr/bin/tenantry", "up", "--detach", env=ports)
    assert (up.returncode, "already runs" in up.stderr, "Preparing" in up.stderr) == (
        0,
        True,
        False,
    )
    done = machine.run("tenantry", "self-update", f"/root/release/{wheel.name}", env=ports)
    assert (done.returncode, "Preparing" in done.stderr) == (0, False), done.stderr
    (machine.root / "root/release" / wheel.name).write_bytes(b"other")
    reported(
        machine.run("tenantry", "self-update", "/root/release", env=ports),
        "was expected",
        "nothing was installed",
    )


def test_down_leaves_nothing_running(machine: BareMachine, ports: Mapping[str, str]) -> None:
    down = machine.run("./tenantry", "down", env=ports)
    assert down.returncode == 0, down.stderr
    assert nothing_runs(machine)


def test_uninstall_takes_away_what_up_has_made(
    machine: BareMachine, ports: Mapping[str, str]
) -> None:
    """It stops what runs. Settings that somebody wrote stay, and other people's files."""
    home = machine.root / HOME[1:]
    (home / "tenantry.env").write_text("TENANTRY_WARM_POOL=2\n")
    assert machine.run("./tenantry", "up", "--detach", env=ports).returncode == 0
    reported(machine.run("tenantry", "uninstall", env=ports), "nothing was done", "--yes")
    assert is_ready(ports)
    assert machine.run("tenantry", "uninstall", "--yes", env=ports, user="ann").returncode == 1
    assert is_ready(ports)
    done = machine.run("tenantry", "uninstall", "--yes", "--json", env=ports)
    assert done.returncode == 0, done.stderr
    assert nothing_runs(machine)
    left = {each["what"] for each in json.loads(done.stdout)["left"]}
    assert left >= {f"{HOME}/tenantry.env", HOME}
    assert [path.name for path in home.iterdir()] == ["tenantry.env"]
    assert machine.run("getent", "passwd", "tenantry").returncode != 0
    assert machine.run("getent", "group", "tenantry").returncode != 0
    for gone in (
        "usr/local/bin/tenantry",
        "usr/local/bin/pg-status",
        COMPLETION[1:],
        "etc/tenantry",
    ):
        assert not os.path.lexists(machine.root / gone), gone
    assert (machine.root / THEIRS[1:]).read_text() == "theirs"
    assert machine.run("psql", "--version").returncode == 0, "packages stay"
    assert "Nothing is installed" in machine.run("./tenantry", "status").stdout
