"""The keys that a database's tokens are verified with, if another service signs them."""

import asyncio
import json

import httpx

from tenantry.base.errors import Unavailable
from tenantry.rest.callers import Keys
from tenantry.services.public_addresses import public_address
from tenantry_rest import BadConfig, read_keys

_SECONDS = 5.0
_MOST_BYTES = 256 * 1024
_KINDS = ("RSA", "EC", "OKP")  # a symmetric key that can be fetched is no secret


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
    """Return the public keys of a JWK set. Raises ValueError if it is none."""
    found = json.loads(content)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError("it is no JWK set")  # noqa: TRY004 (of a text)
    return [each for each in keys if isinstance(each, dict) and _is_usable(each)]


def _is_usable(key: dict[str, object]) -> bool:
    try:
        return key.get("kty") in _KINDS and bool(read_keys(json.dumps(key).encode()))
    except BadConfig:
        return False


async def _get(url: httpx.URL) -> bytes:
    """GET a URL from the address that was checked. Redirects are not followed."""
    address = await public_address(url.host, url.port or 443)
    headers = {"host": url.netloc.decode(), "accept": "application/json", "user-agent": "Tenantry"}
    extensions = {"sni_hostname": url.host}
    content = bytearray()
    async with (
        httpx.AsyncClient(trust_env=False, timeout=_SECONDS) as client,
        client.stream(
            "GET", url.copy_with(host=address), headers=headers, extensions=extensions
        ) as response,
    ):
        response.raise_for_status()
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > _MOST_BYTES:
                raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    return bytes(content)
