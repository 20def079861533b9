"""The keys that a database's tokens are verified with, if another service signs them."""

import asyncio
import base64
import json

import httpx

from tenantry.base.errors import Unavailable
from tenantry.rest.callers import Keys
from tenantry.services.public_addresses import public_address
from tenantry_rest import BadConfig, read_keys

_SECONDS = 5.0
_MOST_BYTES = 256 * 1024
_MOST_KEYS = 20  # a token that names none of them is verified with each
_KINDS = ("RSA", "EC", "OKP")  # a symmetric key that can be fetched is no secret
# How long a verification takes is the key's: milliseconds, if its exponent is as long.
_LEAST_MODULUS, _MOST_MODULUS, _MOST_EXPONENT = 2048, 4096, 32  # bits


async def fetch_keys(url: str) -> Keys:
    """Return the public keys of the JWK set (RFC 7517) at a URL of a customer's.

    Raises Unavailable, and NotPublic for an address that customers do not reach.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return parse_keys(await _get(httpx.URL(url)))
    except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"The keys at {url} cannot be read: {reason}.") from None


def parse_keys(content: bytes) -> Keys:
    """Return the public keys of a JWK set. Raises ValueError if it is none, or too large."""
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError("it is no JWK set")  # noqa: TRY004 (of a text)
    usable = [each for each in keys if isinstance(each, dict) and _is_usable(each)]
    if len(usable) > _MOST_KEYS:
        raise ValueError(f"it has more than {_MOST_KEYS} keys")
    return usable


def _is_usable(key: dict[str, object]) -> bool:
    """Return whether it is a public key, with which verifying is cheap."""
    kind = key.get("kty")
    if kind not in _KINDS or "d" in key or (kind == "RSA" and not _is_usual(key)):
        return False
    try:
        return bool(read_keys(json.dumps(key).encode()))
    except BadConfig:
        return False


def _is_usual(key: dict[str, object]) -> bool:
    try:
        modulus, exponent = (_bits(key[name]) for name in ("n", "e"))
    except (KeyError, TypeError, ValueError):
        return False
    return _LEAST_MODULUS <= modulus <= _MOST_MODULUS and exponent <= _MOST_EXPONENT


def _bits(value: object) -> int:
    """Return the length of a number in a JWK (RFC 7518, section 2)."""
    if not isinstance(value, str):
        raise TypeError(value)
    padded = value + "=" * (-len(value) % 4)
    return int.from_bytes(base64.urlsafe_b64decode(padded), "big").bit_length()


async def _get(url: httpx.URL) -> bytes:
    """GET a URL from the address that was checked. Redirects are not followed.

    Nothing is decompressed: a short answer can be a thousand times as long then.
    """
    address = await public_address(url.host, url.port or 443)
    headers = {
        "host": url.netloc.decode(),
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "Tenantry",
    }
    extensions = {"sni_hostname": url.host}
    content = bytearray()
    async with (
        httpx.AsyncClient(trust_env=False, timeout=_SECONDS) as client,
        client.stream(
            "GET", url.copy_with(host=address), headers=headers, extensions=extensions
        ) as response,
    ):
        response.raise_for_status()
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise ValueError("it is compressed, which was not asked for")
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > _MOST_BYTES:
                raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    return bytes(content)
