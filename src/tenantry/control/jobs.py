"""The alarm clock: procrastinate, in the control database. It only wakes; rows are the truth."""

from contextlib import suppress

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Status
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.control.store import ControlStore
from tenantry.pg.connections import PLATFORM, fetch_value

REFILL = "refill"
OPERATIONS = "operations"


def job_app(store: ControlStore, *, largest: int = 4) -> procrastinate.App:
    """The queue over the control database; open it with ``open_async``."""
    return procrastinate.App(
        connector=procrastinate.PsycopgConnector(
            conninfo=store.conninfo, min_size=1, max_size=largest
        )
    )


async def ensure_schema(admin: AsyncConnection[TupleRow]) -> bool:
    """Have procrastinate's tables, usable by the platform's role. Returns whether they are new.

    ``admin`` is a connection of their owner, with ``public`` as its search path.
    """
    if await fetch_value(admin, "SELECT to_regclass('public.procrastinate_jobs')"):
        return False
    async with admin.transaction():
        await admin.execute(SchemaManager.get_schema())
        await admin.execute(
            sql.SQL(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON procrastinate_jobs,"
                " procrastinate_workers, procrastinate_periodic_defers, procrastinate_events"
                " TO {0};"
                " GRANT USAGE ON SEQUENCE procrastinate_jobs_id_seq, procrastinate_workers_id_seq,"
                " procrastinate_periodic_defers_id_seq, procrastinate_events_id_seq TO {0}"
            ).format(sql.Identifier(PLATFORM))
        )
    return True


async def wake(app: procrastinate.App, job: str) -> None:
    """Have a job run soon; one that already waits is enough."""
    with suppress(AlreadyEnqueued):
        await app.configure_task(job, queueing_lock=job, lock=job).defer_async()


async def forget_begun(app: procrastinate.App) -> None:
    """Forget what a killed worker had begun: such a job would keep its lock for ever.

    For the only worker, before it begins: its first pass does whatever they were to do.
    """
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=0):
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
