"""What a request finds when the servers have ended the sessions that the API keeps ready."""

import httpx
import psycopg
import pytest
from psycopg.rows import TupleRow

from harness import Installation


def end_sessions(server: psycopg.Connection[TupleRow]) -> int:
    ended = server.execute(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        " WHERE usename = 'tenantry_platform'"
    ).fetchone()
    assert ended is not None
    return int(ended[0])


@pytest.mark.parametrize("cluster", ["control", "shared-1"])
def test_the_next_request_does_not_notice(
    platform: Installation, api: httpx.Client, cluster: str
) -> None:
    platform.create()
    with platform.superuser(cluster) as server:
        assert end_sessions(server) > 0
    answer = api.post("/api/databases", json={"friendlyName": "after"})
    assert answer.status_code == 201, answer.text
