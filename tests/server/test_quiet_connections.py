"""Notifications that code of tenants sends to the platform's sessions."""

from pathlib import Path

import pytest

import tenantry
from tenantry.pg.connections import ADMIN, Address, connect

MANY = "SELECT pg_notify('c', n || repeat('x', 7000)) FROM generate_series(1, 2000) n"
OTHERS = {  # than those to a cluster
    "services/pooling/console.py",
    "services/pooling/service.py",
    "cli/migrating_by_url.py",  # the caller's own process
}


@pytest.mark.filterwarnings("ignore:using 'notifies")
async def test_notifications_are_discarded(address: Address) -> None:
    async with connect(address, user=ADMIN) as session:
        await session.execute("LISTEN c")
        await session.execute(MANY)
        await session.execute("SELECT 1")
        assert session.pgconn.notifies() is None
        assert [each async for each in session.notifies(timeout=0)] == []


def test_all_connections_to_clusters_discard_them() -> None:
    source = Path(tenantry.__file__).parent
    direct = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if "AsyncConnection.connect(" in path.read_text()
    }
    assert direct == OTHERS
