"""``tenantry self-update``: replace the platform's own code while it serves.

The invariant: the link to the environment leads to a complete environment at every moment, and
whatever starts, starts with the code there; code that works with the control database's schema, or
migrates it. So the link is switched before the schema is migrated, and a kill anywhere leaves a
platform that goes on, and that the next self-update completes.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput, MachineError, TenantryError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.cli import output, release_sources
from tenantry.cli.client import Api
from tenantry.cli.entry_point import Json, local_settings
from tenantry.cli.installing import install
from tenantry.host import environment, identity, processes, releases, versions
from tenantry.services import control_schema, supervisor

_CHILDREN = ("api", "worker")
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.1
_SCHEMA_SECONDS = 900.0
_HANG_UP = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGHUP)"


def self_update(
    source: Annotated[
        str | None,
        typer.Argument(help="A checkout, a folder with a release, a wheel, or the URL of one."),
    ] = None,
    *,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="The SHA-256 that the wheel must have.")
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Return to the release before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Install another release, and switch the running platform to it.

    Databases, the pooler and their clients are not interrupted; the API is while it restarts.
    Without SOURCE it completes an update that was interrupted.

    Example:

        sudo tenantry self-update ./tenantry-0.12.0-py3-none-any.whl
    """
    if source is not None and rollback:
        raise InvalidInput(
            "--rollback returns to the release that is kept here, and has no SOURCE."
        )
    if sha256 is not None and source is None:
        raise InvalidInput("--sha256 is the hash of a SOURCE, and none was given.")
    here = local_settings()
    venv = _environment()
    if source is not None:
        _install(here, venv, source, sha256, as_json=as_json)
        return
    output.load()  # what is imported later would be the other release's
    switched = _roll_back(here, venv) if rollback else _complete(here, venv)
    if as_json:
        output.as_json({"version": switched.version, "running": switched.is_running})
    elif switched.is_running:
        output.done(f"Tenantry {switched.version} runs.")
        _report_supervisor(here, switched.version)
    else:
        output.done(f"Tenantry {switched.version} is installed; `tenantry up` starts it.")


@dataclass(frozen=True, slots=True)
class _Switched:
    """What is installed now, and whether the platform runs."""

    version: str
    is_running: bool


def _environment() -> Path:
    """Return the link to the environment that this program was started from."""
    venv = Path(sys.prefix)
    if not venv.is_symlink():
        raise MachineError(
            f"{venv} is not an environment that the launcher has made.",
            hint="Run the tenantry of the platform: in its home, venv/bin/tenantry.",
        )
    if os.geteuid() not in {0, venv.lstat().st_uid}:
        raise MachineError(
            f"{venv} belongs to another user.", hint="Run it as root: sudo tenantry self-update"
        )
    return venv


def _install(here: Settings, venv: Path, source: str, sha256: str | None, *, as_json: bool) -> None:
    """Have the other release install itself, and complete the update by its own code."""
    with tempfile.TemporaryDirectory(prefix="tenantry-release-") as folder:
        with output.waiting("Fetching the release"):
            tree = release_sources.tree(source, sha256, Path(folder))
        releases.require_updatable(tree)
        words = [str(environment.PYTHON), str(tree / "tenantry"), "self-update"]
        done = subprocess.run(
            [*words, "--json"] if as_json else words,
            env={
                **os.environ,
                "TENANTRY_HOME": str(here.home),
                "TENANTRY_VENV": str(venv),
            },
            check=False,
        )
    if done.returncode:
        raise typer.Exit(done.returncode)


def _complete(here: Settings, venv: Path) -> _Switched:
    """Switch the running platform to the code that is installed, which is this code.

    If it does not start, switch back. Raises MachineError.
    """
    installed = versions.code()
    if (pid := supervisor.running_pid(here)) is None:
        return _Switched(installed, is_running=False)
    if _runs(here, installed):
        return _Switched(installed, is_running=True)
    was_ready = _is_ready(here) is True
    try:
        asyncio.run(install(here))
        _control_schema(here, "migrate")
        _restart(here, pid, installed, was_ready=was_ready)
    except TenantryError as error:
        stays = _give_up(here, venv, pid, installed)
        raise MachineError(
            f"Tenantry {installed} was not put in service: {error.detail}",
            hint=f"{error.hint or ''} {stays}".strip(),
        ) from error
    return _Switched(installed, is_running=True)


def _give_up(here: Settings, venv: Path, pid: int, installed: str) -> str:
    """Return to the release before, where that is possible. Returns what serves now."""
    stays = f"{installed} is what starts next."
    folder = environment.previous(venv)
    if folder is None:
        return stays
    try:
        _require_works(here, folder)
    except TenantryError as error:
        return f"{stays} {error.detail}"
    _switch_back(venv)
    former = versions.code()
    if any(_code(here, name) == installed for name in _CHILDREN):
        _restart(here, pid, former, was_ready=False)
    return f"{former} is put back."


def _roll_back(here: Settings, venv: Path) -> _Switched:
    """Switch to the environment before, if it works with the control database's schema."""
    pid = supervisor.running_pid(here)
    if pid is None:
        _switch_back(venv)  # `up` finds out whether it works with the schema
        return _Switched(versions.code(), is_running=False)
    was_ready = _is_ready(here) is True
    if (folder := environment.previous(venv)) is not None:
        _require_works(here, folder)
    _switch_back(venv)
    former = versions.code()
    _restart(here, pid, former, was_ready=was_ready)
    return _Switched(former, is_running=True)


def _require_works(here: Settings, folder: Path) -> None:
    """Raise MachineError unless the code in an environment works with the control database."""
    code = next(folder.glob("lib/python3*/site-packages/tenantry"))
    reads_record = (code / "cli" / "self_update.py").exists()
    words = ["require", str(control_schema.newest(code / "control" / "migrations"))]
    _control_schema(here, *words, *([] if reads_record else ["--exactly"]))


def _switch_back(venv: Path) -> None:
    lock = venv.with_name(f"{venv.name}.lock")
    wait = partial(output.note, "Another tenantry prepares the environment; waiting …")
    with environment.locked(lock, wait=wait):
        environment.roll_back(venv)


def _control_schema(here: Settings, *words: str) -> None:
    """Run ``tenantry.cli.control_schema`` in a process of its own. Raises MachineError."""
    done = subprocess.run(
        [sys.executable, "-m", "tenantry.cli.control_schema", *words],
        env={**os.environ, "TENANTRY_HOME": str(here.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SCHEMA_SECONDS,
        check=False,
        cwd="/",  # root must not import what somebody has put into this folder
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it was killed"]
        raise MachineError(said[-1])


def _restart(here: Settings, pid: int, version: str, *, was_ready: bool) -> None:
    """Have the supervisor restart its children, and wait until they answer with this version.

    They need not be ready if they were not before. Raises MachineError if they do not.
    """
    before = {name: _pid(here, name) for name in _CHILDREN}
    with output.waiting("Switching"):
        _hang_up(pid)
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            now = {name: _pid(here, name) for name in _CHILDREN}
            are_new = all(now[name] not in {None, before[name]} for name in _CHILDREN)
            if are_new and _runs(here, version):
                ready = _is_ready(here)
                if ready or (ready is False and not was_ready):
                    return
            time.sleep(_POLL_SECONDS)
    raise MachineError(
        f"The API or the worker of {version} did not become ready in {_READY_SECONDS:.0f} s.",
        hint="Their logs say why: tenantry logs api, tenantry logs worker.",
    )


def _hang_up(pid: int) -> None:
    """Have the supervisor restart its children.

    As the platform's user, who has written the pid: it must not choose a process of root's.
    """
    if os.geteuid() != 0:
        os.kill(pid, signal.SIGHUP)
        return
    user = identity.service_user()
    program = [str(environment.PYTHON), "-I", "-c", _HANG_UP, str(pid)]
    subprocess.run(program, user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=False)


def _is_ready(here: Settings) -> bool | None:
    """Whether all parts work, as the API reports; None if it does not answer."""
    with Api(here.api_url, seconds=5) as api, contextlib.suppress(TenantryError):
        return api.readiness()[0]
    return None


def _pid(here: Settings, name: str) -> int | None:
    return processes.read_pid(Home(here.home).run / f"{name}.pid")


def _code(here: Settings, name: str) -> str | None:
    """Return the version of the code that a part was started with."""
    with contextlib.suppress(OSError):
        return (Home(here.home).run / f"{name}.code").read_text().strip()
    return None


def _runs(here: Settings, version: str) -> bool:
    return all(_code(here, name) == version for name in _CHILDREN)


def _report_supervisor(here: Settings, version: str) -> None:
    if (running := _code(here, "supervisor")) not in {None, version}:
        output.note(
            f"The supervisor still runs {running}: `tenantry down` and `tenantry up`, or a restart"
            " of the service, replace it when it suits you."
        )
