"""What all tenants share, and one tries to use up: the pooler's memory, the places for sessions."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from attempts import DIRECT, NOTHING, POOLED, THROUGH, Attempt, Lift, Scenario
from clients import eventually, login
from flooding import asked_for_proof, flood, send_large_proof, stopping_in_scram
from tenantry.services.pooling.plan import LOGIN_SECONDS

_MIB = 1024 * 1024


def pooler_memory(scenario: Scenario) -> int:
    """What the pooler has now, in MiB."""
    pid = (scenario.platform.home / "run" / "pooler.pid").read_text().strip()
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("the pooler does not run")


def prepare(url: str, count: int) -> None:
    """Prepare statements of 1 MiB, until there are so many or the session is ended."""
    text = b"SELECT 1 --" + b"x" * _MIB
    with contextlib.suppress(psycopg.OperationalError), login(url) as session:
        for number in range(count):
            done = session.pgconn.prepare(b"s%d" % number, text + b"%d" % number)
            if done.status != psycopg.pq.ExecStatus.COMMAND_OK:
                return


def _large_message(scenario: Scenario, endpoint: str) -> str:
    try:
        with login(scenario.url(endpoint)) as session:
            session.execute("SELECT length(%b)", (b"x" * 70 * _MIB,))
    except psycopg.OperationalError:
        return NOTHING
    return THROUGH


def _many_statements(scenario: Scenario, endpoint: str) -> str:
    ceiling = int(scenario.platform.env["TENANTRY_POOL_MEMORY_MB"])
    prepare(scenario.url(endpoint), 3 * ceiling)
    return THROUGH if pooler_memory(scenario) > 2 * ceiling else NOTHING


def _large_logins(scenario: Scenario, _: str) -> str:
    """Send 59 MiB in place of a proof, as whoever knows a role's name can, four times."""
    ceiling = int(scenario.platform.env["TENANTRY_POOL_MEMORY_MB"])
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(asked_for_proof(scenario.platform.pool_port, scenario.tenant))
            for _ in range(4)
        ]
        with ThreadPoolExecutor(len(opened)) as threads:
            list(threads.map(lambda each: send_large_proof(each, 59 * _MIB), opened))
        with contextlib.suppress(AssertionError):
            eventually(lambda: pooler_memory(scenario) < 2 * ceiling, seconds=LOGIN_SECONDS / 5)
            return NOTHING
    return THROUGH


def _unfinished_logins(scenario: Scenario, endpoint: str) -> str:
    """Take all places with logins that stop in the middle, as whoever knows a role's name can."""
    with scenario.platform.superuser() as server:
        row = server.execute("SELECT current_setting('max_connections')::int").fetchone()
        assert row
        with flood(
            stopping_in_scram(scenario.platform.pg_port, scenario.tenant), 2 * row[0]
        ) as opened:
            while opened() < row[0]:
                try:
                    login(scenario.neighbours_url(endpoint)).close()
                except psycopg.OperationalError as error:
                    is_full = re.search("too many clients|remaining connection slots", str(error))
                    return THROUGH if is_full else str(error)
    return NOTHING


SHARED: tuple[Attempt, ...] = (
    Attempt("large-message", "a parameter of 70 MiB", "PgBouncer's `max_packet_size`",
        _large_message, NOTHING, Lift(
            pooler_setting=("max_packet_size", "2147483647"),
            stop_worker=True,  # it would write the file again meanwhile
        ),
        endpoints=(POOLED,), lift_endpoints=(POOLED,)),
    Attempt("many-statements",
        "prepared statements of 1 MiB, three times `TENANTRY_POOL_MEMORY_MB`",
        "the worker ends the sessions of the database that fills the pooler's memory",
        _many_statements, NOTHING, Lift(stop_worker=True),
        endpoints=(POOLED,), lift_endpoints=(POOLED,)),
    Attempt("large-logins",
        "four logins that send 59 MiB in place of a proof",
        "the worker has PgBouncer end logins after a second where they fill its memory",
        _large_logins, NOTHING, Lift(stop_worker=True),
        endpoints=(POOLED,), lift_endpoints=(POOLED,)),
    Attempt("unfinished-logins",
        "twice `max_connections` logins that stop in the middle of SCRAM",
        "the worker ends the oldest beyond a fifth of the places; `authentication_timeout = 10s`",
        _unfinished_logins, NOTHING, Lift(stop_worker=True), endpoints=(DIRECT,)),
)  # fmt: skip
