"""The steps that create and delete a database, each idempotent, on a locked row.

A crash after any step leaves an unlocked row that says what was intended; the next reconciliation
pass repeats the steps and finds them partly done.
"""

import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, operations, plans
from tenantry.control import databases as rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import catalog, logins, names, objects, session_ending
from tenantry.pg.blockers import without_blockers
from tenantry.pg.connections import Address
from tenantry.services.databases.plan import limits_of_copy, wanted_state
from tenantry.services.pooling.service import Pooler

Server = AsyncConnection[TupleRow]

DELETE = "database.delete"


@asynccontextmanager
async def holding(
    store: ControlStore, database_id: uuid.UUID
) -> AsyncIterator[tuple[Tx, DatabaseRow | None]]:
    """Open a transaction that locks a row; the row is None if it is gone or locked elsewhere."""
    async with store.long_transaction(audit.PLATFORM) as tx:
        yield tx, await rows.lock(tx, database_id, wait=False)


async def granted_to_copy(
    tx: Tx, actor: Actor, row: DatabaseRow
) -> tuple[str, dict[str, int | None]]:
    """Return the pricing plan and the own limits of a copy of a database that ``actor`` makes."""
    of_customer = await plans.of_customer(tx, actor.customer_id)
    its = next(each for each in await plans.every(tx) if each.name == row.plan)
    return limits_of_copy(row, await rows.own_limits(tx, row.id), its, of_customer)


async def build(server: Server, address: Address, row: DatabaseRow) -> None:
    """Create the role, the database and its shadow; the role cannot log in."""
    await objects.ensure_role(server, row.username)
    emit(StepDone("prepare", "role", row.database_name))
    for name in row.database_names:
        await objects.ensure_database(server, address, name, tenant=row.username)
        emit(StepDone("prepare", "shadow" if name == row.shadow_name else "main", name))
    await objects.configure_databases(server, row.database_names, wanted_state(row))
    emit(StepDone("prepare", "limits", row.database_name))


async def limit(server: Server, row: DatabaseRow) -> None:
    """Apply the limits of a database, and those of its role if it has an owner."""

    async def work() -> None:
        await objects.configure_databases(server, row.database_names, wanted_state(row))
        if row.status == "active":
            await objects.set_connection_limit(server, row.username, row.max_connections)

    await without_blockers(server, work, roles=[row.username], databases=row.database_names)


async def rebuild_missing(server: Server, address: Address, row: DatabaseRow) -> None:
    """Create the missing role and shadow of an owned database, without entering existing ones."""
    await objects.ensure_role(server, row.username)
    for name in row.database_names:
        if await objects.database_exists(server, name):
            await objects.grant_database(server, name, tenant=row.username)
        elif name != row.database_name:
            await objects.ensure_database(server, address, name, tenant=row.username)
    await limit(server, row)


async def ensure_replaceable(
    server: Server, address: Address, row: DatabaseRow, further: Iterable[RoleRow]
) -> None:
    """Ensure that a database to be replaced exists, even if it was dropped by hand.

    The replacement takes over who may connect from it, and so from an empty one in that case.
    """
    if not await objects.database_exists(server, row.database_name):
        fresh = names.beside(row.database_name, "fresh")  # so that a crash leaves no partial one
        await objects.ensure_database(server, address, fresh, tenant=row.username)
        await objects.rename_database(server, fresh, row.database_name)
    await objects.grant_database(server, row.database_name, tenant=row.username)
    for role in further:
        if role.status == "active":
            await logins.admit(server, row.database_name, role.username, role.access)


async def close(server: Server, pooler: Pooler, row: DatabaseRow) -> None:
    """Close a database to all connections now, direct and pooled."""
    roles = await catalog.roles_of(server, row.username)
    for name in roles:
        await without_blockers(server, partial(objects.close_role, server, name), roles=[name])
    if roles:
        emit(StepDone("delete", "closed", row.database_name))
    # The pooler must not delay a deletion: without the pooler no pooled session is left, and DROP
    # ends the sessions of one that does not answer.
    with suppress(TenantryError):
        await pooler.kick_out((row.database_name, row.shadow_name))
    await session_ending.end_sessions(server, *roles)
    emit(StepDone("delete", "sessions", row.database_name))


async def drop(server: Server, pooler: Pooler, row: DatabaseRow) -> None:
    """Drop a database and everything that belongs to it from its cluster."""
    await close(server, pooler, row)
    for name in await catalog.databases_beside(server, row.database_name):
        await _drop_database(server, name)
    emit(StepDone("delete", "shadow", row.database_name))
    await _drop_database(server, row.database_name)
    emit(StepDone("delete", "main", row.database_name))
    for name in await catalog.roles_of(server, row.username):
        await without_blockers(server, partial(objects.drop_role, server, name), roles=[name])
    emit(StepDone("delete", "role", row.database_name))


async def _drop_database(server: Server, name: str) -> None:
    await without_blockers(server, partial(objects.drop_database, server, name), databases=[name])


async def forget(tx: Tx, row: DatabaseRow, actor: Actor) -> None:
    """Remove a dropped database from the control database; ``tx`` locks its row."""
    await operations.finish_of(tx, row.id, DELETE, result={"id": str(row.id), "status": "deleted"})
    if row.friendly_name is not None:
        await audit.record_on(tx, actor, "database.deleted", row)
    await rows.remove(tx, row.id)
    emit(StepDone("delete", "row", row.database_name))
