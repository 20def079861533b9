"""How requests reach a cache: by HTTP to a site of the platform, or to a Redis without it."""

import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from tenantry_cache import requests
from tenantry_cache.requests import CacheError, Json, Request

Verify = bool | ssl.SSLContext
Embed = Callable[[str], Iterable[float]]
AsyncEmbed = Callable[[str], Iterable[float] | Awaitable[Iterable[float]]]

PREFIX = "cache:"
_REDIS = ("redis://", "rediss://", "unix://")


class Transport(Protocol):
    """What sends requests. Raises CacheError for a refusal, and if there is no answer."""

    def send(self, request: Request) -> Json: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """As ``Transport``, for asyncio."""

    async def send(self, request: Request) -> Json: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """What a client was created with, but for its URL. Those of one kind of cache only are None."""

    key: str | None = field(repr=False)
    timeout: float
    verify: Verify
    prefix: str | None
    embed: AsyncEmbed | None
    model: str | None

    def for_http(self, url: str) -> dict[str, Any]:
        """Return the options of httpx's client. Raises ValueError."""
        if self.key is None:
            raise ValueError("A site's cache needs its key: SemanticCache(url, key).")
        if not (self.prefix is None and self.embed is None and self.model is None):
            raise ValueError(
                "prefix, embed and model are for a cache in a Redis, whose URL begins with"
                " redis://, rediss:// or unix://. The platform has its own embedder."
            )
        return {
            "base_url": f"{url.rstrip('/')}/v1/caches/own",
            "headers": {"authorization": f"Bearer {self.key}"},
            "timeout": self.timeout,
            "verify": self.verify,
        }

    def require_redis(self) -> None:
        """Raise ValueError unless these are options of a cache in a Redis."""
        if self.key is not None:
            raise ValueError(
                "A cache in a Redis has no key: its password is in the URL. The key of a site is"
                " for the site's cache_url."
            )
        if self.verify is not True:
            raise ValueError(
                "verify is for a site's cache_url. Name the CA in the URL of the Redis:"
                " rediss://…?ssl_ca_certs=ca.crt"
            )
        if self.prefix == "":
            raise ValueError('The prefix is empty: other keys could be mistaken, such as "names".')
        if (self.embed is None) != (self.model is None):
            raise ValueError(
                "embed and model belong together: the name of the model, with its version, keeps"
                " its vectors apart from those of others."
            )


def opened(url: str, options: Options) -> Transport:
    """Return what sends requests to a URL. Raises ValueError, ImportError without redis-py."""
    if not url.startswith(_REDIS):
        return _Http(httpx.Client(**options.for_http(url)))
    options.require_redis()
    # Here, as it is an extra: most have a site of the platform.
    from tenantry_cache.standalone.connections import RedisTransport  # noqa: PLC0415

    return RedisTransport(url, options)


def opened_async(url: str, options: Options) -> AsyncTransport:
    """As ``opened``, for asyncio."""
    if not url.startswith(_REDIS):
        return _AsyncHttp(httpx.AsyncClient(**options.for_http(url)))
    options.require_redis()
    from tenantry_cache.standalone.connections import AsyncRedisTransport  # noqa: PLC0415

    return AsyncRedisTransport(url, options)


class _Http:
    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def send(self, request: Request) -> Json:
        try:
            answer = self.client.request(request.method, request.path, json=request.body)
        except httpx.HTTPError as error:
            raise _silent(error) from error
        return requests.read(answer.status_code, answer.content)

    def close(self) -> None:
        self.client.close()


class _AsyncHttp:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def send(self, request: Request) -> Json:
        try:
            answer = await self.client.request(request.method, request.path, json=request.body)
        except httpx.HTTPError as error:
            raise _silent(error) from error
        return requests.read(answer.status_code, answer.content)

    async def close(self) -> None:
        await self.client.aclose()


def _silent(error: httpx.HTTPError) -> CacheError:
    return CacheError(f"The cache does not answer: {str(error) or type(error).__name__}")
