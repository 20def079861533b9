"""The kernel's data on TCP connections of this machine (sock_diag(7)); no rights are needed."""

import ipaddress
import socket
import struct
from collections.abc import Iterator

from tenantry.base.networks import unmapped

Peer = tuple[str, int]  # the address and port of the other side

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
