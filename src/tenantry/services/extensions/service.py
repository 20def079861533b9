"""The service for a database's extensions.

The database itself records them: its tenant may create and drop them too. Each change is one
transaction of PostgreSQL's, so there is nothing to complete after a crash. Only those that an
instance's server has to load are recorded: see ``services/instances/extending.py``.
"""

import uuid
from dataclasses import dataclass, replace

import psycopg

from tenantry.base.errors import Conflict, InvalidInput, NotFound
from tenantry.base.events import StepDone, emit
from tenantry.base.suggestions import did_you_mean
from tenantry.control import audit
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import extensions, logins, preloading
from tenantry.pg.extensions import Extension
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.instances import extending
from tenantry.services.instances.configuring import Configuring
from tenantry.services.instances.model import Libraries
from tenantry.services.instances.service import Instances, require_instance

_SCHEMA = "public"


@dataclass(frozen=True, slots=True)
class Changed:
    """An extension that was added or removed, and the restart of its instance if one has begun."""

    extension: Extension
    operation: OperationRow | None = None


class Extensions:
    """The service for extensions."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        databases: Databases,
        instances: Instances,
        configuring: Configuring,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._instances = instances
        self._configuring = configuring

    async def of_database(self, actor: Actor, database_id: uuid.UUID) -> list[Extension]:
        """Return the server's extensions, and which the database has. Raises NotFound, Conflict."""
        database = await self._databases.active(actor, database_id)
        found = await self._every(database)
        if not database.is_instance:
            return found
        async with self._store.transaction(audit.PLATFORM) as tx:
            known = await self._configuring.libraries(tx, database)
        return [_of_instance(each, known) for each in found]

    async def _every(self, database: DatabaseRow) -> list[Extension]:
        cluster = await self._clusters.cluster(database.cluster_id)
        async with logins.inside(
            cluster.address, database.database_name, [database.username]
        ) as session:
            return await extensions.every(session)

    # ── adding ───────────────────────────────────────────────────────────────

    async def add(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        name: str,
        schema: str | None = None,
        *,
        restart: bool = False,
    ) -> Changed:
        """Create an extension in the main database; an existing one is left unchanged.

        One whose library the instance's server has to load is created once that is done: after its
        ``restart``, which begins now, or after its next one. Raises NotFound, InvalidInput,
        Conflict.
        """
        database = await self._databases.lock_there(tx, actor, database_id)
        if name in preloading.REFUSED:
            raise _refused(preloading.REFUSED[name])
        if name in preloading.ALLOWED:
            return await self._add_preloaded(tx, actor, database, name, schema, restart=restart)
        made = await self._create(database, name, schema or _SCHEMA)
        emit(StepDone("extension", "added", database.database_name))
        await audit.record_on(tx, actor, "extension.add", database, details={"extension": name})
        return Changed(made)

    async def _create(self, database: DatabaseRow, name: str, schema: str) -> Extension:
        cluster = await self._clusters.cluster(database.cluster_id)
        try:
            async with logins.inside(
                cluster.address, database.database_name, [database.username]
            ) as session:
                _check_wanted(name, await extensions.every(session))
                await extensions.create(session, name, schema=schema, tenant=database.username)
                return next(each for each in await extensions.every(session) if each.name == name)
        except psycopg.errors.InvalidSchemaName:
            raise InvalidInput.of(
                "schema", f"there is no schema {schema} in the database"
            ) from None
        except extending.IN_THE_WAY as error:
            raise Conflict(
                f"PostgreSQL does not make {name} here: {error.diag.message_primary}",
                hint="Something of the database's own is in its way.",
            ) from error

    async def _add_preloaded(
        self,
        tx: Tx,
        actor: Actor,
        database: DatabaseRow,
        name: str,
        schema: str | None,
        *,
        restart: bool,
    ) -> Changed:
        if database.kind == "shared":
            raise _refused(
                "needs an instance of its own: the whole server would load its library"
                " (POST /api/databases/{id}/move)"
            )
        require_instance(database)
        if schema not in {None, preloading.SCHEMA}:
            raise InvalidInput.of("schema", f"can only be {preloading.SCHEMA} for this one")
        _find(name, await self._every(database))
        waits = await self._configuring.preload(tx, database, name, load=True)
        if not waits:
            cluster = await self._clusters.cluster(database.cluster_id)
            await extending.create(cluster.address, database.database_names, [name])
        return await self._changed(
            tx, actor, database, name, "extension.add", restart=restart and waits
        )

    # ── removing ─────────────────────────────────────────────────────────────

    async def remove(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, name: str, *, restart: bool = False
    ) -> Changed:
        """Drop an extension that nothing uses. Raises NotFound, Conflict.

        An instance's server has its library loaded until it is restarted, which begins now with
        ``restart``.
        """
        database = await self._databases.lock_there(tx, actor, database_id)
        if database.is_instance and name in preloading.ALLOWED:
            return await self._remove_preloaded(tx, actor, database, name, restart=restart)
        cluster = await self._clusters.cluster(database.cluster_id)
        try:
            async with logins.inside(
                cluster.address, database.database_name, [database.username]
            ) as session:
                there = {each.name: each for each in await extensions.every(session)}
                if name not in there or there[name].installed_version is None:
                    raise NotFound("This database has no such extension.")
                await extensions.drop(session, name, tenant=database.username)
        except extending.IN_THE_WAY as error:
            raise Conflict(
                f"PostgreSQL does not drop {name}: {error.diag.message_primary}",
                hint="Drop what uses it first.",
            ) from error
        emit(StepDone("extension", "removed", database.database_name))
        await audit.record_on(tx, actor, "extension.remove", database, details={"extension": name})
        return Changed(replace(there[name], installed_version=None, schema=None))

    async def _remove_preloaded(
        self, tx: Tx, actor: Actor, database: DatabaseRow, name: str, *, restart: bool
    ) -> Changed:
        known = await self._configuring.libraries(tx, database)
        there = {each.name: each.installed_version for each in await self._every(database)}
        if there.get(name) is None and name not in known.own:
            raise NotFound("This database has no such extension.")
        # A process that is killed after this leaves the library, with which the next restart
        # creates the extension again: as if nothing had been asked for.
        cluster = await self._clusters.cluster(database.cluster_id)
        await extending.drop(cluster.address, database, name)
        waits = await self._configuring.preload(tx, database, name, load=False)
        return await self._changed(
            tx, actor, database, name, "extension.remove", restart=restart and waits
        )

    async def _changed(
        self,
        tx: Tx,
        actor: Actor,
        database: DatabaseRow,
        name: str,
        action: str,
        *,
        restart: bool,
    ) -> Changed:
        """Record a change on an instance, and begin its ``restart``."""
        emit(StepDone("extension", "recorded", database.database_name))
        await audit.record_on(tx, actor, action, database, details={"extension": name})
        known = await self._configuring.libraries(tx, database)
        found = _of_instance(_find(name, await self._every(database)), known)
        if not restart:
            return Changed(found)
        return Changed(found, await self._instances.restart(tx, actor, database.id))


def _of_instance(found: Extension, known: Libraries) -> Extension:
    """Return an extension as the database of an instance has it, or may have it."""
    if found.name not in preloading.ALLOWED:
        return found
    pending = known.pending(found.name)
    return replace(found, installable=True, preloads=True, pending_restart=pending)


def _find(name: str, there: list[Extension]) -> Extension:
    found = next((each for each in there if each.name == name), None)
    if found is None:
        meant = did_you_mean(name, [each.name for each in there])
        raise InvalidInput.of(
            "name",
            f"is no extension that this server has. {meant or ''}".rstrip(),
            code="unavailable_extension",
        )
    return found


def _check_wanted(name: str, there: list[Extension]) -> None:
    found = _find(name, there)
    if not found.installable and found.installed_version is None:
        raise _refused(
            "is not offered: PostgreSQL trusts it to superusers only, since it reaches beyond "
            "one database"
        )


def _refused(why: str) -> InvalidInput:
    return InvalidInput.of("name", why, code="refused_extension")
