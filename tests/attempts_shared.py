"""What all tenants share, and one tries to use up: the pooler's memory, the places for sessions."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from attempts import DIRECT, NOTHING, POOLED, THROUGH, Attempt, Lift, World
from clients import eventually, login
from flooding import asked_for_proof, flood, send_large_proof, stopping_in_scram
from tenantry.services.pooling.plan import LOGIN_SECONDS

_MIB = 1024 * 1024


def pooler_memory(world: World) -> int:
    """What the pooler has now, in MiB."""
    pid = (world.platform.home / "run" / "pooler.pid").read_text().strip()
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


def _large_message(world: World, door: str) -> str:
    try:
        with login(world.url(door)) as session:
            session.execute("SELECT length(%b)", (b"x" * 70 * _MIB,))
    except psycopg.OperationalError:
        return NOTHING
    return THROUGH


def _many_statements(world: World, door: str) -> str:
    ceiling = int(world.platform.env["TENANTRY_POOL_MEMORY_MB"])
    prepare(world.url(door), 3 * ceiling)
    return THROUGH if pooler_memory(world) > 2 * ceiling else NOTHING


def _large_logins(world: World, _: str) -> str:
    """Send 59 MiB in place of a proof, as whoever knows a role's name can, four times."""
    ceiling = int(world.platform.env["TENANTRY_POOL_MEMORY_MB"])
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(asked_for_proof(world.platform.pool_port, world.tenant))
            for _ in range(4)
        ]
        with ThreadPoolExecutor(len(opened)) as threads:
            list(threads.map(lambda each: send_large_proof(each, 59 * _MIB), opened))
        with contextlib.suppress(AssertionError):
            eventually(lambda: pooler_memory(world) < 2 * ceiling, seconds=LOGIN_SECONDS / 5)
            return NOTHING
    return THROUGH


def _unfinished_logins(world: World, door: str) -> str:
    """Take all places with logins that stop in the middle, as whoever knows a role's name can."""
    with world.platform.superuser() as server:
        row = server.execute("SELECT current_setting('max_connections')::int").fetchone()
        assert row
        with flood(stopping_in_scram(world.platform.pg_port, world.tenant), 2 * row[0]) as opened:
            while opened() < row[0]:
                try:
                    login(world.neighbours_url(door)).close()
                except psycopg.OperationalError as error:
                    is_full = re.search("too many clients|remaining connection slots", str(error))
                    return THROUGH if is_full else str(error)
    return NOTHING


SHARED: tuple[Attempt, ...] = (
    Attempt("large-message", "a parameter of 70 MiB", "PgBouncer's `max_packet_size`",
        _large_message, NOTHING, Lift(
            pooler_setting=("max_packet_size", "2147483647"),
            stop_worker=True,  # it would write the file anew meanwhile
        ),
        doors=(POOLED,), lift_doors=(POOLED,)),
    Attempt("many-statements",
        "prepared statements of 1 MiB, three times `TENANTRY_POOL_MEMORY_MB`",
        "the worker ends the sessions of the database that fills the pooler's memory",
        _many_statements, NOTHING, Lift(stop_worker=True), doors=(POOLED,), lift_doors=(POOLED,)),
    Attempt("large-logins",
        "four logins that send 59 MiB in place of a proof",
        "the worker has PgBouncer end logins after a second where they fill its memory",
        _large_logins, NOTHING, Lift(stop_worker=True), doors=(POOLED,), lift_doors=(POOLED,)),
    Attempt("unfinished-logins",
        "twice `max_connections` logins that stop in the middle of SCRAM",
        "the worker ends the oldest beyond a fifth of the places; `authentication_timeout = 10s`",
        _unfinished_logins, NOTHING, Lift(stop_worker=True), doors=(DIRECT,)),
)  # fmt: skip
