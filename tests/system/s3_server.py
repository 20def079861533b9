"""moto, a server that speaks S3, on this machine, in an environment of its own and over TLS."""

import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from clients import eventually
from harness import free_ports
from tenantry.host import environment
from tenantry.host.certificates import OwnAuthority

BUCKET = "backups"
# moto's own server ends TLS connections without saying so, which pgBackRest takes for a failure.
_PROGRAM = """
import sys
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from moto.server import DomainDispatcherApplication, create_backend_app
port, pem = int(sys.argv[1]), sys.argv[2]
server = Server(("127.0.0.1", port), DomainDispatcherApplication(create_backend_app))
server.ssl_adapter = BuiltinSSLAdapter(pem, pem)
server.start()
"""
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "s3.txt"


def _cache() -> Path:
    """Where ./check keeps what is costly to make."""
    if os.geteuid() == 0:
        return Path("/var/cache/tenantry")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenantry"


def _ensure_installed() -> Path:
    """The Python of moto's environment, which is made once."""
    place = _cache() / "s3"
    place.parent.mkdir(parents=True, exist_ok=True)
    with environment.locked(place.with_name("s3.lock"), lambda: None):
        return environment.ensure_packages(place, _REQUIREMENTS) / "bin" / "python"


@dataclass
class S3Server:
    """A server with one bucket, which is empty after each start."""

    folder: Path
    port: int = field(init=False)
    _running: list["subprocess.Popen[bytes]"] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        (self.port,) = free_ports(1)
        self._authority = OwnAuthority(self.ca_file, self.folder / "s3-ca.key")
        self._authority.ensure()
        self._certificate.write_bytes(self._authority.issue(["localhost"]).render())

    @property
    def ca_file(self) -> Path:
        return self.folder / "s3-ca.crt"

    @property
    def _certificate(self) -> Path:
        return self.folder / "s3.pem"

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=self.ca_file)
        return httpx.Client(base_url=self.endpoint, verify=trusted, trust_env=False)

    def start(self) -> None:
        words = [str(_ensure_installed()), "-c", _PROGRAM, str(self.port), str(self._certificate)]
        with (self.folder / "s3.log").open("ab") as log:
            self._running.append(subprocess.Popen(words, stdout=log, stderr=log))

        def has_bucket() -> bool:
            try:
                with self.client() as client:
                    return client.put(f"/{BUCKET}").is_success
            except httpx.HTTPError:
                return False

        eventually(has_bucket)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """While this lasts, it takes connections and says nothing."""
        for server in self._running:
            server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for server in self._running:
                server.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        while self._running:
            server = self._running.pop()
            server.kill()
            server.wait()

    def settings(self) -> dict[str, str]:
        """What a platform that uses it is reported."""
        return {
            "TENANTRY_BACKUP_S3_ENDPOINT": self.endpoint,
            "TENANTRY_BACKUP_S3_BUCKET": BUCKET,
            "TENANTRY_BACKUP_S3_KEY": "a-key",
            "TENANTRY_BACKUP_S3_SECRET": "a-secret-key",
            "TENANTRY_BACKUP_S3_CA_FILE": str(self.ca_file),
        }


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server that runs; its files go below ``folder``."""
    server = S3Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
