"""The providers behind the proxy of a site: where they are, their keys, and limits."""

import asyncio
import base64
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, Self

import httpx

from tenantry.base.errors import Unavailable
from tenantry.base.secrets import Seal, Secret
from tenantry.services.caching.forms import Provider
from tenantry.services.public_addresses import public_address

PROVIDERS: dict[Provider, str] = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
}
KEY_HEADER = "x-upstream-key"  # the provider's key of a request, where the site has none
SETTING = "proxy"  # of the site's settings
MOST_TEMPERATURE = 1.0
_LEAST_STATUS = 200
_TRIES = 3
_PAUSE_SECONDS = 0.5  # before the second try, doubled before the third
_WORTH_RETRYING = {502, 503, 504}  # not 429: clients obey its Retry-After themselves
_TIMEOUT = httpx.Timeout(connect=5.0, read=120.0, write=30.0, pool=5.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a site's requests to providers may take. None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    most_temperature: float = MOST_TEMPERATURE


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider. Without a ``key`` a request has to bring its own.

    One that is not ``trusted`` was named by a customer, and may be in the Internet only.
    """

    provider: Provider
    url: str
    key: Secret | None
    trusted: bool


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What the owner of a site decides about its proxy."""

    upstreams: Mapping[Provider, Upstream]
    limits: Limits

    @classmethod
    def of(
        cls,
        site_id: uuid.UUID,
        customer_id: uuid.UUID | None,
        settings: Mapping[str, Any],
        seal: Seal,
    ) -> Self:
        """Return those of a site, by its settings; a key that cannot be opened is none.

        Only sites of the platform itself, which no customer owns, reach its own network.
        """
        kept: Mapping[str, Any] = settings.get(SETTING, {})
        upstreams = {
            provider: Upstream(
                provider,
                kept.get(f"{provider}_url") or default,
                opened(kept.get(f"{provider}_key"), site_id, provider, seal),
                trusted=customer_id is None,
            )
            for provider, default in PROVIDERS.items()
        }
        names = [each.name for each in fields(Limits)]
        return cls(upstreams, Limits(**{name: kept[name] for name in names if name in kept}))


def sealed(key: Secret, site_id: uuid.UUID, provider: Provider, seal: Seal) -> str:
    """Return a provider's key as the site's settings have it."""
    return base64.b64encode(seal.close(key, owner=_owner(site_id, provider))).decode()


def opened(text: str | None, site_id: uuid.UUID, provider: Provider, seal: Seal) -> Secret | None:
    if text is None:
        return None
    return seal.open(base64.b64decode(text), owner=_owner(site_id, provider))


def _owner(site_id: uuid.UUID, provider: Provider) -> bytes:
    return site_id.bytes + f"upstream {provider}".encode()


class Upstreams:
    """Sends requests to providers."""

    def __init__(self) -> None:
        self._tls = ssl.create_default_context()

    @asynccontextmanager
    async def send(
        self, to: Upstream, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, and yield the answer, whose body is still to be read.

        A provider that cannot be reached or is busy is tried again. Raises Unavailable if it does
        not answer, or not as HTTP has it; NotPublic.
        """
        # A connection is never used for another host at the same address: it would get the key.
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=_TIMEOUT) as client:
            request = await _request(client, to, path, body, headers)
            response = await _answered(client, request)
            try:
                if response.status_code < _LEAST_STATUS:
                    raise Unavailable("The provider answered with another protocol.")
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise Unavailable("The provider compressed its answer without being asked to.")
                yield response
            finally:
                await response.aclose()


async def _answered(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    for tried in range(1, _TRIES + 1):
        try:
            response = await client.send(request, stream=True)
        except httpx.ConnectError as error:
            if tried == _TRIES:
                raise _silent(error) from error
        except httpx.HTTPError as error:
            raise _silent(error) from error
        else:
            if response.status_code not in _WORTH_RETRYING or tried == _TRIES:
                return response
            await response.aclose()
        await asyncio.sleep(_PAUSE_SECONDS * 2 ** (tried - 1))
    raise AssertionError("the last try returns or raises")


def _silent(error: httpx.HTTPError) -> Unavailable:
    if isinstance(error, httpx.LocalProtocolError):
        return Unavailable("The request cannot be sent to the provider.")  # it quotes the key
    reason = str(error) or type(error).__name__
    return Unavailable(f"The provider does not answer: {reason}.")


async def _request(
    client: httpx.AsyncClient, to: Upstream, path: str, body: bytes, headers: Mapping[str, str]
) -> httpx.Request:
    url = httpx.URL(to.url.rstrip("/") + path)
    sent = {**headers, "content-type": "application/json", **_authorization(to)}
    sent["accept-encoding"] = "identity"  # 1 MB that is compressed may be 1 TB
    extensions = {}
    if not to.trusted:
        # Connect to the very address that was checked, whatever the name resolves to later.
        address = await public_address(url.host, url.port or 443)
        sent["host"] = url.netloc.decode()
        extensions["sni_hostname"] = url.host
        url = url.copy_with(host=address)
    return client.build_request("POST", url, content=body, headers=sent, extensions=extensions)


def _authorization(to: Upstream) -> dict[str, str]:
    if to.key is None:
        return {}
    if to.provider == "anthropic":
        return {"x-api-key": to.key.reveal()}
    return {"authorization": f"Bearer {to.key.reveal()}"}
