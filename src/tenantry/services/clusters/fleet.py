"""The clusters of this machine: create, configure, harden and start them.

Which shared clusters there are is in the control database. What has to know them without it (the
supervisor, ``down``, ``status``, a recovery) reads a file in the home, which is written whenever a
cluster is added, and from the control database at each start.
"""

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError

from tenantry.base.errors import Deferred, MachineError, NotFound
from tenantry.base.events import ClusterFilesWritten, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.base.suggestions import did_you_mean
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.store import DATABASE, ControlStore, Tx
from tenantry.host import files
from tenantry.host.packages import PGBACKREST, PostgresEngine, find_postgres
from tenantry.pg import catalog, hardening, hba, parameters
from tenantry.pg.clusters import Cluster, ClusterFiles
from tenantry.pg.connections import (
    ADMIN,
    LOCAL_ROLES,
    PLATFORM,
    PLATFORM_ROLES,
    Address,
    connect,
    fetch_value,
)
from tenantry.pg.drivers import DRIVERS, PROCESS
from tenantry.pg.pgbackrest import PgBackRest

log = structlog.get_logger()

CONTROL = "control"
FIRST = "shared-1"  # the shared cluster that every installation has
_LEAST_BYTES = 512 * 1024**2  # of memory, for a shared cluster beside others
_CONTROL_PORT = 5432  # part of a file name only: the control cluster has no network port


class Member(BaseModel, frozen=True):
    """A further shared cluster, as the file of the fleet knows it."""

    name: str
    driver: str
    port: int


_MEMBERS = TypeAdapter(tuple[Member, ...])


# The fleet is looked at several times a second: files that have not changed are not read again,
# and programs that are still there are not looked up.


@lru_cache(maxsize=64)
def _listed(home: Path) -> files.Remembered[tuple[Member, ...]]:
    return files.Remembered[tuple[Member, ...]](
        Home(home).fleet, _MEMBERS.validate_json, missing=()
    )


@lru_cache(maxsize=64)
def _made_by(home: Path, name: str) -> files.Remembered[int | None]:
    """Return the version of PostgreSQL that initialized a cluster, None without a data folder."""
    path = Home(home).clusters / name / "data" / "PG_VERSION"
    return files.Remembered[int | None](path, int, missing=None)


_looked_up = lru_cache(find_postgres)


def _engine_of(version: int) -> PostgresEngine:
    """Return ``find_postgres``, looked up again if its server program is gone."""
    found = _looked_up(version)
    if os.access(f"{found.bindir}/postgres", os.X_OK):
        return found
    _looked_up.cache_clear()
    return _looked_up(version)


@lru_cache(maxsize=64)
def _driven(root: Path, name: str, port: int, driver: str, bindir: Path) -> Cluster:
    home = Home(root)
    return Cluster(
        name=name,
        folder=home.clusters / name,
        address=Address(home.run / name, port),
        bindir=bindir,
        log_dir=home.logs,
        driver=DRIVERS[driver],
    )


def identities() -> str:
    """Return the pg_ident.conf of all local clusters: the roles of the platform's OS user."""
    # root can become the platform's user anyway, so this gives it no further rights.
    users = dict.fromkeys((pwd.getpwuid(os.geteuid()).pw_name, "root"))
    return hba.render_identities(
        "platform", [(user, role) for user in users for role in LOCAL_ROLES]
    )


@dataclass(frozen=True, slots=True)
class Fleet:
    """The control cluster and the shared clusters of this machine."""

    settings: Settings

    # ── members ──────────────────────────────────────────────────────────────

    @property
    def control(self) -> Cluster:
        return self._cluster(CONTROL, _CONTROL_PORT)

    @property
    def first(self) -> Cluster:
        """The shared cluster that every installation has; the pooler's default."""
        return self._cluster(FIRST, self.settings.pg_port)

    @property
    def shared(self) -> list[Cluster]:
        """The clusters with tenants' databases, the first of them first."""
        return [self.first, *(self.of(each) for each in self.members())]

    @property
    def every(self) -> list[Cluster]:
        """All clusters, in the order in which they are started."""
        return [self.control, *self.shared]

    def named(self, name: str) -> Cluster:
        """Return the cluster of that name. Raises NotFound."""
        for each in self.every:
            if each.name == name:
                return each
        names = [each.name for each in self.every]
        raise NotFound(
            f"There is no cluster {name} here.",
            hint=did_you_mean(name, names) or f"The clusters are {', '.join(names)}.",
        )

    def of(self, member: Member) -> Cluster:
        """Return a further shared cluster, whether it is in the file or not."""
        return self._cluster(member.name, member.port, member.driver)

    def members(self) -> list[Member]:
        """Return the shared clusters besides the first. Raises MachineError for a damaged file."""
        try:
            return [*_listed(self.settings.home).value()]
        except ValidationError as error:
            raise MachineError(
                f"{Home(self.settings.home).fleet} is damaged.",
                hint="With the control cluster running, remove it and run tenantry up: it is "
                "written again.",
            ) from error

    def write(self, members: Sequence[Member]) -> bool:
        """Write the file. Returns whether it changed."""
        path = Home(self.settings.home).fleet
        if not members and not path.exists():
            return False
        return files.ensure_file(path, _MEMBERS.dump_json((*members,), indent=2).decode() + "\n")

    async def ensure_members(self, store: ControlStore) -> None:
        """Write the file from the control database; the control cluster has to run.

        A cluster that is only in the file stays there: what is on it shall be reported.
        """
        async with store.transaction(audit.PLATFORM) as tx:
            known = {
                row.name: Member(name=row.name, driver=row.driver, port=row.port)
                for row in await rows.every(tx)
                if row.kind == "shared" and row.ready and row.name != FIRST
            }
        self.write([*({each.name: each for each in self.members()} | known).values()])

    def _cluster(self, name: str, port: int, driver: str = PROCESS) -> Cluster:
        return _driven(self.settings.home, name, port, driver, self._engine(name).bindir)

    def _engine(self, name: str) -> PostgresEngine:
        """Return the PostgreSQL installation of a cluster's version; for a new cluster, the newest.

        Raises MachineError if it is not installed.
        """
        version = _made_by(self.settings.home, name).value()
        return find_postgres() if version is None else _engine_of(version)

    @property
    def most_shared(self) -> int:
        """How many shared clusters this machine has the memory for."""
        machine = parameters.Machine.this(self.settings.memory_mb)
        return max(1, machine.memory_bytes // _LEAST_BYTES)

    def newest_version(self) -> int:
        """Return the major version of a new cluster. Raises MachineError if none is installed."""
        return find_postgres().version

    @property
    def sizing(self) -> parameters.Sizing:
        """An equal share of the machine for each shared cluster, in force from its next start."""
        machine = parameters.Machine.this(self.settings.memory_mb)
        return parameters.size(machine.part(1 + len(self.members())))

    def _files(self, cluster: Cluster) -> ClusterFiles:
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

    def first_rules(self, cluster: Cluster) -> str:
        """Return the rules of a new cluster, which contain no allowlists."""
        if cluster.name == CONTROL:
            return hba.render(hba.control_rules(LOCAL_ROLES))
        return hba.render(hba.shared_rules(PLATFORM_ROLES, []))

    async def ensure_running(self, cluster: Cluster) -> None:
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
        self, cluster: Cluster, *, deadline: float, options: Sequence[str] = ()
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

    async def ensure_files(self, cluster: Cluster) -> bool:
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
        with Deferred() as failures:
            for cluster in self.every:
                if cluster.pid() is None:
                    continue
                with failures.deferred():
                    undone = await hardening.ensure_standing_roles(
                        cluster.address, shared=cluster.name != CONTROL
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

    async def harden(self, cluster: Cluster) -> None:
        """Prepare a running shared cluster for databases of tenants."""
        version = self._engine(cluster.name).version
        await hardening.ensure_hardened(cluster.address, version=version)

    async def ensure_shared(self, store: ControlStore) -> None:
        """Harden the running shared clusters, and record all clusters in the control database."""
        for cluster in self.shared:
            await self.harden(cluster)
        await self.ensure_standing_roles()
        async with store.transaction(audit.PLATFORM) as tx:
            for cluster in self.every:
                await self.record(tx, cluster)

    async def record(self, tx: Tx, cluster: Cluster) -> None:
        """Ensure a cluster's row, with its current version and address."""
        await rows.ensure(
            tx,
            name=cluster.name,
            kind=CONTROL if cluster.name == CONTROL else "shared",
            version=self._engine(cluster.name).version,
            address=cluster.address,
        )
