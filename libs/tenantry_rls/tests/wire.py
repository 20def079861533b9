"""What a client and PostgreSQL say to each other, counted on the way."""

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

READY = ord("Z")  # PostgreSQL's last message of an answer: so many of them, so many round trips


class Wire:
    """Passes on what is said through it; ``round_trips`` counts the answers."""

    def __init__(self, listener: socket.socket, server: Path) -> None:
        self.round_trips = 0
        self._listener = listener
        self._server = server

    def during(self, once: Callable[[], object]) -> tuple[int, object]:
        """The round trips of a call, and what it gave."""
        before = self.round_trips
        given = once()
        return self.round_trips - before, given

    async def during_async(self, once: Callable[[], Awaitable[object]]) -> tuple[int, object]:
        """The same."""
        before = self.round_trips
        given = await once()
        return self.round_trips - before, given

    def serve(self) -> None:
        """Take connections until the listener is shut."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                for pump in (self._ask, self._answer):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    @staticmethod
    def _ask(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := client.recv(65536):
                server.sendall(said)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        rest = b""
        with client, server, suppress(OSError):
            while said := server.recv(65536):
                rest += said
                while len(rest) > 4 and len(rest) >= (size := 1 + int.from_bytes(rest[1:5])):
                    self.round_trips += rest[0] == READY
                    rest = rest[size:]
                client.sendall(said)
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire(folder: Path, server: Path, port: int = 7000) -> Iterator[Wire]:
    """A server on a Unix socket in ``folder``, as libpq names it for ``port``."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / f".s.PGSQL.{port}"))
        listener.listen()
        here = Wire(listener, server)
        threading.Thread(target=here.serve, daemon=True).start()
        yield here
        listener.shutdown(socket.SHUT_RDWR)
