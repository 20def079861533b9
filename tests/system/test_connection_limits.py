"""The kernel's limit on connections from one address, in a network namespace of the test's own."""

import os
import subprocess
import sys

import pytest

from tenantry.host import nftables

PORT, MOST = 5555, 20

# Prints how many of 50 connections are taken, from each of these addresses.
PROGRAM = """
import socket
taken = {}
server = {}
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = server[family] = socket.socket(family)
    listener.bind((address, PORT))
    listener.listen(100)
sources = [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET, "127.0.0.1", "127.0.0.9"),
           (socket.AF_INET6, "::1", "::1")]
held = []
for family, target, source in sources:
    taken[source] = 0
    for _ in range(50):
        one = socket.socket(family)
        one.bind((source, 0))
        try:
            one.connect((target, PORT))
        except ConnectionRefusedError:
            continue
        held.append(one)
        taken[source] += 1
print(taken)
"""


def namespace(*commands: str) -> str:
    """Run these, one after the other, where there is no network but a loopback of their own."""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-e", "-c", "\n".join(("ip link set lo up", *commands))],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine lets nobody make network namespaces")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets rules")
def test_an_address_has_so_many_connections_and_another_its_own() -> None:
    rules = nftables.render(nftables.table(5432), [PORT, PORT + 1], MOST)
    apply = f"{nftables.PROGRAM} --file - <<'END'\n{rules}END"
    connect = f"{sys.executable} -c '{PROGRAM.replace('PORT', str(PORT))}'"
    reported = namespace(connect, apply, apply, connect, f"{nftables.PROGRAM} list tables")
    without, limited, tables = reported.splitlines()
    assert without == str({"127.0.0.1": 50, "127.0.0.9": 50, "::1": 50})
    assert limited == str({"127.0.0.1": MOST, "127.0.0.9": MOST, "::1": MOST})
    assert tables == "table inet tenantry_5432"
