"""The steps that open and close a database to its API, while its row is locked.

All of them can be repeated. A crash while an API is enabled leaves a login that is not wanted,
which reconciliation drops; one while it is disabled leaves a row that says so.
"""

from collections.abc import Sequence
from functools import partial

import psycopg

from tenantry.base.errors import InvalidInput
from tenantry.base.events import StepDone, emit
from tenantry.control.databases import DatabaseRow
from tenantry.pg import api_roles, application_users, logins
from tenantry.pg.api_roles import SERVICE, Authenticator
from tenantry.pg.blockers import without_blockers
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.clusters.pools import ClusterPools

_LOCK_SECONDS = 2


async def prepare(
    clusters: ClusterPools, database: DatabaseRow, schemas: Sequence[str], *, with_users: bool
) -> None:
    """Create the functions of tokens' claims in a database, and let requests use the schemas.

    ``with_users`` also creates the tables of application users.

    Tables stay closed to ``anon`` and ``authenticated`` until their owner grants something;
    ``service_role`` reads and writes all of them. Raises InvalidInput for a schema that the tenant
    does not have, Conflict if its transactions block it.
    """
    cluster = await clusters.cluster(database.cluster_id)
    async with logins.inside(
        cluster.address, database.database_name, [database.username]
    ) as inside:
        there = await api_roles.schemas_of(inside, database.username)
        if missing := [name for name in schemas if name not in there]:
            raise InvalidInput.of(
                "schemas", f"this database has no schema {missing[0]} of its own", code="missing"
            )
        try:
            await api_roles.prepare(inside, database.username, schemas)
            if with_users:
                await application_users.prepare(inside, database.username)
        except application_users.ForeignTable as error:
            raise InvalidInput.of(
                "auth",
                f"this database has other tables of users: {error}. Rename the schema auth, or "
                "add the column",
                code="foreign_tables",
            ) from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise InvalidInput(
                f"The schema auth of this database is not its owner's: {error.diag.message_primary}"
            ) from None
    emit(StepDone("data_api", "prepared", database.database_name))
    await logins.grant(
        cluster.address,
        database.database_name,
        tenant=database.username,
        role=SERVICE,
        access="read_write",
    )
    emit(StepDone("data_api", "granted", database.database_name))


async def build(
    clusters: ClusterPools, database: DatabaseRow, username: str, wanted: Authenticator
) -> None:
    """Create the login, or restore its rights."""
    cluster = await clusters.cluster(database.cluster_id)
    async with clusters.own_connection(cluster.id) as server:
        await api_roles.create_authenticator(server, username)
    async with connect(cluster.address, user=ADMIN, lock_seconds=_LOCK_SECONDS) as admin:
        work = partial(api_roles.set_authenticator, admin, username, database.database_name, wanted)
        await without_blockers(admin, work, roles=[username], databases=[database.database_name])
    emit(StepDone("data_api", "login", username))
