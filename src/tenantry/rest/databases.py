"""The databases that are served: opened when they are asked for, and closed when they are not."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog

from tenantry.base.errors import TenantryError, Unavailable
from tenantry.base.shares import NoPlace, Shares
from tenantry.rest.budget import Budget
from tenantry.rest.callers import Keys
from tenantry.rest.database import DatabaseApi
from tenantry.services.data_api.model import ServedDatabase

log = structlog.get_logger()

T = TypeVar("T")

_LOOK_SECONDS = 1.0
_CONTROL_SECONDS = 5.0  # for an answer of the control database
_OPEN_SECONDS = 15.0  # more than the control database and the keys may take together
_LEAST_SECONDS = 0.1  # between two looks, however many unknown names are asked for
_IDLE_SECONDS = 300.0
_KEYS_SECONDS = 300.0  # for which keys that were fetched are valid
_KEYS_AGAIN_SECONDS = 30.0  # after an attempt that failed


class Source(Protocol):
    """Where databases with an API are found."""

    async def markers(self) -> dict[str, str]: ...

    async def find(self, database_name: str) -> ServedDatabase | None: ...


Make = Callable[[ServedDatabase, Keys], DatabaseApi]
FetchKeys = Callable[[str], Awaitable[Keys]]


class Databases:
    """The open databases. Those whose settings change are opened again at the next request.

    While the control database does not answer, what is known is served on.
    """

    def __init__(self, source: Source, fetch_keys: FetchKeys, budget: Budget, make: Make) -> None:
        self._source = source
        self._fetch_keys = fetch_keys
        self._make = make
        self.budget = budget
        self.open: dict[str, DatabaseApi] = {}
        self._markers: dict[str, str] | None = None
        self._looked = 0.0  # when the last look began
        self._looking = asyncio.Lock()
        self._opening = Shares(each=1)
        self._retired: set[DatabaseApi] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def served(self) -> set[str]:
        """The names of all databases that have an API."""
        return set(self._markers or ())

    def is_served(self, name: str) -> bool:
        """Whether a database has an API."""
        return self._markers is not None and name in self._markers

    async def find(self, name: str) -> DatabaseApi | None:
        """Return a database's API, open; None if there is none. Raises Unavailable."""
        if not self.is_served(name):
            await self._look_after(time.monotonic())
        if self._markers is None:
            raise Unavailable("The control database does not answer.")
        if not self.is_served(name):
            return None
        if (found := self._present(name)) is None:
            try:
                async with self._opening.place(name, within=_OPEN_SECONDS):
                    found = self._present(name) or await self._open_again(name)
            except NoPlace:
                raise Unavailable("The database's data API is not opened in time.") from None
        return found

    def note_size(self, name: str, api: DatabaseApi) -> None:
        """Note a use of a database, and its size; close those that no memory is left for."""
        if api.cache_bytes == api.noted_bytes or self.open.get(name) is not api:
            self.budget.touch(name)
            return
        api.noted_bytes = api.cache_bytes
        for other in self.budget.put(name, api.cache_bytes):
            self._retire(other)

    async def keep(self) -> None:
        """Look every second which databases are served, and close those that are not used."""
        while True:
            await self._look_after(time.monotonic() - _LOOK_SECONDS / 2)
            self._close_unused()
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Close all."""
        for name in list(self.open):
            self._retire(name)
        await asyncio.gather(*(api.close() for api in self._retired))

    def _present(self, name: str) -> DatabaseApi | None:
        api = self.open.get(name)
        marker = (self._markers or {}).get(name)
        if api is None or api.served.marker != marker or time.monotonic() > api.expires:
            return None
        return api

    async def _open_again(self, name: str) -> DatabaseApi | None:
        try:
            served = await _in_time(self._source.find(name))
        except TenantryError:
            if (api := self.open.get(name)) is not None:
                return api
            raise
        before = self.open.get(name)
        keys: Keys = ()
        expires = math.inf
        if served is not None and served.jwks_url is not None:
            keys, expires = await self._keys(served.jwks_url, before)
        self._retire(name)
        if served is None:
            return None
        api = self._make(served, keys)
        api.expires = expires
        await api.open()
        self.open[name] = api
        if self._markers is not None:
            self._markers[name] = served.marker  # it may be newer than the last look
        return api

    async def _keys(self, url: str, before: DatabaseApi | None) -> tuple[Keys, float]:
        """Return the keys at a URL, and when to fetch them again; those of before if it fails."""
        try:
            return await self._fetch_keys(url), time.monotonic() + _KEYS_SECONDS
        except TenantryError as error:
            log.warning("keys.not_fetched", error=str(error))
            keys = before.keys if before is not None and before.served.jwks_url == url else ()
            return keys, time.monotonic() + _KEYS_AGAIN_SECONDS

    async def _look_after(self, since: float) -> None:
        """Read the markers by a look that began after ``since``. Requests share a look."""
        async with self._looking:
            if self._looked >= since:
                return
            await asyncio.sleep(self._looked + _LEAST_SECONDS - time.monotonic())
            began = time.monotonic()
            try:
                self._markers = await _in_time(self._source.markers())
            except TenantryError as error:
                log.warning("databases.not_read", error=str(error))
            except Exception:
                log.exception("databases.not_read")
            self._looked = began

    def _close_unused(self) -> None:
        unused = time.monotonic() - _IDLE_SECONDS
        served = self.served
        for name, api in list(self.open.items()):
            if name not in served or (not api.active and api.last_used < unused):
                self._retire(name)
        for api in [each for each in self._retired if not each.active]:
            self._retired.remove(api)
            closing = asyncio.create_task(api.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _retire(self, name: str) -> None:
        """Serve no new requests of a database by this; it is closed after its present ones."""
        self.budget.forget(name)
        if (api := self.open.pop(name, None)) is not None:
            self._retired.add(api)


async def _in_time(asked: Awaitable[T]) -> T:
    """Await the control database's answer. Raises Unavailable if it takes too long."""
    try:
        async with asyncio.timeout(_CONTROL_SECONDS):
            return await asked
    except TimeoutError:
        raise Unavailable("The control database does not answer in time.") from None
