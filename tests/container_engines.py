"""A container engine of the tests' own, in a network namespace of its own."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tenantry.host import processes

SYSTEM_USER = "tenantry"
SECONDS = 60


@contextlib.contextmanager
def as_platform() -> Iterator[None]:
    """In the block this process is the platform's user, whom PostgreSQL accepts."""
    account = pwd.getpwnam(SYSTEM_USER)
    os.setresgid(account.pw_gid, account.pw_gid, 0)
    os.setresuid(account.pw_uid, account.pw_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def namespace(pid: int, kind: str) -> str:
    """A namespace of a process (namespaces(7)), such as ``net``."""
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def missing() -> str:
    """What an engine of our own lacks here; "" if nothing."""
    if os.geteuid() != 0:
        return "only root can start dockerd"
    absent = [name for name in ("dockerd", "containerd", "iptables") if not shutil.which(name)]
    return f"{', '.join(absent)} of the package docker.io" if absent else ""


@dataclass
class Engine:
    """dockerd, whose ports are in its own network; other machines there have addresses, too."""

    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (self.folder / "docker.pid").unlink(missing_ok=True)
        before = len(self.log())
        daemon = [
            "dockerd",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/docker.pid",
            f"--host={self.url}",
            f"--group={SYSTEM_USER}",
            "--bridge=none",
        ]
        network = 'ip link set lo up && exec "$@"'
        with (self.folder / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", network, "sh", *daemon],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up = time.monotonic() + SECONDS
        while "API listen on" not in self.log()[before:]:
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"dockerd did not start:\n{self.log()[-4000:]}")
            time.sleep(0.1)

    def log(self) -> str:
        path = self.folder / "dockerd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """kill -9 of dockerd and containerd: their containers go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        left = self.folder / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(left.read_text()), signal.SIGKILL)
        left.unlink()  # dockerd would wait for it as long as init has not reaped it

    def stop(self) -> None:
        """Stop dockerd and its containers, and remove what a killed one has left."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(SECONDS)
        for pid in processes.started_on(self.folder):
            os.kill(pid, signal.SIGKILL)
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        for path in reversed([line.split()[4] for line in mounts]):
            if Path(path).is_relative_to(self.folder):
                subprocess.run(["umount", "--lazy", path], check=True)
        shutil.rmtree(self.folder)

    def inside(self, *command: str | Path) -> str:
        """What a program prints that runs in the engine's network."""
        assert self.process is not None
        network = f"--net=/proc/{self.process.pid}/ns/net"
        done = subprocess.run(
            ["nsenter", network, *command], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def docker(self, *command: str) -> str:
        """What the command line of Docker prints."""
        done = subprocess.run(
            ["docker", f"--host={self.url}", *command], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    @contextlib.contextmanager
    def neighbour(self, here: str, there: str) -> Iterator[int]:
        """Yield the pid of a process on another machine: ``there`` is its address."""
        assert self.process is not None
        other = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        try:
            while namespace(other.pid, "net") == namespace(os.getpid(), "net"):
                time.sleep(0.01)
            peer = f"--net=/proc/{other.pid}/ns/net"
            self.inside(
                "ip", "link", "add", "to", "type", "veth", "peer", "from", "netns", str(other.pid)
            )
            self.inside("ip", "address", "add", f"{here}/24", "dev", "to")
            self.inside("ip", "link", "set", "to", "up")
            for words in (
                ("address", "add", f"{there}/24", "dev", "from"),
                ("link", "set", "from", "up"),
            ):
                subprocess.run(["nsenter", peer, "ip", *words], check=True)
            yield other.pid
        finally:
            other.kill()
            other.wait()
