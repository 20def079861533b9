"""HTTP/1.1 as uvicorn reads it, with limits on what a client may send before its body.

httptools keeps a line until it ends and uvicorn keeps every header, both without a bound and
before our code is called. Therefore the bytes are counted here, where they arrive.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tenantry.base.ids import new_id
from tenantry.services.requests import problems

MOST_LINE_BYTES = 16 * 1024  # the request target, or one header
MOST_HEAD_BYTES = 64 * 1024
MOST_HEADERS = 100

_REASONS = {400: b"Bad Request", 414: b"URI Too Long", 431: b"Request Header Fields Too Large"}


class LimitedProtocol(HttpToolsProtocol):
    """Answers 414 or 431 and closes the connection when a request's head is too large."""

    _waiting = 0  # bytes received since the parser last completed a head or a piece of a body
    _head = 0  # bytes of the target and of the complete headers
    _in_head = False
    _status = 400
    _detail = "The request cannot be read as HTTP/1.1"

    def data_received(self, data: bytes) -> None:
        self._waiting += len(data)
        super().data_received(data)
        # An unfinished line in the head, in a trailer or between chunks calls no method below.
        if self._waiting > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head += len(url)
        if len(self.url) > MOST_LINE_BYTES:
            self._status = 414
            self._detail = f"The path and query may have {MOST_LINE_BYTES:,} bytes"
            raise ValueError(self._detail)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            # uvicorn would add it to the headers of the request that is being answered.
            self._detail = "Headers after the body (trailers) are not taken"
            raise ValueError(self._detail)
        super().on_header(name, value)
        size = len(name) + len(value)
        self._head += size
        if (
            size > MOST_LINE_BYTES
            or self._head > MOST_HEAD_BYTES
            or len(self.headers) > MOST_HEADERS
        ):
            self._refuse_head()
            raise ValueError(self._detail)

    def on_headers_complete(self) -> None:
        self._waiting, self._in_head = 0, False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._waiting = 0
        super().on_body(body)

    def _refuse_head(self) -> None:
        self._status = 431
        self._detail = (
            f"A request may have {MOST_HEADERS} headers of {MOST_LINE_BYTES:,} bytes each,"
            f" and {MOST_HEAD_BYTES:,} bytes of them"
        )

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's own words)
        """Answer an unreadable request in the form of other failures, and close the connection."""
        problem = problems.unreadable(str(new_id()), self._status, self._detail)
        status_line = b"HTTP/1.1 %d %b\r\n" % (self._status, _REASONS[self._status])
        self.transport.write(problems.last_answer(status_line, problem))
        self.transport.close()
