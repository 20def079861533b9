"""The service for a database's extensions.

The database itself records them: its tenant may create and drop them too. Each change is one
transaction of PostgreSQL's, so there is nothing to complete after a crash.
"""

import uuid
from dataclasses import replace

import psycopg

from tenantry.base.errors import Conflict, InvalidInput, NotFound
from tenantry.base.events import StepDone, emit
from tenantry.base.suggestions import did_you_mean
from tenantry.control import audit
from tenantry.control.audit import Actor
from tenantry.control.store import Tx
from tenantry.pg import extensions, logins
from tenantry.pg.extensions import Extension
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases

# Errors of CREATE and DROP EXTENSION that a tenant's own objects can cause.
_IN_THE_WAY = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateTable,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UniqueViolation,
)


class Extensions:
    """The service for extensions."""

    def __init__(self, clusters: ClusterPools, databases: Databases) -> None:
        self._clusters = clusters
        self._databases = databases

    async def of_database(self, actor: Actor, database_id: uuid.UUID) -> list[Extension]:
        """Return the server's extensions, and which the database has. Raises NotFound, Conflict."""
        database = await self._databases.active(actor, database_id)
        cluster = await self._clusters.cluster(database.cluster_id)
        async with logins.inside(
            cluster.address, database.database_name, [database.username]
        ) as session:
            return await extensions.every(session)

    async def add(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, name: str, schema: str
    ) -> Extension:
        """Create an extension in the main database; an existing one is left unchanged.

        Raises NotFound, InvalidInput, Conflict.
        """
        database = await self._databases.lock_there(tx, actor, database_id)
        cluster = await self._clusters.cluster(database.cluster_id)
        try:
            async with logins.inside(
                cluster.address, database.database_name, [database.username]
            ) as session:
                _check_wanted(name, await extensions.every(session))
                await extensions.create(session, name, schema=schema, tenant=database.username)
                made = next(each for each in await extensions.every(session) if each.name == name)
        except psycopg.errors.InvalidSchemaName:
            raise InvalidInput.of(
                "schema", f"there is no schema {schema} in the database"
            ) from None
        except _IN_THE_WAY as error:
            raise Conflict(
                f"PostgreSQL does not make {name} here: {error.diag.message_primary}",
                hint="Something of the database's own is in its way.",
            ) from error
        emit(StepDone("extension", "added", database.database_name))
        await audit.record_on(tx, actor, "extension.add", database, details={"extension": name})
        return made

    async def remove(self, tx: Tx, actor: Actor, database_id: uuid.UUID, name: str) -> Extension:
        """Drop an extension that nothing uses. Raises NotFound, Conflict."""
        database = await self._databases.lock_there(tx, actor, database_id)
        cluster = await self._clusters.cluster(database.cluster_id)
        try:
            async with logins.inside(
                cluster.address, database.database_name, [database.username]
            ) as session:
                there = {each.name: each for each in await extensions.every(session)}
                if name not in there or there[name].installed_version is None:
                    raise NotFound("This database has no such extension.")
                await extensions.drop(session, name, tenant=database.username)
        except _IN_THE_WAY as error:
            raise Conflict(
                f"PostgreSQL does not drop {name}: {error.diag.message_primary}",
                hint="Drop what uses it first.",
            ) from error
        emit(StepDone("extension", "removed", database.database_name))
        await audit.record_on(tx, actor, "extension.remove", database, details={"extension": name})
        return replace(there[name], installed_version=None, schema=None)


def _check_wanted(name: str, there: list[Extension]) -> None:
    found = next((each for each in there if each.name == name), None)
    if found is None:
        meant = did_you_mean(name, [each.name for each in there])
        raise InvalidInput.of(
            "name",
            f"is no extension that this server has. {meant or ''}".rstrip(),
            code="unavailable_extension",
        )
    if not found.installable and found.installed_version is None:
        raise InvalidInput.of(
            "name",
            "is not offered: PostgreSQL trusts it to superusers only, since it reaches beyond "
            "one database",
            code="refused_extension",
        )
