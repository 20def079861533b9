"""A machine with nothing on it: this one's Debian or Ubuntu release, and Python, in a chroot.

Its users keep what they make to themselves (umask 077), as hardened servers have it.
It has process, mount and IPC namespaces of its own, so that ending it ends all
that runs in it, and shares the network: apt and pip need it, and the test talks to
what was started. The release is downloaded once; apt's and pip's downloads are kept.
"""

import asyncio
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenantry.host import backports, packages

CACHE = Path("/var/cache/tenantry")
CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = Path("/root/tenantry")  # where only root can read it, as many do
_NETWORK = re.compile(r"(?i)PIP_\w+|\w+_proxy|\w+_CA_BUNDLE|SSL_CERT_FILE")
_ENTER = f"umask 077; cd {PLACE} 2>/dev/null"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class BareMachine:
    root: Path
    init: int  # the first process of its process namespace, as we number it

    def run(
        self,
        *command: str,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        timeout: float = 900,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, in the checkout's folder, and return what came of it."""
        return subprocess.run(
            self.command(*command, user=user, env=env or {}),
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def command(self, *command: str, user: str, env: Mapping[str, str]) -> list[str]:
        """How this machine's root runs ``command`` in that one."""
        home = "/root" if user == "root" else f"/home/{user}"
        own = {"HOME": home, "PATH": _PATH, "LANG": "C.UTF-8"}
        given = {name: str(inside(value)) for name, value in network_environment().items()}
        variables = {**given, **own, **env}
        become = [] if user == "root" else [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [
            *("nsenter", f"--target={self.init}", "--mount", "--pid", "--ipc", "--root"),
            *("env", "--ignore-environment", "--chdir=/"),
            *(f"{name}={value}" for name, value in variables.items()),
            *("setpriv", *become, "sh", "-c", f'{_ENTER}; exec "$@"', "sh"),
            *command,
        ]

    def processes(self) -> list[tuple[str, str]]:
        """The user and the command line of whatever runs in it, but for its first process.

        A process may end while it is being asked: it is left out then.
        """
        program = (
            "for p in /proc/[0-9]*; do"
            " user=$(stat -c %U $p) && line=$(tr '\\0' ' ' <$p/cmdline) && echo \"$user $line\";"
            " done"
        )
        found = [line.partition(" ") for line in self.run("sh", "-c", program).stdout.splitlines()]
        return [(user, line.strip()) for user, _, line in found if line and "sleep inf" not in line]


@contextmanager
def bare_machine() -> Iterator[BareMachine]:
    """A new machine, gone with all that runs in it when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="tenantry-bare-", dir="/var/tmp"))
    root = folder / "root"
    root.mkdir(mode=0o755)
    folder.chmod(0o755)
    try:
        subprocess.run(["tar", "-C", root, "-xf", base_image()], check=True)
        copy_settings(root)
        copy_checkout(root)
        with kept_downloads(root), namespaces(root) as init:
            yield BareMachine(root, init)
    finally:
        shutil.rmtree(folder)


def base_image() -> Path:
    """The release with Python and no more, as a tar file; made if there is none yet."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    image = CACHE / f"bare-{codename}.tar"
    if image.exists():
        return image
    if not shutil.which("debootstrap"):
        asyncio.run(packages.install(["debootstrap"], print))
    mirror = next(
        source.uris.split()[0]
        for source in backports.machine_sources()
        if codename in source.suites and "main" in source.components
    )
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = Path(folder) / "root"
        options = ["--variant=minbase", "--include=python3"]
        subprocess.run(
            ["debootstrap", *options, codename, root, mirror], check=True, capture_output=True
        )
        shutil.rmtree(root / "var/lib/apt/lists")
        shutil.rmtree(root / "var/cache/apt/archives")
        subprocess.run(["tar", "-C", root, "-cf", f"{folder}/image", "."], check=True)
        Path(folder, "image").replace(image)
    return image


def network_environment() -> dict[str, str]:
    """The variables by which this machine's programs reach the network."""
    return {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}


def inside(value: str) -> Path | str:
    """A variable's value in there: files (of certificates) are where only root's pip finds them.

    At their own places they would stand in for a package that a bare machine does not have.
    """
    return Path("/root/network") / Path(value).name if Path(value).is_file() else value


def copy_settings(root: Path) -> None:
    """Have apt and pip reach there what they reach here."""
    apt = Path("/etc/apt")
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    for name in ("sources.list", "sources.list.d", "trusted.gpg.d", "auth.conf.d", "keyrings"):
        copy(apt / name, root)
    for part in (apt / "apt.conf.d").iterdir():
        if "Acquire::" in part.read_text() and not part.name.startswith("docker"):
            copy(part, root)
    for name in ("/usr/share/keyrings", "/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf"):
        copy(Path(name), root)
    copy(Path("/usr/local/share/ca-certificates"), root)  # those the administrator trusts
    copy(Path.home() / ".config/pip/pip.conf", root)
    for value in network_environment().values():
        if Path(value).is_file():
            place = root / str(inside(value)).lstrip("/")
            place.parent.mkdir(exist_ok=True)
            shutil.copy(value, place)
    (root / "etc/dpkg/dpkg.cfg.d/fast").write_text("force-unsafe-io\n")


def copy(path: Path, root: Path) -> None:
    """Copy a file or folder of this machine to the same place in that one."""
    place = root / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, place, dirs_exist_ok=True)
    elif path.exists():
        shutil.copy(path, place)


def copy_checkout(root: Path) -> None:
    leave = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", ".venv")
    shutil.copytree(CHECKOUT, root / PLACE.relative_to("/"), ignore=leave)


@contextmanager
def kept_downloads(root: Path) -> Iterator[None]:
    """Lay the packages that apt has downloaded before into its cache, and keep what it adds."""
    kept, archives = CACHE / "bare-apt", root / "var/cache/apt/archives"
    for folder in (kept, archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    for package in kept.glob("*.deb"):
        shutil.copy(package, archives)
    try:
        yield
    finally:
        for package in archives.glob("*.deb"):
            if not (kept / package.name).exists():
                shutil.move(package, kept)


@contextmanager
def namespaces(root: Path) -> Iterator[int]:
    """Yield the first process of new namespaces in which ``root`` is ready to be entered."""
    pip_cache = CACHE / "bare-pip"
    for folder in (pip_cache, root / "root/.cache/pip"):
        folder.mkdir(parents=True, exist_ok=True)
    setup = f"""set -e
        mount --rbind {root} {root}  # namespaces can then be made in it, as on any machine
        cd {root}
        mount --bind {pip_cache} {root}/root/.cache/pip
        mount -t proc proc {root}/proc
        mount --rbind /dev {root}/dev
        mount -t tmpfs tmpfs {root}/dev/shm
        mount -t tmpfs tmpfs {root}/run
        mkdir {root}/run/lock
        # It has to bury the processes whose parents are gone, as any first process.
        exec env --ignore-signal=CHLD chroot . sh -c 'echo ready; exec sleep infinity'"""
    unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--ipc", "--fork"]
    with subprocess.Popen(
        [*unshare, "--kill-child", "sh", "-c", setup], stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdout is not None
        try:
            assert outer.stdout.readline() == "ready\n", "the machine could not be set up"
            init = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
            # Else all that the test does would be done to this machine.
            assert Path(f"/proc/{init}/root").samefile(root)
            yield init
        finally:
            outer.send_signal(signal.SIGKILL)
