"""Pebble, Let's Encrypt's own test authority, with a DNS server that the test fills."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients import eventually
from harness import free_ports
from tenantry.host import packages
from tenantry.host.certificates import OwnAuthority

DAY = 24 * 3600


def ensure_installed() -> None:
    """Have its programs, or skip the test."""
    if shutil.which("pebble") and shutil.which("pebble-challtestsrv"):
        return
    if os.geteuid() != 0:
        pytest.skip("pebble is not installed, and only root can install it")
    asyncio.run(packages.install(["pebble"], print))


@dataclass
class Pebble:
    """An authority on this machine that can be stopped and started.

    Names are looked up in its own DNS server, where all are at 127.0.0.1. Certificates live
    for ``lifetime`` seconds. ``trusted`` is a file that holds what it is verified by, and
    the root of its certificates, which is another one after each start.
    """

    folder: Path
    trusted: Path
    lifetime: int = 90 * DAY
    http_port: int = field(init=False)
    _running: list["subprocess.Popen[bytes]"] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.port, self._management, self.http_port, self._dns, self.dns_management, self._tls = (
            free_ports(6)
        )
        self._own = OwnAuthority(self.folder / "pebble-ca.crt", self.folder / "pebble-ca.key")
        self._own.ensure()
        (self.folder / "pebble.pem").write_bytes(self._own.issue(["localhost"]).render())

    @property
    def directory(self) -> str:
        return f"https://localhost:{self.port}/dir"

    def start(self) -> None:
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self.folder / "pebble.pem"),
            "privateKey": str(self.folder / "pebble.pem"),
            "httpPort": self.http_port,
            "tlsPort": self._tls,
            "certificateValidityPeriod": self.lifetime,
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        at_once = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
        }
        commands = (
            [
                *("pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", ""),
                *("-tlsalpn01", "", "-dns01", f"127.0.0.1:{self._dns}"),
                *("-management", f"127.0.0.1:{self.dns_management}"),
            ],
            [
                *("pebble", "-strict", "-config", str(self.folder / "pebble.json")),
                *("-dnsserver", f"127.0.0.1:{self._dns}"),
            ],
        )
        with (self.folder / "pebble.log").open("ab") as log:
            self._running = [
                subprocess.Popen(command, env={**os.environ, **at_once}, stdout=log, stderr=log)
                for command in commands
            ]
        eventually(self._answers)
        self.trusted.write_text(self._own.certificate.read_text() + self._ask("roots/0").text)
        self.trusted.chmod(0o644)

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        self._running = []

    def is_revoked(self, serial: str) -> bool:
        """What it says of a certificate, by its serial number in hex."""
        reported: dict[str, Any] = self._ask(f"cert-status-by-serial/{serial}").json()
        return bool(reported["Status"] == "Revoked")

    def _ask(self, path: str) -> httpx.Response:
        context = ssl.create_default_context(cafile=self._own.certificate)
        url = f"https://localhost:{self._management}/{path}"
        return httpx.get(url, verify=context, trust_env=False).raise_for_status()

    def _answers(self) -> bool:
        try:
            return self._ask("roots/0").is_success
        except httpx.HTTPError:
            return False


@contextmanager
def pebble(folder: Path, trusted: Path, *, lifetime: int = 90 * DAY) -> Iterator[Pebble]:
    """An authority that runs for as long as the block lasts."""
    ensure_installed()
    authority = Pebble(folder, trusted, lifetime)
    try:
        authority.start()
        yield authority
    finally:
        authority.stop()
