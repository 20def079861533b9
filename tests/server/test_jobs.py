"""The job queue against a real control database: what is lost is run again, and never twice."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import procrastinate
import pytest
from procrastinate.jobs import Status

from tenantry.control import jobs
from tenantry.control.store import DATABASE, ControlStore
from tenantry.pg.connections import ADMIN, Address, connect

LOOK_SECONDS = 0.1
# The server ends the first session that notes the end of a job, as if it died just then.
DIES_AT_THE_END = """
    CREATE SEQUENCE deaths;
    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF nextval('public.deaths') = 1 THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
        RETURN OLD;
    END $$;
    CREATE TRIGGER dies BEFORE DELETE ON procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION die()
"""
LOST = """
    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, status)
    VALUES ('default', 'refill', 'refill', 'refill', 'doing')
"""


class Work:
    """A job that counts its runs, and how many there were at once."""

    def __init__(self) -> None:
        self.runs = 0
        self.at_once = 0
        self.most_at_once = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> None:
        self.runs += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_end.wait()
        self.at_once -= 1


@pytest.fixture
async def app(store: ControlStore, address: Address) -> AsyncIterator[procrastinate.App]:
    async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
        await jobs.ensure_schema(admin)
    async with jobs.job_app(store).open_async() as opened:
        yield opened


@asynccontextmanager
async def carried_out(app: procrastinate.App) -> AsyncIterator[None]:
    await jobs.give_back(app)
    working = asyncio.create_task(jobs.carry_out(app, look_seconds=LOOK_SECONDS))
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def rows(app: procrastinate.App, status: Status | None = None) -> list[int | None]:
    asked = None if status is None else status.value
    return [job.id for job in await app.job_manager.list_jobs_async(status=asked)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(LOOK_SECONDS)


async def until_none_is_left(app: procrastinate.App) -> None:
    async with asyncio.timeout(20):
        while await rows(app):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)


async def test_a_job_whose_end_was_lost_is_run_again(
    app: procrastinate.App, address: Address
) -> None:
    work = Work()
    app.task(name=jobs.REFILL)(work.__call__)
    async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
        await admin.execute(DIES_AT_THE_END)
    async with carried_out(app):
        await jobs.wake(app, jobs.REFILL)
        await until(lambda: work.runs)
        await until_none_is_left(app)
    assert (work.runs, work.most_at_once) == (2, 1)


async def test_a_job_that_runs_is_not_taken_for_lost(
    app: procrastinate.App, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    """What is lost is given back only when nothing runs: rows do not tell one from the other."""
    caplog.set_level(logging.INFO, "procrastinate")
    long, lost = Work(), Work()
    app.task(name=jobs.OPERATIONS)(long.__call__)
    app.task(name=jobs.REFILL)(lost.__call__)
    long.may_end.clear()
    async with carried_out(app):
        await jobs.wake(app, jobs.OPERATIONS)
        await until(lambda: long.at_once)
        try:
            async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
                await admin.execute(LOST)
            await until(lambda: "Stop requested" in caplog.text)
            assert (lost.runs, long.at_once) == (0, 1)
        finally:
            long.may_end.set()
        await until_none_is_left(app)
    assert (long.runs, lost.runs) == (1, 1)


async def test_what_a_killed_worker_had_started_is_run_again(app: procrastinate.App) -> None:
    work = Work()
    app.task(name=jobs.REFILL)(work.__call__)
    await jobs.wake(app, jobs.REFILL)
    worker = await app.job_manager.register_worker()
    assert await app.job_manager.fetch_job(queues=None, worker_id=worker)
    await jobs.wake(app, jobs.REFILL)  # waits for the lock of the other one
    async with carried_out(app):
        await until_none_is_left(app)
    assert (work.runs, work.most_at_once) == (1, 1)
