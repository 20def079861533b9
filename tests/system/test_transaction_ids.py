"""Who uses up transaction IDs, which all share, or holds them back is ended; others are not."""

import asyncio
from contextlib import closing
from typing import Any

import httpx
import psycopg
import pytest

from attempts_transaction_ids import (
    FAST,
    FEW,
    USE_UP_BY_COMMIT,
    USE_UP_BY_SAVEPOINT,
    any_ended,
    is_alive,
    look_until_one_is_ended,
    running,
    use_up,
    watch,
)
from clients import eventually, login
from harness import Installation
from tenantry.services.transaction_ids import Limits


@pytest.fixture(scope="module")
def tenant(platform: Installation) -> dict[str, Any]:
    return platform.create()


@pytest.fixture(scope="module")
def neighbour(platform: Installation) -> dict[str, Any]:
    return platform.create()


def old_transactions(platform: Installation, *, but: int) -> bool:
    """Whether another session than this one has a transaction with an old ID."""
    with platform.superuser() as server:
        found = server.execute(
            "SELECT FROM pg_stat_activity WHERE age(backend_xid) >= %s AND pid <> %s", (FEW, but)
        )
        return found.fetchone() is not None


@pytest.mark.parametrize(
    "begin",
    [
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1",
        "BEGIN; SELECT pg_current_xact_id()",
        "BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 10)",
    ],
)
def test_only_the_holder_is_ended(
    platform: Installation, tenant: dict[str, Any], neighbour: dict[str, Any], begin: str
) -> None:
    with (
        closing(login(tenant["connection_string"])) as holder,
        closing(login(tenant["connection_string"])) as idle,
        closing(login(neighbour["connection_string"])) as other,
    ):
        holder.execute(begin.encode())
        use_up(platform)
        # A snapshot is as old as the oldest transaction that runs: the platform makes databases.
        eventually(lambda: not old_transactions(platform, but=holder.info.backend_pid))
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        ended = asyncio.run(watch(platform, Limits(held=FEW)).look())
        assert [each.pid for each in ended] == [holder.info.backend_pid]
        assert (is_alive(holder), is_alive(idle), is_alive(other)) == (False, True, True)


def test_who_holds_back_multixacts_is_ended(
    platform: Installation, tenant: dict[str, Any], neighbour: dict[str, Any]
) -> None:
    """A multixact names no session: what counts is how long a transaction has been seen."""
    with (
        closing(login(tenant["connection_string"])) as holder,
        closing(login(neighbour["connection_string"])) as one,
        closing(login(neighbour["connection_string"])) as two,
    ):
        one.execute("CREATE TABLE locked AS SELECT 1 AS one")
        holder.execute("BEGIN; SELECT 1")

        async def looks() -> list[int | None]:
            watching = watch(platform, Limits(held=FEW))
            assert await watching.look() == []
            one.execute("BEGIN; SELECT FROM locked FOR KEY SHARE")
            two.execute(
                f"DO $$ BEGIN FOR i IN 1..{FEW} LOOP PERFORM FROM locked FOR KEY SHARE; COMMIT;"
                " END LOOP; END $$".encode()
            )
            one.execute("COMMIT")
            return [each.pid for each in await watching.look()]

        assert asyncio.run(looks()) == [holder.info.backend_pid]
        assert not is_alive(holder)


def test_temporary_tables_of_others_stay(
    platform: Installation, tenant: dict[str, Any], neighbour: dict[str, Any]
) -> None:
    with (
        closing(login(tenant["connection_string"])) as holder,
        closing(login(neighbour["connection_string"])) as other,
    ):
        holder.execute("CREATE TEMPORARY TABLE held (i int)")
        use_up(platform)
        ended = asyncio.run(watch(platform, Limits(old=FEW)).look())
        assert [each.database for each in ended] == [tenant["database_name"]]
        assert (is_alive(holder), is_alive(other)) == (False, True)


@pytest.mark.parametrize(
    "text", [USE_UP_BY_COMMIT, USE_UP_BY_SAVEPOINT], ids=["commit", "savepoint"]
)
def test_who_uses_up_ids_is_found_beside_a_busy_neighbour(
    platform: Installation, neighbour: dict[str, Any], text: str
) -> None:
    """Who goes on is closed out, until the next reconciliation pass."""
    tenant = platform.create()
    url = tenant["connection_string"]
    with closing(login(url)) as session:
        session.execute("CREATE TABLE bait AS SELECT 1 AS i")
    with closing(login(neighbour["connection_string"])) as busy:
        busy.execute("CREATE TABLE IF NOT EXISTS own (i int); BEGIN; INSERT INTO own VALUES (1)")
        with (
            closing(login(url)) as session,
            running(session, text) as ended,
            running(busy, "SELECT pg_sleep(60)"),
        ):
            assert look_until_one_is_ended(platform, FAST)
        assert ended[0].sqlstate == "57P01"
        busy.execute("ROLLBACK")  # its statement was cancelled by us, and it was not ended


def test_who_does_it_again_is_closed_out(platform: Installation) -> None:
    tenant = platform.create()
    url = tenant["connection_string"]

    async def twice() -> None:
        watching = watch(platform, Limits(window=0.2, reach=FAST.reach, again=600))
        for _ in range(2):
            with closing(login(url)) as session, running(session, USE_UP_BY_COMMIT):
                assert await any_ended(watching, FAST)

    def is_closed_out() -> bool:
        asyncio.run(twice())
        try:
            login(url).close()  # possible again if a reconciliation pass was made just then
        except psycopg.OperationalError as error:
            return "too many connections for database" in str(error)
        return False

    eventually(is_closed_out)


def test_it_is_reported(platform: Installation, api: httpx.Client) -> None:
    parts = {part["name"]: part for part in platform.get("/ready").json()["parts"]}
    assert parts["transaction ids"]["state"] == "up", parts["transaction ids"]
    measures = api.get("/metrics").text
    for cluster in ("control", "shared-1"):
        for kind in ("transactions", "multixacts"):
            assert f'tenantry_transaction_id_age{{cluster="{cluster}",kind="{kind}"}}' in measures
    assert all(
        not any("million" in each for each in cluster["warnings"])
        for cluster in platform.status()["clusters"]
    )
