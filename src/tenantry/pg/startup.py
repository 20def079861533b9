"""The packets that a client sends before it is authenticated, and a refusal to let it in.

PostgreSQL's manual, section "Message Formats"; the limit is that of the server's postmaster.c.
"""

import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

CANNOT_CONNECT_NOW = "57P03"  # libpq then tries the next of several hosts
NOT_AUTHORIZED = "28000"
TOO_MANY_CONNECTIONS = "53300"

_HEAD = struct.Struct("!II")  # the length of the whole packet, and its code
_MESSAGE = struct.Struct("!cI")  # its kind, and its length without that
_ADMITTED = bytes(4)  # AuthenticationOk
_MOST_BYTES = 10_000  # MAX_STARTUP_PACKET_LENGTH, which does not count the length's own four


class Request(Enum):
    """What a packet asks for."""

    SESSION = auto()
    TLS = auto()
    GSS = auto()
    CANCEL = auto()


_CODES: Mapping[int, Request] = {
    80877102: Request.CANCEL,
    80877103: Request.TLS,
    80877104: Request.GSS,
}
_NAME_BYTES = 63  # NAMEDATALEN - 1
_VERSION = 3  # of the protocol; its minor version is in the lower two bytes of the code


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that a client has sent, as it came."""

    asks: Request
    sent: bytes

    def parameters(self) -> dict[str, str]:
        """Return the parameters of a session; of two of a name the last, as PostgreSQL has it.

        Raises ValueError for others than pairs of texts that end with an empty one.
        """
        *words, last, end = self.sent[_HEAD.size :].split(b"\0")
        if last or end or len(words) % 2:
            raise ValueError("These are no parameters of a session.")
        texts = [each.decode() for each in words]
        if "" in texts[::2]:
            raise ValueError("A parameter has no name.")
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def username(self) -> str:
        """Return the role that a session is asked for, cut off where PostgreSQL cuts a name off.

        Raises as ``parameters``.
        """
        return self.parameters().get("user", "").encode()[:_NAME_BYTES].decode(errors="ignore")


async def read(receive: Callable[[int], Awaitable[bytes]]) -> Packet:
    """Read one packet, and not a byte more: ``receive`` returns exactly as many as it is asked for.

    So what was sent unencrypted after a request for TLS is never taken for encrypted. Raises
    ValueError for what is no such packet.
    """
    head = await receive(_HEAD.size)
    length, code = _HEAD.unpack(head)
    rest = length - _HEAD.size
    asked = Request.SESSION if code >> 16 == _VERSION else _CODES.get(code)
    if asked is None or rest < 0 or length - 4 > _MOST_BYTES:
        raise ValueError("This is no packet that begins a session.")
    if rest and asked in {Request.TLS, Request.GSS}:
        raise ValueError("A request for encryption has no content.")
    # All of it: a connection that is closed with unread bytes loses its answer.
    return Packet(asked, head + await receive(rest))


class Sink(Protocol):
    """What takes bytes, as asyncio's StreamWriter does."""

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...


async def until_admitted(receive: Callable[[int], Awaitable[bytes]], sink: Sink) -> None:
    """Pass a server's messages on until it has admitted the client, or refuses it.

    ``receive`` is as for ``read``.
    """
    while True:
        kind, length = _MESSAGE.unpack(head := await receive(_MESSAGE.size))
        content = await receive(length - 4)
        sink.write(head + content)
        await sink.drain()
        if kind == b"E" or (kind == b"R" and content == _ADMITTED):
            return


def refusal(sqlstate: str, message: str, hint: str) -> bytes:
    """Return a fatal ErrorResponse, after which the server closes the connection."""
    fields = {"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": message, "H": hint}
    content = b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0"
    return b"E" + struct.pack("!I", 4 + len(content)) + content
