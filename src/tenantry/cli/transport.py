"""The connections that the CLI asks an API by: whom they trust, and by which proxy they go."""

import ssl
from os import environ
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3 import exceptions

from tenantry.base.errors import InvalidInput
from tenantry.base.home import Home
from tenantry.base.local_api import LocalApi, is_loopback

_BLOCK = 1 << 16
_CONNECT_SECONDS = 5
# OpenSSL's reasons for ending before anything was sent.
_NO_HANDSHAKE = {"CERTIFICATE_VERIFY_FAILED", "HTTP_REQUEST", "WRONG_VERSION_NUMBER"}


def _trust(url: str, here: LocalApi) -> dict[str, Any]:
    """How to be sure of who answers, as urllib3 is told.

    In this machine's own API by its CA file, and its domain, whatever address it is at; in others
    by SSL_CERT_FILE, or the authorities that the system trusts. Raises InvalidInput for a bad file.
    """
    if url.startswith("http:"):
        return {}
    file = Home(here.home).ca_certificate
    if url != here.url or not file.exists():
        given = environ.get("SSL_CERT_FILE")
        return {"ssl_context": _trusting(given)} if given else {}
    return {
        "ssl_context": ssl.create_default_context(cafile=file),
        "server_hostname": here.domain,
    }


def _trusting(file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:  # an SSLError is one too
        raise InvalidInput.of(
            "SSL_CERT_FILE", f"names {file}, which cannot be used: {error.strerror or error}."
        ) from None


def _proxy(url: str) -> str | None:
    """The URL of the proxy that the environment names for this address."""
    if not any(name.lower().endswith("_proxy") for name in environ):
        return None
    from urllib import request  # noqa: PLC0415 (it takes 10 ms, and few have a proxy)

    parts = urlsplit(url)
    # A proxy is for other machines, and would see the key.
    if is_loopback(parts.hostname or "") or request.proxy_bypass(parts.netloc):
        return None
    named = request.getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def timeout(seconds: float) -> urllib3.Timeout:
    """How long an answer that may take so many seconds is waited for."""
    return urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds)


def connections(url: str, key: str | None, here: LocalApi) -> urllib3.PoolManager:
    """The connections to an API.

    Raises InvalidInput for a proxy of a kind that is not known, or a bad SSL_CERT_FILE.
    """
    told = {
        "headers": {"X-API-Key": key} if key else {},
        "retries": False,
        "blocksize": _BLOCK,
        **_trust(url, here),
    }
    proxy = _proxy(url)
    if proxy is None:
        return urllib3.PoolManager(**told)
    parts = urlsplit(proxy)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    headers = urllib3.make_headers(proxy_basic_auth=login) if parts.username else None
    try:
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **told)
    except exceptions.ProxySchemeUnknown:
        raise InvalidInput.of(
            f"{urlsplit(url).scheme}_proxy", "must begin with http:// or https://"
        ) from None


def is_success(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether the API did what it was asked."""
    return 200 <= answer.status < 300  # noqa: PLR2004 (RFC 9110)


def is_unsent(error: Exception) -> bool:
    """Whether there was no connection to send the request on."""
    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ProxyError):
        return True
    return getattr(_cause(error), "reason", None) in _NO_HANDSHAKE


def _cause(error: BaseException) -> BaseException:
    """What the system or OpenSSL said; urllib3 puts its own objects around that."""
    inside = (each for each in error.args if isinstance(each, BaseException))
    deeper = error.__cause__ or next(inside, None)
    return error if deeper is None else _cause(deeper)


def reason(error: Exception) -> str:
    """Why there is no answer, in a few words."""
    cause = _cause(error)
    return str(cause) or type(cause).__name__
