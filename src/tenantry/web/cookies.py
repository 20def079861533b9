"""The console's cookie: what the browser signed in with, sealed, so that it serves nowhere else.

The API ignores cookies. Scripts cannot read this one (HttpOnly), other sites cannot send it with
anything but a link (SameSite), and it goes to no other host and not without TLS, except to this
machine itself (``__Host-``, Secure).
"""

import base64
import binascii
import datetime as dt
import json
from functools import cache
from pathlib import Path

from fastapi import Request, Response

from tenantry.base.secrets import Seal, Secret
from tenantry.services.platform import Platform

_NAME = "__Host-tenantry"
_DEVICE = "__Host-tenantry-device"
_DEVICE_SECONDS = 90 * 86_400
_OWNER = b"console"


@cache
def _seal(key: Path) -> Seal:
    return Seal.of(Secret(key.read_bytes().hex()), purpose="console")


def written(seal: Seal, credential: Secret, ends: dt.datetime) -> str:
    """Return the cookie's value for a session token or an API key."""
    text = json.dumps([credential.reveal(), int(ends.timestamp())])
    return base64.urlsafe_b64encode(seal.close(Secret(text), owner=_OWNER)).decode().rstrip("=")


def read(seal: Seal, value: str, now: dt.datetime) -> Secret | None:
    """Return what the browser signed in with; None if the value is not ours or has expired."""
    try:
        sealed = base64.b64decode(value + "=" * (-len(value) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    opened = seal.open(sealed, owner=_OWNER)
    if opened is None:
        return None
    credential, ends = json.loads(opened.reveal())
    return Secret(credential) if now.timestamp() < ends else None


def credential_of(request: Request, platform: Platform) -> Secret | None:
    """Return what the browser of a request signed in with, if it still counts."""
    value = request.cookies.get(_NAME)
    if value is None:
        return None
    return read(_seal(platform.home.seal_key), value, dt.datetime.now(dt.UTC))


def keep(response: Response, platform: Platform, credential: Secret, ends: dt.datetime) -> None:
    """Have the browser send ``credential``, until it is closed, or until ``ends``."""
    value = written(_seal(platform.home.seal_key), credential, ends)
    response.set_cookie(_NAME, value, path="/", secure=True, httponly=True, samesite="lax")


def forget(response: Response) -> None:
    """Have the browser forget what it signed in with."""
    response.delete_cookie(_NAME, path="/", secure=True, httponly=True, samesite="lax")


def device_of(request: Request) -> Secret | None:
    """Return the token of a device from which somebody has signed in before."""
    value = request.cookies.get(_DEVICE)
    return Secret(value) if value else None


def keep_device(response: Response, token: Secret) -> None:
    """Have the browser remember that somebody signed in from it."""
    response.set_cookie(
        _DEVICE,
        token.reveal(),
        max_age=_DEVICE_SECONDS,
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )
