"""The application: routes, what surrounds every request, and failures as problems (RFC 9457)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantry.base.errors import TenantryError, TooManyRequests
from tenantry.base.ids import new_id
from tenantry.cache import conversations, entries, judging, proxied, vectors
from tenantry.cache.sites import Sites, identified, named
from tenantry.services.bodies import faults
from tenantry.services.caching.flights import Cut
from tenantry.services.caching.proxying import Proxy, Served
from tenantry.services.requests import problems, proxies
from tenantry.services.requests.proxies import Trusted

log = structlog.get_logger()

MOST_BODY_BYTES = 4 * 1024 * 1024
_UNAVAILABLE = 503


def create_app(sites: Sites, proxy: Proxy, trusted_proxies: Trusted) -> FastAPI:
    """Create the application for the clients of these sites."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(sites.tidy())
        yield
        tidying.cancel()
        await sites.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.proxy = proxy
    for each in (entries, conversations, judging, proxied, vectors):
        app.include_router(each.router)
    return _framed(app, sites, identified, trusted_proxies)


def create_platform_app(sites: Sites) -> FastAPI:
    """Create the application for the platform: judging, without any key of a site.

    Nobody else may reach it.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(judging.router)
    return _framed(app, sites, named, Trusted())


def _framed(app: FastAPI, sites: Sites, identify: "Identify", trusted_proxies: Trusted) -> FastAPI:
    app.state.sites, app.state.trusted_proxies = sites, trusted_proxies
    app.add_exception_handler(TenantryError, _tenantry_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Frame, identify=identify)
    return app


Identify = Callable[[Sites, Scope], Awaitable[Served]]


class _BodyTooLarge(HTTPException):
    """A body that is too large. FastAPI passes on no other exception while it reads a body."""

    def __init__(self) -> None:
        closes = {"Connection": "close"}  # the rest of the body is not read
        super().__init__(413, f"a body may have {MOST_BODY_BYTES:,} bytes", headers=closes)


class Frame:
    """The middleware around every request: its id, the limit of its body, its line in the log.

    ``identify`` returns the site that a request is for.
    """

    def __init__(self, app: ASGIApp, identify: Identify) -> None:
        self._app = app
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        proxies.resolve(scope, scope["app"].state.trusted_proxies)
        request_id, began, status = str(new_id()), time.perf_counter(), 0
        scope.setdefault("state", {})["request_id"] = request_id

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = dict(message["headers"])  # which may be a provider's
                ours = [
                    (b"x-request-id", request_id.encode()),
                    (b"cache-control", b"no-store"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                missing = [each for each in ours if each[0] not in given]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                # Before any of the body is read: nobody without a key has memory taken for it.
                scope["state"]["served"] = await self._identify(scope["app"].state.sites, scope)
            except TenantryError as error:
                await _refused(request_id, scope["path"], error)(scope, receive, sending)
                return
            try:
                await self._app(scope, _limited(receive), sending)
            except (Cut, ClientDisconnect) as error:
                # The server closes the connection: no client takes what it has for the whole.
                log.info("answer.cut", reason=str(error.__cause__ or type(error).__name__))
            except Exception:
                log.exception("request.crashed", method=scope["method"])
                if not status:
                    found = problems.internal_error(request_id, scope["path"])
                    await _answer(found, 500)(scope, receive, sending)
            # Neither the body nor the query: they have prompts.
            log.info(
                "request",
                method=scope["method"],
                route=getattr(scope.get("route"), "path", "other"),
                status=status,
                milliseconds=round((time.perf_counter() - began) * 1000, 1),
                address=proxies.address_of(scope.get("client")),
            )


def _limited(receive: Receive) -> Receive:
    """Return ``receive`` that raises _BodyTooLarge once too much has come."""
    left = MOST_BODY_BYTES

    async def limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _BodyTooLarge
        return message

    return limited


def _answer(document: dict[str, object], status: int) -> JSONResponse:
    headers = {"Retry-After": str(problems.RETRY_SECONDS)} if status == _UNAVAILABLE else {}
    return JSONResponse(
        document, status_code=status, headers=headers, media_type=problems.MEDIA_TYPE
    )


async def _tenantry_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, TenantryError):
        raise TypeError from error
    return _refused(request.state.request_id, request.url.path, error)


def _refused(request_id: str, path: str, error: TenantryError) -> JSONResponse:
    answer = _answer(problems.of_error(request_id, path, error), error.status)
    if isinstance(error, TooManyRequests):
        answer.headers["Retry-After"] = str(error.seconds)
    return answer


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError from error
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        document = problems.invalid_json(request.state.request_id, request.url.path)
        return _answer(document, 400)
    fields = faults.fields(found[: faults.MOST])
    named = ", ".join(dict.fromkeys(each.field for each in fields))
    document = problems.document(
        request.state.request_id,
        request.url.path,
        status=422,
        code="invalid_input",
        title="The request is not valid",
        detail=f"These cannot be used as they are: {named}.",
        fields=fields,
    )
    return _answer(document, 422)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError from error
    code, title = problems.named(error.status_code)
    document = problems.document(
        request.state.request_id,
        request.url.path,
        status=error.status_code,
        code=code,
        title=title,
        detail=f"{request.method} {request.url.path}: {error.detail}.",
    )
    answer = _answer(document, error.status_code)
    answer.headers.update(error.headers or {})
    return answer
