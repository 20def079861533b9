"""State of the platform: health, metrics and pooler; and its CA certificate."""

import asyncio
import dataclasses
import datetime as dt
import ipaddress
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from tenantry import __version__
from tenantry.api import answers
from tenantry.api.answers import Answer
from tenantry.api.deps import CurrentCall, CurrentPlatform, allowed
from tenantry.base.errors import Unavailable
from tenantry.base.local_api import is_loopback
from tenantry.services import health, metrics
from tenantry.services.access.service import Principal
from tenantry.services.observations.exposition import MEDIA_TYPE
from tenantry.services.platform import Platform
from tenantry.services.pooling.model import PoolerState
from tenantry.services.requests.model import Call

router = APIRouter(tags=["platform"])

# Headers that proxies add, whether or not they are configured as trusted.
_OF_PROXIES = {
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
}

Watcher = Annotated[Principal, allowed("platform:read")]
Reader = Annotated[Principal, allowed("databases:read")]


@router.get("/health")
async def live(platform: CurrentPlatform) -> dict[str, str]:
    """Report that the API runs, without checking other parts."""
    return {
        "status": "ok",
        "version": __version__,
        "environment": platform.settings.environment,
        "timestamp": dt.datetime.now(dt.UTC).isoformat(),
    }


async def _checked(request: Request, platform: Platform) -> health.Health:
    """Return the state of all parts; concurrent callers share one check."""
    state = request.app.state
    if state.checking is None or state.checking.done():
        state.checking = asyncio.create_task(health.check(platform))
    found: health.Health = await asyncio.shield(state.checking)
    return found


async def _may_see_details(request: Request, platform: Platform, call: Call) -> bool:
    """Whether the caller is a program of this machine, or may see the whole platform.

    Raises Unauthenticated for an invalid key or session.
    """
    if _is_local(request, call):
        return True
    if call.credential is None:
        return False
    principal = (await platform.requests.authenticate(call)).principal
    return principal.oversees("platform:read")


@router.get("/ready", responses={503: {"description": "A part is down"}})
async def ready(request: Request, platform: CurrentPlatform, call: CurrentCall) -> JSONResponse:
    """Report whether every part answers, and how fast.

    ``detail`` names databases, files and versions: callers from other machines need a key with the
    scope platform:read; otherwise it is null.
    """
    found = await _checked(request, platform)
    try:
        detailed = await _may_see_details(request, platform, call)
    except Unavailable:
        detailed = False  # the control database's own part reports this
    parts = [part if detailed else dataclasses.replace(part, detail=None) for part in found.parts]
    return JSONResponse(
        {
            "status": "ready" if found.ready else "not_ready",
            "parts": [dataclasses.asdict(part) for part in parts],
        },
        status_code=200 if found.ready else 503,
    )


class CertificateResponse(Response):
    media_type = "application/x-pem-file"


@router.get("/ca.crt", response_class=CertificateResponse)
async def authority(platform: CurrentPlatform) -> Response:
    """Return the certificate authority's certificate, for sslmode=verify-full."""
    return CertificateResponse(platform.home.ca_certificate.read_bytes())


def _is_local(request: Request, call: Call) -> bool:
    """Whether the request comes from a program of this machine, and not through a proxy.

    Any page can have a browser of this machine send a request here, under a host name of its own.
    """
    if request.state.by_edge or set(request.headers) & _OF_PROXIES:
        return False
    if not _names_this_machine(request):
        return False
    try:
        return ipaddress.ip_address(call.address or "").is_loopback
    except ValueError:
        return False


def _names_this_machine(request: Request) -> bool:
    domain: str = request.app.state.platform.settings.domain
    try:
        host = request.url.hostname or ""
        return host == domain or is_loopback(host)
    except ValueError:
        return False


@router.get("/metrics", response_class=PlainTextResponse)
async def measures(request: Request, platform: CurrentPlatform, call: CurrentCall) -> Response:
    """Return metrics for Prometheus. Callers from other machines need an API key."""
    if not _is_local(request, call):
        caller = await platform.requests.authenticate(call)
        await caller.require("platform:read")
        caller.principal.require_unbound()
    found = await metrics.exposition(platform, _checked(request, platform))
    return Response(found, media_type=MEDIA_TYPE)


@router.get("/api/pooler", response_model=Answer[PoolerState])
async def pooler(platform: CurrentPlatform, principal: Watcher) -> Response:
    """Return the pooler's pools, clients, servers and counters, and its connection budget."""
    principal.require_unbound()
    return answers.answer(await platform.pooler.state())
