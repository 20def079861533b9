"""What a request is answered amid which a PostgreSQL server ends a session: to try it again."""

from collections.abc import Sequence
from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from structlog.testing import capture_logs

from tenantry.api.frame import Frame
from tenantry.base.settings import Settings
from tenantry.services.network.endpoints import PoolerEndpoint
from tenantry.services.pooling.model import PooledClient
from tenantry.services.pooling.service import Pooler
from tenantry.services.requests.limits import Limits
from tenantry.services.requests.proxies import Trusted
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


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize(("error", "status"), CASES)
async def test_a_session_that_is_lost_is_no_defect(
    error: Exception, status: int, method: str
) -> None:
    app = FastAPI()
    app.add_middleware(Frame)
    app.state.limits = Limits(Settings(home=Path("/nowhere")))
    app.state.trusted_proxies = Trusted()

    @app.api_route("/api/fails", methods=["GET", "POST", "PATCH"])
    async def fails() -> None:
        raise error

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with capture_logs() as logged:
            answer = await client.request(method, "/api/fails")
    assert EVENTS[status] in [each["event"] for each in logged]
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    code = {503: "unavailable", 500: "internal_error"}[status]
    assert answer.json()["code"] == code
    # A change may have been committed: what obeys this header would repeat it.
    retried = status == 503 and method == "GET"
    assert answer.headers.get("retry-after") == ("5" if retried else None)
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


class _Losing(Pooler):
    """A pooler that fails while it is asked."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def clients(self) -> list[PooledClient]:
        raise self._error

    async def end_clients(self, _: Sequence[PooledClient]) -> None:
        raise self._error


@pytest.mark.parametrize("error", LOST)
async def test_a_changed_allowlist_stays_so_if_sessions_cannot_be_ended(error: Exception) -> None:
    """It is committed, and in force for new connections; the worker ends sessions later."""
    endpoint = PoolerEndpoint(_Losing(error))
    with capture_logs() as logged:
        assert await endpoint.sessions() == []
        assert not await endpoint.end([])
    assert [each["event"] for each in logged] == ["sessions.check_skipped"] * 2


@pytest.mark.parametrize("error", DEFECTS)
async def test_a_defect_while_sessions_are_ended_is_one(error: Exception) -> None:
    with pytest.raises(type(error)):
        await PoolerEndpoint(_Losing(error)).sessions()
