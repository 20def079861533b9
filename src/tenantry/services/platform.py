"""The whole platform: its parts assembled, and started in the order of their dependencies."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import procrastinate

from tenantry.base.errors import TenantryError
from tenantry.base.home import Home
from tenantry.base.passwords import Hashing
from tenantry.base.secrets import Seal, Secret, SecretSource
from tenantry.base.settings import Settings
from tenantry.control import jobs
from tenantry.control.store import ControlStore
from tenantry.host import files, processes
from tenantry.host.engines import find_pgbouncer
from tenantry.pg.clusters import Cluster
from tenantry.services.access.service import Access
from tenantry.services.backups.schedules import BackupSchedules
from tenantry.services.backups.service import Backups
from tenantry.services.blueprints.flow import BlueprintFlow
from tenantry.services.blueprints.service import Blueprints
from tenantry.services.branches.copying import Copying
from tenantry.services.branches.flow import BranchFlow
from tenantry.services.branches.service import Branches
from tenantry.services.certificates.service import Certificates
from tenantry.services.cluster_additions.flow import ClusterAddFlow
from tenantry.services.cluster_additions.service import ClusterAdditions
from tenantry.services.cluster_restores import service as cluster_restores
from tenantry.services.cluster_restores.flow import ClusterRestoring
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.control_schema import ensure_control_schema
from tenantry.services.databases.reconciliation import Reconciliation
from tenantry.services.databases.replacement import Replacement
from tenantry.services.databases.service import Databases
from tenantry.services.databases.warm_pool import WarmPool
from tenantry.services.drills.flow import DrillFlow
from tenantry.services.drills.service import Drills
from tenantry.services.extensions.service import Extensions
from tenantry.services.home_files import HomeKeeper
from tenantry.services.imports.service import Imports
from tenantry.services.insights.service import Insights
from tenantry.services.network.endpoints import PoolerEndpoint, PostgresEndpoint
from tenantry.services.network.service import Network
from tenantry.services.operations.service import Operations
from tenantry.services.overuse.service import Overuse
from tenantry.services.ownership.service import Ownership
from tenantry.services.passwords import Passwords
from tenantry.services.people.service import People, SessionRules
from tenantry.services.pooling.service import Pooler
from tenantry.services.provisioning.service import Provisioning
from tenantry.services.quotas.service import Quotas
from tenantry.services.repository.flow import ClusterBackups, schedule
from tenantry.services.repository.service import Repositories, ensure_ready
from tenantry.services.requests.limits import Limits
from tenantry.services.requests.service import Requests
from tenantry.services.restores.flow import RestoreFlow
from tenantry.services.restores.service import Restores
from tenantry.services.roles.service import Roles
from tenantry.services.side_clusters.service import SideClusters
from tenantry.services.statement_log.collecting import Collecting
from tenantry.services.statement_log.entries import EntryFiles
from tenantry.services.statement_log.service import StatementLog
from tenantry.services.tenant_migrations.flow import MigrationFlow
from tenantry.services.tenant_migrations.service import TenantMigrations
from tenantry.services.tenant_migrations.visits import Visits
from tenantry.services.transaction_ids import TransactionIds
from tenantry.services.users.service import Users
from tenantry.services.vacuuming.service import Vacuuming
from tenantry.services.versions import Versions

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Platform:
    """The capabilities, ready to be used by an entry point."""

    settings: Settings
    store: ControlStore
    jobs: procrastinate.App
    operations: Operations
    imports: Imports
    clusters: ClusterPools
    pooler: Pooler
    databases: Databases
    reconciliation: Reconciliation
    network: Network
    ownership: Ownership
    roles: Roles
    passwords: Passwords
    extensions: Extensions
    insights: Insights
    statement_log: StatementLog
    provisioning: Provisioning
    collecting: Collecting
    branches: Branches
    certificates: Certificates
    quotas: Quotas
    overuse: Overuse
    repositories: Repositories
    side_clusters: SideClusters
    restores: Restores
    cluster_additions: ClusterAdditions
    cluster_backups: ClusterBackups
    cluster_restoring: ClusterRestoring
    drills: Drills
    home_keeper: HomeKeeper
    backups: Backups
    backup_schedules: BackupSchedules
    access: Access
    requests: Requests
    people: People
    users: Users
    migrations: TenantMigrations
    blueprints: Blueprints
    transaction_ids: TransactionIds
    versions: Versions
    vacuuming: Vacuuming

    @property
    def home(self) -> Home:
        return Home(self.settings.home)


def local_pooler(settings: Settings) -> Pooler:
    """Return the pooler in front of this machine's shared clusters."""
    return Pooler(settings, Fleet(settings))


def local_certificates(settings: Settings) -> Certificates:
    """Return the certificate of this machine's endpoints."""
    return Certificates(settings, Fleet(settings), local_pooler(settings))


@asynccontextmanager
async def open_platform(settings: Settings) -> AsyncIterator[Platform]:
    """Open the platform of this machine for the duration of the block."""
    fleet = Fleet(settings)
    pooler = local_pooler(settings)
    async with (
        ControlStore(fleet.control.address) as store,
        ClusterPools(store) as clusters,
        jobs.job_app(store).open_async() as queue,
        store.background,  # the first to be closed: its tasks need the others
    ):
        databases = Databases(
            store,
            clusters,
            pooler,
            most_connections=fleet.sizing.per_database,
            most_of_a_customer=settings.customer.databases,
            warm_pool=WarmPool(
                store,
                clusters,
                pooler,
                size=settings.warm_pool,
                wake=partial(jobs.wake, queue, jobs.REFILL),
            ),
        )
        network = Network(
            store,
            databases,
            Home(settings.home),
            lambda: [*map(PostgresEndpoint, fleet.shared), PoolerEndpoint(pooler)],
        )
        rules = SessionRules(
            lasts=dt.timedelta(hours=settings.session.hours),
            idle=dt.timedelta(minutes=settings.session.idle_minutes),
        )
        access = Access(store, session_idle=rules.idle)
        operations = Operations(
            store,
            may_go_on=access.may_go_on,
            wake_others=partial(jobs.wake, queue, jobs.OPERATIONS),
            release=databases.release_clients,
        )
        repositories = Repositories(settings)
        side_clusters = SideClusters(settings, repositories)
        days = settings.replaced_days or settings.backup.days
        replacement = Replacement(clusters, pooler, days)
        restoring = RestoreFlow(
            store,
            clusters,
            pooler,
            network,
            repositories,
            side_clusters,
            replacement,
            Home(settings.home),
        )
        operations.register(DrillFlow(store, clusters, repositories, side_clusters).flow)
        cluster_restoring = ClusterRestoring(
            settings, store, operations, repositories, network, pooler
        )
        operations.register(cluster_restoring.flow)
        branching = BranchFlow(
            store,
            clusters,
            pooler,
            network,
            Copying(settings, clusters, repositories, side_clusters),
            replacement,
        )
        backups = Backups(
            store,
            clusters,
            databases,
            operations,
            Home(settings.home),
            most_bytes=settings.customer.backup_gb << 30,
        )
        counted = Home(settings.home).run / "overuse.json"
        overuse = Overuse(store, clusters, pooler, counted=counted)
        roles = Roles(store, clusters, pooler, databases, network)
        visits = Visits(store, clusters, pooler, Home(settings.home))
        migrations_ = TenantMigrations(store, MigrationFlow(visits), databases, operations)
        entries = EntryFiles(Home(settings.home).statements)
        seal = Seal(Home(settings.home).seal_key.read_bytes())
        hashing = Hashing()
        imports = Imports(settings, store, clusters, databases, operations)
        quotas = Quotas(store, clusters, pooler)
        blueprints = Blueprints(
            store,
            clusters,
            databases,
            roles,
            migrations=migrations_,
            operations=operations,
            applying=BlueprintFlow(visits),
            beside=settings.blueprints,
        )
        yield Platform(
            settings=settings,
            store=store,
            jobs=queue,
            operations=operations,
            imports=imports,
            clusters=clusters,
            pooler=pooler,
            databases=databases,
            reconciliation=Reconciliation(store, clusters, pooler, databases),
            network=network,
            ownership=Ownership(store, clusters),
            roles=roles,
            passwords=Passwords(store, databases, roles, days=settings.password_days),
            extensions=Extensions(clusters, databases),
            insights=Insights(store, clusters, databases, pooler),
            statement_log=StatementLog(clusters, databases, entries),
            collecting=Collecting(
                store, clusters, pooler, fleet, entries, days=settings.audit_days
            ),
            branches=Branches(settings, store, databases, operations, branching),
            quotas=quotas,
            provisioning=Provisioning(
                databases,
                blueprints=blueprints,
                imports=imports,
                backups=backups,
                quotas=quotas,
                operations=operations,
            ),
            overuse=overuse,
            versions=Versions(settings, fleet, pooler),
            vacuuming=Vacuuming(
                store, clusters, databases, operations, overuse, home=Home(settings.home)
            ),
            transaction_ids=TransactionIds(store, clusters, fleet),
            certificates=local_certificates(settings),
            repositories=repositories,
            side_clusters=side_clusters,
            restores=Restores(restoring, databases, operations),
            cluster_restoring=cluster_restoring,
            cluster_additions=ClusterAdditions(
                settings,
                store,
                operations,
                ClusterAddFlow(store, fleet, repositories, network),
            ),
            cluster_backups=ClusterBackups(store, operations, repositories, schedule(settings)),
            drills=Drills(settings, store, databases, operations, repositories),
            home_keeper=HomeKeeper(settings, repositories),
            backups=backups,
            backup_schedules=BackupSchedules(store, databases, backups),
            access=access,
            requests=Requests(store, access, Limits(settings)),
            people=People(store, seal, hashing, rules),
            users=Users(store, hashing),
            migrations=migrations_,
            blueprints=blueprints,
        )


@dataclass(frozen=True, slots=True)
class BroughtUp:
    """The result of a start: whether the administrator's key is new."""

    key_is_new: bool


async def bring_up(settings: Settings, say: Say) -> BroughtUp:
    """Start and reconcile everything that serves tenants; the control plane starts later.

    Every step is idempotent, so it may be interrupted anywhere and run again. Parts that this call
    started are stopped again if a later part does not start.

    Raises MachineError saying which part did not start, and why.
    """
    home = Home(settings.home)
    processes.leave_no_core_dumps()
    for folder in home.private_folders:
        files.ensure_folder(folder)
    local_certificates(settings).ensure_some()
    _ensure_seal_key(home)
    fleet = Fleet(settings)
    pgbouncer = await find_pgbouncer(settings.engines_dir)
    await cluster_restores.settle(settings)
    async with AsyncExitStack() as started:

        async def start(cluster: Cluster) -> None:
            if cluster.pid() is None:
                say(f"Starting the {cluster.name} cluster")
                started.push_async_callback(cluster.stop)
            await fleet.ensure_running(cluster)

        await start(fleet.control)
        await fleet.ensure_control_database()
        await ensure_control_schema(fleet)
        async with ControlStore(fleet.control.address) as store:
            await fleet.ensure_members(store)
        for cluster in fleet.shared:
            await start(cluster)
        await _ready_repositories(settings, say)
        await cluster_restores.complete(settings)
        async with open_platform(settings) as platform:
            await fleet.ensure_shared(platform.store)
            await platform.network.keep()
            if platform.pooler.pid() is None:
                say("Starting the pooler")
                started.push_async_callback(platform.pooler.stop)
            await platform.pooler.ensure_running(pgbouncer.path)
            key_is_new = await _ensure_admin_key(home, platform.access)
            try:
                await platform.home_keeper.keep()
            except TenantryError as error:
                say(f"Going on although the home's files are not in every repository: {error}")
        started.pop_all()
    return BroughtUp(key_is_new)


async def _ready_repositories(settings: Settings, say: Say) -> None:
    """Prepare the repositories for backups, and report backups left in former places."""
    repositories = Repositories(settings)
    left = repositories.left_behind() if settings.backups else []
    problem = await ensure_ready(repositories)
    if problem is not None:
        say(f"Going on although backups are not ready: {problem}")
    begins = "once it can be used" if problem else "from now on, and begin with a full one at once"
    for new, old in left:
        copied = f"rm -r {new}, cp -a {old} {new}" if new.startswith("/") else f"copy {old} there"
        say(
            f"Backups go to {new} {begins}. What is in {old} stays there, and its "
            "moments cannot be restored from the new place. To take them along: tenantry down, "
            f"{copied}, tenantry up"
        )


async def ensure_server_files(platform: Platform) -> None:
    """Revert manual changes to the files of running servers."""
    fleet = Fleet(platform.settings)
    for cluster in fleet.every:
        if cluster.pid() is not None:
            await fleet.ensure_files(cluster)
    await fleet.ensure_standing_roles()
    platform.pooler.ensure_files()
    await platform.network.keep()


def _ensure_seal_key(home: Home) -> None:
    if not home.seal_key.exists():
        files.write_atomically(home.seal_key, Seal.new_key(), mode=0o600)


async def _ensure_admin_key(home: Home, access: Access) -> bool:
    # The file first: a key that is in force and not written anywhere would be lost. One that is
    # written and not in force is replaced by the next start, which is also how root on the machine
    # gets another key: by emptying the file.
    written = _written_key(home.admin_key)
    dead = written is not None and not await access.opens(written)
    if await access.administrator_exists() and not dead:
        return False
    secret = SecretSource().api_key()
    files.write_atomically(home.admin_key, secret.reveal() + "\n", mode=0o600)
    await access.create_first_key(secret)
    return True


def _written_key(file: Path) -> Secret | None:
    """Return the key in a file; None if it cannot be read, as after it was moved elsewhere."""
    try:
        return Secret(file.read_text(errors="replace").strip())
    except OSError:
        return None
