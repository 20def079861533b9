"""The memory that bodies of requests may take, each and together."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from tenantry.rest.database import later
from tenantry_rest import ApiError
from tenantry_rest.asgi import Receive, Scope

MOST_BYTES = 10 * 1024 * 1024
MOST_TOGETHER = 64 * 1024 * 1024


class Bodies:
    """Counts the bytes of all bodies that are being received or processed."""

    def __init__(self, *, most: int = MOST_BYTES, together: int = MOST_TOGETHER) -> None:
        self._most = most
        self._together = together
        self._held = 0

    @asynccontextmanager
    async def bounded(self, scope: Scope, receive: Receive) -> AsyncIterator[Receive]:
        """Yield ``receive`` that raises ApiError for what is too large.

        The bytes count until the end of the block.
        """
        announced = next(
            (value for name, value in scope["headers"] if name == b"content-length"), b"0"
        )
        received = 0

        async def bounded_receive() -> MutableMapping[str, Any]:
            nonlocal received
            if announced.isdigit() and int(announced) > self._most:
                raise self._too_large()
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self._held += size
            if received > self._most:
                raise self._too_large()
            if self._held > self._together:
                raise later(503, "bodies_too_large", "Too much is being sent at the same time", 1)
            return message

        try:
            yield bounded_receive
        finally:
            self._held -= received

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            "body_too_large",
            f"A body may have {self._most:,} bytes",
            hint="Send the rows in several requests.",
            headers=[("Connection", "close")],  # the rest of the body is not read
        )
