"""One request to a provider for all that ask the same at the same time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog

from tenantry.base.errors import TenantryError, TooManyAtOnce, Unavailable

log = structlog.get_logger()

MOST_BYTES = 32 * 1024 * 1024  # of an answer
_GRACE_SECONDS = 1.0  # without a reader
MOST_SECONDS = 900  # until it is whole
_MOST_OF_SITE = 64  # at once
_MOST_BYTES_OF_SITE = 256 * 1024 * 1024  # of all its answers that are in memory
_BYTES_OF_CHUNK = 64  # that one takes besides its content


class Cut(Exception):
    """An answer of which some was sent already ended too early: its connection has to, too."""


class Flight:
    """A request on its way: its answer, as far as it has arrived, for any number of readers.

    When the last reader has left before the end for some time, the request is cancelled.
    """

    def __init__(self, held: "_Held") -> None:
        self._held = held
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: TenantryError | None = None
        self._changed = asyncio.Condition()
        self._readers = 0
        self.abandoned = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, work: Coroutine[Any, Any, None], then: Callable[[], None]) -> None:
        """Have ``work`` fill it; ``then`` is called when that ends, however it does."""
        self._task = asyncio.create_task(self._run(work))
        self._task.add_done_callback(lambda _: then())

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._error = Unavailable("The request to the provider was given up.")
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await work
            self._error = None
        except TenantryError as error:
            # Its frames have this flight: both would stay in memory until a cycle is looked for.
            error.__cause__ = error.__context__ = None
            self._error = error.with_traceback(None)
        except TimeoutError:
            self._error = Unavailable("The provider took too long.")
        except Exception:
            log.exception("proxy.crashed")
        finally:
            self._ended = True
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # ── its writer ───────────────────────────────────────────────────────────

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        await self._notify()

    async def add(self, chunk: bytes) -> None:
        """Add to the body. Raises Unavailable if it becomes too large."""
        self._size += len(chunk)
        if self._size > MOST_BYTES:
            raise Unavailable("The provider's answer is too large.")
        if not self._held.take(self, len(chunk)):
            raise Unavailable("The answers that the site reads at the same time are too large.")
        self._chunks.append(chunk)
        await self._notify()

    @property
    def whole(self) -> bytes:
        """What has arrived of the body."""
        return b"".join(self._chunks)

    # ── its readers ──────────────────────────────────────────────────────────

    async def started(self) -> None:
        """Wait for status and headers. Raises what became of the request, if none came."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.status or self._ended)
        if not self.status and self._error is not None:
            raise self._error

    async def _beyond(self, count: int) -> None:
        """Wait for more than so many chunks, or for the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: count < len(self._chunks) or self._ended)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises Cut if it ends too early."""
        at = 0
        self._readers += 1
        try:
            while True:
                await self._beyond(at)
                while at < len(self._chunks):
                    yield self._chunks[at]
                    at += 1
                if self._ended and at == len(self._chunks):
                    break
        finally:
            self._readers -= 1
            if self._readers == 0 and not self._ended:
                # Clients go at the last event, and the end of the answer follows that.
                asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._abandon)
        if self._error is not None:
            raise Cut from self._error

    def _abandon(self) -> None:
        if self._readers == 0 and not self._ended and self._task is not None:
            self.abandoned = True
            self._task.cancel()


class _Held:
    """How many bytes of answers are in memory for a site, until nobody reads them any more."""

    def __init__(self) -> None:
        self._sizes: WeakKeyDictionary[Flight, int] = WeakKeyDictionary()

    def take(self, flight: Flight, size: int) -> bool:
        """Count bytes of a flight. Returns whether all fit."""
        self._sizes[flight] = self._sizes.get(flight, 0) + size + _BYTES_OF_CHUNK
        return sum(self._sizes.values()) <= _MOST_BYTES_OF_SITE


class Starts:
    """How many requests of one name have started, since the first who look for its answer now."""

    count = 0


class Flights:
    """The requests of all sites that are on their way."""

    def __init__(self) -> None:
        self._found: dict[object, Flight] = {}
        self._starts: WeakValueDictionary[object, Starts] = WeakValueDictionary()
        self._of_site: dict[object, int] = {}
        self._held: WeakValueDictionary[object, _Held] = WeakValueDictionary()  # by site

    def find(self, site: object, name: str) -> Flight | None:
        """Return the one that others can join; None if there is none."""
        found = self._found.get((site, name))
        return None if found is None or found.abandoned else found

    def starts(self, site: object, name: str) -> Starts:
        """Return what counts those of a name that start while the caller holds it.

        One that starts and ends during a look-up is not found afterwards, nor its answer.
        """
        return self._starts.setdefault((site, name), Starts())

    def begin(
        self, site: object, name: str | None, work: Callable[[Flight], Coroutine[Any, Any, None]]
    ) -> Flight:
        """Begin one, which others find by its name (None: nobody does). Raises TooManyAtOnce."""
        if self._of_site.get(site, 0) >= _MOST_OF_SITE:
            raise TooManyAtOnce(
                f"The site has {_MOST_OF_SITE} requests at its providers at the same time.",
                seconds=1,
            )
        held = self._held.setdefault(site, _Held())
        flight = Flight(held)
        self._of_site[site] = self._of_site.get(site, 0) + 1
        if name is not None:
            self._found[site, name] = flight
            if (starts := self._starts.get((site, name))) is not None:
                starts.count += 1

        def ended() -> None:
            self._of_site[site] -= 1
            if not self._of_site[site]:
                del self._of_site[site]
            if name is not None and self._found.get((site, name)) is flight:
                del self._found[site, name]

        flight.begin(work(flight), ended)
        return flight
