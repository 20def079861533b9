"""The application: routes, middleware and lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from tenantry import __version__
from tenantry.api import (
    advice,
    alerts,
    audit,
    auth,
    backup_schedules,
    backups,
    blueprints,
    branches,
    cache_usage,
    clusters,
    customers,
    data_api,
    databases,
    drills,
    extensions,
    imports,
    insights,
    instances,
    keys,
    marks,
    migrations,
    moves,
    operations,
    past,
    plans,
    problems,
    prometheus,
    queries,
    restores,
    roles,
    samples,
    site_backups,
    site_judgements,
    site_proxies,
    site_whitelist,
    sites,
    sql_runs,
    state,
    statement_log,
    table_rows,
    users,
    vacuuming,
    whitelist,
)
from tenantry.api.answers import Problem
from tenantry.api.frame import Frame
from tenantry.base.errors import Unavailable
from tenantry.base.settings import Settings
from tenantry.host import wheels
from tenantry.services.control_schema import ensure_known
from tenantry.services.platform import open_platform
from tenantry.services.requests.proxies import Trusted

_ASSETS = "/docs/assets"
_FAILURE = {"model": Problem, "description": "What was wrong, and what to do next"}


_RESOURCES = (
    databases,
    instances,
    moves,
    whitelist,
    roles,
    extensions,
    data_api,
    sites,
    site_backups,
    site_whitelist,
    site_proxies,
    site_judgements,
    cache_usage,
    statement_log,
    branches,
    backups,
    backup_schedules,
    restores,
    marks,
    past,
    imports,
    drills,
    plans,
    vacuuming,
    advice,
    insights,
    prometheus,
    queries,
    sql_runs,
    table_rows,
    samples,
    alerts,
    migrations,
    blueprints,
    operations,
    auth,
    users,
    customers,
    keys,
    audit,
    clusters,
    state,
)  # in the order of the documentation


# Groups of operations whose modules have names for readers of the code.
_GROUPS = {
    "drills": "proofs",
    "samples": "metrics",
    "sql_runs": "sql",
    "state": "platform",
    "statement_log": "logs",
    "table_rows": "rows",
    "vacuuming": "maintenance",
}


def _operation_id(route: APIRoute) -> str:
    """Return ``group.verb``: what the generated clients call this route."""
    group = route.endpoint.__module__.rpartition(".")[2]
    verb = "list" if route.name == "index" else route.name
    return f"{_GROUPS.get(group, group)}.{verb}"


def create_app(settings: Settings) -> FastAPI:
    """Create the API for the platform that these settings describe."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_platform(settings) as platform:
            with suppress(Unavailable):  # it answers meanwhile, with 503
                await ensure_known(platform.fleet)
            app.state.platform = platform
            app.state.trusted_proxies = Trusted.of(settings)
            app.state.limits = platform.requests.limits
            app.state.checking = None
            platform.imports.forget_uploads()
            carrying_out = asyncio.create_task(platform.operations.carry_out("api"))
            yield
            await platform.store.background.finish()
            carrying_out.cancel()
            with suppress(asyncio.CancelledError):
                await carrying_out

    app = FastAPI(
        title="Tenantry",
        version=__version__,
        description="Postgres for many tenants, on servers you own.",
        license_info={"name": "MIT"},
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        generate_unique_id_function=_operation_id,
        responses={"4XX": _FAILURE, "5XX": _FAILURE},
    )
    app.state.trusted_proxies = Trusted(settings.proxy_networks)
    problems.register(app)
    for resource in _RESOURCES:
        app.include_router(resource.router)
    # The documentation works without a network: its scripts are served from here.
    app.mount(_ASSETS, StaticFiles(directory=wheels.swagger_ui()), name="documentation")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        # Relative addresses: a proxy may have put a prefix before the paths.
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Tenantry API",
            swagger_js_url=f".{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f".{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f".{_ASSETS}/favicon-32x32.png",
        )

    app.add_middleware(Frame)
    _distinguish_problems(app)
    return app


def _distinguish_problems(app: FastAPI) -> None:
    """Document failures as ``application/problem+json``; FastAPI uses the success's media type.

    It generates the document again when routes have been added, as the console's are.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for methods in document["paths"].values():
            for operation in methods.values():
                for status in ("4XX", "5XX"):
                    response = operation["responses"][status]
                    (shape,) = response["content"].values()
                    response["content"] = {"application/problem+json": shape}
        return document

    app.openapi = openapi  # type: ignore[method-assign]
