"""The attempts on transaction IDs and multixacts, which all databases of a cluster share.

The worker's limits take hours to reach. So these make the watch look with small ones.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg
from psycopg.rows import TupleRow

from attempts import DIRECT, THROUGH, Attempt, Lift, Scenario
from clients import login
from harness import Installation
from tenantry.pg.connections import Address
from tenantry.services.transaction_ids import Limits, Watch

ENDED = "ended"
FEW = 200
USE_UP_BY_COMMIT = (
    "DO $$ BEGIN FOR i IN 1..100000000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
)
USE_UP_BY_SAVEPOINT = """
    DO $$ BEGIN
        FOR i IN 1..100000000 LOOP
            BEGIN
                PERFORM 1 FROM bait FOR UPDATE;
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN
            END;
        END LOOP;
    END $$
"""
USE_UP_MULTIXACTS = """
    DO $$ BEGIN
        FOR i IN 1..100000000 LOOP
            PERFORM FROM bait FOR KEY SHARE;
            COMMIT;
        END LOOP;
    END $$
"""
FAST = Limits(window=0.2, reach=1_000 * 3600.0, again=0.0)
_HELD_BY = "the worker ends the session (`pg_signal_backend`)"
_LIFT = Lift(
    ("REVOKE pg_signal_backend FROM tenantry_platform",),
    ("GRANT pg_signal_backend TO tenantry_platform",),
)


def watch(platform: Installation, limits: Limits) -> Watch:
    """What the worker has, with other limits."""
    return Watch(
        Address(platform.home / "run" / "shared-1", platform.pg_port),
        platform.home / "clusters" / "shared-1" / "data",
        limits,
    )


def use_up(platform: Installation, count: int = FEW) -> None:
    """Assign so many transaction IDs."""
    with platform.superuser() as server:
        server.execute(
            f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT;"
            " END LOOP; END $$".encode()
        )


def is_alive(session: psycopg.Connection[TupleRow]) -> bool:
    """Whether a session has not been ended."""
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _outcome(
    scenario: Scenario, session: psycopg.Connection[TupleRow], limits: Limits, *, looks: int = 20
) -> str:
    """Whether the session is ended within so many looks of new watches.

    The first ones may find the temporary tables of an earlier attempt whose session is ending.
    """
    for _ in range(looks):
        try:
            asyncio.run(watch(scenario.platform, limits).look())
        except psycopg.errors.InsufficientPrivilege:
            break
        if not is_alive(session):
            return ENDED
    return THROUGH


def _hold(scenario: Scenario, endpoint: str) -> str:
    with closing(login(scenario.url(endpoint))) as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT 1")
        use_up(scenario.platform)
        return _outcome(scenario, session, Limits(held=FEW))


def _temporary(scenario: Scenario, endpoint: str) -> str:
    with closing(login(scenario.url(endpoint))) as session:
        session.execute("BEGIN; CREATE TEMPORARY TABLE held (i int); COMMIT; BEGIN")
        use_up(scenario.platform)
        return _outcome(scenario, session, Limits(old=FEW))


@contextmanager
def running(session: psycopg.Connection[TupleRow], text: str) -> Iterator[list[psycopg.Error]]:
    """A statement that runs in a thread; what it ends with is in the list after the block."""
    ended: list[psycopg.Error] = []

    def run() -> None:
        try:
            session.execute(text.encode())
        except psycopg.Error as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        session.cancel()
        thread.join()


async def any_ended(watching: Watch, limits: Limits, *, looks: int = 20) -> bool:
    """Whether somebody is ended within so many looks of a watch."""
    for _ in range(looks):
        if await watching.look():
            return True
        await asyncio.sleep(limits.window)
    return False


def look_until_one_is_ended(platform: Installation, limits: Limits) -> bool:
    """Whether a new watch ends somebody."""
    return asyncio.run(any_ended(watch(platform, limits), limits))


def consume(scenario: Scenario, endpoint: str, text: str) -> str:
    """Run a statement that uses up IDs until it is ended, or the watch may not end it."""
    with (
        closing(login(scenario.url(endpoint))) as locker,
        closing(login(scenario.url(endpoint))) as session,
    ):
        locker.execute("DROP TABLE IF EXISTS bait; CREATE TABLE bait AS SELECT 1 AS one")
        locker.execute("BEGIN; SELECT FROM bait FOR KEY SHARE")
        with running(session, text) as ended:
            try:
                assert look_until_one_is_ended(scenario.platform, FAST), "nobody noticed"
            except psycopg.errors.InsufficientPrivilege:
                return THROUGH
            finally:
                with suppress(psycopg.Error):
                    locker.execute("ROLLBACK")
        assert ended
        return THROUGH if isinstance(ended[0], psycopg.errors.QueryCanceled) else ENDED


TRANSACTION_IDS: tuple[Attempt, ...] = (
    Attempt("hold-freezing", f"a snapshot that is {FEW} IDs old, with that limit",
        _HELD_BY, _hold, ENDED, _LIFT),
    Attempt("hold-freezing-by-temporary-table", "a temporary table in a database that is as old",
        _HELD_BY, _temporary, ENDED, _LIFT, endpoints=(DIRECT,)),  # pooled ones are gone at once
    Attempt("use-up-transaction-ids", "`pg_current_xact_id()` and `COMMIT` in a loop",
        _HELD_BY, lambda scenario, endpoint: consume(scenario, endpoint, USE_UP_BY_COMMIT),
        ENDED, _LIFT),
    Attempt("use-up-multixacts", "`SELECT … FOR KEY SHARE` of rows that another session has locked",
        _HELD_BY, lambda scenario, endpoint: consume(scenario, endpoint, USE_UP_MULTIXACTS),
        ENDED, _LIFT),
)  # fmt: skip
