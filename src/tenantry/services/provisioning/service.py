"""The verbs on a database as its owner sees it, each with everything that it involves."""

import uuid
from dataclasses import replace
from functools import partial

from tenantry.base.errors import Conflict
from tenantry.base.secrets import SecretSource
from tenantry.control import audit
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import Tx
from tenantry.services.backups.service import Backups
from tenantry.services.blueprints.model import Chosen
from tenantry.services.blueprints.service import Blueprints
from tenantry.services.data_api.service import DataApis
from tenantry.services.databases.model import Changes, NewDatabase
from tenantry.services.databases.service import Databases
from tenantry.services.imports.model import Examined
from tenantry.services.imports.plan import Selection
from tenantry.services.imports.service import Imports
from tenantry.services.instances.configuring import Configuring
from tenantry.services.instances.service import Instances
from tenantry.services.operations.service import Operations
from tenantry.services.provisioning.model import (
    Contents,
    Deleted,
    FromBlueprint,
    FromSource,
    Provisioned,
    Updated,
)
from tenantry.services.quotas.service import Quotas
from tenantry.services.requests.service import Caller

_BLUEPRINT_SECONDS = 10.0  # one that takes longer is followed as an operation


class Provisioning:
    """The verbs on databases, as callers use them."""

    def __init__(
        self,
        databases: Databases,
        instances: Instances,
        configuring: Configuring,
        *,
        blueprints: Blueprints,
        data_apis: DataApis,
        imports: Imports,
        backups: Backups,
        quotas: Quotas,
        operations: Operations,
    ) -> None:
        self._databases = databases
        self._instances = instances
        self._configuring = configuring
        self._blueprints = blueprints
        self._data_apis = data_apis
        self._imports = imports
        self._backups = backups
        self._quotas = quotas
        self._operations = operations

    async def create(
        self, caller: Caller, wanted: NewDatabase, contents: Contents | None = None
    ) -> Provisioned:
        """Create a database with its contents; under an idempotency key, at most once.

        A blueprint has been applied when this returns, or continues after ten seconds as the
        returned operation; an import always does, and so does the creation of an instance.

        Raises as ``Databases.create``, ``Blueprints.choose``, ``Imports.examine`` and
        ``Caller.idempotent``.
        """
        ready: Chosen | Examined | None = None
        first = not await caller.is_repeated()
        if first:
            ready = await self._prepare(caller, wanted, contents)

        async def work(tx: Tx, secrets: SecretSource) -> Provisioned:
            if contents is not None and not first:
                raise Conflict("The result that was kept is gone.", hint="Send it again.")
            return await self._create(tx, caller, wanted, ready, secrets)

        made = await caller.idempotent(Provisioned, work)
        if isinstance(contents, FromBlueprint) and made.operation is not None:
            # A repeated request waits as well, and so returns the same.
            ended = await self._operations.ended(
                caller.actor, made.operation.id, seconds=_BLUEPRINT_SECONDS
            )
            made = replace(made, operation=ended)
        return made

    async def _prepare(
        self, caller: Caller, wanted: NewDatabase, contents: Contents | None
    ) -> Chosen | Examined | None:
        """Do before the transaction what may take a while.

        Raises InvalidInput for bad contents, EngineUnavailable.
        """
        ready: Chosen | Examined | None = None
        match contents:
            case FromBlueprint(reference, seeds):
                ready = await self._blueprints.choose(reference, seeds)
            case FromSource(source):
                ready = await self._imports.examine(caller.actor, source, Selection())
        if wanted.instance is not None:
            await self._instances.require_driver(wanted.instance.driver)
        else:
            async with caller.visiting():
                await self._databases.warm_pool.ensure_warm(wanted.cluster)
        return ready

    async def _create(
        self,
        tx: Tx,
        caller: Caller,
        wanted: NewDatabase,
        ready: Chosen | Examined | None,
        secrets: SecretSource,
    ) -> Provisioned:
        actor = caller.actor
        wanted = await self._databases.planned(tx, actor, wanted)
        if wanted.instance is not None:
            made, operation = await self._instances.create(
                tx, actor, wanted, wanted.instance, secrets.password()
            )
            return Provisioned(made, operation=operation)
        if isinstance(ready, Examined):
            await self._imports.check_room_for(tx, wanted, ready)
        opened = await self._databases.create(tx, actor, wanted, secrets.password())
        match ready:
            case Chosen():
                enabled = None
                if exposed := ready.exposed:
                    enabled = await self._data_apis.enable_new(
                        tx,
                        actor,
                        opened.row,
                        schemas=exposed.schemas,
                        with_users=exposed.auth,
                        source=secrets,
                    )
                given = await self._blueprints.give(
                    tx, actor, opened.row, ready, secrets.role_password
                )
                return Provisioned(opened, given.roles, given.operation, enabled)
            case Examined():
                operation = await self._imports.begin(tx, actor, opened.row.id, ready)
                return Provisioned(opened, operation=operation)
        return Provisioned(opened)

    async def update(self, caller: Caller, database_id: uuid.UUID, changes: Changes) -> Updated:
        """Change labels, limits and size. A new disk quota is in force when this returns.

        Raises as ``Databases.update`` and ``Configuring.resize``.
        """
        actor, operation = caller.actor, None
        async with caller.transaction() as tx:
            if changes.of_database or not changes.size:
                row = await self._databases.update(tx, actor, database_id, changes)
                if "plan" in changes.attributes or "disk_quota_bytes" in changes.limits:
                    tx.after_commit(partial(self._quotas.enforce_one, row))
            if changes.size:
                operation = await self._configuring.resize(tx, actor, database_id, changes)
        row = await self._databases.show(actor, database_id)
        if not changes.size or row.wanted == "stopped" or operation is not None:
            return Updated(row, operation=operation)
        return Updated(row, (await self._configuring.show(actor, database_id)).pending_restart)

    async def reconnect_pool(
        self, caller: Caller, database_id: uuid.UUID, *, end_clients: bool
    ) -> DatabaseRow:
        """Renew the server connections of pooled clients; under an idempotency key, at most once.

        With ``end_clients`` end their sessions as well. Raises NotFound, Conflict, Unavailable.
        """
        first = not await caller.is_repeated()
        row = await self._databases.active(caller.actor, database_id)
        if first:  # in no transaction: this may wait for the tenant's own
            async with caller.visiting():
                await self._databases.reconnect_pool(row, end_clients=end_clients)

        async def record(tx: Tx, _: SecretSource) -> DatabaseRow:
            details: dict[str, object] = {"end_clients": end_clients}
            await audit.record_on(tx, caller.actor, "database.pool_reconnect", row, details=details)
            return row

        return await caller.idempotent(DatabaseRow, record)

    async def delete(
        self, caller: Caller, database_id: uuid.UUID, *, keep_backups: bool = False
    ) -> Deleted:
        """Delete a database; after a second the removal continues in the background.

        Its logical backups are deleted within a minute, unless ``keep_backups``. Raises NotFound,
        Conflict.
        """
        async with caller.transaction() as tx:
            deletion = await self._databases.delete(tx, caller.actor, database_id)
            if keep_backups:
                await self._backups.keep_all(tx, database_id)
        gone = await self._databases.is_gone(database_id)
        return Deleted(database_id, deletion.operation_id, gone)
