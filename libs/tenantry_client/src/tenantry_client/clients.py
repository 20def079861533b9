"""The clients, one for threads and one for asyncio, with the same operations."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import httpx

from tenantry_client import async_operations, exchange, operations
from tenantry_client.errors import ConnectionFailed
from tenantry_client.exchange import POLL_SECONDS, Request, Response, Wait
from tenantry_client.models import Operation

TIMEOUT = 60.0  # seconds
PATIENCE = 60.0  # seconds
Verify = bool | ssl.SSLContext
Report = Callable[[Operation], None]


class Client(operations.Api):
    """A client of one installation's API, for threads.

    ``url`` and ``key`` are by default TENANTRY_URL and TENANTRY_API_KEY. ``timeout`` is how many
    seconds an answer may take, ``patience`` how many it may take to repeat a request that was not
    carried out. ``verify`` is as httpx's: an SSLContext with the platform's CA if its certificate
    is its own.

    Each group of operations is an attribute: ``client.databases.create({"name": "shop"})``. They
    return the ``data`` of the answer, and raise ApiError or ConnectionFailed.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        verify: Verify = True,
    ) -> None:
        self._patience = patience
        self._http = httpx.Client(**_options(url, key, timeout, verify))
        super().__init__(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def wait(self, operation_id: str, report: Report = lambda _: None) -> Operation:
        """Wait for an operation to succeed and return it; call ``report`` with each state.

        Raises OperationFailed if it failed or was cancelled.
        """
        while True:
            operation = self.operations.show(operation_id)
            report(operation)
            if exchange.ended(operation):
                return operation
            time.sleep(POLL_SECONDS)

    def send(self, request: Request) -> Response:
        """Send a request, again where that helps, and return its successful answer."""
        steps = exchange.exchange(request, self._patience)
        reply: Response | ConnectionFailed | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as stop:
                answer: Response = stop.value
                return answer
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                reply = None
                continue
            try:
                reply = _response(self._http.request(**_arguments(step)))
            except httpx.HTTPError as error:
                reply = _failed(error)

    def pages(self, request: Callable[[str | None], Request]) -> Iterator[Any]:
        """Yield the rows of all pages; each is requested when those before it are consumed."""
        cursor: str | None = None
        while True:
            page = exchange.whole(self.send(request(cursor)))
            yield from page["data"]
            if (cursor := page.get("next_cursor")) is None:
                return


class AsyncClient(async_operations.Api):
    """As ``Client``, for asyncio."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        verify: Verify = True,
    ) -> None:
        self._patience = patience
        self._http = httpx.AsyncClient(**_options(url, key, timeout, verify))
        super().__init__(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def wait(self, operation_id: str, report: Report = lambda _: None) -> Operation:
        while True:
            operation = await self.operations.show(operation_id)
            report(operation)
            if exchange.ended(operation):
                return operation
            await asyncio.sleep(POLL_SECONDS)

    async def send(self, request: Request) -> Response:
        steps = exchange.exchange(request, self._patience)
        reply: Response | ConnectionFailed | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as stop:
                answer: Response = stop.value
                return answer
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                reply = None
                continue
            try:
                reply = _response(await self._http.request(**_arguments(step)))
            except httpx.HTTPError as error:
                reply = _failed(error)

    async def pages(self, request: Callable[[str | None], Request]) -> AsyncIterator[Any]:
        cursor: str | None = None
        while True:
            page = exchange.whole(await self.send(request(cursor)))
            for row in page["data"]:
                yield row
            if (cursor := page.get("next_cursor")) is None:
                return


def _options(url: str | None, key: str | None, timeout: float, verify: Verify) -> dict[str, Any]:
    url = url or os.environ.get("TENANTRY_URL")
    key = key or os.environ.get("TENANTRY_API_KEY")
    if not url or not key:
        raise ValueError("a client takes a url and a key, or TENANTRY_URL and TENANTRY_API_KEY")
    return {
        "base_url": url.rstrip("/"),
        "headers": {"x-api-key": key},
        "timeout": timeout,
        "verify": verify,
    }


def _arguments(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.target,
        "headers": request.headers,
        "content": request.content,
    }


def _response(answer: httpx.Response) -> Response:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, answer.content)


def _failed(error: httpx.HTTPError) -> ConnectionFailed:
    unsent = isinstance(
        error,
        httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol,
    )
    reason = str(error) or type(error).__name__
    if unsent:
        return ConnectionFailed(f"Nothing answers: {reason}. Check the URL.", sent=False)
    unknown = "It may have been carried out: look before you repeat it."
    return ConnectionFailed(f"The connection was lost: {reason}. {unknown}", sent=True)
