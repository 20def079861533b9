"""The worker process: background jobs, and a reconciliation pass every minute."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from tenantry.base import logs, settings
from tenantry.base.errors import Deferred, TenantryError, Unavailable
from tenantry.base.events import JobCrashed, JobFailed, ReconciliationEnded, emit
from tenantry.base.home import Home
from tenantry.base.pausing import pause
from tenantry.control import (
    alert_channels,
    alerts,
    attempts,
    audit,
    idempotency,
    jobs,
    migration_runs,
    operations,
    past_sessions,
    proofs,
    sessions,
)
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.host.processes import lifeline
from tenantry.pg import visitors
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import Address
from tenantry.services import disk_areas
from tenantry.services.activity import Activity
from tenantry.services.alert_conditions import AlertWatch
from tenantry.services.bringing_up import ensure_server_files
from tenantry.services.caching.semantic import process as embedder
from tenantry.services.control_schema import ensure_known
from tenantry.services.cpu_shares import CpuShares
from tenantry.services.data_api import process as data_api
from tenantry.services.insights.statement_texts import StatementTexts
from tenantry.services.lock_table import keep_free
from tenantry.services.login_floods import LoginFloods
from tenantry.services.observations.interpreting import observe
from tenantry.services.platform import Platform, open_platform
from tenantry.services.pooling import budget, memory
from tenantry.services.reconciling import Pass
from tenantry.services.restarts import Restarts
from tenantry.services.transaction_ids import Watch

Periodic = tuple[float, str, Callable[[], Awaitable[object]]]  # the seconds, what it is, the job

_PASS_SECONDS = 60
_POOLER_SECONDS = 1
_LOCKS_SECONDS = 1
_FLEET_SECONDS = 1
_IDLE_SECONDS = 5
_CLUSTERS_SECONDS = 60
_OVERUSE_SECONDS = 1
_LOG_SECONDS = 0.5
_TEXTS_SECONDS = 1
_CATALOGS_SECONDS = 5
_LOGINS_SECONDS = 1
_SHARES_SECONDS = 1
_TRANSACTION_IDS_SECONDS = 5
_RESTART_SECONDS = 15
_ALERTS_SECONDS = 5
_MESSAGES_SECONDS = 1
_SAMPLE_SECONDS = 15
_WANTED_SECONDS = 1
_ACTIVITY_SECONDS = 300
_QUERIES_SECONDS = 300
_OWNERSHIP_SECONDS = 60
_VISITORS_SECONDS = 5
_REQUESTS_SECONDS = 5
_CERTIFICATE_SECONDS = 60
_EDGE_SECONDS = 1
_HOME_SECONDS = 60
_PASSWORDS_SECONDS = 60
_DRILL_SECONDS = 60
_BACKUP_SECONDS = 60
_LOOK_FAR_SECONDS = 60
_MIRROR_SECONDS = 1
_SCHEDULE_SECONDS = 5
_VERIFY_SECONDS = 60
_EXPIRED_SECONDS = 10
_RESERVE_SECONDS = 60
_UNFINISHED_SECONDS = 10  # to write a file takes milliseconds
_SETTLE_SECONDS = 20  # the very first backup shall not slow the start down
_SWEEP_SECONDS = 5
_LISTS_SECONDS = 1  # how long a site may be open after others have deleted the kernel's rules
_EXPIRY_SECONDS = 5
_QUOTA_SECONDS = 1


async def clean_up(platform: Platform) -> None:
    """Remove what ended operations and killed processes have left: files, side clusters, logins."""
    # List what exists before the operations that run: what is created in between is not touched.
    there = platform.side_clusters.every()
    async with platform.store.transaction(audit.PLATFORM) as tx:
        busy = await operations.unfinished(tx) | await past_sessions.all_ids(tx)
    with Deferred() as failures:
        for operation_id in there - busy:
            with failures.deferred():
                await platform.side_clusters.remove(operation_id)
        for cluster in platform.fleet.serving:
            with failures.deferred():
                await drop_visitors(platform.store, cluster.address)
        with failures.deferred():
            for folder in platform.home.folders():
                files.remove_unfinished(folder, seconds=_UNFINISHED_SECONDS)


async def drop_visitors(store: ControlStore, address: Address) -> None:
    """Drop the logins on a cluster that ended operations and sessions have left."""
    with Deferred() as failures:
        with failures.deferred():
            await visitors.drop_abandoned(address)
        found = await visitors.purposes(address)  # before the operations, as in ``clean_up``
        if not found:
            return
        async with store.transaction(audit.PLATFORM) as tx:
            busy = {each.hex for each in await operations.unfinished(tx)}
        left = [each for each in found if each.partition("_")[0] not in busy]
        for purpose in visitors.in_time(left):
            with failures.deferred():
                await visitors.drop(address, purpose)


async def reconcile(platform: Platform) -> None:
    """Reconcile clusters with the control database, and delete expired rows.

    A step that fails, whatever the error, holds up none of the others.
    """
    passed = Pass()
    with Deferred() as failures:
        for step in (
            platform.configuring.reconcile,
            partial(ensure_server_files, platform),
            partial(platform.reconciliation.reconcile, passed),
            partial(platform.roles.reconcile, passed),
            partial(platform.data_apis.reconcile, passed),
            partial(passed.record, platform.store),
            partial(clean_up, platform),
            platform.sites.reconcile,
            platform.backups.reconcile,
            platform.restores.reconcile,
            platform.databases.warm_pool.refill,
            partial(_forget_old, platform),
        ):
            with failures.deferred():
                await step()
    emit(ReconciliationEnded(len(passed.done), len(passed.failed)))


async def _forget_old(platform: Platform) -> None:
    async with platform.store.transaction(audit.PLATFORM) as tx:
        await idempotency.forget_old(tx)
        await audit.forget_old(tx, days=platform.settings.audit_days)
        await sessions.forget_old(tx)
        await attempts.forget_old(tx)
        await operations.forget_old(tx)
        await migration_runs.forget_files(tx)
        await proofs.forget_old(tx)
        await alerts.forget_old(tx)
        await alert_channels.forget_old(tx)


async def _every(seconds: float, what: str, job: Callable[[], Awaitable[object]]) -> None:
    """Run a job now, and then every so many seconds.

    A failure is reported as an event, and does not end the loop.
    """
    while True:
        began = time.monotonic()
        try:
            await job()
        except TenantryError as error:
            emit(JobFailed(what, str(error)))
        except Exception:
            emit(JobCrashed(what))
        await pause(max(0.0, seconds - (time.monotonic() - began)))


def register_jobs(platform: Platform) -> None:
    """Register the jobs of the queue, by which other processes wake the worker."""

    @platform.jobs.task(name=jobs.OPERATIONS)
    async def begin_operations() -> None:
        platform.operations.wake()

    @platform.jobs.task(name=jobs.REFILL)
    async def refill() -> None:
        await platform.databases.warm_pool.refill()


async def _keep_backups(platform: Platform) -> None:
    await asyncio.sleep(_SETTLE_SECONDS)
    await _every(_BACKUP_SECONDS, "backups", platform.cluster_backups.begin_due)


async def _watch(platform: Platform, cluster: Cluster) -> None:
    """Run the jobs that protect the tenants of one cluster from each other, until cancelled."""
    transaction_ids = Watch(cluster.address, cluster.data)
    texts = StatementTexts(cluster)
    overuse, address = platform.overuse, cluster.address
    jobs_of_cluster: tuple[Periodic, ...] = (
        (_LOCKS_SECONDS, "lock table", lambda: keep_free(address, cluster.pid())),
        (_OVERUSE_SECONDS, "overuse", lambda: overuse.watch(cluster)),
        (_CATALOGS_SECONDS, "shared catalogs", lambda: overuse.vacuum_catalogs(cluster)),
        (_TRANSACTION_IDS_SECONDS, "transaction IDs", transaction_ids.look),
        (_TEXTS_SECONDS, "statement texts", texts.look),
        (_VISITORS_SECONDS, "visitors", lambda: drop_visitors(platform.store, address)),
    )
    async with asyncio.TaskGroup() as tasks:
        for seconds, what, job in jobs_of_cluster:
            tasks.create_task(_every(seconds, what, job))


async def _watch_clusters(tasks: asyncio.TaskGroup, platform: Platform) -> None:
    """Watch every cluster with tenants' databases while it is to run."""
    watched: dict[str, asyncio.Task[None]] = {}

    async def watch() -> None:
        serving = {cluster.name: cluster for cluster in platform.fleet.serving}
        for name in watched.keys() - serving.keys():
            watched.pop(name).cancel()
        for name in serving.keys() - watched.keys():
            watched[name] = tasks.create_task(_watch(platform, serving[name]))

    await _every(_FLEET_SECONDS, "clusters to watch", watch)


def _watches(platform: Platform) -> tuple[Periodic, ...]:
    """Return what looks after what tenants and clients do now."""
    floods = LoginFloods(platform.fleet, platform.pooler, platform.home)
    shares = CpuShares(platform.store, platform.fleet, platform.home)
    served, sites = platform.served_databases, platform.served_sites
    return (
        (_POOLER_SECONDS, "pool budget", partial(budget.keep, platform.pooler)),
        (_POOLER_SECONDS, "pool memory", partial(memory.keep_free, platform.pooler)),
        (_SWEEP_SECONDS, "allowlists", platform.network.end_foreign_sessions),
        (_LISTS_SECONDS, "allowlists of sites", platform.site_allowlists.keep),
        (_QUOTA_SECONDS, "disk quotas", platform.quotas.watch),
        (_FLEET_SECONDS, "suspended instances", platform.suspending.follow),
        (_IDLE_SECONDS, "idle instances", platform.suspending.suspend_idle),
        (_LOGINS_SECONDS, "logins", floods.watch_servers),
        (_LOGINS_SECONDS, "pooled logins", floods.watch_pooler),
        (_SHARES_SECONDS, "CPU shares", shares.watch),
        (_OVERUSE_SECONDS, "pauses", platform.overuse.lift),
        (_LOG_SECONDS, "statement logs", platform.collecting.collect),
        (_SAMPLE_SECONDS, "samples", platform.sampler.look),
        (_WANTED_SECONDS, "data API", partial(data_api.note_wanted, platform.home, served)),
        (_WANTED_SECONDS, "embedder", partial(embedder.note_wanted, platform.settings, sites)),
        (_REQUESTS_SECONDS, "long requests", platform.data_apis.end_long_requests),
        (_ACTIVITY_SECONDS, "activity", Activity(platform.store, platform.clusters).look),
        (_QUERIES_SECONDS, "queries", platform.query_history.take),
        (_ALERTS_SECONDS, "alerts", AlertWatch(platform).look),
        (_MESSAGES_SECONDS, "messages", platform.outbox.deliver),
        (_MESSAGES_SECONDS, "customers' messages", platform.outbox.deliver_to_customers),
    )


def _upkeep(platform: Platform) -> tuple[Periodic, ...]:
    """Return what reconciles, and what is due from time to time."""
    backups = platform.cluster_backups
    restarts = Restarts(platform.settings, platform.store, platform.fleet, platform.pooler)
    return (
        (_PASS_SECONDS, "reconcile", partial(reconcile, platform)),
        (_EXPIRY_SECONDS, "expired branches", platform.branches.expire),
        (_EXPIRY_SECONDS, "past sessions", platform.lost_rows.reconcile),
        (_RESTART_SECONDS, "restarts", restarts.keep),
        (_CLUSTERS_SECONDS, "clusters", platform.cluster_additions.add_if_full),
        (_DRILL_SECONDS, "drills", platform.drills.begin_due),
        (_PASSWORDS_SECONDS, "passwords", platform.passwords.rotate_due),
        (_HOME_SECONDS, "home files", platform.home_keeper.keep),
        (_OWNERSHIP_SECONDS, "ownership", platform.ownership.check_next),
        (_CERTIFICATE_SECONDS, "certificate", platform.certificates.keep),
        *_of_edge(platform),
        (_LOOK_FAR_SECONDS, "repositories", backups.look_into_others),
        (_LOOK_FAR_SECONDS, "left repositories", backups.remove_left),
        (_MIRROR_SECONDS, "mirror", backups.mirror.follow),
        (_SCHEDULE_SECONDS, "scheduled backups", platform.backup_schedules.begin_due),
        (_VERIFY_SECONDS, "verifying backups", platform.backups.verify_next),
        (_SCHEDULE_SECONDS, "backups of sites", platform.site_backups.begin_due),
        (_EXPIRED_SECONDS, "expired backups of sites", platform.site_backups.tidy),
        (_RESERVE_SECONDS, "disk reserve", partial(disk_areas.keep_reserve, platform.settings)),
    )


def _of_edge(platform: Platform) -> tuple[Periodic, ...]:
    if not platform.settings.edge:
        return ()
    return (
        (_EDGE_SECONDS, "edge", platform.edge.keep),
        (_CERTIFICATE_SECONDS, "edge's certificates", platform.edge.certificates.keep),
    )


async def work(platform: Platform) -> None:
    """Run until cancelled. Raises Unavailable if the job queue's connection is lost."""
    with contextlib.suppress(Unavailable):
        await ensure_known(platform.fleet)
    await jobs.give_back(platform.jobs)
    async with asyncio.TaskGroup() as tasks:

        def begin(some: Iterable[Periodic]) -> None:
            for seconds, what, job in some:
                tasks.create_task(_every(seconds, what, job))

        tasks.create_task(platform.operations.carry_out("worker"))
        tasks.create_task(_watch_clusters(tasks, platform))
        begin(_watches(platform))
        # A restart that was cut off leaves the pooler's clients waiting.
        await platform.pooler.resume_all()
        begin(_upkeep(platform))
        tasks.create_task(_keep_backups(platform))
        tasks.create_task(jobs.carry_out(platform.jobs))


async def serve() -> None:
    logs.configure("worker")
    here = settings.load()
    observe(Home(here.home), "worker")
    loop = asyncio.get_running_loop()
    async with open_platform(here) as platform:
        register_jobs(platform)
        # Nothing is cancelled before all is open: psycopg's pool would never end.
        working = asyncio.create_task(work(platform))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, working.cancel)
        ended = asyncio.create_task(lifeline())
        ended.add_done_callback(lambda _: working.cancel())
        with contextlib.suppress(asyncio.CancelledError):
            await working
        ended.cancel()


def main() -> None:
    asyncio.run(serve())
