"""Sessions in tenants' databases for files of SQL, and the pooled clients of these databases.

A session runs with the tenant's rights and search_path, and what it creates is the tenant's.
"""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from tenantry.base.errors import Conflict, NotFound, TenantryError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.control import audit
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import files as host_files
from tenantry.pg import names, statements, visitors
from tenantry.pg.connections import QuietConnection
from tenantry.pg.long_statements import bounded
from tenantry.services.clusters import suspending
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools, instance_stopped
from tenantry.services.migrations.ledger import Connection
from tenantry.services.migrations.model import Script
from tenantry.services.pooling.service import Pooler
from tenantry.services.tenant_migrations import plan

_PAUSE_SECONDS = 1.0  # how long a file waits for open transactions of pooled clients
_HOLD_SECONDS = 2.0  # how long pooled clients are paused
_ENTRIES = 3
_BEFORE_ENTRY_SECONDS = 0.5


class Clients:
    """The pooled clients of a database, while its tables change under their prepared statements.

    A client that waits for a table in the server would find its plan outdated; one that waits in
    the pooler gets a new server connection. So from the first file that may outdate plans they wait
    in the pooler, until the run is over. If that takes long they are resumed, and get new
    connections after each such file, as they do after one without a transaction, for which they do
    not wait.
    """

    def __init__(self, pooler: Pooler, database: str) -> None:
        self._pooler = pooler
        self._database = database
        self._hold: AsyncExitStack | None = None
        self._letting_go: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Clients":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._release()

    @asynccontextmanager
    async def around(self, script: Script) -> AsyncIterator[None]:
        # Aside: a large statement is parsed in a child process first, which takes a while.
        outdates, transactional = await statements.aside(
            lambda: (plan.may_outdate(script), script.transactional)
        )
        if outdates and transactional and self._hold is None:
            await self._catch()
        try:
            yield
        except BaseException:
            await self._release()  # clients do not wait for the next try
            raise
        finally:
            if outdates and self._hold is None:
                await self.refresh()

    async def _catch(self) -> None:
        hold = AsyncExitStack()
        ended = await hold.enter_async_context(
            self._pooler.paused(self._database, within=_PAUSE_SECONDS)
        )
        emit(StepDone("migrate", "held", self._database))
        if not ended:  # clients still in a transaction retain their server connections
            hold.push_async_callback(self.refresh)
        self._hold = hold
        self._letting_go = asyncio.create_task(self._let_go())

    async def _let_go(self) -> None:
        await asyncio.sleep(_HOLD_SECONDS)
        await self._free()

    async def _release(self) -> None:
        if self._letting_go is None:
            return
        if self._hold is not None:  # else _let_go is already resuming them
            self._letting_go.cancel()
        await self._free()
        await asyncio.gather(self._letting_go, return_exceptions=True)

    async def _free(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            await hold.aclose()

    async def refresh(self) -> None:
        """Resume the clients, with new connections."""
        with suppress(Unavailable):  # without the pooler there are no clients
            await self._pooler.renew_servers(self._database, within=_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Visits:
    """The sessions and clients that operations with tenants' files work with."""

    store: ControlStore
    clusters: ClusterPools
    fleet: Fleet
    pooler: Pooler
    home: Home

    async def database(self, database_id: uuid.UUID) -> DatabaseRow:
        """Return an active database. Raises NotFound."""
        async with self.store.transaction(audit.PLATFORM) as tx:
            found = await rows.find(tx, database_id, customer_id=None)
        if found is None or found.status != "active":
            raise NotFound("The database is gone.")
        return found

    def clients(self, database: str) -> Clients:
        """Return the pooled clients of a database."""
        return Clients(self.pooler, database)

    async def let_go(self, database_id: uuid.UUID) -> None:
        """Resume the clients of a database, if it still exists: they must not wait for ever."""
        with suppress(NotFound):
            await self.clients((await self.database(database_id)).database_name).refresh()

    @asynccontextmanager
    async def inside(
        self, operation_id: uuid.UUID, database: DatabaseRow, statement_seconds: float
    ) -> AsyncIterator[Connection]:
        """Open a session in a database, inside ``with_scratch`` of the operation.

        A suspended instance is woken. Raises Conflict if the database refuses it or its instance is
        stopped, Unavailable if the server does not answer, MachineError if it does not start,
        StatementTooLong if the session was ended for a statement of more than so many seconds.
        """
        if database.wanted == "stopped":
            raise instance_stopped(database.container_name)
        await suspending.ensure_awake(self.fleet, database.cluster)
        cluster = await self.clusters.cluster(database.cluster_id)
        name, tenant = database.database_name, database.username
        async with visitors.visitor(
            cluster.address,
            names.running(f"{operation_id.hex}_{database.id.hex[-11:]}"),
            [tenant],
            folder=self._scratch(operation_id),
            bypass_rls=False,
        ) as visitor:
            nothing = False
            try:
                async with (
                    bounded(cluster.address, visitor.name, statement_seconds),
                    await _enter(visitor, name) as conn,
                ):
                    await conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(tenant)))
                    await conn.execute('SET search_path = "$user", public')
                    yield conn
                    nothing = await _has_nothing(conn)
            finally:
                # A file may have executed RESET ROLE before it created something.
                if not nothing:
                    with suppress(psycopg.Error):
                        await visitors.leave(visitor, name, tenant)

    def _scratch(self, operation_id: uuid.UUID) -> Path:
        return self.home.scratch / str(operation_id)

    @asynccontextmanager
    async def with_scratch(self, operation_id: uuid.UUID) -> AsyncIterator[None]:
        """Create a folder for an operation's files, and remove it at the end of the block."""
        folder = self._scratch(operation_id)
        host_files.ensure_folder(folder)
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


async def _has_nothing(conn: Connection) -> bool:
    """Whether a session's visitor surely has neither objects nor rights to leave behind."""
    if conn.closed:
        return False
    await conn.execute("DISCARD ALL")  # also the role, which was the tenant's
    query = "SELECT 1 FROM pg_catalog.pg_shdepend WHERE refobjid = current_user::regrole LIMIT 1"
    return await (await conn.execute(query)).fetchone() is None


async def _enter(visitor: visitors.Visitor, database: str) -> Connection:
    """Open a session of the visitor's. Raises Conflict if the database refuses it."""
    for last in (*[False] * (_ENTRIES - 1), True):
        try:
            return await QuietConnection.connect(
                visitor.address.conninfo(user=visitor.name, dbname=database),
                passfile=str(visitor.passfile),
                application_name="tenantry migrate",
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            if last:
                raise Conflict(
                    f"The database lets nobody in: {str(error).strip()}",
                    hint="Are all its connections taken, or is it far beyond its disk quota?",
                ) from error
        await asyncio.sleep(_BEFORE_ENTRY_SECONDS)
    raise AssertionError("unreachable")


def in_words(error: TenantryError | psycopg.Error) -> TenantryError:
    """Return an error of PostgreSQL outside the files as one for users."""
    if isinstance(error, TenantryError):
        return error
    return Conflict(
        f"PostgreSQL says: {error.diag.message_primary or str(error).strip()}",
        hint="The database is as it was before the file.",
    )
