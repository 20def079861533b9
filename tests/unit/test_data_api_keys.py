"""Public keys that customers' services publish: only cheap ones, and only short answers."""

import base64
import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tenantry.base.errors import Unavailable
from tenantry.rest import keys
from tenantry.rest.callers import Keys

EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}


def _encoded(number: int) -> str:
    content = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _rsa(bits: int, exponent: int = 65537, **more: object) -> dict[str, object]:
    modulus = (1 << bits) - 1
    return {"kty": "RSA", "n": _encoded(modulus), "e": _encoded(exponent), **more}


def _parsed(*given: object) -> Keys:
    return keys.parse_keys(json.dumps({"keys": given}).encode())


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_usual_keys_are_used(bits: int) -> None:
    key = _rsa(bits)
    assert _parsed(key) == [key]


@pytest.mark.parametrize(
    "key",
    [
        _rsa(2047),
        _rsa(4097),
        _rsa(16384),
        _rsa(2048, (1 << 32) + 1),
        _rsa(3072, (1 << 3071) + 1),
        {**_rsa(2048), "n": 5},
        {"kty": "RSA", "e": "AQAB"},
        {**EC, "d": EC["x"]},
        {**EC, "kid": ["a"]},
        {**EC, "kty": []},
    ],
)
def test_costly_keys_and_private_ones_are_not_used(key: dict[str, object]) -> None:
    assert _parsed(key, EC) == [EC]


def test_a_set_has_few_keys_and_is_not_deep() -> None:
    assert len(_parsed(*[EC] * 20)) == 20
    with pytest.raises(ValueError, match="more than 20 keys"):
        _parsed(*[EC] * 21)
    with pytest.raises(ValueError, match="nested too deeply"):
        keys.parse_keys(b"[" * 200_000)


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


@pytest.mark.parametrize(
    ("content", "headers", "reason"),
    [
        (gzip.compress(b'{"keys": []}', mtime=0), {"content-encoding": "gzip"}, "it is compressed"),
        (b" " * 300_000, {}, "more than 262,144 bytes"),
    ],
)
async def test_an_answer_is_short_and_not_decompressed(
    monkeypatch: pytest.MonkeyPatch, content: bytes, headers: dict[str, str], reason: str
) -> None:
    asked: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, headers=headers, stream=_Pieces(content))

    async def resolve(_host: str, _port: int) -> str:
        return "192.0.2.1"

    client = httpx.AsyncClient

    def replaced(**_: object) -> httpx.AsyncClient:
        return client(transport=httpx.MockTransport(answer))

    monkeypatch.setattr(keys, "public_address", resolve)
    monkeypatch.setattr(httpx, "AsyncClient", replaced)
    with pytest.raises(Unavailable, match=reason):
        await keys.fetch_keys("https://keys.example/jwks.json")
    assert asked[0].headers["accept-encoding"] == "identity"
