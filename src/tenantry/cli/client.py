"""A client of the REST API: its address, its credentials, and the meaning of its answers."""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from os import environ
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from urllib3 import exceptions

from tenantry.base import local_api
from tenantry.base.errors import (
    FieldError,
    InvalidInput,
    TenantryError,
    Unauthenticated,
    Unavailable,
)
from tenantry.base.home import Home
from tenantry.cli import admin_key, session_file, transport

Row = dict[str, Any]

_ANSWER_SECONDS = 60.0
_BLOCK = 1 << 16
_PAGE = 500
_POLL_SECONDS = 0.4
_SECOND_ANSWER_SECONDS = 30.0


class NotRunning(Unavailable):
    code = "not_running"
    title = "Tenantry does not answer"


class ConnectionLost(Unavailable):
    code = "connection_lost"
    title = "The connection was lost"


class WrongFile(TenantryError):
    code = "wrong_file"
    title = "The file is not right"


class ApiError(TenantryError):
    """A refusal by the API, with its problem document (RFC 9457)."""

    def __init__(self, problem: Mapping[str, Any], retry_after: str | None = None) -> None:
        hint = problem.get("hint")
        if hint and retry_after:
            hint = str(hint).replace("as long as Retry-After says", f"{retry_after} seconds")
        super().__init__(
            str(problem.get("detail") or ""),
            hint=hint,
            fields=tuple(
                FieldError(e.get("field", ""), e.get("message", ""), e.get("code", "invalid"))
                for e in problem.get("errors") or ()
            ),
        )
        self.problem = problem


class OperationFailed(ApiError):
    """An operation failed or was cancelled."""

    code = "operation_failed"
    title = "The operation did not succeed"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list; ``more`` is whether there are further rows.

    ``about`` holds the answer's fields about the list itself.
    """

    rows: list[Row]
    more: bool
    about: Row = field(default_factory=dict)


class Api:
    """The REST API of one installation. ``seconds`` is the timeout of each answer.

    ``origin`` is where the key comes from, for errors.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        origin: str | None = None,
        seconds: float = _ANSWER_SECONDS,
    ):
        self.url = url.rstrip("/")
        self._origin = origin
        self._http = transport.connections(self.url, key, local_api.load())
        self._seconds = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()

    def get(self, path: str, **query: object) -> Any:
        """Return the ``data`` of a GET. Parameters that are None are left out."""
        return self._ask("GET", path, query=query)["data"]

    def rows(self, path: str, *, limit: int | None = None, **query: object) -> Page:
        """Return the first ``limit`` rows of a list; default: all rows."""
        found: list[Row] = []
        last = Page([], more=False)
        for last in self.pages(path, query, limit):
            found += last.rows
        return Page(found, last.more, last.about)

    def pages(
        self, path: str, query: Mapping[str, object], limit: int | None = None
    ) -> Iterator[Page]:
        """Yield the same page by page, each requested when the previous one has been consumed."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            answer = self._ask("GET", path, query={**query, "limit": size, "cursor": cursor})
            cursor = answer.get("next_cursor")
            rows = answer.pop("data")
            yield Page(rows, more=bool(cursor), about=answer)
            if not cursor:
                return
            left = None if left is None else left - len(rows)

    def post(
        self, path: str, body: Mapping[str, object] | None = None, *, repeat: bool = True
    ) -> Any:
        """Return the ``data`` of a POST.

        A lost connection leaves open whether the API has done its work, so the request is sent once
        more under the same Idempotency-Key, which makes the API repeat its answer and not its work.
        ``repeat`` is False for requests that take no such key.
        """
        key = str(uuid.uuid4())

        def send() -> Any:
            return self._ask("POST", path, body=body, headers={"Idempotency-Key": key})["data"]

        try:
            return send()
        except ConnectionLost as lost:
            if not repeat:
                raise
            return _send_again(send, lost)

    def put(self, path: str, body: Mapping[str, object]) -> Any:
        """Return the ``data`` of a PUT."""
        return self._ask("PUT", path, body=body)["data"]

    def upload(
        self,
        path: str,
        file: BinaryIO,
        *,
        media_type: str = "application/octet-stream",
        seconds: float | None = None,
        repeat: bool = True,
        **query: object,
    ) -> Any:
        """Return the ``data`` of a POST whose body is a file; ``repeat`` is as in ``post``.

        ``seconds`` is the timeout of the answer, if it differs from that of others.
        """
        headers = {
            "Idempotency-Key": str(uuid.uuid4()),
            "Content-Type": media_type,
            "Content-Length": str(file.seek(0, os.SEEK_END)),
        }

        def send() -> Any:
            file.seek(0)
            return self._ask(
                "POST", path, query=query, content=file, headers=headers, seconds=seconds
            )["data"]

        try:
            return send()
        except ConnectionLost as lost:
            if not repeat:
                raise
            return _send_again(send, lost)

    def patch(self, path: str, body: Mapping[str, object]) -> Any:
        """Return the ``data`` of a PATCH."""
        return self._ask("PATCH", path, body=body)["data"]

    def delete(self, path: str) -> Any:
        """Return the ``data`` of a DELETE."""
        return self._ask("DELETE", path)["data"]

    def text(self, path: str) -> str:
        """Return a document that is not JSON, such as the authority's certificate."""
        answer = self._send("GET", path)
        if not transport.is_success(answer):
            raise self._refusal(answer)
        return answer.data.decode(errors="replace")

    def download(
        self,
        path: str,
        target: BinaryIO,
        report: Callable[[int, int], None],
        *,
        start: int = 0,
        etag: str = "",
    ) -> None:
        """Write the body of a GET to ``target``; calls ``report`` with the bytes done and in total.

        Starts at byte ``start`` if the file still has this ``etag``; otherwise at its beginning.
        Raises ConnectionLost if the connection is lost.
        """
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": f'"{etag}"'}
        answer = self._send("GET", path, headers=headers, whole=False)
        try:
            if not transport.is_success(answer):
                raise self._refusal(answer)
            if answer.status != HTTPStatus.PARTIAL_CONTENT:
                start = 0
                target.seek(0)
                target.truncate()
            done, total = start, start + int(answer.headers.get("content-length", 0))
            for chunk in answer.stream(_BLOCK):
                target.write(chunk)
                done += len(chunk)
                report(done, total)
        except exceptions.HTTPError as error:
            raise ConnectionLost(
                f"{self.url} closed the connection during the download"
                f" ({transport.reason(error)}).",
                hint="Try again: it goes on where it was. `tenantry status` shows how the "
                "platform is.",
            ) from error
        finally:
            answer.close()

    def readiness(self) -> tuple[bool, list[Row]]:
        """Return whether every part works, and their states; ``/ready`` answers 503 if not."""
        answer = self._send("GET", "/ready")
        with contextlib.suppress(ValueError):
            said = answer.json()
            if isinstance(said, dict) and "parts" in said:
                return transport.is_success(answer), said["parts"]
        raise self._refusal(answer)

    def wait(self, operation_id: str, report: Callable[[Row], None] = lambda _: None) -> Row:
        """Wait for an operation to succeed and return it; calls ``report`` with each state.

        Raises OperationFailed if it failed or was cancelled.
        """
        path = f"/api/operations/{quote(operation_id, safe='')}"
        while True:
            operation: Row = self.get(path)
            report(operation)
            if operation["status"] == "succeeded":
                return operation
            if operation["status"] in {"failed", "cancelled"}:
                ended = {
                    "detail": f"It was {operation['status']} at step {operation['step']}.",
                    "hint": f"`tenantry operation show {operation_id}` has more about it.",
                }
                raise OperationFailed(ended | (operation["error"] or {}))
            time.sleep(_POLL_SECONDS)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        content: BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Row:
        answer = self._send(
            method, path, query=query, body=body, content=content, headers=headers, seconds=seconds
        )
        if transport.is_success(answer):
            with contextlib.suppress(ValueError):
                envelope = answer.json()
                if isinstance(envelope, dict) and "data" in envelope:
                    return envelope
        raise self._refusal(answer)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        content: BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        whole: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        asked = f"?{urlencode(given, doseq=True)}" if given else ""
        try:
            return self._http.request(
                method,
                f"{self.url}{path}{asked}",
                body=content,
                json=body,
                headers={**self._http.headers, **(headers or {})},
                redirect=False,
                preload_content=whole,
                timeout=transport.timeout(seconds or self._seconds),
            )
        except exceptions.HTTPError as error:
            if transport.is_unsent(error):
                raise NotRunning(
                    f"Nothing answers at {self.url} ({transport.reason(error)}).",
                    hint=transport.advice(error),
                ) from error
            unknown = " It may have been done all the same: look first." if method != "GET" else ""
            raise ConnectionLost(
                f"{self.url} closed the connection before it answered ({transport.reason(error)})."
                + unknown,
                hint="Try again; `tenantry status` shows how the platform is.",
            ) from error

    def _refusal(self, answer: urllib3.BaseHTTPResponse) -> TenantryError:
        """Return the error for an unsuccessful answer, also for one that is not Tenantry's."""
        with contextlib.suppress(ValueError):
            problem = answer.json()
            if isinstance(problem, dict) and "code" in problem:
                if answer.status == HTTPStatus.UNAUTHORIZED and self._origin is not None:
                    sent = f"The credential sent is that of {self._origin}."
                    problem["hint"] = " ".join(filter(None, (problem.get("hint"), sent)))
                return ApiError(problem, answer.headers.get("retry-after"))
        return NotRunning(
            f"{self.url} answers, but not as Tenantry does "
            f"(HTTP {answer.status}, {answer.headers.get('content-type', 'no content type')}).",
            hint="Another program may have its port. Check TENANTRY_URL and TENANTRY_API_PORT.",
        )


def _send_again(send: Callable[[], Any], lost: ConnectionLost) -> Any:
    """Repeat the request until it is answered: the API may be restarting or still processing it.

    Raises ``lost`` if the API stays unreachable, since the result of the first request is unknown.
    """
    give_up = time.monotonic() + _SECOND_ANSWER_SECONDS
    while True:
        try:
            return send()
        except NotRunning:
            if time.monotonic() > give_up:
                raise lost from None
        except ApiError as error:
            still_runs = error.problem.get("code") == "request_in_progress"
            if not still_runs or time.monotonic() > give_up:
                raise
        time.sleep(_POLL_SECONDS)


def address() -> str:
    """Return ``TENANTRY_URL``, or the API's address from this machine's settings.

    Raises InvalidInput if it is unusable.
    """
    url = environ.get("TENANTRY_URL", "").strip() or local_api.load().url
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput.of("TENANTRY_URL", "must look like http://host:3000 or https://host.")
    return url


def is_safe(url: str) -> bool:
    """Whether the connection is encrypted or stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or local_api.is_loopback(parts.hostname or "")


def connect() -> Api:
    """Connect to the API that the environment names, with a key or a session.

    In this order: ``TENANTRY_API_KEY``; the session of `tenantry login`, which is sent to its own
    address only; ``$TENANTRY_HOME/admin.key``, which is never sent to another machine.

    Raises InvalidInput for an unusable address, Unauthenticated if there is no key.
    """
    url = address()
    key, origin = environ.get("TENANTRY_API_KEY", "").strip(), "TENANTRY_API_KEY"
    if not key and (stored := session_file.load()) is not None and stored[0] == url:
        key, origin = stored[1], "the session of `tenantry login`"
    if not key:
        local = local_api.load()
        if url == local.url or local_api.is_loopback(urlsplit(url).hostname or ""):
            key, origin = admin_key.read(local), str(Home(local.home).admin_key)
    if not key:
        raise Unauthenticated(
            f"{url} is on another machine, and no key for it is known.",
            hint="Log in with `tenantry login`, or put a key into TENANTRY_API_KEY.",
        )
    if not key.isascii() or not key.isprintable():
        raise Unauthenticated(
            "The API key holds characters that no key has.", hint="Look at TENANTRY_API_KEY."
        )
    return Api(url, key, origin=origin)


def connect_as_user() -> Api:
    """Connect with the session of `tenantry login`, ignoring API keys, which have no password.

    Raises InvalidInput for an unusable address, Unauthenticated if no user is logged in there.
    """
    url = address()
    stored = session_file.load()
    if stored is None or stored[0] != url:
        where = "" if stored is None else f"; the session here is one of {stored[0]}"
        raise Unauthenticated(
            f"Nobody is logged in to {url}{where}.",
            hint="An API key has no password and no authenticator. Log in first: "
            "tenantry login you@example.com",
        )
    return Api(url, stored[1])
