"""The job queue: procrastinate, in the control database. It only wakes; rows hold the state."""

import asyncio
from contextlib import suppress
from typing import Any

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Status
from procrastinate.middleware import AsyncCallNext
from procrastinate.schema import SchemaManager
from procrastinate.worker import Worker
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.errors import Unavailable
from tenantry.base.pausing import pause
from tenantry.control.store import ControlStore
from tenantry.pg.connections import PLATFORM, fetch_value

REFILL = "refill"
OPERATIONS = "operations"

_AT_ONCE = 2
# Notifications are immediate, except for half a minute after a restart of the control cluster.
_POLL_SECONDS = 1
_LOOK_SECONDS = 5.0


def job_app(store: ControlStore, *, largest: int = 4) -> procrastinate.App:
    """Return the queue over the control database; open it with ``open_async``."""
    return procrastinate.App(
        connector=procrastinate.PsycopgConnector(
            conninfo=store.conninfo, min_size=1, max_size=largest
        )
    )


async def ensure_schema(admin: AsyncConnection[TupleRow]) -> bool:
    """Ensure procrastinate's tables, usable by the platform's role. Returns whether they are new.

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
    """Queue a job; does nothing if it is queued already."""
    with suppress(AlreadyEnqueued):
        await app.configure_task(job, queueing_lock=job, lock=job).defer_async()


async def carry_out(app: procrastinate.App, *, look_seconds: float = _LOOK_SECONDS) -> None:
    """Run jobs until cancelled. Raises Unavailable if the queue's connection is lost for good.

    To be called by the only worker. A job whose end could not be recorded because the control
    cluster was down keeps its lock, and so does one of a killed worker: such a job is run again.
    This happens while no job runs, so that none runs twice at once; the row alone does not
    distinguish a job that was just fetched from a lost one.
    """
    while True:
        running: set[int | None] = set()
        async with asyncio.TaskGroup() as tasks:
            queue = tasks.create_task(_run(app, running))
            await _until_one_is_lost(app, running, look_seconds)
            queue.cancel()  # which waits for its running jobs
        await give_back(app)


async def _run(app: procrastinate.App, running: set[int | None]) -> None:
    """Run jobs until cancelled; ``running`` holds the ids of the running ones."""

    async def account(call: AsyncCallNext, context: procrastinate.JobContext, _: Worker) -> Any:
        running.add(context.job.id)
        try:
            return await call()
        finally:
            running.discard(context.job.id)

    await app.run_worker_async(
        concurrency=_AT_ONCE,
        install_signal_handlers=False,
        delete_jobs="successful",
        fetch_job_polling_interval=_POLL_SECONDS,
        worker_middleware=[account],
    )
    # It returns only when it can no longer listen.
    raise Unavailable("The control database does not answer.")


async def _until_one_is_lost(
    app: procrastinate.App, running: set[int | None], look_seconds: float
) -> None:
    """Return once a job was marked as running at two successive checks, and ran at neither."""
    suspects: set[int | None] = set()
    while True:
        await pause(look_seconds)
        with suppress(ConnectorException):  # the control cluster is down and is checked again later
            started = await app.job_manager.list_jobs_async(status=Status.DOING.value)
            idle = {job.id for job in started} - running
            if idle & suspects:
                return
            suspects = idle


async def give_back(app: procrastinate.App) -> None:
    """Queue all started jobs again. Call only while none runs, as before ``carry_out``."""
    for job in await app.job_manager.list_jobs_async(status=Status.DOING.value):
        await wake(app, job.task_name)  # it waits for the lock of the other one
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
