"""Who waits for whom, and which client the pooler serves."""

import datetime as dt

from tenantry.pg.sessions import LockWait, OpenSession
from tenantry.services.insights.plan import blocking_tree, pooled_addresses, reported

NOW = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)


def open_session(pid: int, *blocked_by: int, address: str | None = "203.0.113.7") -> OpenSession:
    return OpenSession(
        pid=pid,
        database_name="tenant_a",
        role="user_a",
        application="",
        client_address=address,
        state="active",
        query="SELECT 1",
        query_id=None,
        started_at=NOW,
        transaction_started_at=NOW,
        query_started_at=NOW,
        age_seconds=1.0,
        transaction_seconds=1.0,
        state_seconds=1.0,
        wait_event_type="Lock" if blocked_by else None,
        wait_event=None,
        blocked_by=list(blocked_by),
    )


def tree(*found: OpenSession) -> list[tuple[int, int, int]]:
    """Process ID, depth, and how many wait for it."""
    waits = [LockWait(each.pid, "relation", "ShareLock", 1, 1.0) for each in found]
    return [
        (each.session.activity.pid, each.depth, each.blocks)
        for each in blocking_tree(reported(found, {}, constants=True), waits)
    ]


def test_those_that_wait_follow_those_they_wait_for() -> None:
    found = tree(open_session(4, 3), open_session(3, 1), open_session(2, 1), open_session(1),
                 open_session(9))  # fmt: skip
    assert found == [(1, 0, 3), (3, 1, 1), (4, 2, 0), (2, 1, 0)]


def test_a_session_that_waits_for_two_is_there_once() -> None:
    assert tree(open_session(1), open_session(2), open_session(3, 1, 2)) == [
        (1, 0, 1), (3, 1, 0), (2, 0, 1),
    ]  # fmt: skip


def test_a_deadlock_is_shown_too() -> None:
    assert tree(open_session(1, 2), open_session(2, 1)) == [(1, 0, 1), (2, 1, 1)]


def test_others_are_not_named() -> None:
    (found,) = reported([open_session(1, 7)], {}, constants=True)
    assert (found.blocked_by, found.blocked_by_others) == ((), True)
    assert tree(open_session(1, 7)) == [(1, 0, 0)]


def test_a_pooled_session_has_the_address_of_its_client() -> None:
    clients = [{"ptr": "0x1", "addr": "198.51.100.4"}, {"ptr": "0x2", "addr": "unix"}]
    servers = [
        {"remote_pid": 11, "database": "tenant_a", "user": "user_a", "link": "0x1"},
        {"remote_pid": 12, "database": "tenant_a", "user": "user_a", "link": ""},
        {"remote_pid": 13, "database": "tenant_b", "user": "user_b", "link": "0x1"},
    ]
    found = reported(
        [open_session(11, address=None), open_session(12, address=None), open_session(13)],
        pooled_addresses(servers, clients),
        constants=True,
    )
    assert [(each.port, each.client_address) for each in found] == [
        ("pooled", "198.51.100.4"), ("pooled", None), ("direct", "203.0.113.7"),
    ]  # fmt: skip


def test_a_pid_of_another_role_is_no_match() -> None:
    servers = [{"remote_pid": 11, "database": "tenant_b", "user": "user_b", "link": "0x1"}]
    addresses = pooled_addresses(servers, [{"ptr": "0x1", "addr": "198.51.100.4"}])
    assert (
        reported([open_session(11, address=None)], addresses, constants=True)[0].client_address
        is None
    )
