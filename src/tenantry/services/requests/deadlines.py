"""Deadlines of connections to the API and the data API: no silent client holds one for ever.

uvicorn closes only connections that are idle after an answer. Here a request's head and a TLS
handshake must complete within a time limit, and a body being sent and an answer being read must
progress at a minimum rate.
"""

import asyncio
from asyncio.events import TimerHandle
from functools import partial
from typing import Any, cast

import structlog
import uvloop
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from tenantry.base.ids import new_id
from tenantry.base.settings import Settings
from tenantry.services.requests import problems
from tenantry.services.requests.protocol import LimitedProtocol

log = structlog.get_logger()

LEAST_RATE = 1024  # bytes per second, of a body being sent and of an answer being read


class DeadlineLoop(uvloop.Loop):
    """An event loop whose TLS servers limit the seconds that a handshake may take.

    With ``shares_port`` other processes of the same user can listen on the same port.
    """

    def __init__(self, seconds: float, *, shares_port: bool) -> None:
        super().__init__()
        self._seconds = seconds
        self._shares_port = shares_port

    async def create_server(self, *arguments: Any, **more: Any) -> Any:
        more["reuse_port"] = self._shares_port
        if more.get("ssl") is not None:
            more |= {"ssl_handshake_timeout": self._seconds, "ssl_shutdown_timeout": self._seconds}
        return await super().create_server(*arguments, **more)


class DeadlineProtocol(LimitedProtocol):
    """HTTP/1.1 with limits on what a client may send, and with deadlines.

    ``head_seconds`` is how long a request's head may take, counted from the connection or from its
    first byte. A client that for ``stall_seconds`` sends a body or reads an answer more slowly than
    ``LEAST_RATE`` is disconnected; a body that the application does not read yet does not count.
    """

    def __init__(
        self, *arguments: Any, head_seconds: float, stall_seconds: float, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self._head_seconds = head_seconds
        self._stall_seconds = stall_seconds
        self._head_timer: TimerHandle | None = None
        self._stall_timer: TimerHandle | None = None
        self._received = 0  # bytes, since the body began or the last check
        self._since = 0.0  # when that was
        self._unread = 0  # bytes of answers in our buffer at the last check
        self._drained = False  # whether writing resumed since

    # ── uvicorn's callbacks ──────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._head_timer is None and self._unanswered() is None:
            self._await_head()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._received, self._since = 0, self.loop.time()
        super().on_headers_complete()

    def resume_writing(self) -> None:
        self._drained = True
        super().resume_writing()

    # ── deadlines ────────────────────────────────────────────────────────────

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self._head_late)

    def _head_late(self) -> None:
        if self._unanswered() is None:
            self._give_up("the head of a request", self._head_seconds)

    def _look_again(self) -> None:
        self._stall_timer = self.loop.call_later(self._stall_seconds, self._look)

    def _look(self) -> None:
        """Disconnect a client without progress since the last check, or schedule the next one."""
        least = LEAST_RATE * self._stall_seconds
        unread = self.transport.get_write_buffer_size()
        if unread > 0 and 0 < self._unread < unread + least and not self._drained:
            log.info("client.stalled", what="reading an answer", address=self._address())
            self.transport.abort()
            return
        self._unread, self._drained = unread, False
        now = self.loop.time()
        if not self._owes_body():
            self._received, self._since = 0, now
        elif now - self._since >= self._stall_seconds:
            if self._received < least:
                self._give_up("the body of a request", self._stall_seconds)
            self._received, self._since = 0, now
        self._look_again()

    def _owes_body(self) -> bool:
        """Whether the next bytes have to come from the client."""
        cycle = self._unanswered()
        return (
            cycle is not None
            and cycle.more_body
            and not cycle.waiting_for_100_continue
            and not self.flow.read_paused
        )

    def _give_up(self, what: str, seconds: float) -> None:
        """Answer 408 unless an answer has begun, and close the connection."""
        if self.transport.is_closing():
            return
        log.info("client.stalled", what=f"sending {what}", address=self._address())
        cycle = self._unanswered()
        if cycle is None or not cycle.response_started:
            self.transport.write(_too_late(what, seconds))
        if cycle is not None:
            # Otherwise the application's answer would follow ours.
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _unanswered(self) -> RequestResponseCycle | None:
        """Return the request whose answer is not complete, if there is one."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def _address(self) -> str | None:
        return self.client[0] if self.client else None


def _too_late(what: str, seconds: float) -> bytes:
    """Return a complete answer with status 408."""
    problem = problems.document(
        str(new_id()),
        "/",
        status=408,
        code="request_timeout",
        title="The request took too long",
        detail=f"For {seconds:g} seconds {what} was awaited.",
        hint="Send it again on a new connection.",
    )
    return problems.last_answer(STATUS_LINE[408], problem)


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """Return the protocol class with the deadlines of the settings, in the form uvicorn expects."""
    made = partial(
        DeadlineProtocol,
        head_seconds=settings.api.head_seconds,
        stall_seconds=settings.api.stall_seconds,
    )
    return cast(type[asyncio.Protocol], made)
