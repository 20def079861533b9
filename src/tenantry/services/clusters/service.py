"""The platform's clusters: create, configure, harden, start, and connect to them."""

import os
import pwd
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Self

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tenantry.base.errors import Busy, MachineError, TenantryError, Unavailable
from tenantry.base.events import ClusterFilesWritten, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.store import DATABASE, ControlStore
from tenantry.host import files
from tenantry.host.packages import PGBACKREST, PostgresEngine, find_postgres
from tenantry.pg import catalog, connections, hardening, hba, parameters
from tenantry.pg.clusters import ClusterFiles, ProcessCluster
from tenantry.pg.connections import (
    ADMIN,
    LOCAL_ROLES,
    PLATFORM,
    PLATFORM_ROLES,
    Address,
    PersistentConnection,
    connect,
    fetch_value,
)
from tenantry.pg.pgbackrest import PgBackRest

log = structlog.get_logger()

CONTROL = "control"
SHARED = "shared-1"
_LOCK_SECONDS = 3
_CONTROL_PORT = 5432  # part of a file name only: the control cluster has no network port


def identities() -> str:
    """Return the pg_ident.conf of all local clusters: the roles of the platform's OS user."""
    # root can become the platform's user anyway, so this gives it no further rights.
    users = dict.fromkeys((pwd.getpwuid(os.geteuid()).pw_name, "root"))
    return hba.render_identities(
        "platform", [(user, role) for user in users for role in LOCAL_ROLES]
    )


@dataclass(frozen=True, slots=True)
class LocalClusters:
    """The two clusters that every installation runs on its own machine."""

    settings: Settings

    def _cluster(self, name: str, port: int) -> ProcessCluster:
        home = Home(self.settings.home)
        return ProcessCluster(
            name=name,
            folder=home.clusters / name,
            address=self._address(name, port),
            bindir=self._engine(name).bindir,
            log_dir=home.logs,
        )

    def _address(self, name: str, port: int) -> Address:
        return Address(Home(self.settings.home).run / name, port)

    @property
    def control_address(self) -> Address:
        return self._address(CONTROL, _CONTROL_PORT)

    @property
    def shared_address(self) -> Address:
        return self._address(SHARED, self.settings.pg_port)

    def _engine(self, name: str) -> PostgresEngine:
        """Return the PostgreSQL installation of a cluster's version; for a new cluster, the newest.

        Raises MachineError if it is not installed.
        """
        try:
            made_by = Home(self.settings.home).clusters / name / "data" / "PG_VERSION"
            return find_postgres(int(made_by.read_text()))
        except FileNotFoundError:
            return find_postgres()

    @property
    def control(self) -> ProcessCluster:
        return self._cluster(CONTROL, _CONTROL_PORT)

    @property
    def shared(self) -> ProcessCluster:
        return self._cluster(SHARED, self.settings.pg_port)

    @property
    def sizing(self) -> parameters.Sizing:
        return parameters.size(parameters.Machine.this(self.settings.memory_mb))

    def _files(self, cluster: ProcessCluster) -> ClusterFiles:
        home = Home(self.settings.home)
        if cluster.name == CONTROL:
            values = parameters.control_parameters()
            rules: str | None = self.first_rules(cluster)
        else:
            values = parameters.shared_parameters(
                self.sizing,
                version=self._engine(cluster.name).version,
                certificate=str(home.certificate),
            )
            rules = None  # they contain the allowlists: services.network writes them
        values |= {
            "port": str(cluster.address.port),
            "unix_socket_directories": str(cluster.address.socket_dir),
            "log_directory": str(home.logs),
            "log_filename": f"{cluster.name}-%Y-%m-%d_%H%M%S.log",
        }
        archiver = PgBackRest(PGBACKREST, home.pgbackrest)
        values |= parameters.archiving(
            archiver.archive_command(cluster.name) if self.settings.backups else None
        )
        return ClusterFiles(
            parameters=parameters.render(values), rules=rules, identities=identities()
        )

    def first_rules(self, cluster: ProcessCluster) -> str:
        """Return the rules of a new cluster, which contain no allowlists."""
        if cluster.name == CONTROL:
            return hba.render(hba.control_rules(LOCAL_ROLES))
        return hba.render(hba.shared_rules(PLATFORM_ROLES, []))

    async def ensure_running(self, cluster: ProcessCluster) -> None:
        """Create, configure and start a cluster, as needed.

        Raises MachineError if it does not start, or is held.
        """
        if cluster.held.exists():
            raise MachineError(
                f"The cluster {cluster.name} is being restored.",
                hint="It is started again by itself; see tenantry operation list.",
            )
        await cluster.ensure_initialised(self.first_rules(cluster))
        if cluster.pid() is None:
            cluster.ensure_files(self._files(cluster))
            await cluster.ensure_running()
        else:
            await self.ensure_files(cluster)

    async def recover(
        self, cluster: ProcessCluster, *, deadline: float, options: Sequence[str] = ()
    ) -> None:
        """Start a restored cluster that only the platform can reach, and wait for its recovery.

        ``options`` are extra postmaster options for this start. Raises MachineError if it does not
        reach the requested time within ``deadline`` seconds.
        """
        files.ensure_file(cluster.data / "pg_hba.conf", self.first_rules(cluster))
        cluster.ensure_files(self._files(cluster))
        # A hot standby needs as many connections as the server that wrote the log, which may have
        # been a larger machine.
        await cluster.ensure_running(options=["-c", "hot_standby=off", *options], deadline=deadline)

    async def ensure_files(self, cluster: ProcessCluster) -> bool:
        """Reconcile a running cluster's files, reload it, and check that it accepts them.

        Returns whether files were changed. Raises MachineError if the server rejects the rules.
        """
        owed = Home(self.settings.home).run / f"{cluster.name}.unread"
        with files.until_read(owed) as unread:
            changed = cluster.ensure_files(self._files(cluster))
            if changed or unread:
                cluster.reload()
                async with connect(cluster.address, user=ADMIN) as admin:
                    if errors := await catalog.rule_errors(admin):
                        raise MachineError(
                            f"{cluster.name} refuses line {errors[0].line} of its pg_hba.conf: "
                            f"{errors[0].error}"
                        )
                emit(ClusterFilesWritten(cluster.name))
        return changed

    async def ensure_standing_roles(self) -> None:
        """Revert changes to the platform's own roles on running clusters."""
        for cluster in (self.control, self.shared):
            if cluster.pid() is None:
                continue
            undone = await hardening.ensure_standing_roles(
                cluster.address, shared=cluster.name == SHARED
            )
            if undone:
                log.error("standing_roles.restored", cluster=cluster.name, undone=undone)

    async def ensure_control_database(self) -> None:
        """Create the platform's role and the empty database on the running control cluster."""
        await hardening.ensure_control_roles(self.control.address)
        async with connect(self.control.address, user=ADMIN) as admin:
            if not await fetch_value(
                admin, "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
            ):
                await admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
            await admin.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
            await admin.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO {PLATFORM}")

    async def ensure_shared(self, store: ControlStore) -> None:
        """Harden the running shared cluster, and record both clusters in the control database."""
        version = self._engine(SHARED).version
        await hardening.ensure_hardened(self.shared.address, version=version)
        await self.ensure_standing_roles()
        async with store.transaction(audit.PLATFORM) as tx:
            for name, kind, cluster in (
                (CONTROL, "control", self.control),
                (SHARED, "shared", self.shared),
            ):
                await rows.ensure(
                    tx,
                    name=name,
                    kind=kind,
                    version=self._engine(name).version,
                    address=cluster.address,
                )


class ClusterPools:
    """Connections to the clusters that hold databases, as the platform's role. Opened lazily."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store
        self._stack = AsyncExitStack()
        self._pools: dict[uuid.UUID, AsyncConnectionPool[PersistentConnection]] = {}
        self._rows: dict[uuid.UUID, ClusterRow] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def every(self) -> list[ClusterRow]:
        """Return all clusters of the control database."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.every(tx)

    async def with_databases(self) -> list[ClusterRow]:
        """Return the clusters for tenants' databases."""
        found = [cluster for cluster in await self.every() if cluster.kind != CONTROL]
        self._rows.update({cluster.id: cluster for cluster in found})
        return found

    async def named(self, name: str) -> ClusterRow | None:
        """Return the cluster of that name for tenants' databases; None if there is none."""
        return next((each for each in await self.with_databases() if each.name == name), None)

    async def cluster(self, cluster_id: uuid.UUID) -> ClusterRow:
        if cluster_id not in self._rows:
            await self.with_databases()
        return self._rows[cluster_id]

    async def for_new_database(self) -> ClusterRow:
        """Return the cluster for the next database: the first with room.

        Raises Unavailable if none has.
        """
        for cluster in await self.with_databases():
            if cluster.kind == "shared" and cluster.placed < cluster.max_databases:
                return cluster
        raise Unavailable(
            "No cluster has room for another database.", hint="Delete databases, or add a cluster."
        )

    @asynccontextmanager
    async def connection(self, cluster_id: uuid.UUID) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Borrow a pooled connection in autocommit mode to a cluster's maintenance database.

        Not for statements that a tenant can block: see ``own_connection``. Raises Unavailable if
        the cluster does not answer, Busy if a lock is not available within 3 seconds.
        """
        if cluster_id not in self._pools:
            cluster = await self.cluster(cluster_id)
            if cluster_id not in self._pools:
                pool = connections.pool(
                    cluster.address,
                    user=PLATFORM,
                    smallest=2,
                    lock_seconds=_LOCK_SECONDS,
                    kind=PersistentConnection,
                )
                self._pools[cluster_id] = pool
                await self._stack.enter_async_context(pool)
        try:
            async with self._pools[cluster_id].connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise _refusal(error, await self.cluster(cluster_id)) from error

    @asynccontextmanager
    async def own_connection(
        self, cluster_id: uuid.UUID
    ) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Open a connection of its own, for statements that a tenant's open transaction can block.

        ALTER ROLE waits for a transaction that changes the same role, DROP DATABASE for one that
        changes a setting for that database. Callers limit the number of these connections.

        Raises Unavailable if the cluster does not answer, Busy if a lock is not available within 3
        seconds.
        """
        cluster = await self.cluster(cluster_id)
        try:
            async with connect(
                cluster.address, user=PLATFORM, lock_seconds=_LOCK_SECONDS
            ) as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise _refusal(error, cluster) from error


def _refusal(error: PoolTimeout | psycopg.OperationalError, cluster: ClusterRow) -> TenantryError:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return Busy(
            "An open transaction of a tenant's kept this waiting for too long.",
            hint="End what changes the database's roles or settings, and try again.",
        )
    return Unavailable(
        f"The cluster {cluster.name} does not answer.",
        hint="It is being started again; try in a few seconds.",
    )
