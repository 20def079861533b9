"""Requests and answers of ASGI.

No framework is between: what one adds to answers, clients of PostgREST do not expect.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

from tenantry_rest.answer import Answer
from tenantry_rest.request.model import HttpRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
EMPTY = (204, 304)
PIECE = 64 * 1024  # bytes


class ClientGone(Exception):
    """The client has left before all of its request was there."""


async def receive_request(scope: Scope, receive: Receive) -> HttpRequest:
    """The request with all of its body.

    Raises:
        ClientGone: what is there of the body must not be taken for all of it.
    """
    return replace(head_of(scope), body=await receive_body(receive))


def head_of(scope: Scope) -> HttpRequest:
    """The request without its body."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return HttpRequest(
        scope["method"],
        raw.decode("latin-1"),
        scope["query_string"].decode("latin-1"),
        [(name.decode("latin-1"), _text(value)) for name, value in scope["headers"]],
    )


async def receive_body(receive: Receive) -> bytes:
    """All of a request's body. Raises ClientGone as ``receive_request`` does."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def send_answer(answer: Answer, send: Send, *, head: bool = False) -> None:
    """Send an answer; its length is said where it has a body, and not for HEAD.

    It is sent in pieces, so that this ends when the client has read nearly all of it.
    """
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
    if not head and answer.status not in EMPTY:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    started: dict[str, Any] = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": headers,
    }
    if answer.reason is not None:
        started["reason"] = answer.reason
    await send(started)
    body = b"" if head or answer.status in EMPTY else answer.body
    for start in range(0, len(body) or 1, PIECE):
        piece, more = body[start : start + PIECE], start + PIECE < len(body)
        await send({"type": "http.response.body", "body": piece, "more_body": more})
