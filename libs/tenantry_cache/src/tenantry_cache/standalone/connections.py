"""Requests to a Redis without the platform, for threads and for asyncio. Needs redis-py."""

import asyncio
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis import exceptions as failures
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from tenantry_cache.requests import CacheError, Json, Request
from tenantry_cache.standalone.cache import Standalone
from tenantry_cache.standalone.model import Commands, Embed
from tenantry_cache.transports import PREFIX, Options

log = logging.getLogger("tenantry_cache")

_EMBED_SECONDS = 2.0
_REFUSED, _FORBIDDEN, _INVALID, _UNAVAILABLE = 401, 403, 400, 503
_ENDED = (failures.ConnectionError,)  # since its last use: a slow Redis is not asked twice
_PASSING = (
    failures.OutOfMemoryError,
    failures.ReadOnlyError,
    failures.ClusterDownError,
    failures.TryAgainError,
)
_PASSING_WORDS = ("MISCONF", "NOREPLICAS", "BUSY")  # of which redis-py has no classes


class RedisTransport:
    """A cache in a Redis, for threads."""

    def __init__(self, url: str, options: Options) -> None:
        self._standalone, self._embed = _standalone(options), options.embed
        self._redis: Any = _from_url(Redis, url, options, Retry(NoBackoff(), 1, _ENDED))

    def send(self, request: Request) -> Json:
        given: Any = None
        with _failing():
            program = self._standalone.answer(request)
            while True:
                try:
                    wanted = program.send(given)
                except StopIteration as done:
                    body: Json = done.value
                    return body
                given = self._do(wanted)

    def close(self) -> None:
        self._redis.close()

    def _do(self, wanted: Commands | Embed) -> Any:
        if isinstance(wanted, Embed):
            return self._vector(wanted.text)
        with self._redis.pipeline(transaction=wanted.atomic) as pipe:
            for each in wanted.each:
                pipe.execute_command(*each)
            return pipe.execute(raise_on_error=not wanted.lenient)

    def _vector(self, text: str) -> object:
        try:
            return self._embed(text) if self._embed is not None else ()
        except Exception as error:  # the caller's function may raise anything
            _note(error)
            return ()


class AsyncRedisTransport:
    """As ``RedisTransport``, for asyncio."""

    def __init__(self, url: str, options: Options) -> None:
        self._standalone, self._embed = _standalone(options), options.embed
        self._redis: Any = _from_url(AsyncRedis, url, options, AsyncRetry(NoBackoff(), 1, _ENDED))

    async def send(self, request: Request) -> Json:
        given: Any = None
        with _failing():
            program = self._standalone.answer(request)
            while True:
                try:
                    wanted = program.send(given)
                except StopIteration as done:
                    body: Json = done.value
                    return body
                given = await self._do(wanted)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _do(self, wanted: Commands | Embed) -> Any:
        if isinstance(wanted, Embed):
            return await self._vector(wanted.text)
        async with self._redis.pipeline(transaction=wanted.atomic) as pipe:
            for each in wanted.each:
                pipe.execute_command(*each)
            return await pipe.execute(raise_on_error=not wanted.lenient)

    async def _vector(self, text: str) -> object:
        try:
            async with asyncio.timeout(_EMBED_SECONDS):
                found = self._embed(text) if self._embed is not None else ()
                return await found if inspect.isawaitable(found) else found
        except Exception as error:  # the caller's function may raise anything
            _note(error)
            return ()


def _standalone(options: Options) -> Standalone:
    prefix = options.prefix or PREFIX
    if options.model is None:
        return Standalone(prefix)
    from tenantry_cache.standalone.similar import Similar  # noqa: PLC0415 (it needs numpy)

    return Standalone(prefix, Similar(options.model))


def _from_url(kind: Any, url: str, options: Options, retry: Retry | AsyncRetry) -> Any:
    """Return a client. It connects when it is first used. Raises ValueError."""
    # As the newest redis-py has it. Older ones accept the certificate of any host.
    checks = {"ssl_check_hostname": True} if url.startswith("rediss://") else {}
    try:
        return kind.from_url(
            url,
            decode_responses=True,
            encoding_errors="backslashreplace",  # of lone surrogates
            socket_connect_timeout=options.timeout,
            socket_timeout=options.timeout,
            retry=retry,
            **checks,
        )
    except ValueError:
        # Without the chain: its message can have a part of the password.
        raise ValueError(
            "The URL of the Redis cannot be read. Write it as redis://USER:PASSWORD@HOST:PORT/0,"
            " with special characters of the password percent-encoded."
        ) from None


@contextmanager
def _failing() -> Iterator[None]:
    """Raise CacheError for what goes wrong with Redis.

    Without the chain, and of refusals without redis-py's own text, which has commands with prompts.
    """
    try:
        yield
    except (failures.AuthenticationError, failures.AuthorizationError):
        raise CacheError("The Redis refuses the user or the password.", _REFUSED) from None
    except failures.NoPermissionError:
        raise CacheError(
            "The Redis refuses these keys. Those of a site of the platform begin with site:ID:,"
            " which is its prefix.",
            _FORBIDDEN,
        ) from None
    except (failures.ConnectionError, failures.TimeoutError, OSError) as error:
        raise CacheError(f"The cache does not answer: {error}") from None
    except failures.RedisError as error:
        reason = str(error).rpartition("caused error: ")[2]
        is_passing = isinstance(error, _PASSING) or reason.startswith(_PASSING_WORDS)
        raise CacheError(
            f"The Redis refuses a command: {reason}", _UNAVAILABLE if is_passing else _INVALID
        ) from None


def _note(error: Exception) -> None:
    # Its type only: a message could have the text.
    log.warning("The embedder failed: %s.", type(error).__name__)
