"""Finding PostgreSQL, and keeping Debian's own servers down while packages are installed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tenantry.base.errors import MachineError
from tenantry.host import packages

NONE = Path("/nonexistent")  # no engines folder


def put_postgres(library: Path, version: int, *programs: str) -> None:
    bindir = library / str(version) / "bin"
    bindir.mkdir(parents=True)
    for name in programs or ("initdb", "pg_ctl", "postgres", "psql"):
        (bindir / name).touch()


def test_the_newest_supported_server_is_found(tmp_path: Path) -> None:
    for version in (13, 15, 17, 99):
        put_postgres(tmp_path, version)
    put_postgres(tmp_path, 18, "psql")  # the client alone is no server
    found = packages.find_postgres(NONE, library=tmp_path)
    assert (found.version, found.bindir) == (17, tmp_path / "17" / "bin")


def test_a_cluster_finds_the_version_that_made_it(tmp_path: Path) -> None:
    put_postgres(tmp_path, 15)
    put_postgres(tmp_path, 17)
    assert packages.find_postgres(NONE, 15, library=tmp_path).version == 15
    with pytest.raises(MachineError, match="PostgreSQL 16 is not installed"):
        packages.find_postgres(NONE, 16, library=tmp_path)


def test_a_server_in_the_engines_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, engines = tmp_path / "library", tmp_path / "engines"
    put_postgres(library, 15)
    put_postgres(engines / "postgresql", 17, "initdb", "pg_ctl", "postgres", "psql", "pg_restore")
    put_postgres(library, 18, "pg_restore")  # a client's package
    extensions = engines / "postgresql" / "17" / "share" / "extension"
    extensions.mkdir(parents=True)
    (extensions / "citext.control").touch()
    built = engines / "postgresql" / "17" / "bin"
    assert packages.find_postgres(engines, library=library).bindir == built
    assert packages.bindir_of(engines, 17) == built
    assert packages.bindir_of(engines, 16) == Path("/usr/lib/postgresql/16/bin")
    servers = packages.installed_servers(engines, library=library)
    assert [each.version for each in servers] == [15, 17]
    clients = packages.installed_clients(engines, library=library)
    assert [each.version for each in clients] == [17, 18]
    assert packages.extensions_of(engines, 17) == {"citext"}
    put_postgres(library, 17)  # a package of the same major version comes first
    assert packages.find_postgres(engines, library=library).bindir == library / "17" / "bin"
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    put_postgres(engines / "postgresql", 16)
    if os.getuid() != 0:
        with pytest.raises(MachineError, match="PostgreSQL 16 is not installed"):
            packages.find_postgres(engines, 16, library=library)


def test_no_server_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    put_postgres(tmp_path, 13)
    with pytest.raises(MachineError, match="PostgreSQL 15 or newer is not installed") as raised:
        packages.find_postgres(NONE, library=tmp_path)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("policy", "version"),
    [
        ("pgbouncer:\n  Installed: (none)\n  Candidate: 1.18.0-1+deb12u1\n", "1.18.0-1+deb12u1"),
        ("pgbouncer:\n  Installed: (none)\n  Candidate: (none)\n", None),
        ("", None),
        ("N: Unable to locate package pgbouncer\n", None),
    ],
)
def test_the_candidate_is_read_from_apts_policy(policy: str, version: str | None) -> None:
    assert packages.read_candidate(policy) == version


def test_the_command_for_a_server_keeps_debians_cluster_away() -> None:
    assert packages.command_for(["libevent-dev"]).startswith("sudo apt-get install")
    command = packages.command_for(["postgresql-15"])
    assert command.index("create_main_cluster = off") < command.index("apt-get install")


# Keeping servers down


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    return tmp_path


def policy_of(root: Path) -> Path:
    return root / "usr/sbin/policy-rc.d"


def ask(root: Path) -> int:
    """What invoke-rc.d is reported about starting a service: 101 is no, 0 is yes."""
    return subprocess.run([policy_of(root), "postgresql", "start"], check=False).returncode


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def write_policy(root: Path, code: int) -> None:
    policy_of(root).write_text(f"#!/bin/sh\nexit {code}\n")
    policy_of(root).chmod(0o755)


def test_servers_stay_down_while_it_lasts_and_nothing_is_left(root: Path) -> None:
    with packages.no_servers(root):
        assert ask(root) == 101
        drop_in = root / "etc/postgresql-common/createcluster.d/tenantry.conf"
        assert drop_in.read_text() == "create_main_cluster = off\n"
    assert files(root) == {}


def test_the_administrators_own_policy_comes_back_even_upon_failure(root: Path) -> None:
    write_policy(root, 104)
    before = files(root)
    with pytest.raises(ZeroDivisionError), packages.no_servers(root):
        1 / (ask(root) - 101)
    assert files(root) == before
    assert ask(root) == 104


def test_a_policy_that_is_a_link_comes_back_as_a_link(root: Path) -> None:
    (root / "elsewhere").write_text("#!/bin/sh\nexit 0\n")
    policy_of(root).symlink_to(root / "elsewhere")
    with packages.no_servers(root):
        assert (root / "elsewhere").read_text() == "#!/bin/sh\nexit 0\n"
    assert policy_of(root).readlink() == root / "elsewhere"


def kill_within(root: Path) -> None:
    """Have another process keep servers down, and be killed while it does."""
    program = (
        "import os, signal, sys; from pathlib import Path; from tenantry.host import packages\n"
        "with packages.no_servers(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, root], check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("own", [None, 0, 104])
def test_after_a_kill_services_start_as_before_and_the_next_run_clears_up(
    root: Path, own: int | None
) -> None:
    if own is not None:
        write_policy(root, own)
    before = files(root)
    kill_within(root)
    assert files(root) != before
    assert ask(root) == (own or 0)
    assert packages.was_interrupted(root)
    with packages.no_servers(root):
        assert ask(root) == 101
    assert files(root) == before


async def test_an_installation_under_way_is_waited_for_and_not_started_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one would upgrade PostgreSQL under servers that run."""
    is_interrupted = packages.was_interrupted
    monkeypatch.setattr(packages, "was_interrupted", lambda _=None: is_interrupted(root))
    monkeypatch.setattr(packages, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    async def fail() -> None:
        pytest.fail("a second installation is begun")

    monkeypatch.setattr(packages, "refresh", fail)
    found = packages.find_postgres(NONE)
    async with packages.locked(tmp_path / "lock"):
        with packages.no_servers(root):
            waiting = asyncio.create_task(packages.ensure_postgres(NONE, print))
            await asyncio.sleep(0.1)
            assert not waiting.done()
    assert await asyncio.wait_for(waiting, 30) == found


# One at a time


async def test_a_lock_is_held_by_one_and_given_up_after_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    async with packages.locked(path):
        with pytest.raises(MachineError, match="Another process has been holding"):
            async with packages.locked(path, deadline=0):
                pytest.fail("two hold it")
        waiting = asyncio.create_task(hold(path))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    assert await asyncio.wait_for(waiting, 5)


async def hold(path: Path) -> bool:
    async with packages.locked(path):
        return True
