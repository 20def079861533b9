"""The endpoints that obey allowlists. A further one is a class here, or beside its server."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import MachineError, TenantryError
from tenantry.base.events import RulesReloaded, RulesWritten, emit
from tenantry.host import files
from tenantry.pg import catalog, hba, names, objects, session_ending
from tenantry.pg.catalog import Session
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import (
    ADMIN,
    PLATFORM,
    PLATFORM_ROLES,
    connect,
    fetch_value,
    is_lost,
)
from tenantry.services.network import plan
from tenantry.services.network.plan import OpenSession, Rulebook
from tenantry.services.pooling.model import PooledClient
from tenantry.services.pooling.service import Pooler

log = structlog.get_logger()

_RELOAD_SECONDS = 10


S = TypeVar("S", bound=OpenSession)


class AllowlistEndpoint(Protocol[S]):
    """A network port whose server admits clients by the allowlists."""

    name: str

    async def apply(self, rulebook: Rulebook, *, unread: bool) -> None:
        """Put the rules in force for every new connection.

        ``unread``: rules that are written may not be in force. Raises MachineError if the server
        refuses them; then the old ones are restored.
        """

    async def sessions(self) -> Sequence[S]:
        """Return the open sessions that came over the network."""

    async def end(self, sessions: Sequence[S]) -> bool:
        """End these sessions; some may have ended by themselves.

        Return False if they could not be ended now, and a later attempt may succeed.
        """


class ByEdge(Protocol):
    """What passes clients on to instances by allowlists of its own."""

    def has_way_to(self, cluster: str) -> bool:
        """Whether it leads to an instance."""

    def judged(self, cluster: str, port: int, sessions: Sequence[Session]) -> list[Session]:
        """Return the sessions of an instance that its allowlists have to admit."""


class PostgresEndpoint:
    """A shared cluster's own port. While the cluster is down there are no sessions."""

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.name
        self._cluster = cluster

    async def apply(self, rulebook: Rulebook, *, unread: bool) -> None:
        rules = hba.render(hba.shared_rules(PLATFORM_ROLES, rulebook.lines()))
        await self._ensure_rules(rules, unread=unread)
        # The rules that admit by list are loaded by now: no listed client is refused in between.
        async with connect(self._cluster.address, user=PLATFORM) as server:
            await divide(server, rulebook)

    async def _ensure_rules(self, wanted: str, *, unread: bool) -> None:
        path = self._cluster.data / "pg_hba.conf"
        before = path.read_text()
        if before == wanted and not unread:
            return
        loaded = await self._load_time()
        files.write_atomically(path, wanted)
        emit(RulesWritten(self._cluster.name))
        async with connect(self._cluster.address, user=ADMIN) as admin:
            if errors := await catalog.rule_errors(admin):
                files.write_atomically(path, before)
                raise MachineError(
                    f"PostgreSQL refuses line {errors[0].line} of the rules: {errors[0].error}",
                    hint="The rules in force are as they were. Please report this.",
                )
        self._cluster.reload()
        async with asyncio.timeout(_RELOAD_SECONDS):
            # A new backend has the time of the postmaster that forked it.
            while await self._load_time() == loaded:
                pass
        emit(RulesReloaded(self._cluster.name))

    async def _load_time(self) -> object:
        async with connect(self._cluster.address, user=ADMIN) as admin:
            return await fetch_value(admin, "SELECT pg_conf_load_time()")

    async def sessions(self) -> Sequence[Session]:
        with _though_it_is_down(self.name):
            async with connect(self._cluster.address, user=PLATFORM) as server:
                return await catalog.sessions_from_addresses(server)
        return []

    async def end(self, sessions: Sequence[Session]) -> bool:
        with _though_it_is_down(self.name):
            async with connect(self._cluster.address, user=PLATFORM) as server:
                await session_ending.end_these_sessions(server, sessions)
            return True
        return False


class InstanceEndpoint(PostgresEndpoint):
    """An instance's own port. The rules of one that does not run are in force when it starts.

    Its tenant may have made it unable to serve: nobody else's allowlist waits for it. While an edge
    leads to it, its own list admits that one's address.
    """

    def __init__(self, cluster: Cluster, by_edge: ByEdge | None) -> None:
        super().__init__(cluster)
        self._by_edge = by_edge

    async def apply(self, rulebook: Rulebook, *, unread: bool) -> None:
        own = rulebook.on(self.name)
        if self._by_edge is not None and self._by_edge.has_way_to(self.name):
            own = own.through_edge()
        rules = hba.render(
            hba.instance_rules(
                PLATFORM_ROLES, own.lines(), plan.in_lines(own.closed()), own.of_others(self.name)
            )
        )
        try:
            if self._cluster.pid() is not None:
                await self._ensure_rules(rules, unread=unread)
                return
        except (TenantryError, psycopg.OperationalError, TimeoutError) as error:
            if isinstance(error, MachineError):  # it refuses the rules
                raise
            # It is starting, recovering or stopping. A postmaster that admits nobody yet reads its
            # rules at this signal, too.
            log.warning("rules.not_confirmed", cluster=self.name, error=str(error))
        with contextlib.suppress(FileNotFoundError):  # it is being deleted, or its files are lost
            files.ensure_file(self._cluster.data / "pg_hba.conf", rules)
        self._cluster.reload()

    async def sessions(self) -> Sequence[Session]:
        if self._cluster.pid() is None:
            return []
        found = await super().sessions()
        if self._by_edge is None:
            return found
        return self._by_edge.judged(self.name, self._cluster.address.port, found)


def postgres(cluster: Cluster, by_edge: ByEdge | None = None) -> PostgresEndpoint:
    """Return the endpoint of a cluster for tenants' databases."""
    if cluster.kind == "dedicated":
        return InstanceEndpoint(cluster, by_edge)
    return PostgresEndpoint(cluster)


class PoolerEndpoint:
    """The pooler's port. While the pooler is down there are no sessions."""

    name = "pooler"

    def __init__(self, pooler: Pooler) -> None:
        self._pooler = pooler

    async def apply(self, rulebook: Rulebook, *, unread: bool) -> None:
        await self._pooler.ensure_rules(plan.render_pooler_rules(rulebook), unread=unread)

    async def sessions(self) -> Sequence[PooledClient]:
        with _though_it_is_down(self.name):
            return await self._pooler.clients()
        return []

    async def end(self, sessions: Sequence[PooledClient]) -> bool:
        with _though_it_is_down(self.name):
            await self._pooler.end_clients(sessions)
            return True
        return False


async def divide(server: AsyncConnection[TupleRow], rulebook: Rulebook) -> None:
    """Make each tenant's role admitted by its list, or from everywhere if it has none.

    Others may drop roles at the same time: then it starts again, twice at most.
    """
    for last in (False, False, True):
        # The data API comes by the pooler's socket.
        tenants = {
            name for name in await catalog.tenant_roles(server) if not names.is_authenticator(name)
        }
        anywhere = await catalog.admitted_anywhere(server) & tenants
        closed = tenants.intersection(rulebook.networks)
        try:
            await objects.admit_by_list(server, sorted(anywhere & closed))
            await objects.admit_anywhere(server, sorted(tenants - closed - anywhere))
        except (psycopg.errors.UndefinedObject, psycopg.errors.InternalError_):
            if last:
                raise
        else:
            return


@contextlib.contextmanager
def _though_it_is_down(endpoint: str) -> Iterator[None]:
    """Report that a server does not answer, or ends our session: its rules are in force already."""
    try:
        yield
    except (TenantryError, psycopg.OperationalError) as error:
        if not (isinstance(error, TenantryError) or is_lost(error)):
            raise
        log.warning("sessions.check_skipped", endpoint=endpoint, error=str(error))
