"""What a request is answered amid which a PostgreSQL server ends a session: to try it again."""

from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from structlog.testing import capture_logs

from tenantry.api.frame import Frame
from tenantry.base.settings import Settings
from tenantry.services.requests.limits import Limits
from tenantry.web import pages
from tenantry.web.routing import new_router

LOST = (
    psycopg.errors.AdminShutdown("terminating connection due to administrator command"),
    psycopg.errors.CannotConnectNow("the database system is starting up"),
    psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"),
)
DEFECTS = (
    psycopg.errors.UndefinedTable('relation "t" does not exist'),
    psycopg.errors.DiskFull("could not extend file"),
    ValueError("a defect"),
)
EVENTS = {503: "request.lost_session", 500: "request.crashed"}
CASES = [*((error, 503) for error in LOST), *((error, 500) for error in DEFECTS)]


@pytest.mark.parametrize(("error", "status"), CASES)
async def test_a_session_that_is_lost_is_no_defect(error: Exception, status: int) -> None:
    app = FastAPI()
    app.add_middleware(Frame)
    app.state.limits = Limits(Settings(home=Path("/nowhere")))
    app.state.trusted_proxies = ()

    @app.get("/api/fails")
    async def fails() -> None:
        raise error

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with capture_logs() as logged:
            answer = await client.get("/api/fails")
    assert EVENTS[status] in [each["event"] for each in logged]
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    code = {503: "unavailable", 500: "internal_error"}[status]
    assert answer.json()["code"] == code
    assert answer.headers.get("retry-after") == {503: "5", 500: None}[status]
    assert str(error) not in answer.text


@pytest.mark.parametrize(("error", "status"), CASES)
async def test_the_console_shows_a_page(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(_: Request, template: str, *, status: int, **values: object) -> HTMLResponse:
        return HTMLResponse(f"{template}: {values['title']}", status)

    monkeypatch.setattr(pages, "render", render)
    router = new_router()

    @router.get("/fails")
    async def fails() -> None:
        raise error

    app = FastAPI()
    app.include_router(router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with capture_logs() as logged:
            answer = await client.get("/fails")
    assert [each["event"] for each in logged] == [EVENTS[status]]
    title = {503: "A part that this needs does not answer", 500: "Something went wrong"}[status]
    assert (answer.status_code, answer.text) == (status, f"failure.html: {title}")
