"""What self-update switches, in which order, and what it does when the other release fails."""

import asyncio
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cli_support import Cli

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.cli import self_update
from tenantry.host import environment, processes, versions
from tenantry.services import supervisor

OLD, NEW = "venv-aaaaaaaaaaaaaaaa", "venv-bbbbbbbbbbbbbbbb"
SUPERVISOR = 4_000_000  # more than a pid can be
CHECKOUT = Path(__file__).parents[2]


class Platform:
    """One that runs OLD, in a home whose link leads to NEW. Versions are the folders' names."""

    def __init__(self, home: Path) -> None:
        self.here = Settings(home=home)
        self.venv = home / "venv"
        self.runs = True
        self.broken: set[str] = set()  # what does not start
        self.asked: list[list[str]] = []  # of tenantry.cli.control_schema
        self.refused: set[str] = set()  # of its commands
        self.restarts = 0
        for name in (OLD, NEW):
            code = home / name / "lib" / "python3.11" / "site-packages" / "tenantry"
            (code / "control" / "migrations").mkdir(parents=True)
            (code / "control" / "migrations" / "000065_size_plans.up.sql").touch()
            (code / "cli").mkdir()
            (code / "cli" / "self_update.py").touch()
            (home / name / "complete").touch()
        self.venv.symlink_to(NEW)
        (home / "venv-previous").symlink_to(OLD)
        Home(home).run.mkdir()
        self._note(OLD)

    @property
    def link(self) -> str:
        return str(self.venv.readlink())

    def _note(self, version: str) -> None:
        self.restarts += 1
        for name in ("api", "worker"):
            (Home(self.here.home).run / f"{name}.code").write_text(version)

    def hang_up(self, pid: int) -> None:
        assert pid == SUPERVISOR
        if self.link not in self.broken:
            self._note(self.link)

    def control_schema(self, _: Settings, *words: str) -> None:
        self.asked.append(list(words))
        if words[0] in self.refused:
            raise MachineError(f"{words[0]} is refused.", hint="Look.")

    def serves(self) -> str:
        return (Home(self.here.home).run / "api.code").read_text()


@pytest.fixture(name="platform")
def _platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    with tempfile.TemporaryDirectory() as home:  # a home has room for the paths of sockets
        yield _patched(Platform(Path(home)), monkeypatch)


def _patched(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:

    async def install(_: Settings) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(supervisor, "running_pid", lambda _: SUPERVISOR if platform.runs else None)
    monkeypatch.setattr(versions, "code", lambda: platform.link)
    monkeypatch.setattr(processes, "read_pid", lambda _: platform.restarts)
    monkeypatch.setattr(self_update, "_hang_up", platform.hang_up)
    monkeypatch.setattr(self_update, "install", install)
    monkeypatch.setattr(self_update, "local_settings", lambda: platform.here)
    monkeypatch.setattr(self_update, "_control_schema", platform.control_schema)
    monkeypatch.setattr(self_update, "_is_ready", lambda _: True)
    monkeypatch.setattr(self_update, "_READY_SECONDS", 0.3)
    monkeypatch.setattr(sys, "prefix", str(platform.venv))
    return platform


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_the_schema_is_migrated_and_the_control_plane_restarted(
    platform: Platform, cli: Cli
) -> None:
    done = cli("self-update", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"version": NEW, "running": True}
    assert (platform.asked, platform.serves()) == ([["migrate"]], NEW)
    done = cli("self-update")  # once more, there is nothing to do
    assert (done.code, f"Tenantry {NEW} runs." in done.err) == (0, True)
    assert (len(platform.asked), platform.restarts) == (1, 2)


def test_a_platform_that_does_not_run_is_not_started(platform: Platform, cli: Cli) -> None:
    platform.runs = False
    done = cli("self-update")
    assert (done.code, "`tenantry up` starts it" in done.err) == (0, True)
    assert (platform.asked, platform.restarts) == ([], 1)


def test_a_failed_migration_is_answered_by_the_release_before(platform: Platform, cli: Cli) -> None:
    platform.refused = {"migrate"}
    done = cli("self-update")
    assert done.code == 1
    assert f"Tenantry {NEW} was not put in service: migrate is refused." in done.err
    assert f"Look. {OLD} is put back." in " ".join(done.err.split())
    assert (platform.link, platform.serves(), platform.restarts) == (OLD, OLD, 1)


def test_one_that_does_not_start_is_taken_back(platform: Platform, cli: Cli) -> None:
    platform.broken = {NEW}
    done = cli("self-update")
    assert (done.code, "did not become ready" in done.err) == (1, True)
    assert platform.asked == [["migrate"], ["require", "65"]]
    assert (platform.link, platform.serves()) == (OLD, OLD)


def test_it_stays_if_the_one_before_does_not_work_any_more(platform: Platform, cli: Cli) -> None:
    platform.broken, platform.refused = {NEW}, {"require"}
    done = cli("self-update")
    assert (done.code, f"{NEW} is what starts next. require is refused." in done.err) == (1, True)
    assert platform.link == NEW


def test_a_rollback_returns_to_the_one_before_and_can_be_undone(
    platform: Platform, cli: Cli
) -> None:
    assert cli("self-update").code == 0
    for version in (OLD, NEW):
        done = cli("self-update", "--rollback", "--json")
        assert json.loads(done.out) == {"version": version, "running": True}
        assert (platform.link, platform.serves()) == (version, version)
    assert platform.asked == [["migrate"], ["require", "65"], ["require", "65"]]


def test_a_rollback_to_what_does_not_work_changes_nothing(platform: Platform, cli: Cli) -> None:
    platform.refused = {"require"}
    done = cli("self-update", "--rollback")
    assert (done.code, "require is refused." in done.err) == (1, True)
    assert (platform.link, platform.restarts) == (NEW, 1)


def test_one_that_reads_no_record_has_to_know_the_schema(platform: Platform, cli: Cli) -> None:
    [code] = (platform.here.home / OLD).glob("lib/*/*/tenantry")
    (code / "cli" / "self_update.py").unlink()
    assert cli("self-update", "--rollback").code == 0
    assert platform.asked == [["require", "65", "--exactly"]]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("x", "--rollback"), "has no SOURCE"),
        (("--sha256", "0" * 64), "none was given"),
        (("/nowhere",), "/nowhere does not exist"),
    ],
)
def test_what_is_asked_wrongly_changes_nothing(
    platform: Platform, cli: Cli, words: tuple[str, ...], why: str
) -> None:
    done = cli("self-update", *words)
    assert (done.code, why in done.err) == (1, True)
    assert (platform.link, platform.restarts) == (NEW, 1)


def test_it_needs_an_environment_of_the_launcher(
    platform: Platform, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(platform.here.home))
    done = cli("self-update")
    assert (done.code, "is not an environment that the launcher has made" in done.err) == (1, True)


def test_a_source_installs_itself_by_its_own_launcher(
    platform: Platform, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[list[str], str]] = []

    def run(
        words: list[str], *, env: dict[str, str], check: bool
    ) -> "subprocess.CompletedProcess[str]":
        assert not check
        ran.append((words, env["TENANTRY_VENV"]))
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert cli("self-update", str(CHECKOUT)).code == 1
    launcher = ["/usr/bin/python3", str(CHECKOUT / "tenantry"), "self-update"]
    assert ran == [(launcher, str(platform.venv))]


# ---- the launcher


@pytest.fixture(name="launcher", scope="module")
def _launcher() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("launcher", str(CHECKOUT / "tenantry"))
    spec = importlib.util.spec_from_loader("launcher", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("words", "is_installed_now"),
    [
        ("self-update", True),
        ("self-update --json", True),
        ("self-update /srv/release", False),
        ("self-update --rollback", False),
        ("up --detach", True),
        ("db list", False),
    ],
)
def test_the_launcher_installs_its_own_release_for_these(
    launcher: ModuleType, words: str, is_installed_now: bool
) -> None:
    arguments = words.split()
    command: str = launcher.command_of(arguments)
    is_for: Callable[[str, list[str]], bool] = launcher.is_for_this_release
    assert is_for(command, arguments) is is_installed_now


def test_the_launcher_has_a_version_before_anything_is_installed(
    launcher: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = launcher.command_of(["--version"])
    assert launcher.report_nothing_is_installed(command, tmp_path, as_json=False) == 0
    assert capsys.readouterr().out == f"tenantry {environment_version()}\n"
    assert launcher.report_nothing_is_installed("self-update", tmp_path, as_json=False) == 1
    assert "run ./tenantry up" in capsys.readouterr().out


def environment_version() -> str:
    namespace: dict[str, str] = {}
    exec((CHECKOUT / "src/tenantry/__init__.py").read_text(), namespace)  # noqa: S102 (our own)
    return namespace["__version__"]


def test_what_the_links_are_called(platform: Platform) -> None:
    assert environment.previous(platform.venv) == platform.here.home / OLD
