"""What one call of the CLI takes, from the start of its process to its end.

The API is a server in this process that answers at once, so that what is measured is the CLI's
own: its imports, its reading of the command line, one request, and the table. The peers are a
Python that does nothing, and one that imports an HTTP client.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support import Aim, Report, database_row, hardware, run, say, summary
from tenantry.api.database_answers import database

MOST_LIST = 0.15  # seconds, `db list`, p50
CLI = "from tenantry.cli.main import run; run()"
COMMANDS: dict[str, list[str]] = {
    "python -c pass": ["pass"],
    "python -c 'import httpx'": ["import httpx"],
    "tenantry --version": [CLI, "--version"],
    "tenantry db list": [CLI, "db", "list"],
    "tenantry db list --env --limit --json": [
        CLI, "db", "list", "--env", "staging", "--limit", "5", "--json",
    ],
    "tenantry key list": [CLI, "key", "list"],
    "tenantry operation list": [CLI, "operation", "list"],
    "tenantry db --help": [CLI, "db", "--help"],
}  # fmt: skip
# As the API answers it, so that a new field is here as well.
DATABASE: dict[str, Any] = database(database_row("bcdfghjkmnpq", name="shop")).model_dump(
    mode="json"
)


class Handler(BaseHTTPRequestHandler):
    """Answers every list at once: 50 databases, and nothing of anything else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        rows = [DATABASE] * 50 if self.path.startswith("/api/databases") else []
        body = json.dumps({"success": True, "data": rows}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[dict[str, str]]:
    """The environment of calls to a server that answers in this process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            **{name: value for name, value in os.environ.items() if name[:9] != "TENANTRY_"},
            "TENANTRY_URL": f"http://127.0.0.1:{server.server_port}",
            "TENANTRY_API_KEY": "tnt_none",
        }
        server.shutdown()


def call(words: list[str], env: dict[str, str]) -> tuple[float, float]:
    """The seconds that one process takes, and those of them that it computes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-c", *words]
    subprocess.run(command, env=env, capture_output=True, check=True)
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def benchmark(quick: bool) -> Report:
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    computed: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with answering() as env:
        for number in range(5 if quick else 40):
            for name, words in COMMANDS.items():
                whole, part = call(words, env)
                if number:  # the first one compiles
                    took[name].append(whole)
                    computed[name].append(part)
    for name, seconds in took.items():
        say(f"{name}: {statistics.median(seconds) * 1000:.0f} ms")
    floor, client, listing = (
        statistics.median(took[name]) for name in (*list(COMMANDS)[:2], "tenantry db list")
    )
    results: dict[str, object] = {
        name: {
            **summary(seconds),
            "processor_p50_ms": round(statistics.median(computed[name]) * 1000, 1),
        }
        for name, seconds in took.items()
    }
    results["db list beyond python -c pass, ms"] = round((listing - floor) * 1000, 1)
    results["db list, of python -c 'import httpx'"] = round(listing / client, 2)
    return Report(hardware(), results, [Aim.at_most("db list p50, s", listing, MOST_LIST)])


if __name__ == "__main__":
    run("cli_startup", __doc__, benchmark)
