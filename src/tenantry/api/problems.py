"""Failures as application/problem+json (RFC 9457), with a stable code and a hint."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from tenantry.base.errors import TenantryError, TooManyRequests
from tenantry.services.bodies import faults
from tenantry.services.requests import problems

log = structlog.get_logger()


def _answer(document: dict[str, object], status: int) -> JSONResponse:
    headers = {"WWW-Authenticate": "ApiKey"} if status == 401 else {}  # noqa: PLR2004 (RFC 9110)
    if status == 503:  # noqa: PLR2004
        headers["Retry-After"] = str(problems.RETRY_SECONDS)
    return JSONResponse(
        document, status_code=status, headers=headers, media_type=problems.MEDIA_TYPE
    )


def _of(request: Request, *, status: int, **members: Any) -> JSONResponse:
    request_id: str = request.state.call.request_id
    found = problems.document(request_id, request.url.path, status=status, **members)
    return _answer(found, status)


async def _tenantry_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, TenantryError):
        raise TypeError from error
    return of_error(request.state.call.request_id, request.url.path, error)


def of_error(request_id: str, path: str, error: TenantryError) -> JSONResponse:
    """Return one of our own errors as an answer."""
    answer = _answer(problems.of_error(request_id, path, error), error.status)
    if isinstance(error, TooManyRequests):
        answer.headers["Retry-After"] = str(error.seconds)
    if error.status == 408:  # noqa: PLR2004 (RFC 9110: what is still coming is not read)
        answer.headers["Connection"] = "close"
    return answer


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError from error
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        request_id: str = request.state.call.request_id
        return _answer(problems.invalid_json(request_id, request.url.path), 400)
    fields = faults.fields(found[: faults.MOST])
    named = ", ".join(dict.fromkeys(each.field for each in fields))
    detail = f"These cannot be used as they are: {named}."
    if len(fields) == 1:
        detail = f"{fields[0].field}: {fields[0].message}"
    return _of(
        request,
        status=422,
        code="invalid_input",
        title="The request is not valid",
        detail=detail,
        fields=fields,
    )


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError from error
    code, title = problems.named(error.status_code)
    hints = {
        400: "Send a JSON object, with Content-Type: application/json.",
        404: "/docs lists what there is.",
        405: "/docs lists which methods there are.",
    }
    answer = _of(
        request,
        status=error.status_code,
        code=code,
        title=title,
        detail=f"{request.method} {request.url.path}: {error.detail}.",
        hint=hints.get(error.status_code),
    )
    answer.headers.update(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):  # noqa: PLR2004 (RFC 9110)
        answer.headers["Allow"] = ", ".join(methods)
    return answer


def _methods(request: Request) -> list[str]:
    """Return the methods of this path. A route knows only its own, and several may share a path.

    One whose name is fixed has its own only, not those of the items beside it (OpenAPI 3.1, 4.8.8).
    """
    path = request.scope["path"]
    found = _matching(request, path)
    items = _matching(request, path.rpartition("/")[0] + "/-")
    return [method for method in found if method not in items] or found


def _matching(request: Request, path: str) -> list[str]:
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(
            route.matches({**request.scope, "method": method, "path": path})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def internal_error(request_id: str, path: str) -> JSONResponse:
    """Return the answer to a defect of ours."""
    return _answer(problems.internal_error(request_id, path), 500)


def register(app: FastAPI) -> None:
    """Register the handlers that answer every failure of ``app`` in this form."""
    app.add_exception_handler(TenantryError, _tenantry_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
