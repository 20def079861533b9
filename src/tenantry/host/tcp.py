"""The kernel's data on TCP connections of this machine (sock_diag(7), proc(5)).

No rights are needed.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.networks import Address, unmapped

Peer = tuple[str, int]  # the address and port of the other side

# States in which nothing can come any more: TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV.
_WITHOUT_DATA = {"06", "07", "0A", "0C"}

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20
_REQUEST, _DUMP, _DONE, _ERROR = 0x1, 0x300, 3, 2
_INFO = 2  # INET_DIAG_INFO: a struct tcp_info
_ESTABLISHED = 1
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ATTRIBUTE = struct.Struct("=HH")
_MESSAGE_BYTES = 72  # inet_diag_msg
_PEER_PORT, _PEER_ADDRESS = 6, 24  # within it
_BYTES_RECEIVED = 128  # within tcp_info, since Linux 4.1
_READ_BYTES = 1 << 20
_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of this machine; ``inode`` is that of its socket on this side."""

    port: int
    peer: Peer
    inode: int


def connections() -> Iterator[Connection]:
    """Yield the connections that can still carry data."""
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, remote, state, _, _, _, _, _, inode, *_ = line.split()
            if state not in _WITHOUT_DATA:
                address, _, port = remote.partition(":")
                peer = (str(unmapped(shown_address(address))), int(port, 16))
                yield Connection(int(local.rpartition(":")[2], 16), peer, int(inode))


def shown_address(text: str) -> Address:
    """Return an address as the tables in /proc/net have it."""
    # Each word of 32 bits is written in the byte order of this machine.
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return ipaddress.ip_address(b"".join(words))


def bytes_received(port: int) -> dict[Peer, int]:
    """Return the bytes that have come in by each connection to a local port.

    Raises OSError where the kernel does not report them.
    """
    return {
        _peer(family, found): _received(found)
        for family in (socket.AF_INET, socket.AF_INET6)
        for found in _connections(family, port)
    }


def _connections(family: int, port: int) -> Iterator[bytes]:
    wanted = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 1 << (_INFO - 1), 1 << _ESTABLISHED)
    wanted += struct.pack("!H46x", port)
    header = _HEADER.pack(_HEADER.size + len(wanted), _BY_FAMILY, _REQUEST | _DUMP, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.send(header + wanted)
        while True:
            data, at = kernel.recv(_READ_BYTES), 0
            while at < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError(
                        -struct.unpack_from("=i", data, at + _HEADER.size)[0], "sock_diag"
                    )
                yield data[at + _HEADER.size : at + length]
                at += _aligned(length)


def _peer(family: int, found: bytes) -> Peer:
    (port,) = struct.unpack_from("!H", found, _PEER_PORT)
    size = 4 if family == socket.AF_INET else 16
    return _plain(found[_PEER_ADDRESS : _PEER_ADDRESS + size]), port


def _plain(address: bytes) -> str:
    """Return an IP address as text; an IPv4 address mapped into IPv6 as IPv4."""
    return str(unmapped(ipaddress.ip_address(address)))


def _received(found: bytes) -> int:
    at = _MESSAGE_BYTES
    while at < len(found):
        length, kind = _ATTRIBUTE.unpack_from(found, at)
        if kind == _INFO:
            return int(struct.unpack_from("=Q", found, at + _ATTRIBUTE.size + _BYTES_RECEIVED)[0])
        at += _aligned(length)
    return 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3
