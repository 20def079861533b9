"""Who serves whom in the pooler, who waits for whom on a server, and what a plan costs: pure."""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenantry.control.statement_resets import StatementReset
from tenantry.pg.redaction import redact, without_constants
from tenantry.pg.sessions import LockWait, OpenSession
from tenantry.pg.statement_statistics import Counting
from tenantry.services.insights.model import Explained, PlanNode, Session, Waiting

_EXPENSIVE = 0.2  # of the time or the cost of the whole plan
ServerConnection = tuple[int, str, str]  # process ID, database, role


def pooled_addresses(
    servers: Iterable[Mapping[str, Any]], clients: Iterable[Mapping[str, Any]]
) -> dict[ServerConnection, str]:
    """Return the address of the client of each server connection that has one.

    ``servers`` and ``clients`` are the rows of SHOW SERVERS and SHOW CLIENTS (pgbouncer(1)).
    """
    addresses = {row["ptr"]: row["addr"] for row in clients}
    return {
        (int(row["remote_pid"]), row["database"], row["user"]): addresses[row["link"]]
        for row in servers
        if row["link"] in addresses
    }


def shown(query: str, *, constants: bool) -> str:
    """Return a statement without secrets and, unless ``constants``, without any constants."""
    return redact(query) if constants else without_constants(query)


def reported(
    found: Sequence[OpenSession],
    addresses: Mapping[ServerConnection, str],
    *,
    constants: bool,
) -> list[Session]:
    """Return a tenant's sessions as they are reported, their queries as ``shown``."""
    own = {each.pid for each in found}
    return [
        Session(
            activity=each,
            # Only the pooler logs tenants' roles in by the Unix socket.
            port="pooled" if each.client_address is None else "direct",
            client_address=each.client_address
            or addresses.get((each.pid, each.database_name, each.role)),
            query=shown(each.query, constants=constants),
            blocked_by=tuple(sorted(own.intersection(each.blocked_by))),
            blocked_by_others=not own.issuperset(each.blocked_by),
        )
        for each in found
    ]


def blocking_tree(sessions: Sequence[Session], waits: Iterable[LockWait]) -> list[Waiting]:
    """Return the sessions that wait for a lock, and those that they wait for, as a tree.

    Each is followed by those that wait for it, one deeper, and is there once. Sessions that wait
    for each other, until the server detects the deadlock, begin with the oldest of them.
    """
    by_pid = {each.activity.pid: each for each in sessions}
    wait_of = {each.pid: each for each in waits}
    waiters: dict[int, list[int]] = {}
    for each in sessions:
        for pid in each.blocked_by:
            waiters.setdefault(pid, []).append(each.activity.pid)
    involved = [
        each.activity.pid
        for each in sessions
        if each.blocked_by or each.blocked_by_others or each.activity.pid in waiters
    ]
    roots = [pid for pid in involved if not by_pid[pid].blocked_by]
    placed: dict[int, Waiting] = {}
    for root in (*roots, *involved):
        for pid, depth in _below(root, waiters, placed):
            placed[pid] = Waiting(by_pid[pid], depth, 0, wait_of.get(pid))
    return [replace(each, blocks=_count(pid, waiters)) for pid, each in placed.items()]


def _below(
    root: int, waiters: Mapping[int, Sequence[int]], placed: Collection[int]
) -> Iterator[tuple[int, int]]:
    """Yield a session and those that wait for it, each before its own, with their depths."""
    ahead = [(root, 0)]
    while ahead:
        pid, depth = ahead.pop()
        if pid in placed:
            continue
        yield pid, depth
        ahead += [(each, depth + 1) for each in reversed(waiters.get(pid, ()))]


def _count(pid: int, waiters: Mapping[int, Sequence[int]]) -> int:
    found = {pid}
    ahead = [pid]
    while ahead:
        new = set(waiters.get(ahead.pop(), ())) - found
        found |= new
        ahead += new
    return len(found) - 1


def completeness(
    counted: Counting, reset: StatementReset | None
) -> tuple[dt.datetime, dt.datetime | None]:
    """Return since when a database's statements are counted, and since when incompletely."""
    since, evictions = counted.since, counted.evictions
    if reset is not None and reset.counted_since == counted.since:
        since, evictions = reset.reset_at, evictions - reset.evictions
    return since, since if evictions else None


def explained(plan: Sequence[Mapping[str, Any]]) -> Explained:
    """Return what EXPLAIN (FORMAT JSON) has returned, with its nodes in order."""
    (whole,) = plan
    root = whole["Plan"]
    return Explained(
        plan=list(plan),
        nodes=list(_nodes(root, root)),
        total_cost=root["Total Cost"],
        planning_ms=whole.get("Planning Time"),
        execution_ms=whole.get("Execution Time"),
    )


def _nodes(root: Mapping[str, Any], node: Mapping[str, Any], depth: int = 0) -> Iterator[PlanNode]:
    """Yield a node and all below it. A plan is never deeper than what the server can execute."""
    below = node.get("Plans", [])
    self_cost = max(0.0, node["Total Cost"] - sum(each["Total Cost"] for each in below))
    self_ms, actual, loops, error = None, None, node.get("Actual Loops"), None
    if loops is not None:
        self_ms = max(0.0, _milliseconds(node) - sum(map(_milliseconds, below)))
        actual = node["Actual Rows"]
        error = _factor(node["Plan Rows"], actual) if loops else None
    whole = root["Total Cost"] if loops is None else _milliseconds(root)
    share = min(1.0, (self_cost if self_ms is None else self_ms) / whole) if whole else 0.0
    yield PlanNode(
        depth=depth,
        node_type=node["Node Type"],
        relation=node.get("Relation Name"),
        index=node.get("Index Name"),
        self_cost=self_cost,
        self_ms=self_ms,
        planned_rows=node["Plan Rows"],
        actual_rows=actual,
        loops=loops,
        row_error=error,
        share=share,
        expensive=share >= _EXPENSIVE,
    )
    for each in below:
        yield from _nodes(root, each, depth + 1)


def _milliseconds(node: Mapping[str, Any]) -> float:
    return float(node.get("Actual Total Time", 0.0)) * float(node.get("Actual Loops", 0))


def _factor(planned: float, actual: float) -> float:
    high, low = max(planned, actual, 1.0), max(min(planned, actual), 1.0)
    return high / low
