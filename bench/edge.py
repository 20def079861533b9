"""What the edge adds to a request of a data API, in time, and to the machine, in memory.

A row is read at the data API's own port and by the host name of its database, in turns; then each
of 2,000 host names is asked for once, most of which have no database: the edge has one route for
all. Last, how long after a data API is enabled its host name answers.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from support import (
    MIB,
    Aim,
    Caller,
    Installation,
    Report,
    free_ports,
    installation,
    machine,
    run,
    say,
    summary,
    timed,
)

# isort: split
# support has put the tests' folder on the path.
from clients import eventually
from tenantry.host import processes

DOMAIN = "localhost"
ROUNDS, REQUESTS, NAMES = 20, 200, 2_000
MOST_ADDED_MS = 2.0
MOST_MEMORY_MIB = 160.0
MOST_SECONDS = 5.0  # from enabling to an answer
TABLES = """
CREATE TABLE notes (note text);
INSERT INTO notes VALUES ('one');
GRANT SELECT ON notes TO anon;
"""


class Trusting(http.client.HTTPSConnection):
    """A connection to the edge, which asks it for a host name."""

    def __init__(self, here: Installation, name: str) -> None:
        self._trusted = ssl.create_default_context(cafile=here.home / "ca.crt")
        port = int(here.environment["TENANTRY_EDGE_HTTPS_PORT"])
        super().__init__("127.0.0.1", port, timeout=60)
        self._name = name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._trusted.wrap_socket(self.sock, server_hostname=self._name)


def asking(here: Installation, row: dict[str, Any], *, by_edge: bool) -> Caller[int]:
    """A caller that reads the row, with a connection that stays open."""
    name = f"{row['database_name'].replace('_', '-')}.rest.{DOMAIN}"

    @contextmanager
    def open_caller() -> Iterator[Callable[[int], int]]:
        if by_edge:
            connection: http.client.HTTPConnection = Trusting(here, name)
            path, host = "/rest/v1/notes", name
        else:
            connection = http.client.HTTPConnection("127.0.0.1", here.rest_port, timeout=60)
            path, host = f"/{row['database_name']}/rest/v1/notes", "localhost"
        headers = {"Host": host, "apikey": row["anon_key"]}

        def call(_: int) -> int:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == http.client.OK
            return answer.status

        call(0)
        yield call
        connection.close()

    return open_caller


def status_at(here: Installation, name: str, key: str) -> int:
    """What one request by a host name is answered, with a connection of its own."""
    connection = Trusting(here, f"{name}.rest.{DOMAIN}")
    try:
        headers = {"Host": f"{name}.rest.{DOMAIN}", "apikey": key}
        connection.request("GET", "/rest/v1/notes", headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def served(here: Installation) -> tuple[dict[str, Any], float]:
    """A database with a data API, and how long its host name took to answer."""
    row = here.create(maxConnections=20)
    with psycopg.connect(row["connection_string"], autocommit=True) as owner:
        owner.execute(TABLES)
    with here.client() as api:
        answer = api.put(f"/api/databases/{row['id']}/data-api", json={})
    row |= json.loads(answer.raise_for_status().text)["data"]
    began = time.monotonic()
    name = row["database_name"].replace("_", "-")
    eventually(lambda: status_at(here, name, row["anon_key"]) == http.client.OK, every=0.01)
    return row, time.monotonic() - began


def memory_of(here: Installation) -> float:
    return (processes.memory(here.pids()["edge"]) or 0) / MIB


def benchmark(quick: bool) -> Report:
    rounds, requests, names = (2, 50, 100) if quick else (ROUNDS, REQUESTS, NAMES)
    http_port, https_port, challenge_port = map(str, free_ports(3))
    settings = {
        "TENANTRY_EDGE": "on",
        "TENANTRY_DOMAIN": DOMAIN,
        "TENANTRY_EDGE_HTTP_PORT": http_port,
        "TENANTRY_EDGE_HTTPS_PORT": https_port,
        "TENANTRY_EDGE_CHALLENGE_PORT": challenge_port,
    }
    with installation(warm_pool=4, **settings) as here:
        first, first_seconds = served(here)
        row, seconds = served(here)
        say(f"a host name answered {first_seconds:.2f} s and {seconds:.2f} s after it was enabled")
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds):
            for way in (False, True):
                found[way] += timed(asking(here, row, by_edge=way), range(requests)).seconds
        direct, through = summary(found[False]), summary(found[True])
        say(f"direct {direct}, by the edge {through}")
        before = memory_of(here)
        for number in range(names):
            status_at(here, f"tenant-other{number}", first["anon_key"])
        after = memory_of(here)
        of = machine(here)
    results: dict[str, object] = {
        "direct": direct,
        "by_edge": through,
        "memory_mib": {"before": round(before, 1), f"after_{names}_names": round(after, 1)},
        "answers_after_seconds": {"first": round(first_seconds, 2), "next": round(seconds, 2)},
    }
    added = through["p50_ms"] - direct["p50_ms"]
    aims = [
        Aim.at_most("added to the median, in ms", added, MOST_ADDED_MS),
        Aim.at_most("memory, in MiB", after, MOST_MEMORY_MIB),
        Aim.at_most("seconds until a new host name answers", seconds, MOST_SECONDS),
    ]
    return Report(of, results, aims)


if __name__ == "__main__":
    run("edge", __doc__, benchmark)
