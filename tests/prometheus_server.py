"""A Prometheus of the test's own, and what its linter says."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from harness import NO_TLS, free_ports

MONITORING = Path(__file__).parents[1] / "monitoring"
_DEADLINE = 120  # seconds
# That of postgres_exporter.
_KNOWN = (
    'pg_stat_activity_count non-histogram and non-summary metrics should not have "_count" suffix'
)


def program(name: str) -> str:
    """The path of a program of Debian's package prometheus."""
    found = shutil.which(name)
    assert found is not None, "./check has it: package prometheus"
    return found


def found_by_promtool(exposition: bytes) -> list[str]:
    """What promtool has to say about what is to be scraped, besides names of other exporters."""
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=exposition,
        capture_output=True,
        check=False,
    )
    assert done.returncode in {0, 3}, done.stderr  # 3: it says something
    lines = (done.stdout + done.stderr).decode().splitlines()
    return [each for each in lines if each != _KNOWN]


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped, as which job; with the key in this file, if any."""

    job: str
    port: int
    path: str = "/metrics"
    key_file: Path | None = None

    def configured(self) -> str:
        """Its part of prometheus.yml, which is YAML."""
        key = f"\n    authorization: {{credentials_file: {self.key_file}}}" if self.key_file else ""
        return f"""
  - job_name: {self.job}
    metrics_path: {self.path}{key}
    static_configs: [{{targets: ["127.0.0.1:{self.port}"]}}]
"""


class Prometheus:
    """A server that scrapes, with the rules that are shipped."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._api = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, verify=NO_TLS)
        self.process = process
        self._log = log

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now. Raises AssertionError if it is not valid."""
        answer = self._api.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def value(self, expression: str) -> float:
        """The value of the first series of an expression."""
        return float(self.query(expression)[0]["value"][1])

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with their query and health."""
        groups = self._api.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait_for(self, expression: str, least: float = 1, *, seconds: float = _DEADLINE) -> None:
        """Wait until an expression has this value at least."""
        deadline = time.monotonic() + seconds
        while not ((found := self._ready(expression)) and float(found[0]["value"][1]) >= least):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"{expression}: {found}\n{self._log.read_text()}"
            time.sleep(0.1)

    def wait_for_series(self, expression: str) -> None:
        """Wait until an expression has a series: it has none just after a scrape that failed."""
        self.wait_for(f"count({expression})")

    def end(self) -> None:
        """End it at once."""
        self._api.close()
        self.process.kill()
        self.process.wait()

    def _ready(self, expression: str) -> list[dict[str, Any]]:
        try:
            return self.query(expression)
        except (httpx.TransportError, AssertionError):  # it starts
            return []


@contextmanager
def prometheus(targets: Sequence[Target], *, every: str = "1s") -> Iterator[Prometheus]:
    """Have one that scrapes this often; gone with its data at the end."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="prometheus-") as place:
        folder = Path(place)
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {every}, scrape_timeout: {every},"
            f" evaluation_interval: {every}}}\n"
            f"rule_files: [{MONITORING}/rules/*.yml]\n"
            "scrape_configs:" + "".join(each.configured() for each in targets)
        )
        log = folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=file,
                stderr=file,
                cwd=folder,
                env=dict(os.environ),
            )
            server = Prometheus(port, process, log)
            try:
                yield server
            finally:
                server.end()
