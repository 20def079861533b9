"""One request and its answer, without I/O: clients send what the generator yields.

A request that was not carried out, because a limit was reached, is sent again after the time that
the API names. One whose connection was lost is sent again if that does no harm: the API carries out
a POST with the same Idempotency-Key once. So is one of which a part of the platform did not answer:
that part may have carried it out.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from tenantry_client.errors import ApiError, ConnectionFailed, OperationFailed
from tenantry_client.models import Operation

POLL_SECONDS = 0.4
_OK = 300
_CONFLICT = 409
_TOO_MANY = 429
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Request:
    """A request. A body of bytes is sent as ``media_type``, another one as JSON.

    ``repeatable`` is whether it may be sent again if it is unknown whether it was carried out.
    """

    method: str
    path: str
    query: Mapping[str, object] = field(default_factory=dict)
    body: object = None
    media_type: str | None = None
    idempotency_key: str | None = None
    repeatable: bool = False

    @property
    def target(self) -> str:
        """The path with the query; parameters that are None are left out."""
        given = {name: _written(each) for name, each in self.query.items() if each is not None}
        return f"{self.path}?{urlencode(given, doseq=True)}" if given else self.path

    @property
    def headers(self) -> dict[str, str]:
        found = {}
        if self.idempotency_key is not None:
            found["idempotency-key"] = self.idempotency_key
        if self.body is not None:
            is_file = isinstance(self.body, bytes) and self.media_type is not None
            found["content-type"] = str(self.media_type) if is_file else "application/json"
        return found

    @property
    def content(self) -> bytes | None:
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """What a client does before it goes on."""

    seconds: float


class Sender(Protocol):
    """What a client does for its operations; ``request`` makes that for the page at a cursor."""

    def send(self, request: Request) -> Response: ...

    def pages(self, request: Callable[[str | None], Request]) -> Iterator[Any]: ...


class AsyncSender(Protocol):
    """As ``Sender``, for asyncio."""

    async def send(self, request: Request) -> Response: ...

    def pages(self, request: Callable[[str | None], Request]) -> AsyncIterator[Any]: ...


Exchange = Generator[Request | Wait, Response | ConnectionFailed | None, Response]


def post(path: str, *, key: str | None, **more: Any) -> Request:
    """Return a POST with an Idempotency-Key, a new one by default."""
    key = str(uuid.uuid4()) if key is None else key
    return Request("POST", path, idempotency_key=key, repeatable=True, **more)


def exchange(
    request: Request, patience: float, now: Callable[[], float] = time.monotonic
) -> Exchange:
    """Yield requests to send and times to wait, until there is a successful answer: return that.

    The client sends the answer of each request back, or the ConnectionFailed that it ended with.
    ``patience`` is how many seconds it may take to send a request again.

    Raises ApiError and ConnectionFailed.
    """
    give_up = now() + patience
    lost: ConnectionFailed | None = None
    while True:
        reply = yield request
        if isinstance(reply, Response):
            if reply.status < _OK:
                return reply
            error = _refusal(reply)
            seconds = _pause(error, request, repeated=lost is not None)
            failure: ApiError | ConnectionFailed = error
        elif isinstance(reply, ConnectionFailed):
            can_repeat = request.repeatable if reply.sent else lost is not None
            seconds = POLL_SECONDS if can_repeat else None
            lost = reply if reply.sent else lost
            failure = lost or reply
        else:
            raise TypeError("an exchange is sent what became of the request")
        if seconds is None or now() + seconds > give_up:
            raise failure
        yield Wait(seconds)


def data(response: Response) -> Any:
    """Return the ``data`` of an answer."""
    return whole(response)["data"]


def whole(response: Response) -> Any:
    """Return the body of an answer. Raises ApiError if it is not JSON."""
    try:
        return json.loads(response.content)
    except ValueError:
        raise _refusal(response) from None


def ended(operation: Operation) -> bool:
    """Whether an operation has succeeded. Raises OperationFailed if it never will."""
    if operation["status"] in {"failed", "cancelled"}:
        raise OperationFailed(operation)
    return operation["status"] == "succeeded"


def segment(value: object) -> str:
    """Return a value as one segment of a path. Raises ValueError for one that cannot be."""
    text = str(value)
    if text in {"", ".", ".."}:
        raise ValueError(f"{text!r} is no identifier")
    return quote(text, safe="")


def _written(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _refusal(response: Response) -> ApiError:
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    after = response.headers.get("retry-after", "")
    if not isinstance(problem, dict) or "code" not in problem:
        kind = response.headers.get("content-type", "no content type")
        detail = f"The answer is not one of Tenantry's (HTTP {response.status}, {kind})."
        problem = {"code": "not_tenantry", "detail": detail, "hint": "Check the URL."}
    return ApiError(response.status, problem, float(after) if after.isdigit() else None)


def _pause(error: ApiError, request: Request, *, repeated: bool) -> float | None:
    """Return after how many seconds to send a refused request again; None for never."""
    if error.status == _TOO_MANY:
        return error.retry_after
    if error.status == _UNAVAILABLE:
        return error.retry_after if request.repeatable or request.method != "POST" else None
    still_runs = error.status == _CONFLICT and error.code == "request_in_progress"
    return POLL_SECONDS if repeated and still_runs else None
