"""End statements that run too long, which the code that runs them cannot prevent.

``statement_timeout`` is a default: a file or a dump may set it to 0, and a function may catch the
cancellation. So the server is asked how long each session of a login has been at its statement, and
a session past the limit is terminated.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from tenantry.base.errors import Conflict, TenantryError
from tenantry.pg.connections import ADMIN, Address, connect

_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 2.0  # PostgreSQL's own timeout, which reports where, comes first


class StatementTooLong(Conflict):
    code = "statement_too_long"
    title = "A statement ran for too long"


@asynccontextmanager
async def bounded(address: Address, role: str, seconds: float) -> AsyncIterator[None]:
    """End each session of ``role`` in which one statement runs longer than ``seconds``.

    Raises StatementTooLong in place of any error that the block raises after that.
    """
    ended = False
    looking = asyncio.Lock()

    async def watch() -> None:
        nonlocal ended
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            async with looking:
                with suppress(TenantryError, psycopg.Error):
                    ended = await _end(address, role, seconds + _GRACE_SECONDS) or ended

    watching = asyncio.create_task(watch())
    try:
        yield
    except Exception as error:
        async with looking:  # the look that ended the session may not have its answer yet
            pass
        if not ended:
            raise
        raise too_long(seconds) from error
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def too_long(seconds: float) -> StatementTooLong:
    """Return the error about a statement that ran for longer than these seconds, and was ended."""
    return StatementTooLong(
        f"One statement ran for more than {seconds:,g} s, and was ended.",
        hint="statement_timeout_seconds asks for more, up to what the database's plan grants:"
        " see longest_statement_seconds in GET /api/plans.",
    )


async def _end(address: Address, role: str, seconds: float) -> bool:
    async with connect(address, user=ADMIN) as admin:
        cursor = await admin.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE usename = %s AND state IN ('active', 'fastpath function call')
              AND clock_timestamp() - query_start > make_interval(secs => %s)
            """,
            (role, seconds),
        )
        return bool(cursor.rowcount)
