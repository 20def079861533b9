"""The Python environment that Tenantry runs from.

It is two folders that never change once they are complete, and two links:

    venv-packages-<digest>        what requirements/runtime.txt and requirements/web-assets.txt pin
    venv-<digest>                 Tenantry itself and its libraries, on top of those
    venv -> venv-<digest>         replaced in one step: a kill leaves the old one or the new one
    venv-previous -> venv-<digest>    the one before, to roll back to

What requirements/embedder.txt and requirements/edge.txt pin is in further folders, such as
venv-embedder-<digest>, each with its link, where it is wanted: each is as large as all the rest.

The launcher uses this before any package is installed, so this module, and what it
imports, use the standard library only.

``checkout`` is a folder with Tenantry's sources: a clone of its repository, or what a release has
of one.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tenantry.base.errors import MachineError

PYTHON = Path("/usr/bin/python3")  # one that every user can run, unlike one below /root
EMBEDDER = "embedder"
EDGE = "edge"
_PIP = ("-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
_OFFLINE_HINT = "Check that this machine reaches its Python package index, and run this again."
_EDGE_SETTING = "TENANTRY_EDGE"
_WEB_ASSETS = "web-assets.txt"  # wheels of which only files for browsers are used
_REQUIREMENTS = ("requirements/runtime.txt", f"requirements/{_WEB_ASSETS}")
_FOLDER = r"(-packages)?-[0-9a-f]{16}"  # behind the name of the link


def build_cache() -> Path:
    """Return the folder for what is costly to build; for root, where every user can read it."""
    if os.geteuid() == 0:
        return Path("/var/cache/tenantry")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenantry"


def has_venv() -> bool:
    """Whether Python can create environments: Debian has half of that in another package."""
    return importlib.util.find_spec("ensurepip") is not None


def ensure_venv_module(say: Callable[[str], None]) -> None:
    """Install what Python needs to create environments.

    Raises MachineError with the command to run if only root could install it.
    """
    if has_venv():
        return
    # Here, since asyncio would double the time of every start.
    import asyncio  # noqa: PLC0415

    from tenantry.host import packages  # noqa: PLC0415

    async def install() -> None:
        await packages.refresh()
        await packages.install(["python3-venv"], say)

    asyncio.run(install())


def is_current(venv: Path, checkout: Path) -> bool:
    """Whether the link ``venv`` leads to the code of ``checkout``."""
    return venv.is_symlink() and str(venv.readlink()) == _overlay(venv, checkout).name


def ensure(venv: Path, checkout: Path) -> None:
    """Make the link ``venv`` lead to the code of ``checkout``, installed with its packages.

    What it led to before is kept, for ``roll_back``. Raises MachineError with pip's output if that
    fails; then nothing is changed.
    """
    requirements = checkout / "requirements" / "runtime.txt"
    _remove_old(venv, keep={_overlay(venv, checkout), _packages(venv, requirements)})
    packages = ensure_packages(venv, requirements)
    overlay = ensure_overlay(venv, packages, checkout, home_of_scripts=venv)
    if venv.is_symlink() and venv.resolve() != overlay.resolve():
        _point(_previous_of(venv), venv.resolve())
    _point(venv, overlay)
    for name in (EMBEDDER, EDGE):
        if addition_to(venv, name).is_symlink():
            ensure_addition(venv, checkout, name)


def addition_to(venv: Path, name: str) -> Path:
    """Return the link to packages beside ``venv``; it exists where they are installed."""
    return venv.with_name(f"{venv.name}-{name}")


def previous(venv: Path) -> Path | None:
    """Return the environment to roll back to; None if there is none."""
    link = _previous_of(venv)
    if not link.is_symlink() or not _is_ours(link):
        return None
    folder = venv.with_name(link.readlink().name)
    return folder if _is_complete(folder) and folder != venv.resolve() else None


def roll_back(venv: Path) -> None:
    """Make the link ``venv`` lead to the previous environment, and keep the present one as that.

    Raises MachineError if there is none. A kill between the two steps leaves the rollback done, and
    nothing to return to.
    """
    folder = previous(venv)
    if folder is None:
        raise MachineError(
            f"No other release is kept in {venv.parent}.",
            hint="Install the release that you want: tenantry self-update SOURCE",
        )
    present = venv.resolve()
    _point(venv, folder)
    _point(_previous_of(venv), present)


def _previous_of(venv: Path) -> Path:
    return venv.with_name(f"{venv.name}-previous")


def ensure_addition(venv: Path, checkout: Path, name: str) -> None:
    """Install packages beside ``venv``, as they are pinned.

    Raises MachineError with pip's output if that fails; then nothing is changed.
    """
    requirements, link = checkout / "requirements" / f"{name}.txt", addition_to(venv, name)
    folder = link.with_name(f"{link.name}-{_digest([requirements])}")

    def fill() -> None:
        run([PYTHON, "-I", "-m", "venv", folder])
        pip: list[str | Path] = [folder / "bin" / "python", *_PIP, "--retries=2"]
        pinned = [*pip, "--require-hashes", "--only-binary=:all:", "--requirement"]
        run([*pinned, requirements], hint=_OFFLINE_HINT)

    _ensure_filled(folder, fill)
    _point(link, folder)
    for old in link.parent.glob(f"{link.name}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def find_traefik() -> Path | None:
    """Return the program of the edge: the installed one, or else one on the path; None without."""
    installed = addition_to(Path(sys.prefix), EDGE) / "bin" / "traefik"
    if installed.exists():
        return installed
    found = shutil.which("traefik")
    return None if found is None else Path(found)


def has_embedder() -> bool:
    """Whether this process can import the packages of the embedder, or could after adding them."""
    is_added = importlib.util.find_spec("onnxruntime") is not None
    return is_added or addition_to(Path(sys.prefix), EMBEDDER).exists()


def add_embedder() -> None:
    """Let this process import the packages of the embedder, after its own, where installed."""
    for folder in addition_to(Path(sys.prefix), EMBEDDER).glob("lib/python3*/site-packages"):
        site.addsitedir(str(folder))


def wants_edge(home: Path) -> bool:
    """Whether the settings switch the edge on, as far as the launcher can read them.

    It has no library for that; ``tenantry up``, which has, says what is missing.
    """
    value = os.environ.get(_EDGE_SETTING)
    if value is None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in (home / "tenantry.env").read_text().splitlines():
                name, _, said = line.partition("=")
                if name.strip() == _EDGE_SETTING:
                    value = said
    return (value or "").strip(" \t\"'").lower() in {"on", "1", "true", "yes"}


def ensure_packages(venv: Path, requirements: Path) -> Path:
    """Return the folder beside ``venv`` with what ``requirements`` pins; create it if missing.

    The wheels of web-assets.txt, beside ``requirements``, are in it without their dependencies.
    """
    folder = _packages(venv, requirements)

    def fill() -> None:
        run([PYTHON, "-I", "-m", "venv", folder])
        pip: list[str | Path] = [folder / "bin" / "python", *_PIP, "--retries=2"]
        pinned = [*pip, "--require-hashes", "--requirement"]
        run([*pinned, requirements], hint=_OFFLINE_HINT)
        assets = requirements.with_name(_WEB_ASSETS)
        run(
            [*pinned, assets, "--no-deps", "--no-compile", "--only-binary=:all:"],
            hint=_OFFLINE_HINT,
        )

    _ensure_filled(folder, fill)
    return folder


def ensure_overlay(
    venv: Path, packages: Path, checkout: Path, *, home_of_scripts: Path | None = None
) -> Path:
    """Return the folder beside ``venv`` with ``checkout`` installed, on top of ``packages``.

    Its scripts name the Python in ``home_of_scripts`` as theirs, so that a program started through
    a link starts its children through the link too.
    """
    folder = _overlay(venv, checkout)

    def fill() -> None:
        run([PYTHON, "-I", "-m", "venv", "--without-pip", folder])
        [theirs] = packages.glob("lib/python3*/site-packages")
        ours = folder / theirs.relative_to(packages)
        (ours / "packages.pth").write_text(f"import site; site.addsitedir({str(theirs)!r})\n")
        pip: list[str | Path] = [folder / "bin" / "python", *_PIP]
        sources = [checkout / "src", *_libraries(checkout)]
        run([*pip, "--no-deps", "--no-build-isolation", *sources])
        for script in (folder / "bin").iterdir():
            if not script.is_symlink() and home_of_scripts:
                text = script.read_text()
                script.write_text(text.replace(f"{folder}/", f"{home_of_scripts}/"))
        (folder / "packages").write_text(packages.name)

    _ensure_filled(folder, fill)
    return folder


def _packages(venv: Path, requirements: Path) -> Path:
    pins = [requirements, requirements.with_name(_WEB_ASSETS)]
    return venv.with_name(f"{venv.name}-packages-{_digest(pins)}")


def _overlay(venv: Path, checkout: Path) -> Path:
    libraries = _libraries(checkout)
    sources = [checkout / "src", *(library / "src" for library in libraries)]
    code = [path for source in sources for path in source.rglob("*")]
    files = [path for path in code if "__pycache__" not in path.parts]
    files += [checkout / name for name in _REQUIREMENTS]
    files += [library / "pyproject.toml" for library in libraries]
    return venv.with_name(f"{venv.name}-{_digest(path for path in files if path.is_file())}")


def _point(link: Path, folder: Path) -> None:
    """Let a link lead to a folder beside it, in one step."""
    made = link.with_name(f"{link.name}.new")
    made.unlink(missing_ok=True)
    made.symlink_to(folder.name)
    made.replace(link)


def _libraries(checkout: Path) -> list[Path]:
    """Return the distributions in Tenantry's repository that can be installed without it."""
    return sorted(path.parent for path in (checkout / "libs").glob("*/pyproject.toml"))


def _digest(files: Iterable[Path]) -> str:
    """Return a name for the contents of ``files`` under Python 3.11, 3.12 and so on.

    Not for each of their builds: apt changes those, even while we install python3-venv.
    """
    found = hashlib.sha256(str(sys.implementation.cache_tag).encode())
    for path in sorted(files):
        content = path.read_bytes()
        found.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:16]


def _ensure_filled(folder: Path, fill: Callable[[], None]) -> None:
    """Create ``folder`` by ``fill`` unless complete; one that a kill left is created again."""
    if _is_complete(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()  # not one that another user creates meanwhile
    try:
        fill()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    os.sync()  # else a power failure could keep the mark and lose the files
    (folder / "complete").touch()


def _is_complete(folder: Path) -> bool:
    """Whether this is a complete environment that no other user has made.

    Root's home is one that the platform's user can add to, and root runs what is in an environment.
    """
    return folder.is_dir() and _is_ours(folder) and (folder / "complete").exists()


def _is_ours(path: Path) -> bool:
    return path.lstat().st_uid in {0, os.geteuid()}


def _remove_old(venv: Path, keep: set[Path]) -> None:
    """Delete what is neither wanted nor linked to: a running platform still loads from that."""
    for link in (venv, _previous_of(venv)):
        if link.is_symlink() and (link / "packages").exists():
            keep |= {link.resolve(), venv.with_name((link / "packages").read_text())}
    ours = re.compile(re.escape(venv.name) + _FOLDER)
    for folder in venv.parent.iterdir():
        if ours.fullmatch(folder.name) and folder not in keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file ``path``; ``wait`` is called first if another process has it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def run(command: Sequence[str | Path], hint: str = "Run this again.") -> None:
    """Run a program quietly, for 15 minutes at most.

    Raises MachineError with the end of what it printed.
    """
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                timeout=900,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"{command[0]} did not end in 15 minutes.", hint=hint) from None
        log.seek(0)
        if done.returncode:
            said = "\n".join(log.read().strip().splitlines()[-6:])
            started = shlex.join(map(str, command[:5]))
            raise MachineError(f"{started} … failed:\n{said}\n", hint=hint)
