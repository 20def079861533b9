"""The packets before a session, as clients send them and as they do not."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.pg import startup
from tenantry.pg.startup import Packet, Request


class Stream:
    """What a client has sent, of which exactly as many bytes are received as are asked for."""

    def __init__(self, sent: bytes) -> None:
        self.left = sent

    async def receive(self, size: int) -> bytes:
        assert size >= 0
        if size > len(self.left):
            raise EOFError
        found, self.left = self.left[:size], self.left[size:]
        return found


def packet(code: int, content: bytes = b"") -> bytes:
    return struct.pack("!II", 8 + len(content), code) + content


@pytest.mark.parametrize(
    ("code", "content", "asked"),
    [
        (196608, b"user\0ann\0\0", Request.SESSION),
        (196610, b"user\0ann\0\0", Request.SESSION),
        (80877103, b"", Request.TLS),
        (80877104, b"", Request.GSS),
        (80877102, bytes(8), Request.CANCEL),
    ],
)
@given(more=st.binary(max_size=50))
async def test_a_packet_is_read_and_nothing_after_it(
    code: int, content: bytes, asked: Request, more: bytes
) -> None:
    stream = Stream(packet(code, content) + more)
    found = await startup.read(stream.receive)
    assert (found.asks, found.sent) == (asked, packet(code, content))
    assert stream.left == more


@given(st.integers(0, 20_000))
async def test_a_packet_is_as_long_as_postgresql_lets_it_be(size: int) -> None:
    stream = Stream(packet(196608, bytes(size)))
    if size <= 9996:
        assert (await startup.read(stream.receive)).asks is Request.SESSION
        return
    with pytest.raises(ValueError, match="no packet"):
        await startup.read(stream.receive)
    assert len(stream.left) == size


@pytest.mark.parametrize(
    "sent",
    [
        packet(80877103, b"1234"),
        packet(131072),
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!II", 4, 196608),
    ],
)
async def test_other_protocols_are_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"packet|content"):
        await startup.read(Stream(sent).receive)


@given(st.binary(max_size=20_000))
async def test_no_more_than_a_packet_is_ever_read(sent: bytes) -> None:
    stream = Stream(sent)
    with suppress(EOFError, ValueError):
        await startup.read(stream.receive)
    assert len(sent) - len(stream.left) <= 10_004


def test_a_refusal_has_the_fields_of_an_error_response() -> None:
    sent = startup.refusal("57P03", "the instance é is stopped", "Start it.")
    kind, length = struct.unpack("!cI", sent[:5])
    assert kind == b"E"
    assert length == len(sent) - 1
    *fields, last, end = sent[5:].split(b"\0")
    assert [last, end] == [b"", b""]
    assert {field[:1].decode(): field[1:].decode() for field in fields} == {
        "S": "FATAL",
        "V": "FATAL",
        "C": "57P03",
        "M": "the instance é is stopped",
        "H": "Start it.",
    }


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"user\0ann\0database\0shop\0\0", {"user": "ann", "database": "shop"}),
        (b"user\0ann\0user\0bob\0\0", {"user": "bob"}),
        (b"options\0\0user\0ann\0\0", {"options": "", "user": "ann"}),
        (b"\0", {}),
    ],
)
def test_parameters_are_pairs_of_texts(content: bytes, found: dict[str, str]) -> None:
    assert Packet(Request.SESSION, packet(196608, content)).parameters() == found


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"user\0ann\0",
        b"user\0ann",
        b"user\0\0",
        b"\0ann\0\0",
        b"user\0ann\0\0more",
        b"a\0\xff\0\0",
    ],
)
def test_other_parameters_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of two classes)
        Packet(Request.SESSION, packet(196608, content)).parameters()


def test_a_name_is_cut_off_where_postgresql_cuts_it_off() -> None:
    def of(name: str) -> str:
        content = b"user\0" + name.encode() + b"\0\0"
        return Packet(Request.SESSION, packet(196608, content)).username()

    assert of("ann") == "ann"
    assert of("a" * 63 + "b") == "a" * 63  # whose allowlist it has
    assert of("a" * 62 + "é") == "a" * 62
    assert Packet(Request.SESSION, packet(196608, b"\0")).username() == ""


class Client:
    """What a client is sent."""

    def __init__(self) -> None:
        self.received = b""

    def write(self, data: bytes, /) -> None:
        self.received += data

    async def drain(self) -> None:
        pass


SASL = b"R\0\0\0\x0c" + struct.pack("!I", 10) + b"abcd"
ADMITTED = b"R\0\0\0\x08" + bytes(4)


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (SASL + ADMITTED, b"Z\0\0\0\x05I"),
        (SASL + startup.refusal("28P01", "no", "-"), b""),
        (ADMITTED, b""),
    ],
)
async def test_a_servers_messages_are_passed_on_until_it_has_admitted_a_client(
    said: bytes, more: bytes
) -> None:
    server, client = Stream(said + more), Client()
    await startup.until_admitted(server.receive, client)
    assert (client.received, server.left) == (said, more)
    with pytest.raises(EOFError):
        await startup.until_admitted(Stream(SASL).receive, client)
