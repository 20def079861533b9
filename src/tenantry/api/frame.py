"""What surrounds every request: its id, its limits, its log line, its measures."""

import re
import time

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantry.api import limits, metrics, problems
from tenantry.api.limits import Limits, Use
from tenantry.base.errors import TooManyRequests
from tenantry.base.ids import new_id

log = structlog.get_logger()

MOST_BODY_BYTES = 1024 * 1024
CLIENT_GONE = 499  # in the log and in the measures only: nobody is there to be answered
UPLOAD = b"application/octet-stream"
_UPLOADS = re.compile(r"/api/databases/[^/]+/import")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,100}")


class _BodyTooLargeError(HTTPException):
    """An HTTPException: FastAPI lets nothing else through while it reads a body."""

    def __init__(self) -> None:
        super().__init__(
            413,
            f"a body may have {MOST_BODY_BYTES:,} bytes",
            # What is still coming is not read; the connection cannot be used again.
            headers={"Connection": "close"},
        )


class Frame:
    """ASGI middleware, the outermost one: nothing inside it can fail without an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else str(new_id())
        uses: list[Use] = []
        scope.setdefault("state", {}).update(request_id=request_id, uses=uses)
        reply = _Reply(send, request_id, uses)
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            watched = _watched(receive, reply)
            limited = watched if _is_upload(scope, headers) else _limited(headers, watched)
            await self._answer(scope, limited, reply)
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            status = CLIENT_GONE if reply.gone else reply.status
            metrics.observe_request(scope["method"], route, status, seconds)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round(seconds * 1000, 1),
                address=scope["client"][0] if scope.get("client") else None,
            )

    async def _answer(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        counters: Limits = scope["app"].state.limits
        try:
            use = await counters.request(limits.address_of(scope.get("client")))
            reply.uses.append(use)
            use.check()
            await self._app(scope, receive, reply)
        except TooManyRequests as error:
            answer = problems.of_error(reply.request_id, scope["path"], error)
            await reply.instead(answer, scope, receive)
        except ClientDisconnect:  # whatever was begun for it has been undone on the way here
            reply.gone = True
        except Exception:
            log.exception("request.broke", method=scope["method"], path=scope["path"])
            answer = problems.internal_error(reply.request_id, scope["path"])
            await reply.instead(answer, scope, receive)


class _Reply:
    """``send``, with our headers added and the status remembered.

    ``gone`` tells that the client left before all of the answer was sent.
    """

    def __init__(self, send: Send, request_id: str, uses: list[Use]) -> None:
        self._send = send
        self.request_id = request_id
        self.uses = uses
        self.status = 500
        self.started = False
        self.complete = False
        self.gone = False

    async def instead(self, answer: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Send this answer, unless another one is already on its way."""
        if not self.started:
            await answer(scope, receive, self)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.request_id.encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                *(
                    (name.lower().encode(), value.encode())
                    for name, value in limits.headers(self.uses).items()
                ),
            ]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


def _watched(receive: Receive, reply: _Reply) -> Receive:
    """``receive``, which notes that the client has gone."""

    async def watched() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect" and not reply.complete:
            reply.gone = True
        return message

    return watched


def _is_upload(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether its route takes the body piece by piece, and has a limit of its own for it."""
    return headers.get(b"content-type") == UPLOAD and bool(_UPLOADS.fullmatch(scope["path"]))


def _limited(headers: dict[bytes, bytes], receive: Receive) -> Receive:
    """``receive``, which gives up on a body that is, or is announced to be, too large."""
    length = headers.get(b"content-length", b"0")
    announced = int(length) if length.isdigit() else 0
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if max(received, announced) > MOST_BODY_BYTES:
            raise _BodyTooLargeError
        return message

    return counted
