"""Another machine for a test: two network namespaces, joined, one of them that of its thread."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clients import eventually
from tenantry.host import nftables

CLONE_NEWNET = 0x40000000
PORT = 6399
HERE, HERE_6 = "10.77.0.1", "fd77::1"
ONE, OTHER, ONE_6, OTHER_6 = "10.77.0.2", "10.77.0.3", "fd77::2", "fd77::3"
EVERYBODY = {ONE, OTHER, ONE_6, OTHER_6}

# Connects from an address, says whether it could, and then that the connection has ended.
CLIENT = """
import socket, sys
source, target, port = sys.argv[1:]
try:
    there = socket.create_connection((target, int(port)), 5, (source, 0))
except OSError as error:
    print(type(error).__name__, flush=True)
    sys.exit()
print("open", flush=True)
there.settimeout(30)
try:
    there.recv(1)
except TimeoutError:
    sys.exit("it stays open")
except OSError:
    pass
print("ended", flush=True)
"""


@dataclass
class Elsewhere:
    """Another machine, with several addresses."""

    pid: int
    holding: list["subprocess.Popen[str]"] = field(default_factory=list)

    def connect(self, source: str) -> "subprocess.Popen[str]":
        target = HERE_6 if ":" in source else HERE
        made = subprocess.Popen(
            [
                *("nsenter", f"--net=/proc/{self.pid}/ns/net"),
                *(sys.executable, "-c", CLIENT, source, target, str(PORT)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.holding.append(made)
        return made

    def reaches(self) -> set[str]:
        """The addresses of which a connection is taken."""
        tried = {source: self.connect(source) for source in EVERYBODY}
        found = {source for source, each in tried.items() if said(each) == "open"}
        self.let_go()
        return found

    def let_go(self) -> None:
        while self.holding:
            each = self.holding.pop()
            each.kill()
            each.communicate()


def said(client: "subprocess.Popen[str]") -> str:
    assert client.stdout
    return client.stdout.readline().strip()


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=20)


@contextmanager
def network() -> Iterator[Elsewhere]:
    """Take the test's thread into a network of its own, which another machine reaches."""
    if os.geteuid() != 0 or not nftables.PROGRAM.exists():
        pytest.skip("takes root and nftables")
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before:
        if libc.unshare(CLONE_NEWNET) != 0:
            pytest.skip("this machine lets nobody make network namespaces")
        own = Path("/proc/thread-self/ns/net").readlink()
        other = subprocess.Popen(["unshare", "--net", "sleep", "300"])
        found = Elsewhere(other.pid)
        try:
            eventually(lambda: Path(f"/proc/{other.pid}/ns/net").readlink() != own)
            inside = ("nsenter", f"--net=/proc/{other.pid}/ns/net", "ip")
            run("ip", "link", "set", "lo", "up")
            pair = ("type", "veth", "peer", "name", "there", "netns", str(other.pid))
            run("ip", "link", "add", "here", *pair)
            for address in (f"{HERE}/24", f"{HERE_6}/64"):
                run("ip", "addr", "add", address, "dev", "here", *nodad(address))
            run("ip", "link", "set", "here", "up")
            for address in EVERYBODY:
                length = 64 if ":" in address else 24
                where = (f"{address}/{length}", "dev", "there")
                run(*inside, "addr", "add", *where, *nodad(address))
            run(*inside, "link", "set", "there", "up")
            yield found
        finally:
            found.let_go()
            other.kill()
            other.wait()
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0


def nodad(address: str) -> tuple[str, ...]:
    """An IPv6 address is used at once."""
    return ("nodad",) if ":" in address else ()
