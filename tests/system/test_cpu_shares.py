"""Each database's server processes are in a control group with its plan's weight."""

from contextlib import ExitStack
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from answers import data
from clients import ENDPOINTS, eventually, login
from harness import Installation
from tenantry.base.home import Home
from tenantry.host import cgroups, processes
from tenantry.host.cgroups import PLATFORM, Groups
from tenantry.services.cpu_shares import ARRIVALS, DATABASES, absence

SOON = 60.0  # a second, on a machine that has nothing else to do


@pytest.fixture(scope="module")
def groups(platform: Installation) -> Groups:
    found = cgroups.find(platform.home)
    if found is None:
        pytest.skip(str(cgroups.missing(platform.home)))
    return found


def group(made: dict[str, Any]) -> str:
    return f"{DATABASES}/{made['database_name']}"


def weight(groups: Groups, name: str) -> int:
    folder = groups.folders["cpu"] / name
    if groups.is_unified:
        return int((folder / "cpu.weight").read_text())
    return round(int((folder / "cpu.shares").read_text()) * 100 / 1024)


def ask_pid(session: psycopg.Connection[TupleRow]) -> int:
    """The server process of a session; by the pooler it is not the one that libpq knows."""
    [(pid,)] = session.execute("SELECT pg_backend_pid()").fetchall()
    return int(pid)


def test_sessions_are_in_the_group_of_their_database(
    platform: Installation, api: httpx.Client, groups: Groups
) -> None:
    made = platform.create()
    path, own = f"/api/databases/{made['id']}", group(made)
    with ExitStack() as open_ones:
        sessions = [open_ones.enter_context(login(made[endpoint])) for endpoint in ENDPOINTS]
        pids = {ask_pid(session) for session in sessions}
        eventually(lambda: pids <= groups.members(own), seconds=SOON)

        # The weight is the plan's, or the database's own.
        eventually(lambda: weight(groups, own) == 100, seconds=SOON)
        data(api.patch(path, json={"plan": "premium"}))
        eventually(lambda: weight(groups, own) == 200, seconds=SOON)
        assert data(api.patch(path, json={"cpu_weight": 37}))["limits"]["cpu_weight"] == 37
        eventually(lambda: weight(groups, own) == 37, seconds=SOON)
    data(api.delete(path))
    eventually(lambda: made["database_name"] not in groups.names(DATABASES))


def test_parallel_workers_are_in_the_group_of_their_leader(
    platform: Installation, groups: Groups
) -> None:
    made = platform.create()
    with login(made["connection_string"]) as session:
        session.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 20000) g")
        session.execute("ANALYZE t")
        session.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
        session.execute("SET min_parallel_table_scan_size = 0; SET statement_timeout = '60s'")
        leader = session.info.backend_pid
        pgconn = session.pgconn
        pgconn.send_query(b"SELECT count(*) FROM t WHERE pg_sleep(0.05) IS NULL")

        def workers() -> set[str]:
            found = (" ".join(processes.command_line(pid)) for pid in groups.members(group(made)))
            return {title for title in found if f"parallel worker for PID {leader}" in title}

        eventually(workers)
        pgconn.get_cancel().cancel()
        session.close()


def test_what_serves_everybody_is_outside_of_them(platform: Installation, groups: Groups) -> None:
    pids = platform.pids()
    assert absence(Home(platform.home)) is None
    parts = {pids[part] for part in ("supervisor", "worker", "api", "pooler", "control")}
    assert parts <= groups.members(PLATFORM)
    eventually(lambda: pids["shared-1"] in groups.members(ARRIVALS))
    titles = [" ".join(processes.command_line(pid)) for pid in groups.members(PLATFORM)]
    for what in ("checkpointer", "walwriter", "autovacuum launcher"):
        assert len([title for title in titles if what in title]) == 2  # of both clusters


def test_a_tenant_cannot_leave_its_group(platform: Installation, groups: Groups) -> None:
    """The group's files can be written by the platform's user only, as whom no SQL acts."""
    made = platform.create()
    file = groups.folders["cpu"] / PLATFORM / "cgroup.procs"
    assert file.stat().st_mode & 0o022 == 0
    with login(made["connection_string"]) as session:
        leave = sql.SQL("COPY (SELECT pg_backend_pid()) TO {}").format(sql.Literal(str(file)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(leave)
