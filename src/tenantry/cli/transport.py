"""The CLI's HTTP connections to the API: certificate verification and proxies."""

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
# OpenSSL's reasons for failing before anything was sent.
_NO_HANDSHAKE = {"CERTIFICATE_VERIFY_FAILED", "HTTP_REQUEST", "WRONG_VERSION_NUMBER"}


def _trust(url: str, here: LocalApi) -> dict[str, Any]:
    """Return urllib3's arguments for verifying the server.

    This machine's own API is verified by its CA file and its domain, whatever its address; others
    by SSL_CERT_FILE or the system's authorities. Raises InvalidInput for a bad file.
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
    """Return the URL of the proxy that the environment names for this address."""
    if not any(name.lower().endswith("_proxy") for name in environ):
        return None
    from urllib import request  # noqa: PLC0415 (it takes 10 ms, and few have a proxy)

    parts = urlsplit(url)
    # A proxy is for other machines only, and would see the key.
    if is_loopback(parts.hostname or "") or request.proxy_bypass(parts.netloc):
        return None
    named = request.getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def timeout(seconds: float) -> urllib3.Timeout:
    """Return the timeout for an answer that may take so many seconds."""
    return urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds)


def connections(url: str, key: str | None, here: LocalApi) -> urllib3.PoolManager:
    """Return the connection pool for an API.

    Raises InvalidInput for an unknown kind of proxy, or a bad SSL_CERT_FILE.
    """
    options = {
        "headers": {"X-API-Key": key} if key else {},
        "retries": False,
        "blocksize": _BLOCK,
        **_trust(url, here),
    }
    proxy = _proxy(url)
    if proxy is None:
        return urllib3.PoolManager(**options)
    parts = urlsplit(proxy)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    headers = urllib3.make_headers(proxy_basic_auth=login) if parts.username else None
    try:
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    except exceptions.ProxySchemeUnknown:
        raise InvalidInput.of(
            f"{urlsplit(url).scheme}_proxy", "must begin with http:// or https://"
        ) from None


def is_success(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether the request succeeded."""
    return 200 <= answer.status < 300  # noqa: PLR2004 (RFC 9110)


def is_unsent(error: Exception) -> bool:
    """Whether the request failed before it was sent."""
    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ProxyError):
        return True
    return getattr(_cause(error), "reason", None) in _NO_HANDSHAKE


def advice(error: Exception) -> str:
    """Return what to do about a request that could not be sent."""
    match getattr(_cause(error), "reason", None):
        case "WRONG_VERSION_NUMBER" | "HTTP_REQUEST":
            return "It does not use TLS there: begin the address in TENANTRY_URL with http://."
        case "CERTIFICATE_VERIFY_FAILED":
            return "Name the file of its authority, the platform's ca.crt, in SSL_CERT_FILE."
    return "Start it with `tenantry up`, or name another address in TENANTRY_URL."


def _cause(error: BaseException) -> BaseException:
    """Return the system's or OpenSSL's error from inside those of urllib3."""
    inside = (each for each in error.args if isinstance(each, BaseException))
    deeper = error.__cause__ or next(inside, None)
    return error if deeper is None else _cause(deeper)


def reason(error: Exception) -> str:
    """Return a short reason for the lack of an answer."""
    cause = _cause(error)
    return str(cause) or type(cause).__name__
