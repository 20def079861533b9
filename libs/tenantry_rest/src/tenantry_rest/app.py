"""The API of one database, as an application of ASGI."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from tenantry_rest.answer import Answer
from tenantry_rest.asgi import ClientGone, Receive, Scope, Send, receive_request, send_answer
from tenantry_rest.catalog.loading import load_config, load_schema
from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError
from tenantry_rest.serving import State, respond

log = logging.getLogger(__name__)
LONGEST_WAIT = 32  # seconds between two attempts to read the schema cache
PREPARE_AFTER = 0  # executions of a statement


async def _without_notifications(connection: AsyncConnection[Any]) -> None:
    # psycopg would hold each until somebody asks for it, and a function may LISTEN.
    connection.add_notify_handler(lambda _: None)


class Application:
    """Serves one database: its pool, its schema cache, and the notifications to read it again."""

    def __init__(self, config: Config) -> None:
        self._given = config
        self.state = State.of(config, None)
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reload = asyncio.Event()
        self._reads_config = True

    async def start(self) -> None:
        """Open the pool, and read the schema cache once; failing that, try again later."""
        config = self._given
        self._pool = AsyncConnectionPool(
            config.db_uri,
            min_size=0,
            max_size=config.db_pool,
            timeout=config.db_pool_acquisition_timeout,
            max_idle=config.db_pool_max_idletime,
            max_lifetime=config.db_pool_max_lifetime,
            kwargs={
                "autocommit": True,
                "prepare_threshold": PREPARE_AFTER if config.db_prepared_statements else None,
                "client_encoding": "utf8",
            },
            configure=_without_notifications,
            open=False,
        )
        await self._pool.open()
        if not await self._load():
            self._reload.set()
        self._tasks = [asyncio.create_task(self._keep_loaded())]
        if config.db_channel_enabled:
            self._tasks.append(asyncio.create_task(self._listen()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()

    def reload_schema(self) -> None:
        """Read the schema cache again soon."""
        self._reload.set()

    def reload_config(self, config: Config | None = None) -> None:
        """Read the settings in the database again soon, over these others."""
        self._given = config or self._given
        self._reads_config = True
        self._reload.set()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        if self._pool is None:
            raise psycopg.OperationalError("The pool is not open.")
        async with self._pool.connection() as connection:
            yield connection

    async def _load(self) -> bool:
        config = self.state.config
        try:
            async with self.connection() as connection:
                if self._reads_config:
                    config = await load_config(connection, self._given)
                schema = await load_schema(connection, config)
        except (psycopg.Error, ApiError) as error:
            log.warning("The schema cache could not be read: %s", error)
            return False
        self._reads_config = False
        self.state = State.of(config, schema)
        return True

    async def _keep_loaded(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            wait = 1
            while not await self._load():
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)

    async def _listen(self) -> None:
        channel = psycopg.sql.Identifier(self._given.db_channel)
        wait = 1
        while True:
            try:
                connection = await AsyncConnection.connect(self._given.db_uri, autocommit=True)
                async with connection:
                    await connection.execute(psycopg.sql.SQL("LISTEN {}").format(channel))
                    if wait > 1:
                        self.reload_schema()  # what was notified meanwhile is not known
                    wait = 1
                    async for notify in connection.notifies():
                        self._notified(notify.payload)
            except psycopg.Error as error:
                log.warning("Not listening for notifications: %s", error)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _notified(self, payload: str) -> None:
        if payload in {"", "reload schema"}:
            self.reload_schema()
        elif payload == "reload config":
            self.reload_config()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                http = await receive_request(scope, receive)
            except ClientGone:
                return
            answer = await respond(http, self.state, self.connection)
            await send_answer(answer, send, head=http.method == "HEAD")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


class Admin:
    """Whether the application lives and is ready, and what its schema cache holds."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        http = await receive_request(scope, receive)
        await send_answer(self._answer(http.path), send, head=http.method == "HEAD")

    def _answer(self, path: str) -> Answer:
        ready = self._application.state.schema is not None
        if path == "/live":
            return Answer(200)
        if path == "/ready":
            return Answer(200 if ready else 503)
        return Answer(404)
