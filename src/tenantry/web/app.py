"""The console's routes, added to the application that serves the API."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from tenantry.web import (
    account,
    alerts,
    assets,
    audit,
    backup_schedules,
    blueprints,
    branches,
    customers,
    database_access,
    database_advice,
    database_backups,
    database_configuration,
    database_data_api,
    database_extensions,
    database_insights,
    database_instance,
    database_logs,
    database_maintenance,
    database_metrics,
    database_move,
    database_pages,
    database_past,
    database_rows,
    database_sql,
    databases,
    imports,
    keys,
    migrations,
    operations,
    pages,
    platform_pages,
    row_changes,
    second_factor,
    signing_in,
    site_access,
    site_backups,
    site_keys,
    site_pages,
    site_settings,
    sites,
    sql_help,
    users,
)

_PROGRAMS = ("/api/", "/assets/", "/docs", "/health", "/metrics", "/openapi.json", "/ready")
_PAGES = (
    signing_in,
    databases,
    database_pages,
    database_access,
    database_backups,
    backup_schedules,
    database_past,
    branches,
    migrations,
    blueprints,
    imports,
    database_metrics,
    database_instance,
    database_move,
    database_insights,
    database_sql,
    database_maintenance,
    sql_help,
    database_rows,
    row_changes,
    database_configuration,
    database_data_api,
    database_advice,
    database_logs,
    database_extensions,
    operations,
    alerts,
    sites,
    site_pages,
    site_access,
    site_backups,
    site_keys,
    site_settings,
    platform_pages,
    users,
    customers,
    keys,
    audit,
    account,
    second_factor,
)
_TITLES = {404: "This page does not exist", 405: "That is not possible here"}


def install(app: FastAPI) -> None:
    """Add the console to ``app``, which has its platform in ``state.platform``.

    Browsers get a page for what does not exist; programs get what they got without the console.
    """
    app.include_router(assets.router)
    for module in _PAGES:
        app.include_router(module.router)
    answer = app.exception_handlers[HTTPException]
    app.add_exception_handler(HTTPException, _with_pages(answer))


def _with_pages(
    answer: Callable[[Request, Exception], Response | Awaitable[Response]],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException) or not wants_page(request):
            given = answer(request, error)
            return given if isinstance(given, Response) else await given
        response = pages.failure(
            request,
            status=error.status_code,
            title=_TITLES.get(error.status_code, "The request failed"),
            detail=f"{request.method} {request.url.path}: {error.detail}.",
            hint="Begin again at the list of databases.",
        )
        response.headers.update(error.headers or {})
        return response

    return handle


def wants_page(request: Request) -> bool:
    """Whether a browser asks, for something that is not the API's."""
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and not f"{request.url.path}/".startswith(_PROGRAMS)
