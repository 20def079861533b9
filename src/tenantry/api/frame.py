"""The middleware around every request: its id, limits, log line and metrics."""

import re
import time
from collections.abc import Sequence

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantry.api import problems
from tenantry.base.errors import TenantryError, TooManyRequests
from tenantry.base.ids import new_id
from tenantry.services.observations.requests import observe_request
from tenantry.services.requests import proxies
from tenantry.services.requests.limits import WINDOW, Limits, Use
from tenantry.services.requests.model import Call
from tenantry.services.requests.problems import of_lost_session

log = structlog.get_logger()

MOST_BODY_BYTES = 1024 * 1024
CLIENT_GONE = 499  # in the log and in metrics only: no client is left to be answered
UPLOAD = "application/octet-stream"
FOLDER = "application/x-tar"
CSV = "text/csv"
_STREAMED = {
    UPLOAD: re.compile(r"/api/databases/[^/]+/import(?:/preview)?|/databases/[^/]+/import/dump"),
    CSV: re.compile(r"(?:/api)?/databases/[^/]+/rows/csv"),
    FOLDER: re.compile(r"/api/(?:databases/[^/]+/)?migrations"),
}
# If they were repeated, two readers of the request could take different values.
_SINGLE = frozenset(
    (
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"idempotency-key",
        b"transfer-encoding",
        b"x-api-key",
        b"x-request-id",
    )
)
_READS = frozenset({"GET", "HEAD"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,100}")


class _BodyTooLargeError(HTTPException):
    """A body that is too large. FastAPI passes on no other exception while it reads a body."""

    def __init__(self) -> None:
        super().__init__(
            413,
            f"a body may have {MOST_BODY_BYTES:,} bytes",
            # The rest of the body is not read; the connection cannot be reused.
            headers={"Connection": "close"},
        )


class RepeatedHeader(TenantryError):
    """A header that may appear once was repeated."""

    code = "repeated_header"
    status = 400
    title = "A header is there twice"


def rate_limit_headers(uses: Sequence[Use]) -> dict[str, str]:
    """Return ``RateLimit-Policy`` and ``RateLimit``, an item for each policy.

    The format is that of draft-ietf-httpapi-ratelimit-headers.
    """
    if not uses:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{u.policy}";q={u.quota};w={WINDOW}' for u in uses),
        "RateLimit": ", ".join(f'"{u.policy}";r={u.left};t={u.reset}' for u in uses),
    }


class Frame:
    """The outermost ASGI middleware: whatever fails inside it gets an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        proxies.resolve(scope, scope["app"].state.trusted_proxies)
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        call = Call(
            action=_action(scope),
            request_id=given.decode() if _REQUEST_ID.fullmatch(given) else str(new_id()),
            address=proxies.address_of(scope.get("client")),
        )
        # The only place where Content-Type is read: a body without a limit here is streamed there.
        media_type = media_type_of(headers.get(b"content-type", b""))
        streamed = _is_upload(scope, media_type)
        scope.setdefault("state", {}).update(call=call, media_type=media_type, streamed=streamed)
        body = _Body(headers, receive, None if streamed else MOST_BODY_BYTES)
        reply = _Reply(send, call, body)
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=call.request_id):
            async with call.held:
                await self._answer(scope, _watched(body, reply), reply)
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            status = CLIENT_GONE if reply.gone else reply.status
            observe_request(scope["method"], route, status, seconds)
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
        call = reply.call
        try:
            call.charge(await counters.request(call.address))
            _require_single(scope)
            await self._app(scope, receive, reply)
        except (TooManyRequests, RepeatedHeader) as error:
            answer = problems.of_error(call.request_id, scope["path"], error)
            await reply.instead(answer, scope, receive)
        except ClientDisconnect:  # what the request began is already undone
            reply.gone = True
        except Exception as error:
            if (lost := of_lost_session(error)) is not None:
                log.warning("request.lost_session", path=scope["path"], exc_info=True)
                answer = problems.of_error(call.request_id, scope["path"], lost)
                if scope["method"] not in _READS:  # it may be done: nobody just repeats it
                    del answer.headers["Retry-After"]
            else:
                log.exception("request.crashed", method=scope["method"], path=scope["path"])
                answer = problems.internal_error(call.request_id, scope["path"])
            await reply.instead(answer, scope, receive)


class _Reply:
    """``send`` that adds our headers and remembers the status.

    ``gone`` is whether the client disconnected before the whole answer was sent.
    """

    def __init__(self, send: Send, call: Call, body: "_Body") -> None:
        self._send = send
        self._body = body
        self.call = call
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
            given = {name for name, _ in message["headers"]}
            closes = b"connection" in given
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.call.request_id.encode()),
                # Assets have a name for each content, and say that they may be stored.
                *([] if b"cache-control" in given else [(b"cache-control", b"no-store")]),
                (b"x-content-type-options", b"nosniff"),
                *([(b"connection", b"close")] if self._body.goes_on and not closes else []),
                *([(b"idempotency-replayed", b"true")] if self.call.replayed else []),
                *(
                    (name.lower().encode(), value.encode())
                    for name, value in rate_limit_headers(self.call.uses).items()
                ),
            ]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


def _watched(receive: Receive, reply: _Reply) -> Receive:
    """Return ``receive`` that records a client's disconnection in ``reply``."""

    async def watched() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect" and not reply.complete:
            reply.gone = True
        return message

    return watched


def _action(scope: Scope) -> str:
    """Return method and raw path, in printable characters that a text column accepts."""
    path: bytes = scope["raw_path"]
    return f"{scope['method']} {path.decode('ascii', 'replace')}"


def media_type_of(content_type: bytes) -> str:
    """Return the media type of a Content-Type, in lower case and without parameters."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


def _require_single(scope: Scope) -> None:
    """Raise RepeatedHeader if a header that may appear once is repeated."""
    names = [name for name, _ in scope["headers"] if name in _SINGLE]
    for name in names:
        if names.count(name) > 1:
            raise RepeatedHeader(
                f"{name.decode()} is there more than once.", hint="Send each of them once."
            )


def _is_upload(scope: Scope, media_type: str) -> bool:
    """Whether the route streams the body and limits it itself."""
    streamed = _STREAMED.get(media_type)
    return streamed is not None and bool(streamed.fullmatch(scope["path"]))


class _Body:
    """``receive`` that fails if a body is, or is declared to be, larger than ``most``."""

    def __init__(self, headers: dict[bytes, bytes], receive: Receive, most: int | None) -> None:
        length = headers.get(b"content-length", b"0")
        self._announced = int(length) if length.isdigit() else 0
        self._is_chunked = b"transfer-encoding" in headers
        self._receive = receive
        self._most = most
        self._received = 0
        self._ended = False

    @property
    def goes_on(self) -> bool:
        """Whether more of the body is coming than is worth reading and discarding."""
        return not self._ended and (self._is_chunked or self._announced > MOST_BODY_BYTES)

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._most is not None and max(self._received, self._announced) > self._most:
            raise _BodyTooLargeError
        return message
