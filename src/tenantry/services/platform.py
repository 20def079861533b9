"""The whole platform: its capabilities, assembled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property, partial

import procrastinate

from tenantry.base.settings import Settings
from tenantry.control import jobs
from tenantry.control.store import ControlStore
from tenantry.services.advice.service import Advisor
from tenantry.services.alerts.service import Alerts
from tenantry.services.backups.schedules import BackupSchedules
from tenantry.services.backups.service import Backups
from tenantry.services.blueprints.flow import BlueprintFlow
from tenantry.services.blueprints.service import Blueprints
from tenantry.services.branches.copying import Copying
from tenantry.services.branches.flow import BranchFlow
from tenantry.services.branches.service import Branches
from tenantry.services.central_parts import CentralParts
from tenantry.services.cluster_additions.flow import ClusterAddFlow
from tenantry.services.cluster_additions.service import ClusterAdditions
from tenantry.services.cluster_restores.flow import ClusterRestoring
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.data_api.service import DataApis
from tenantry.services.data_api.serving import Serving
from tenantry.services.databases.reconciliation import Reconciliation
from tenantry.services.databases.replacement import Replacement
from tenantry.services.databases.service import Databases
from tenantry.services.databases.warm_pool import WarmPool
from tenantry.services.drills.flow import DrillFlow
from tenantry.services.drills.service import Drills
from tenantry.services.edge.sql import SqlEdge
from tenantry.services.extensions.service import Extensions
from tenantry.services.imports.service import Imports
from tenantry.services.insights.history import QueryHistory
from tenantry.services.insights.service import Insights
from tenantry.services.instances.configuring import Configuring
from tenantry.services.instances.flow import InstanceFlow
from tenantry.services.instances.service import Instances
from tenantry.services.instances.suspending import Suspending
from tenantry.services.lost_rows.flow import PastFlow
from tenantry.services.lost_rows.service import LostRows
from tenantry.services.marks import Marks
from tenantry.services.moves.copying import Copying as MoveCopying
from tenantry.services.moves.flow import MoveFlow
from tenantry.services.moves.service import Moves
from tenantry.services.network.endpoints import PoolerEndpoint, postgres
from tenantry.services.network.service import Network
from tenantry.services.operations.service import Operations
from tenantry.services.overuse.service import Overuse
from tenantry.services.ownership.service import Ownership
from tenantry.services.passwords import Passwords
from tenantry.services.provisioning.service import Provisioning
from tenantry.services.quotas.service import Quotas
from tenantry.services.repository.flow import ClusterBackups, schedule
from tenantry.services.restores.flow import RestoreFlow
from tenantry.services.restores.service import Restores
from tenantry.services.roles.service import Roles
from tenantry.services.samples.sampling import Sampler
from tenantry.services.samples.service import Samples
from tenantry.services.site_backups.service import SiteBackups
from tenantry.services.sql_runs.service import SqlRuns
from tenantry.services.sql_runs.texts import SqlTexts
from tenantry.services.statement_log.collecting import Collecting
from tenantry.services.statement_log.service import StatementLog
from tenantry.services.table_rows.service import TableRows
from tenantry.services.tenant_migrations.flow import MigrationFlow
from tenantry.services.tenant_migrations.service import TenantMigrations
from tenantry.services.tenant_migrations.visits import Visits
from tenantry.services.transaction_ids import TransactionIds
from tenantry.services.vacuuming.flow import MaintenanceFlow
from tenantry.services.vacuuming.service import Vacuuming

JobApp = procrastinate.App


class Platform(CentralParts):
    """The capabilities, ready to be used by an entry point. Each is assembled once."""

    def __init__(
        self, settings: Settings, store: ControlStore, clusters: ClusterPools, queue: JobApp
    ) -> None:
        super().__init__(settings, store)
        self.clusters = clusters
        self.jobs = queue

    def assemble(self) -> None:
        """Assemble all capabilities, some of which carry out operations and register these."""
        for kind in type(self).__mro__:
            for name, member in vars(kind).items():
                if isinstance(member, cached_property):
                    getattr(self, name)

    # ── databases ────────────────────────────────────────────────────────────

    @cached_property
    def databases(self) -> Databases:
        return Databases(
            self.store,
            self.clusters,
            self.pooler,
            fleet=self.fleet,
            most_of_a_customer=self.settings.customer.databases,
            warm_pool=WarmPool(
                self.store,
                self.clusters,
                self.pooler,
                size=self.settings.warm_pool,
                wake=partial(jobs.wake, self.jobs, jobs.REFILL),
            ),
        )

    @cached_property
    def reconciliation(self) -> Reconciliation:
        return Reconciliation(self.store, self.clusters, self.pooler, self.databases)

    @cached_property
    def provisioning(self) -> Provisioning:
        return Provisioning(
            self.databases,
            self.instances,
            self.configuring,
            blueprints=self.blueprints,
            data_apis=self.data_apis,
            imports=self.imports,
            backups=self.backups,
            quotas=self.quotas,
            operations=self.operations,
        )

    @cached_property
    def network(self) -> Network:
        pooled = PoolerEndpoint(self.pooler)
        by_edge = None
        if self.settings.edge_sql:
            by_edge = SqlEdge(self.settings, self.edge, self.fleet)
        # The edge first: instances admit its address by its lists.
        return Network(
            self.store,
            self.databases,
            self.home,
            lambda: [
                *([] if by_edge is None else [by_edge]),
                *(postgres(each, by_edge) for each in self.fleet.of_tenants),
                pooled,
            ],
        )

    @cached_property
    def roles(self) -> Roles:
        return Roles(self.store, self.clusters, self.pooler, self.databases, self.network)

    @cached_property
    def passwords(self) -> Passwords:
        days = self.settings.password_days
        return Passwords(self.store, self.databases, self.roles, days=days)

    @cached_property
    def extensions(self) -> Extensions:
        return Extensions(
            self.store, self.clusters, self.databases, self.instances, self.configuring
        )

    @cached_property
    def ownership(self) -> Ownership:
        return Ownership(self.store, self.clusters)

    @cached_property
    def quotas(self) -> Quotas:
        return Quotas(self.store, self.clusters, self.pooler, home=self.settings.home)

    @cached_property
    def overuse(self) -> Overuse:
        counted = self.home.run / "overuse.json"
        return Overuse(self.store, self.clusters, self.pooler, counted=counted)

    # ── operations on databases ──────────────────────────────────────────────

    @cached_property
    def operations(self) -> Operations:
        return Operations(
            self.store,
            may_go_on=self.access.may_go_on,
            wake_others=partial(jobs.wake, self.jobs, jobs.OPERATIONS),
            release=self.databases.release_clients,
        )

    @cached_property
    def imports(self) -> Imports:
        return Imports(self.settings, self.store, self.clusters, self.databases, self.operations)

    @cached_property
    def backups(self) -> Backups:
        return Backups(
            self.store,
            self.clusters,
            self.databases,
            self.operations,
            self.home,
            most_bytes=self.settings.customer.backup_gb << 30,
            engines_dir=self.settings.engines_dir,
        )

    @cached_property
    def backup_schedules(self) -> BackupSchedules:
        return BackupSchedules(self.store, self.databases, self.backups)

    @cached_property
    def _replacement(self) -> Replacement:
        days = self.settings.replaced_days or self.settings.backup.days
        return Replacement(self.clusters, self.pooler, days)

    @cached_property
    def restores(self) -> Restores:
        restoring = RestoreFlow(
            self.store,
            self.clusters,
            self.pooler,
            self.network,
            self.repositories,
            self.side_clusters,
            self._replacement,
            self.home,
        )
        return Restores(restoring, self.databases, self.operations)

    @cached_property
    def lost_rows(self) -> LostRows:
        past = PastFlow(self.store, self.clusters, self.repositories, self.side_clusters)
        return LostRows(past, self.databases, self.operations, self.sql_runs)

    @cached_property
    def marks(self) -> Marks:
        return Marks(self.store, self.databases)

    @cached_property
    def branches(self) -> Branches:
        copying = Copying(self.settings, self.clusters, self.repositories, self.side_clusters)
        branching = BranchFlow(
            self.store, self.clusters, self.pooler, self.network, copying, self._replacement
        )
        return Branches(self.settings, self.store, self.databases, self.operations, branching)

    @cached_property
    def drills(self) -> Drills:
        drilling = DrillFlow(self.store, self.clusters, self.repositories, self.side_clusters)
        self.operations.register(drilling.flow)
        return Drills(self.settings, self.store, self.databases, self.operations, self.repositories)

    @cached_property
    def _visits(self) -> Visits:
        return Visits(self.store, self.clusters, self.fleet, self.pooler, self.home)

    @cached_property
    def migrations(self) -> TenantMigrations:
        return TenantMigrations(
            self.store, MigrationFlow(self._visits), self.databases, self.operations
        )

    @cached_property
    def blueprints(self) -> Blueprints:
        return Blueprints(
            self.store,
            self.clusters,
            self.databases,
            self.roles,
            migrations=self.migrations,
            operations=self.operations,
            applying=BlueprintFlow(self._visits),
            beside=self.settings.blueprints,
        )

    @cached_property
    def vacuuming(self) -> Vacuuming:
        flow = MaintenanceFlow(self.store, self.clusters, self.overuse, home=self.home)
        return Vacuuming(self.clusters, self.databases, self.operations, flow)

    # ── what a database does ─────────────────────────────────────────────────

    @cached_property
    def insights(self) -> Insights:
        return Insights(self.store, self.clusters, self.databases, self.pooler)

    @cached_property
    def sql_runs(self) -> SqlRuns:
        texts = SqlTexts(self.store, self.databases, self._seal)
        return SqlRuns(self.store, self.clusters, self.databases, texts)

    @cached_property
    def table_rows(self) -> TableRows:
        return TableRows(self.store, self.clusters, self.databases, self.sql_runs)

    @cached_property
    def samples(self) -> Samples:
        return Samples(self.store, self.databases)

    @cached_property
    def sampler(self) -> Sampler:
        return Sampler(self.store, self.clusters, self.pooler, self.overuse)

    @cached_property
    def advisor(self) -> Advisor:
        return Advisor(self.store, self.clusters, self.databases, self.pooler)

    @cached_property
    def query_history(self) -> QueryHistory:
        return QueryHistory(self.store, self.clusters)

    @cached_property
    def statement_log(self) -> StatementLog:
        return StatementLog(self.clusters, self.databases, self._entries)

    @cached_property
    def collecting(self) -> Collecting:
        return Collecting(
            self.store,
            self.clusters,
            self.databases,
            self.fleet,
            self._entries,
            days=self.settings.audit_days,
        )

    @cached_property
    def alerts(self) -> Alerts:
        return Alerts(self.store, self.databases)

    # ── the data API ─────────────────────────────────────────────────────────

    @cached_property
    def data_apis(self) -> DataApis:
        return DataApis(
            self.store,
            self.clusters,
            self.pooler,
            self.databases,
            self.network,
            home=self.home,
            seal=self._seal,
        )

    @cached_property
    def served_databases(self) -> Serving:
        return Serving(self.store, self._seal)

    # ── clusters ─────────────────────────────────────────────────────────────

    @cached_property
    def instances(self) -> Instances:
        flow = InstanceFlow(
            self.store, self.fleet, self.clusters, self.pooler, self.network, self.repositories
        )
        return Instances(self.settings, self.store, self.databases, self.operations, flow)

    @cached_property
    def configuring(self) -> Configuring:
        return Configuring(self.settings, self.store, self.fleet, self.databases, self.instances)

    @cached_property
    def suspending(self) -> Suspending:
        return Suspending(self.store, self.fleet, self.clusters, self.pooler)

    @cached_property
    def moves(self) -> Moves:
        copying = MoveCopying(self.fleet, self.clusters, self.side_clusters)
        moving = MoveFlow(
            self.store,
            self.pooler,
            self.network,
            self.repositories,
            self.cluster_backups,
            copying,
            self._replacement.days,
        )
        return Moves(self.settings, self.databases, self.instances, self.operations, moving)

    @cached_property
    def cluster_additions(self) -> ClusterAdditions:
        adding = ClusterAddFlow(self.store, self.fleet, self.repositories, self.network)
        return ClusterAdditions(self.settings, self.store, self.operations, adding)

    @cached_property
    def cluster_backups(self) -> ClusterBackups:
        return ClusterBackups(
            self.store, self.operations, self.repositories, schedule(self.settings)
        )

    @cached_property
    def site_backups(self) -> SiteBackups:
        return SiteBackups(
            self.store,
            self.operations,
            self.repositories,
            self.home,
            schedule=schedule(self.settings),
            most_bytes=self.settings.customer.backup_gb << 30,
        )

    @cached_property
    def cluster_restoring(self) -> ClusterRestoring:
        found = ClusterRestoring(
            self.settings,
            self.store,
            self.operations,
            self.repositories,
            self.network,
            self.pooler,
        )
        self.operations.register(found.flow)
        return found

    @cached_property
    def transaction_ids(self) -> TransactionIds:
        return TransactionIds(self.store, self.clusters, self.fleet)


@asynccontextmanager
async def open_platform(settings: Settings) -> AsyncIterator[Platform]:
    """Open the platform of this machine for the duration of the block."""
    async with (
        ControlStore(Fleet(settings).control.address) as store,
        ClusterPools(store) as clusters,
        jobs.job_app(store).open_async() as queue,
        store.background,  # the first to be closed: its tasks need the others
    ):
        platform = Platform(settings, store, clusters, queue)
        platform.assemble()
        yield platform
