"""The alarm clock: procrastinate, in the control database. It only wakes; rows are the truth."""

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
# Jobs are told of at once; but after a restart of the control cluster not for half a minute.
_POLL_SECONDS = 1
_LOOK_SECONDS = 5.0


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


async def carry_out(app: procrastinate.App, *, look_seconds: float = _LOOK_SECONDS) -> None:
    """Run jobs until cancelled. Raises Unavailable if the queue's connection is lost for good.

    For the only worker. A job whose end could not be noted, as the control cluster was away,
    stays begun and keeps its lock, and so does one that a killed worker had begun: such a job is
    run again. That is done while no job runs, so that none runs twice at once; for the row alone
    does not tell a job that was just fetched from one that is lost.
    """
    while True:
        running: set[int | None] = set()
        async with asyncio.TaskGroup() as tasks:
            queue = tasks.create_task(_run(app, running))
            await _until_one_is_lost(app, running, look_seconds)
            queue.cancel()  # which waits for the jobs that it runs
        await give_back(app)


async def _run(app: procrastinate.App, running: set[int | None]) -> None:
    """Run jobs until cancelled; ``running`` has the ids of those that do."""

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
    # It returns by itself when it can listen no more.
    raise Unavailable("The control database does not answer.")


async def _until_one_is_lost(
    app: procrastinate.App, running: set[int | None], look_seconds: float
) -> None:
    """Return once a job was begun at two looks, and ran at neither of them."""
    suspects: set[int | None] = set()
    while True:
        await pause(look_seconds)
        with suppress(ConnectorException):  # it is away now, and is asked again
            begun = await app.job_manager.list_jobs_async(status=Status.DOING.value)
            idle = {job.id for job in begun} - running
            if idle & suspects:
                return
            suspects = idle


async def give_back(app: procrastinate.App) -> None:
    """Have all jobs that were begun run again; for when none runs, as before ``carry_out``."""
    for job in await app.job_manager.list_jobs_async(status=Status.DOING.value):
        await wake(app, job.task_name)  # it waits for the lock of the other one
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
