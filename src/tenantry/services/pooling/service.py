"""Runs the pooler, controls it through its console, and reports its state."""

import asyncio
import contextlib
import os
import re
import resource
import signal
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql

from tenantry.base.errors import MachineError, Unavailable
from tenantry.base.events import (
    PoolerFilesWritten,
    PoolerRulesReloaded,
    PoolerRulesWritten,
    PoolerStarted,
    PoolerUsersWritten,
    emit,
)
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.control import audit
from tenantry.control.store import ControlStore
from tenantry.host import commands, files, processes
from tenantry.pg.connections import CONNECT_SECONDS, Address
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.pooling import plan
from tenantry.services.pooling.console import Console, open_console
from tenantry.services.pooling.lines import Lines
from tenantry.services.pooling.model import PoolCounters, PooledClient, PoolerState, PoolUse

_KILL_CLIENT_FROM = (1, 24)
_RESERVE_OF_ROLES_FROM = (1, 24)
_MOST_CLIENTS = 10_000
_START_SECONDS = 10
_START_POLL_SECONDS = 0.02
_LOGIN_SECONDS = 0.01  # a login to a server takes about as long
_MIB = 1024 * 1024
_CLIENT_BYTES = 64 * 1024  # of memory, with TLS, that an idle client takes
_OTHER_FILES = 200  # descriptors that are neither clients nor servers


# Large blocks are returned to the system as soon as they are free (mallopt(3)).
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
_LEAST_SECONDS = 0.1  # for one command of the console


class Pooler:
    """The PgBouncer of an installation. Its process outlives ours."""

    def __init__(self, settings: Settings, fleet: Fleet) -> None:
        self._home = Home(settings.home)
        self._folder = self._home.pooler
        self._socket_dir = self._home.run / "pooler"
        self._port = settings.pool.port
        self._pid_file = self._home.run / "pooler.pid"
        self._fleet = fleet
        self.lines = Lines(self._home, self._folder)
        self._packet_bytes = settings.pool.packet_mb * _MIB
        self._memory_bytes = settings.pool.memory_mb * _MIB

    @property
    def address(self) -> Address:
        """The Unix socket by which the platform's own processes reach it."""
        return Address(self._socket_dir, self._port)

    # ── the process ──────────────────────────────────────────────────────────

    def pid(self) -> int | None:
        """Return the pooler's pid, if it runs."""
        pid = processes.read_pid(self._pid_file)
        return pid if processes.started_by(pid, "pgbouncer", self._folder) else None

    def memory(self) -> int | None:
        """Return the bytes of memory that the process takes, if it runs."""
        pid = self.pid()
        return None if pid is None else processes.memory(pid)

    def memory_limit(self, clients: int) -> int:
        """Return the most that it may take with so many clients (see ``pooling.memory``)."""
        return self._memory_bytes + clients * _CLIENT_BYTES

    @property
    def budgets(self) -> dict[str, int]:
        """The server connections that all pools of a cluster may hold together, by its name."""
        return {each.name: self._fleet.sizing_of(each).pooled for each in self._fleet.of_tenants}

    @property
    def _whole_budget(self) -> int:
        return sum(self.budgets.values())

    def _max_clients(self) -> int:
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(
            100,
            min(_MOST_CLIENTS, most_files - self._whole_budget - _OTHER_FILES),
        )

    def ensure_files(self) -> bool:
        """Write files that differ; a running pooler reloads them. Return whether any did."""
        config = plan.PoolerConfig(
            folder=self._folder,
            socket_dir=self._socket_dir,
            log_file=self._home.logs / "pooler.log",
            pid_file=self._pid_file,
            port=self._port,
            backend=self._fleet.first.address,
            certificate=self._home.certificate,
            max_clients=self._max_clients(),
            packet_bytes=self._packet_bytes,
        )
        with files.until_read(self._home.run / "pooler.unread") as unread:
            changed = files.ensure_file(self._folder / "pgbouncer.ini", plan.render_config(config))
            changed |= self.lines.ensure_files()
            if (changed or unread) and (pid := self.pid()) is not None:
                os.kill(pid, signal.SIGHUP)
                emit(PoolerFilesWritten("pgbouncer"))
        return changed

    async def ensure_running(self, program: Path) -> bool:
        """Write PgBouncer's files, and start it if it is down. Return whether it was started."""
        files.ensure_folder(self._socket_dir)
        self.ensure_files()
        if self.pid() is not None:
            return False
        self._pid_file.unlink(missing_ok=True)
        # Each client and each server is a descriptor; the soft limit is usually 1,024.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        try:
            await commands.run(
                [program, "--daemon", "--quiet", self._folder / "pgbouncer.ini"],
                env=_ALLOCATION,
                deadline=15,
            )
            await self._answering()
        except (MachineError, Unavailable) as error:
            log = self._home.logs / "pooler.log"
            raise MachineError(
                f"The pooler did not start. {error.detail}\n{files.last_words(log)}",
                hint=f"Its log is {log}.",
            ) from error
        emit(PoolerStarted("pgbouncer"))
        return True

    async def _answering(self) -> None:
        # The program we ran has forked and ended; the daemon that it left does not report
        # when it is ready.
        clock = asyncio.get_running_loop().time
        deadline = clock() + _START_SECONDS
        while True:
            try:
                async with self.console() as console:
                    await console.show("VERSION")
                    return
            except Unavailable:
                if clock() > deadline:
                    raise
                await asyncio.sleep(_START_POLL_SECONDS)

    async def stop(self) -> None:
        """Stop PgBouncer; each client is ended after its transaction, or after 10 seconds."""
        # Not SIGTERM: since 1.23 that waits until the clients disconnect by themselves.
        if (pid := self.pid()) is not None:
            await processes.stop(pid, signal_number=signal.SIGINT, deadline=10)

    # ── the console ──────────────────────────────────────────────────────────

    def console(self) -> AbstractAsyncContextManager[Console]:
        """Open PgBouncer's console. Raises as ``open_console``."""
        return open_console(self._socket_dir, self._port)

    async def learn_password(self, username: str, password: Secret) -> None:
        """Log in with a new password, so that clients that used the old one can continue.

        PgBouncer opens a pool's server connections with the SCRAM keys of the last login to it, and
        the old keys are no longer valid. Without any client there is no pool.

        Raises Unavailable if the pooler refuses the login.
        """
        async with self.console() as console:
            pools = [row for row in await console.show("POOLS") if row["user"] == username]
        for pool in pools:
            try:
                session = await AsyncConnection.connect(
                    host=str(self._socket_dir),
                    port=self._port,
                    user=username,
                    password=password.reveal(),
                    dbname=pool["database"],
                    connect_timeout=CONNECT_SECONDS,
                )
            except psycopg.OperationalError as error:
                raise Unavailable(f"The pooler does not take the new password: {error}") from error
            await session.close()

    async def reload(self) -> None:
        """Make PgBouncer reload its files, its certificate too. Clients are not affected."""
        async with self.console() as console:
            await console.run("RELOAD")

    async def ensure_rules(self, text: str, *, unread: bool) -> None:
        """Write this HBA file if it differs, and put it in force for new clients.

        ``unread``: the present file may not be in force.
        """
        changed = files.ensure_file(self._folder / "hba.conf", text)
        if (changed or unread) and self.pid() is not None:
            emit(PoolerRulesWritten("hba.conf"))
            await self.reload()
            emit(PoolerRulesReloaded("hba.conf"))

    async def clients(self) -> list[PooledClient]:
        """Return the clients that are logged in from an address.

        Not those that still wait for their login: the rules apply to them. PgBouncer shows them as
        clients of the database in which it looks up their passwords.
        """
        async with self.console() as console:
            return [
                PooledClient(int(row["id"]), row["database"], row["user"], row["addr"])
                for row in await console.show("CLIENTS")
                if row["addr"] != "unix" and not plan.is_platforms(row["database"])
            ]

    async def end_clients(self, clients: Sequence[PooledClient]) -> None:
        """End the sessions of these clients."""
        if not clients:
            return
        async with self.console() as console:
            if await self._version(console) >= _KILL_CLIENT_FROM:
                for client in clients:
                    # It may have disconnected meanwhile.
                    with contextlib.suppress(psycopg.DatabaseError):
                        await console.run(sql.SQL("KILL_CLIENT {}").format(sql.SQL(str(client.id))))
                return
        # Without that command all clients of the database are ended; admitted ones reconnect.
        await self.kick_out({client.database for client in clients})

    async def end_clients_of(self, usernames: Collection[str]) -> None:
        """End the sessions of all clients of these roles."""
        await self.end_clients(
            [each for each in await self.clients() if each.username in usernames]
        )

    async def _version(self, console: Console) -> tuple[int, ...]:
        version = (await console.show("VERSION"))[0]["version"]
        return tuple(int(part) for part in re.findall(r"\d+", version)[:3])

    async def kick_out(self, databases: Iterable[str]) -> None:
        """End every pooled session of these databases, of clients and of servers.

        New clients must already be refused by the cluster, or they reconnect at once.
        """
        async with self.console() as console:
            for name in databases:
                # The pooler does not know a database to which no client has connected.
                with contextlib.suppress(psycopg.DatabaseError):
                    await console.run(sql.SQL("KILL {}").format(sql.Identifier(name)))
                    await console.run(sql.SQL("RESUME {}").format(sql.Identifier(name)))

    @contextlib.asynccontextmanager
    async def paused(self, database: str, *, within: float) -> AsyncIterator[bool]:
        """Make the queries of a database's clients wait until the end of the block.

        The block begins when all their transactions have ended, or after ``within`` seconds; its
        value is whether they have. Without a pooler, or a client of the database, nobody waits.
        """
        try:
            yield await self.pause(database, within=within)
        finally:
            await self.resume(database)

    async def pause(self, database: str, *, within: float) -> bool:
        """Make the queries of a database's clients wait, as ``paused`` does, until ``resume``."""
        # PgBouncer continues to pause after its console was cut off.
        with contextlib.suppress(Unavailable, psycopg.DatabaseError):
            until = time.monotonic() + within
            async with self.console() as console:
                await self._await_logins(console, database, within=within)
                left = max(_LEAST_SECONDS, until - time.monotonic())
                await console.run(sql.SQL("PAUSE {}").format(sql.Identifier(database)), within=left)
                return True
        return False

    @contextlib.asynccontextmanager
    async def all_paused(self, *, within: float) -> AsyncIterator[bool]:
        """Make the queries of all clients wait until the end of the block; else as ``paused``."""
        ended = False
        with contextlib.suppress(Unavailable, psycopg.DatabaseError):
            until = time.monotonic() + within
            async with self.console() as console:
                await self._await_logins(console, None, within=within)
                left = max(_LEAST_SECONDS, until - time.monotonic())
                await console.run("PAUSE", within=left)
                ended = True
        try:
            yield ended
        finally:
            await self.resume_all()

    async def resume_all(self) -> None:
        """Let all clients continue, if they were paused together."""
        with contextlib.suppress(Unavailable, psycopg.DatabaseError):
            async with self.console() as console:
                await console.run("RESUME")

    @staticmethod
    async def _await_logins(console: Console, database: str | None, *, within: float) -> None:
        """Wait until no server connection of a database, or of any, is being opened.

        PAUSE would close it, and PgBouncer reports a failure to the clients that wait for it.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            pools = [
                row
                for row in await console.show("POOLS")
                if database is None or row["database"] == database
            ]
            if not any(int(row["sv_login"]) for row in pools):
                return
            await asyncio.sleep(_LOGIN_SECONDS)

    async def resume(self, database: str) -> None:
        """Let the clients of a database continue. Does nothing if it is not paused."""
        with contextlib.suppress(Unavailable, psycopg.DatabaseError):
            async with self.console() as console:
                await console.run(sql.SQL("RESUME {}").format(sql.Identifier(database)))

    async def renew_servers(self, database: str, *, within: float) -> None:
        """Replace the server connections that the clients of a database use from now on.

        The plans prepared on the old ones are for outdated tables. A client whose transaction is
        open after ``within`` seconds retains its old one until it ends; in session mode each client
        retains its own until it disconnects.

        Raises Unavailable if the pooler does not answer.
        """
        # RECONNECT would close one that is just being opened, and report a failure to its clients.
        # While the database is paused, none is.
        async with self.paused(database, within=within):
            # PgBouncer does not know a database to which no client has connected.
            with contextlib.suppress(psycopg.DatabaseError):
                async with self.console() as console:
                    await console.run(sql.SQL("RECONNECT {}").format(sql.Identifier(database)))

    async def state(self) -> PoolerState:
        """Return what the console reports of pools, clients and servers.

        Raises Unavailable if the pooler does not answer.
        """
        async with self.console() as console:
            version = (await console.show("VERSION"))[0]["version"]
            pool_size = await size_in_force(console)
            lists = {row["list"]: row["items"] for row in await console.show("LISTS")}
            pools = [
                PoolUse(
                    database=row["database"],
                    username=row["user"],
                    clients_active=row["cl_active"],
                    clients_waiting=row["cl_waiting"],
                    servers_active=row["sv_active"] + row["sv_used"] + row["sv_tested"],
                    servers_idle=row["sv_idle"],
                    longest_wait_seconds=row["maxwait"] + row["maxwait_us"] / 1e6,
                )
                for row in await console.show("POOLS")
                if not plan.is_platforms(row["database"])
            ]
            stats = [
                PoolCounters(
                    database=row["database"],
                    transactions=int(row["total_xact_count"]),
                    queries=int(row["total_query_count"]),
                    bytes_received=int(row["total_received"]),
                    bytes_sent=int(row["total_sent"]),
                    average_transaction_seconds=int(row["avg_xact_time"]) / 1e6,
                    average_query_seconds=int(row["avg_query_time"]) / 1e6,
                    average_wait_seconds=int(row["avg_wait_time"]) / 1e6,
                    query_seconds=int(row["total_query_time"]) / 1e6,
                    wait_seconds=int(row["total_wait_time"]) / 1e6,
                )
                for row in await console.show("STATS")
                if not plan.is_platforms(row["database"])
            ]
        return PoolerState(
            version=version,
            pool_size=pool_size,
            budget=self._whole_budget,
            clients=lists["used_clients"],
            servers=lists["used_servers"],
            memory_bytes=self.memory() or 0,
            memory_limit_bytes=self.memory_limit(lists["used_clients"] + lists["login_clients"]),
            pools=pools,
            stats=stats,
        )

    # ── lines of databases and roles ─────────────────────────────────────────

    async def refresh(self, store: ControlStore) -> bool:
        """Write the lines of databases and roles, and reload them. Return whether any changed."""
        reserves = await self._takes_reserves()
        async with store.long_transaction(audit.PLATFORM) as tx:
            texts = await self.lines.wanted(tx, self._fleet.of_tenants, reserves=reserves)
            with files.until_read(self._home.run / "pooler-users.unread") as unread:
                changed = False
                for path, text in texts.items():
                    if files.ensure_file(path, text):
                        changed = True
                        emit(PoolerUsersWritten(path.name))
                if changed or unread:
                    await self.reload()
        return changed

    async def _takes_reserves(self) -> bool:
        """Whether the running pooler supports reserves of roles."""
        try:
            async with self.console() as console:
                return await self._version(console) >= _RESERVE_OF_ROLES_FROM
        except Unavailable:
            return False  # it is asked again once it runs


async def size_in_force(console: Console) -> int:
    """Return the size up to which each pool may grow now."""
    config = {row["key"]: row["value"] for row in await console.show("CONFIG")}
    return int(config["default_pool_size"])
