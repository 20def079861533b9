"""The size of instances, and the parameters and libraries that their owners set.

The rows say what is wanted; the fleet's file, the server's files and its limits follow after the
commit, and a pass of reconciliation does it after a crash in between. Parameters that need a
restart get into files only by an operation that tries them (``starting``): so no value of its
owner's keeps an instance from being started again.
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import psycopg

from tenantry.base.errors import Conflict, Deferred, InvalidInput, MachineError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit, plans
from tenantry.control import clusters as rows
from tenantry.control.audit import Actor
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.pg import parameters, preloading, settable
from tenantry.pg.connections import ADMIN, connect
from tenantry.pg.parameters import PRELOADED
from tenantry.pg.settable import Parameter
from tenantry.services.clusters import listening
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.pools import instance_stopped
from tenantry.services.databases.model import Changes
from tenantry.services.databases.service import Databases
from tenantry.services.instances import plan, starting
from tenantry.services.instances.model import Configured, Libraries, Setting, Size
from tenantry.services.instances.service import Instances, require_instance
from tenantry.services.requests.service import Caller


class Configuring:
    """The verbs on the size and the parameters of instances."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        fleet: Fleet,
        databases: Databases,
        instances: Instances,
    ) -> None:
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._databases = databases
        self._instances = instances

    # ── parameters ───────────────────────────────────────────────────────────

    async def show(self, actor: Actor, database_id: uuid.UUID) -> Configured:
        """Return the parameters that can be set of an instance that runs.

        Raises NotFound; Conflict if it is no instance or stopped; Unavailable.
        """
        row = await self._databases.active(actor, database_id)
        require_instance(row)
        if row.wanted == "stopped":
            raise instance_stopped(row.container_name)
        async with self._store.transaction(audit.PLATFORM) as tx:
            cluster_row = await _cluster_row(tx, row)
        return self._configured(cluster_row, await self._parameters(cluster_row))

    async def set(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        wanted: Mapping[str, str | None],
        *,
        restart: bool,
    ) -> Configured:
        """Set parameters of an instance, None being the default again.

        Those that need no restart are in force for new statements or sessions when this returns;
        the others wait for one, which begins now if ``restart``: then return what was in force
        before. Raises InvalidInput for what cannot be set, and as ``show``.
        """
        async with caller.transaction() as tx:
            found = await self._set(tx, caller.actor, database_id, wanted, restart=restart)
        if found.operation is not None:
            return found
        return await self.show(caller.actor, database_id)

    async def _set(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        wanted: Mapping[str, str | None],
        *,
        restart: bool,
    ) -> Configured:
        row = await self._databases.lock_there(tx, actor, database_id)
        require_instance(row)
        async with as_platform(tx):
            cluster_row = await _cluster_row(tx, row)
        there = await self._parameters(cluster_row)
        checked = plan.checked(wanted, there, memory_mb=cluster_row.memory_mb or 0)
        before = cluster_row.wanted_parameters
        whole = {name: value for name, value in (before | checked).items() if value is not None}
        cluster = self._fleet.of(Member.of(cluster_row))
        if (problem := await settable.rejected(cluster, whole)) is not None:
            raise InvalidInput.of("parameters", problem)
        restarts = {each.name for each in there.values() if each.needs_restart}
        now, later = plan.divided(whole, cluster_row.parameters, restarts)
        if whole != before:
            async with as_platform(tx):
                await rows.set_parameters(tx, row.cluster_id, now, later)
            details: dict[str, object] = {"parameters": checked}
            await audit.record_on(tx, actor, "instance.configure", row, details=details)
            tx.after_commit(partial(self._follow, row.cluster_id))
        emit(StepDone("configure", "recorded", row.cluster))
        after = replace(cluster_row, parameters=now, next_parameters=later)
        found = self._configured(after, there)
        if restart and found.pending_restart:
            operation = await self._instances.restart(tx, actor, database_id)
            return replace(found, operation=operation)
        return found

    # ── libraries ────────────────────────────────────────────────────────────

    async def preload(self, tx: Tx, row: DatabaseRow, name: str, *, load: bool) -> bool:
        """Have an instance's server load the library of an extension when it is started, or not.

        Return whether that waits for a restart. Raises Conflict, Unavailable.
        """
        require_instance(row)
        async with as_platform(tx):
            cluster_row = await _cluster_row(tx, row)
        there = await self._parameters(cluster_row)
        found = self._libraries(cluster_row, there)
        change = preloading.with_library if load else preloading.without_library
        whole = change(cluster_row.wanted_parameters, name)
        in_files = cluster_row.parameters
        if (name in found.loaded) is load or name in found.always:
            in_files = change(in_files, name)
        restarts = {each.name for each in there.values() if each.needs_restart}
        now, later = plan.divided(whole, in_files, restarts)
        if (now, later) != (cluster_row.parameters, cluster_row.next_parameters):
            async with as_platform(tx):
                await rows.set_parameters(tx, row.cluster_id, now, later)
            tx.after_commit(partial(self._follow, row.cluster_id))
        emit(StepDone("preload", "recorded", row.cluster))
        return (name in preloading.libraries(now)) is not load

    async def libraries(self, tx: Tx, row: DatabaseRow) -> Libraries:
        """Return the libraries that an instance's server has loaded, and is to load.

        Raises Conflict, Unavailable.
        """
        async with as_platform(tx):
            cluster_row = await _cluster_row(tx, row)
        return self._libraries(cluster_row, await self._parameters(cluster_row))

    def _libraries(self, row: ClusterRow, there: Mapping[str, Parameter]) -> Libraries:
        always = self._defaults(row.version, row.memory_mb)[PRELOADED]
        return Libraries(
            loaded=parameters.loaded_libraries(there[PRELOADED].value),
            own=preloading.libraries(row.wanted_parameters),
            always=parameters.loaded_libraries(always),
        )

    # ── size ─────────────────────────────────────────────────────────────────

    async def resize(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, changes: Changes
    ) -> OperationRow | None:
        """Change the size of an instance. Return its restart, if parameters need one that may be.

        Otherwise the limits are in force once ``tx`` is committed, and so are the parameters that
        follow the memory, but for those that wait for a restart. Raises NotFound; Forbidden for
        more than a customer's plan grants; Conflict if there is not so much memory, or the instance
        needs more while it runs; InvalidInput.
        """
        row = await self._databases.lock_active(tx, actor, database_id)
        require_instance(row)
        async with as_platform(tx):
            await rows.lock_additions(tx)
            known = await rows.every(tx)
            before = next(each for each in known if each.id == row.cluster_id)
            after = _resized(before, changes)
            if (granted := await plans.of_customer(tx, actor.customer_id)) is not None:
                plan.require_granted(granted, _size(after), had=_size(before))
            if (memory_mb := after.memory_mb or 0) > (before.memory_mb or 0):
                self._instances.require_memory(
                    memory_mb, (each for each in known if each.id != before.id)
                )
            self._require_connections(row, before.memory_mb, memory_mb)
            await rows.set_size(tx, row.cluster_id, after.cpus, memory_mb)
        await audit.record_on(
            tx,
            actor,
            "instance.resize",
            row,
            details=audit.differences(before, after, ("cpus", "memory_mb")),
        )
        emit(StepDone("resize", "recorded", row.cluster))
        tx.in_background(self._databases.refresh_pooler)
        if (buffers := before.wanted_parameters.get("shared_buffers")) is not None:
            plan.require_buffers(buffers, memory_mb)
        if row.wanted != "stopped":  # a suspended one was woken
            there = await self._parameters(before)
            if changes.restart and self._waits(before, after, there):
                return await self._instances.restart(tx, actor, database_id)
            if memory_mb < (before.memory_mb or 0):
                cluster = self._fleet.of(Member.of(before))
                use = await cluster.driver.usage(cluster)
                taken = 0 if use is None else use.memory_bytes
                plan.require_fits(there["shared_buffers"].value, taken, memory_mb)
        tx.after_commit(partial(self._follow, row.cluster_id))
        return None

    def _require_connections(self, row: DatabaseRow, before: int | None, after: int) -> None:
        """Raise Conflict if a smaller instance could not give its database the connections."""
        most = self._fleet.sizing_for(after).per_database
        if most < row.max_connections <= self._fleet.sizing_for(before).per_database:
            raise Conflict(
                f"With {after:,} MiB an instance has {most} connections for its database, which"
                f" may have {row.max_connections}.",
                hint="Lower its max_connections first.",
            )

    def _waits(
        self, before: ClusterRow, after: ClusterRow, there: Mapping[str, Parameter]
    ) -> list[str]:
        """Return the parameters that need a restart to follow the size, by name."""
        old = self._defaults(before.version, before.memory_mb) | before.wanted_parameters
        new = self._defaults(after.version, after.memory_mb) | after.wanted_parameters
        return [
            name
            for name, value in new.items()
            if value != old.get(name) and name in there and there[name].needs_restart
        ]

    # ── what follows ─────────────────────────────────────────────────────────

    async def reconcile(self) -> None:
        """Have the limits and the files of all instances as their rows want them."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            known = await rows.every(tx)
        with Deferred() as failures:
            for row in known:
                if row.kind == "dedicated":
                    with failures.deferred():
                        await self._adjust(row)

    async def _follow(self, cluster_id: uuid.UUID) -> None:
        emit(StepDone("configure", "committed", str(cluster_id)))
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, cluster_id)
        if row is not None:
            await self._adjust(row)

    async def _adjust(self, row: ClusterRow) -> None:
        """Have an instance in the fleet's file, its files and its limits as its row wants it."""
        member = next((each for each in self._fleet.members() if each.name == row.name), None)
        if member is None or member == member.adjusted(row):
            return
        cluster = self._fleet.of(member.adjusted(row))
        home = Home(self._settings.home)
        async with listening.changing(home, cluster):
            runs = cluster.pid() is not None
            resized = cluster.limits != member.limits
            limited = not (runs and resized) or await cluster.driver.limit(cluster, cluster.limits)
            self._fleet.adjust(row)
            emit(StepDone("configure", "listed", row.name))
            if runs:
                await self._fleet.ensure_files(cluster)
        if not limited and cluster.driver.can_limit(self._settings.home):
            raise MachineError(
                f"The kernel does not put the new limits of {row.container_name} in force now.",
                hint="Its size is recorded: they are once the instance has been restarted.",
            )

    # ── helpers ──────────────────────────────────────────────────────────────

    def _configured(self, row: ClusterRow, there: Mapping[str, Parameter]) -> Configured:
        """Return what is set of the parameters that a server has."""
        own, defaults = row.wanted_parameters, self._defaults(row.version, row.memory_mb)
        waits = {*starting.changed_names(row)}
        waits |= {each.name for each in there.values() if each.pending_restart}
        return Configured(
            [
                Setting(
                    each,
                    own.get(each.name),
                    defaults.get(each.name, each.default),
                    each.name in waits,
                )
                for each in there.values()
                if each.refusal is None
            ],
            sorted(waits),
        )

    async def _parameters(self, row: ClusterRow) -> dict[str, Parameter]:
        """Return all parameters of an instance that runs. Raises Unavailable."""
        try:
            async with connect(row.address, user=ADMIN) as admin:
                return await settable.every(admin)
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"The instance {row.container_name} does not answer.",
                hint="It is being started again; try in a few seconds.",
            ) from error

    def _defaults(self, version: int, memory_mb: int | None) -> dict[str, str]:
        """Return the parameters by which an instance of this size differs from PostgreSQL's own."""
        sizing = self._fleet.sizing_for(memory_mb)
        return parameters.shared_parameters(
            sizing, version=version, certificate="", wal_mb=self._fleet.wal_mb
        )


async def _cluster_row(tx: Tx, row: DatabaseRow) -> ClusterRow:
    found = await rows.find(tx, row.cluster_id)
    if found is None:
        raise Conflict("The instance has been deleted meanwhile.")
    return found


def _size(row: ClusterRow) -> Size:
    return Size(row.cpus, row.memory_mb or 0)


def _resized(row: ClusterRow, changes: Changes) -> ClusterRow:
    memory_mb = changes.size.get("memory_mb")
    return replace(
        row,
        cpus=changes.size.get("cpus", row.cpus),
        memory_mb=row.memory_mb if memory_mb is None else int(memory_mb),
    )
