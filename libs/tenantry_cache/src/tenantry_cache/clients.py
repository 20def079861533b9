"""The clients, one for threads and one for asyncio, with the same methods."""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, Self

from tenantry_cache import requests, transports, vectors
from tenantry_cache.requests import CacheError, Found, Json, Message, Request
from tenantry_cache.transports import AsyncEmbed, Embed, Options, Verify
from tenantry_cache.vectors import AsyncVectorCollection, VectorCollection

P = ParamSpec("P")

TIMEOUT = 5.0  # seconds; a cache that takes longer is of no use


class SemanticCache:
    """A client of one site's cache, or a cache in a Redis without the platform.

    ``ttl`` is how many seconds answers live, if ``store`` does not say, ``timeout`` how many a
    request may take.

    Of a site, ``url`` is its ``cache_url`` and ``key`` its ``api_key``. ``verify`` is as httpx's:
    an SSLContext with the platform's CA if its certificate is its own.

    Of a Redis, ``url`` begins with redis://, rediss:// or unix://, and all keys with ``prefix``.
    ``embed`` returns the vector of a text, and ``model`` names what computes it: then questions
    that mean the same are found, too. Raises ImportError if the package for it is not installed.

    A cache that does not answer is as one with nothing in it: ``check`` returns None then, and
    ``store`` stores nothing. Other methods raise CacheError.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        ttl: float | None = None,
        timeout: float = TIMEOUT,
        verify: Verify = True,
        prefix: str | None = None,
        embed: Embed | None = None,
        model: str | None = None,
    ) -> None:
        self._ttl = ttl
        options = Options(key, timeout, verify, prefix, embed, model)
        self._transport = transports.opened(url, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def check(
        self,
        prompt: str,
        *,
        attributes: Mapping[str, str] | None = None,
        scope: Json | None = None,
    ) -> Found | None:
        """Return the stored answer to a prompt; None if there is none.

        ``attributes`` and ``scope`` have to be those that it was stored with: ``scope`` is all
        that an answer depends on beside the prompt, such as the user, the model and earlier turns.
        """
        with _tolerated():
            return requests.found_in(self._send(requests.search(prompt, attributes, scope)))
        return None

    def store(
        self,
        prompt: str,
        response: str,
        *,
        ttl: float | None = None,
        sliding: bool = False,
        attributes: Mapping[str, str] | None = None,
        scope: Json | None = None,
    ) -> str | None:
        """Store an answer, and return its entry's id; None if the cache does not answer.

        A ``sliding`` answer lives ``ttl`` seconds from its last use.
        """
        request = requests.store(
            prompt,
            response,
            ttl=self._ttl if ttl is None else ttl,
            sliding=sliding,
            attributes=attributes,
            scope=scope,
        )
        with _tolerated():
            return str(self._send(request)["entryId"])
        return None

    def delete(self, entry_id: str) -> bool:
        """Delete an entry. Returns whether there was one."""
        return self._done(requests.delete(entry_id))

    def delete_with(self, attributes: Mapping[str, str]) -> int:
        """Delete the entries with all of these attributes. Returns how many there were."""
        return int(self._send(requests.delete_with(attributes))["deletedEntriesCount"])

    def judge(self, entry_id: str, *, correct: bool) -> bool:
        """Report whether an answer was right; a wrong one is deleted. Returns if it was there."""
        return self._done(requests.judge(entry_id, correct=correct))

    def flush(self) -> None:
        """Delete all entries and embeddings."""
        self._send(requests.FLUSH)

    def stats(self) -> Json:
        return self._send(requests.STATS)

    def append(self, session: str, messages: Sequence[Message], *, ttl: float | None = None) -> int:
        """Add turns to a conversation. Returns how many it has."""
        return int(self._send(requests.append(session, messages, ttl))["count"])

    def messages(self, session: str, *, max_tokens: int | None = None) -> list[Message]:
        """Return the last turns of a conversation that have so many tokens together."""
        return requests.messages_in(self._send(requests.window(session, max_tokens)))

    def forget(self, session: str) -> bool:
        """Delete a conversation. Returns whether there was one."""
        return self._done(requests.forget(session))

    def vectors(self, collection: str) -> VectorCollection:
        """Return a collection of vectors. Its first items create it."""
        return VectorCollection(collection, self._send)

    def collections(self) -> list[str]:
        """Return the names of the collections of vectors."""
        return vectors.names_in(self._send(vectors.LIST))

    def cached(self, function: Callable[P, str]) -> Callable[P, str]:
        """Return a function that asks the cache first. Its first argument is the prompt.

        Its further arguments are the scope.
        """

        @functools.wraps(function)
        def asked(*args: P.args, **kwargs: P.kwargs) -> str:
            prompt, scope = requests.prompt_and_scope(function, args, kwargs)
            if (found := self.check(prompt, scope=scope)) is not None:
                return found.response
            response = function(*args, **kwargs)
            self.store(prompt, response, scope=scope)
            return response

        return asked

    def _send(self, request: Request) -> Json:
        return self._transport.send(request)

    def _done(self, request: Request) -> bool:
        try:
            self._send(request)
        except CacheError as error:
            return requests.was_there(error)
        return True


class AsyncSemanticCache:
    """As ``SemanticCache``, for asyncio. ``embed`` may be a coroutine function."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        ttl: float | None = None,
        timeout: float = TIMEOUT,
        verify: Verify = True,
        prefix: str | None = None,
        embed: AsyncEmbed | None = None,
        model: str | None = None,
    ) -> None:
        self._ttl = ttl
        options = Options(key, timeout, verify, prefix, embed, model)
        self._transport = transports.opened_async(url, options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def check(
        self,
        prompt: str,
        *,
        attributes: Mapping[str, str] | None = None,
        scope: Json | None = None,
    ) -> Found | None:
        with _tolerated():
            return requests.found_in(await self._send(requests.search(prompt, attributes, scope)))
        return None

    async def store(
        self,
        prompt: str,
        response: str,
        *,
        ttl: float | None = None,
        sliding: bool = False,
        attributes: Mapping[str, str] | None = None,
        scope: Json | None = None,
    ) -> str | None:
        request = requests.store(
            prompt,
            response,
            ttl=self._ttl if ttl is None else ttl,
            sliding=sliding,
            attributes=attributes,
            scope=scope,
        )
        with _tolerated():
            return str((await self._send(request))["entryId"])
        return None

    async def delete(self, entry_id: str) -> bool:
        return await self._done(requests.delete(entry_id))

    async def delete_with(self, attributes: Mapping[str, str]) -> int:
        return int((await self._send(requests.delete_with(attributes)))["deletedEntriesCount"])

    async def judge(self, entry_id: str, *, correct: bool) -> bool:
        return await self._done(requests.judge(entry_id, correct=correct))

    async def flush(self) -> None:
        await self._send(requests.FLUSH)

    async def stats(self) -> Json:
        return await self._send(requests.STATS)

    async def append(
        self, session: str, messages: Sequence[Message], *, ttl: float | None = None
    ) -> int:
        return int((await self._send(requests.append(session, messages, ttl)))["count"])

    async def messages(self, session: str, *, max_tokens: int | None = None) -> list[Message]:
        return requests.messages_in(await self._send(requests.window(session, max_tokens)))

    async def forget(self, session: str) -> bool:
        return await self._done(requests.forget(session))

    def vectors(self, collection: str) -> AsyncVectorCollection:
        return AsyncVectorCollection(collection, self._send)

    async def collections(self) -> list[str]:
        return vectors.names_in(await self._send(vectors.LIST))

    def cached(self, function: Callable[P, Awaitable[str]]) -> Callable[P, Awaitable[str]]:
        @functools.wraps(function)
        async def asked(*args: P.args, **kwargs: P.kwargs) -> str:
            prompt, scope = requests.prompt_and_scope(function, args, kwargs)
            if (found := await self.check(prompt, scope=scope)) is not None:
                return found.response
            response = await function(*args, **kwargs)
            await self.store(prompt, response, scope=scope)
            return response

        return asked

    async def _send(self, request: Request) -> Json:
        return await self._transport.send(request)

    async def _done(self, request: Request) -> bool:
        try:
            await self._send(request)
        except CacheError as error:
            return requests.was_there(error)
        return True


class _tolerated(suppress):  # noqa: N801 (as contextlib's)
    """Suppress what passes: a cache that does not answer, or is busy."""

    def __init__(self) -> None:
        super().__init__(CacheError)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, CacheError) and error.temporary
