"""The bodies of requests and answers: how large each may be, and all of somebody's together."""

from collections.abc import MutableMapping
from typing import Any

from tenantry.rest.database import later
from tenantry.rest.memory import SMALL, Memory, Share
from tenantry_rest import Answer, ApiError, HttpRequest
from tenantry_rest.asgi import Receive

MOST_BYTES = 10 * 1024 * 1024
MOST_FIELDS_BYTES = 2 * 1024 * 1024  # of CSV and forms, which take a hundred times that as fields
_FIELDS = ("text/csv", "application/x-www-form-urlencoded")
_MIB = 1024 * 1024
_CLOSE = ("Connection", "close")  # the rest of the body is not read


class Bodies:
    """The memory for bodies of requests, and that for bodies of answers."""

    def __init__(self, *, requests: int = 96 * _MIB, answers: int = 128 * _MIB) -> None:
        self.requests = Memory(requests)
        self.answers = Memory(answers)


def announced(http: HttpRequest) -> int | None:
    """Return the length of a request's body, by its head; None if it is not known before."""
    if http.header("transfer-encoding") is not None:
        return None
    length = http.header("content-length") or "0"
    return int(length) if length.isdigit() else None


def most_of(http: HttpRequest, *, has_token: bool) -> int:
    """Return how many bytes the body of a request may have."""
    if not has_token:
        return SMALL
    content = (http.header("content-type") or "").replace(" ", "").lower()
    return MOST_FIELDS_BYTES if content.startswith(_FIELDS) else MOST_BYTES


def unread(http: HttpRequest, error: ApiError) -> ApiError:
    """Return an error as the answer to a request whose body is not read."""
    length = announced(http)
    if length is None or length > SMALL:
        error.headers = [*error.headers, _CLOSE]
    return error


def bounded(http: HttpRequest, receive: Receive, share: Share, most: int) -> Receive:
    """Return ``receive`` that counts what it receives, and raises ApiError for what is too much."""
    received = 0

    async def bounded_receive() -> MutableMapping[str, Any]:
        nonlocal received
        if (announced(http) or 0) > most:
            raise _too_large(most)
        message = await receive()
        size = len(message.get("body", b""))
        received += size
        share.add(size)
        if received > most:
            raise _too_large(most)
        if received > SMALL and share.exceeds():
            much = "Too much is being sent at the same time"
            raise unread(http, later(503, "bodies_too_large", much, 1))
        return message

    return bounded_receive


def check_before_writing(http: HttpRequest, answers: Share) -> None:
    """Raise ApiError if the answer to a write might not be sent, once it is written."""
    if http.method not in {"GET", "HEAD"} and answers.exceeds():
        raise _unsent()


def count_answer(http: HttpRequest, answer: Answer, answers: Share) -> None:
    """Count an answer. Raises ApiError if it was only read, and would exceed a limit."""
    size = len(answer.body)
    if http.method in {"GET", "HEAD"} and size > SMALL and answers.exceeds(size):
        raise _unsent()
    answers.add(size)


def _unsent() -> ApiError:
    return later(503, "answers_too_large", "Too many answers are not yet read by their clients", 1)


def _too_large(most: int) -> ApiError:
    return ApiError(
        413,
        "body_too_large",
        f"A body may have {most:,} bytes: with a token {MOST_BYTES:,}, as CSV or a form "
        f"{MOST_FIELDS_BYTES:,}, and without a token {SMALL:,}",
        hint="Send the rows in several requests.",
        headers=[_CLOSE],
    )
