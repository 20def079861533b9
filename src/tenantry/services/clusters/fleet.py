"""The clusters of this machine: create, configure, harden and start them.

Which shared and dedicated clusters there are is in the control database. What has to know them
without it (the supervisor, ``down``, ``status``, a recovery) reads a file in the home, which is
written whenever a cluster is added, stopped or removed, and from the control database at each
start.
"""

import os
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import structlog

from tenantry.base.errors import Deferred, MachineError, NotFound, TenantryError, Unavailable
from tenantry.base.events import ClusterFilesWritten, emit
from tenantry.base.home import Home
from tenantry.base.suggestions import did_you_mean
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.store import DATABASE, ControlStore, Tx
from tenantry.host import backup_engines, files, reachability
from tenantry.host.packages import bindir_of, find_postgres, installed_servers
from tenantry.pg import catalog, hardening, hba, parameters
from tenantry.pg.clusters import Cluster, ClusterFiles, Kind
from tenantry.pg.connections import (
    ADMIN,
    LOCAL_ROLES,
    PLATFORM,
    PLATFORM_ROLES,
    connect,
    fetch_value,
)
from tenantry.pg.drivers import PROCESS
from tenantry.pg.pgbackrest import PgBackRest
from tenantry.services.clusters import listening, pooled
from tenantry.services.clusters.fleet_file import CONTROL, FIRST, FleetFile
from tenantry.services.clusters.members import Member, driven, made_by

log = structlog.get_logger()

_LEAST_BYTES = 512 * 1024**2  # of memory, for a shared cluster beside others
_CONTROL_PORT = 5432  # part of a file name only: the control cluster has no network port


def identities() -> str:
    """Return the pg_ident.conf of all local clusters: the roles of the platform's OS user."""
    # root can become the platform's user anyway, so this gives it no further rights.
    users = dict.fromkeys((pwd.getpwuid(os.geteuid()).pw_name, "root"))
    return hba.render_identities(
        "platform", [(user, role) for user in users for role in LOCAL_ROLES]
    )


@dataclass(frozen=True, slots=True)
class Fleet(FleetFile):
    """The control cluster, the shared clusters and the instances of this machine."""

    # ── members ──────────────────────────────────────────────────────────────

    @property
    def control(self) -> Cluster:
        return self._cluster(
            Member(name=CONTROL, driver=PROCESS, port=_CONTROL_PORT), kind="control"
        )

    @property
    def first(self) -> Cluster:
        """The shared cluster that every installation has; the pooler's default."""
        return self.of(Member(name=FIRST, driver=PROCESS, port=self.settings.pg_port))

    @property
    def shared(self) -> list[Cluster]:
        """The clusters for databases of many tenants, the first of them first."""
        return [each for each in self.of_tenants if each.kind == "shared"]

    @property
    def of_tenants(self) -> list[Cluster]:
        """The clusters for tenants' databases, the first shared one first."""
        return [self.first, *(self.of(each) for each in self.members())]

    @property
    def serving(self) -> list[Cluster]:
        """The clusters for tenants' databases that are to run: no stopped instances."""
        running = (each for each in self.members() if each.wanted == "running")
        return [self.first, *(self.of(each) for each in running)]

    @property
    def stopped(self) -> list[Member]:
        """The instances that are not to run, at whose ports the listener answers."""
        return [each for each in self.members() if each.wanted != "running"]

    @property
    def wanted(self) -> list[Cluster]:
        """All clusters that are to run, in the order in which they are started."""
        return [self.control, *self.serving]

    @property
    def every(self) -> list[Cluster]:
        """All clusters, in the order in which they are started."""
        return [self.control, *self.of_tenants]

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
        """Return a cluster for tenants' databases, whether it is in the file or not."""
        return self._cluster(member, kind=member.kind)

    def _cluster(self, member: Member, *, kind: Kind) -> Cluster:
        here = self.settings
        version = made_by(here.home, member.name).value() or member.version
        return driven(
            here.home,
            member,
            kind,
            bindir_of(here.engines_dir, self.newest_version() if version is None else version),
            image=here.postgres_image,
            archive=here.repository_dir / "archive" if here.backups else None,
            archiver=backup_engines.program(here.engines_dir),
        )

    async def delete(self, member: Member) -> None:
        """Remove an instance from the file, kill it, and delete all its files and logs."""
        self.remove(member.name)
        cluster = self.of(member)
        home = Home(self.settings.home)
        async with listening.changing(home, cluster):
            await cluster.remove()
            lock = listening.lock_of(home, cluster.name)
            for path in (*cluster.logs(), cluster.start_log, lock):
                path.unlink(missing_ok=True)
            await files.remove_folder(pooled.address(home, cluster).socket_dir)
            if cluster.log_dir != home.logs:
                await files.remove_folder(cluster.log_dir)

    def free_port(self, taken: Iterable[int]) -> int:
        """Return a port for a further cluster, besides those ``taken``. Raises Unavailable."""
        among = {*taken}
        for port in self.settings.instance_port_range:
            if port not in among and not reachability.listening(port):
                return port
        raise Unavailable(
            f"No port of {self.settings.instance.ports} is free.",
            hint="Give more of them to the platform: TENANTRY_INSTANCE_PORTS",
        )

    @property
    def most_shared(self) -> int:
        """How many shared clusters this machine has the memory for."""
        machine = parameters.Machine.this(self.settings.memory_mb)
        return max(1, machine.memory_bytes // _LEAST_BYTES)

    def newest_version(self) -> int:
        """Return the major version of a new cluster. Raises MachineError if none is installed."""
        usable = self.usable_versions()
        return usable[-1] if usable else find_postgres(self.settings.engines_dir).version

    def usable_versions(self) -> list[int]:
        """Return the installed major versions that a new cluster can have, oldest first.

        With backups on, those that pgBackRest knows: it refuses to back up any other.
        """
        engines_dir = self.settings.engines_dir
        installed = [each.version for each in installed_servers(engines_dir)]
        engine = backup_engines.find_pgbackrest(engines_dir)
        if not self.settings.backups or engine is None:  # as long as it is not installed, none is
            return installed
        return [each for each in installed if engine.knows(each)]

    @property
    def sizing(self) -> parameters.Sizing:
        """An equal share of the machine for each shared cluster, in force from its next start."""
        machine = parameters.Machine.this(self.settings.memory_mb)
        return parameters.size(machine.part(len(self.shared)))

    def sizing_of(self, cluster: Cluster) -> parameters.Sizing:
        """The share of a cluster for tenants' databases; an instance has its own size."""
        memory = cluster.limits.memory_bytes
        return self.sizing_for(None if memory is None else memory // parameters.MIB)

    def sizing_for(self, memory_mb: int | None) -> parameters.Sizing:
        """The share of an instance with so much memory; of a shared cluster if that is None."""
        if memory_mb is None:
            return self.sizing
        return parameters.size(parameters.Machine.this(memory_mb))

    @property
    def wal_mb(self) -> int:
        """The write-ahead log of each cluster for tenants' databases, by its share of the disk."""
        return parameters.wal_mb(files.disk_bytes(self.settings.home) // len(self.of_tenants))

    def _files(self, cluster: Cluster) -> ClusterFiles:
        home = Home(self.settings.home)
        if cluster.name == CONTROL:
            disk = files.disk_bytes(self.settings.home)
            values = parameters.control_parameters(wal_mb=parameters.wal_mb(disk, of_control=True))
            rules: str | None = self.first_rules(cluster)
        else:
            values = parameters.overridden(
                parameters.shared_parameters(
                    self.sizing_of(cluster),
                    version=version_of(cluster),
                    certificate=str(self._certificate(cluster)),
                    wal_mb=self.wal_mb,
                ),
                dict(cluster.parameters),
            )
            rules = None  # they contain the allowlists: services.network writes them
        values |= {
            "port": str(cluster.address.port),
            "unix_socket_directories": str(cluster.address.socket_dir),
            "log_directory": str(cluster.log_dir),
            "log_filename": f"{cluster.name}-%Y-%m-%d_%H%M%S.log",
        }
        if not cluster.has_port:
            values["listen_addresses"] = ""
        archiver = PgBackRest(cluster.archiver, home.pgbackrest)
        values |= parameters.archiving(
            archiver.archive_command(cluster.name) if self.settings.backups else None
        )
        return ClusterFiles(
            parameters=parameters.render(values), rules=rules, identities=identities()
        )

    def _certificate(self, cluster: Cluster) -> Path:
        home = Home(self.settings.home)
        if cluster.driver.name == PROCESS:
            return home.certificate
        # Not the folder of the original, which has the authority's key.
        return cluster.address.socket_dir / home.certificate.name

    def ensure_certificate(self, cluster: Cluster) -> None:
        """Put the certificate where a cluster in a container reads it, when it is reloaded."""
        original, path = Home(self.settings.home).certificate, self._certificate(cluster)
        if path != original:
            files.ensure_folder(path.parent)
            files.ensure_file(path, original.read_text())

    def first_rules(self, cluster: Cluster) -> str:
        """Return the rules of a new cluster, which contain no allowlists."""
        if cluster.name == CONTROL:
            return hba.render(hba.control_rules(LOCAL_ROLES))
        if cluster.kind == "dedicated":
            return hba.render(hba.side_rules(LOCAL_ROLES))
        return hba.render(hba.shared_rules(PLATFORM_ROLES, []))

    async def ensure_running(
        self, cluster: Cluster, *, otherwise: Cluster | None = None
    ) -> str | None:
        """Create, configure and start a cluster, as needed.

        An instance that does not start with its owner's parameters is started as ``otherwise``, if
        given, or without any: then return why. Raises MachineError if it does not start, or is
        held.
        """
        async with listening.changing(Home(self.settings.home), cluster):
            return await self.start(cluster, otherwise=otherwise)

    async def ensure_wanted(self, cluster: Cluster) -> None:
        """As ``ensure_running``, unless it is an instance that is not to run any more."""
        async with listening.changing(Home(self.settings.home), cluster):
            if cluster.kind != "dedicated":
                await self.start(cluster)
                return
            for each in self.serving:
                if each.name == cluster.name:  # as it is now, maybe of another version
                    await self.start(each)

    async def stop(self, cluster: Cluster) -> None:
        """Stop a cluster. Nobody who wants it running may start it again: see ``put``."""
        async with listening.changing(Home(self.settings.home), cluster):
            await cluster.stop()

    async def start(
        self, cluster: Cluster, *, otherwise: Cluster | None = None, was_stopped: bool = False
    ) -> str | None:
        """As ``ensure_running``, for a caller that has locked the cluster.

        ``was_stopped`` is as in ``Cluster.ensure_running``.
        """
        self._require_programs(cluster)
        if cluster.held.exists():
            raise MachineError(
                f"The cluster {cluster.name} is being restored.",
                hint="It is started again by itself; see tenantry operation list.",
            )
        await cluster.ensure_initialised(self.first_rules(cluster))
        self.ensure_certificate(cluster)
        refusal: str | None = None
        if cluster.pid() is not None:
            await self.ensure_files(cluster)
        else:
            if cluster.kind == "dedicated" and cluster.has_port:
                await listening.left(cluster.address.port)
            refusal = await self._start_with(cluster, otherwise, was_stopped=was_stopped)
        pooled.lead_to_server(Home(self.settings.home), cluster)
        return refusal

    async def _start_with(
        self, cluster: Cluster, otherwise: Cluster | None, *, was_stopped: bool
    ) -> str | None:
        """Start a cluster with its owner's parameters, with those of ``otherwise``, or without any.

        Return why it did not start with the first. Raises MachineError.
        """
        bare = replace(cluster, parameters=())
        refusal: str | None = None
        for each in dict.fromkeys((cluster, otherwise or bare, bare)):
            each.ensure_files(self._files(each))
            try:
                await each.ensure_running(was_stopped=was_stopped and refusal is None)
                break
            except MachineError as error:
                if each == bare or each.pid() is not None:  # no parameter, or only slow
                    raise
                refusal = refusal or error.detail
                log.warning("instance.parameters_refused", cluster=each.name, why=error.detail)
        return refusal

    def _require_programs(self, cluster: Cluster) -> None:
        """Raise MachineError if the programs of a cluster's version are not installed any more."""
        if not os.access(cluster.bindir / "postgres", os.X_OK):
            find_postgres(self.settings.engines_dir, version_of(cluster))

    async def recover(
        self, cluster: Cluster, *, deadline: float, options: Sequence[str] = ()
    ) -> None:
        """Start a restored cluster that only the platform can reach, and wait for its recovery.

        ``options`` are extra postmaster options for this start. Raises MachineError if it does not
        reach the requested time within ``deadline`` seconds.
        """
        self._require_programs(cluster)
        files.ensure_file(cluster.data / "pg_hba.conf", self.first_rules(cluster))
        cluster.ensure_files(self._files(cluster))
        self.ensure_certificate(cluster)
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
        """Prepare a running cluster for databases of tenants."""
        await hardening.ensure_hardened(cluster.address, version=version_of(cluster))

    async def ensure_ready(self, store: ControlStore) -> None:
        """Harden the running clusters, and record all clusters in the control database."""
        for cluster in self.serving:
            try:
                if cluster.pid() is not None:  # an instance may not start
                    await self.harden(cluster)
            except (TenantryError, psycopg.Error) as error:
                if cluster.kind != "dedicated":
                    raise
                log.warning("cluster.not_hardened", cluster=cluster.name, error=str(error))
        await self.ensure_standing_roles()
        async with store.transaction(audit.PLATFORM) as tx:
            for cluster in self.every:
                await self.record(tx, cluster)

    async def record(self, tx: Tx, cluster: Cluster) -> None:
        """Ensure a cluster's row, with its current version and address."""
        await rows.ensure(
            tx,
            name=cluster.name,
            kind=cluster.kind,
            driver=cluster.driver.name,
            version=version_of(cluster),
            address=cluster.address,
        )


def version_of(cluster: Cluster) -> int:
    """Return the major version of a cluster."""
    return int(cluster.bindir.parent.name)
