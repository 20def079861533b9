"""What all routes of the console share: their callers, their forms, and how they fail."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tenantry.base.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    RequestInProgress,
    TenantryError,
    Unauthenticated,
    WrongCredentials,
)
from tenantry.base.ids import parse_id
from tenantry.control.pages import LONGEST_CURSOR
from tenantry.services.bodies import faults
from tenantry.services.bodies.fields import FORM
from tenantry.services.platform import Platform
from tenantry.services.requests.model import Call
from tenantry.services.requests.problems import of_lost_session
from tenantry.services.requests.service import Caller
from tenantry.web import cookies, pages

log = structlog.get_logger()

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 3300  # two for each column of a row, of which a table may have 1,600
_READS = frozenset({"GET", "HEAD"})
_TRIES, _PAUSE = 100, 0.1  # seconds; a first request of the same form is waited for
Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")
Form = dict[str, str]
Cursor = Annotated[str | None, Query(max_length=LONGEST_CURSOR)]


class CrossSite(Forbidden):
    """A form of another site."""

    code = "cross_site"
    title = "That form is not the console's"


def require_same_origin(request: Request) -> None:
    """Raise CrossSite unless the browser says that the request comes from one of our pages."""
    site = request.headers.get("sec-fetch-site")
    if site is None:  # browsers before 2023
        _, _, origin = request.headers.get("origin", "").partition("://")
        site = "same-origin" if origin and origin == request.headers.get("host") else "unknown"
    if site != "same-origin":
        raise CrossSite(
            "The request did not come from a page of this console.",
            hint="Open the console in this browser, and do it there.",
        )


def _of_others(request: Request, error: Exception) -> Response:
    """Return the page for an error that is none of ours."""
    if (lost := of_lost_session(error)) is not None:
        log.warning("request.lost_session", path=request.url.path, exc_info=error)
        return pages.failure_of(request, lost)
    log.error("request.crashed", method=request.method, path=request.url.path, exc_info=error)
    return pages.failure(
        request,
        status=500,
        title="Something went wrong",
        detail="The request failed for a reason that is ours, not yours.",
        hint="Try again. The log shows more under the request id.",
    )


class ConsoleRoute(APIRoute):
    """A route whose failures are pages, and which takes no forms of other sites."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                if request.method not in _READS:
                    require_same_origin(request)
                return await inner(request)
            except WrongCredentials as error:  # a password that is asked for again: no session ends
                return pages.failure_of(request, error)
            except Unauthenticated:
                response = pages.to_sign_in(request)
                cookies.forget(response)
                return response
            except TenantryError as error:
                return pages.failure_of(request, error)
            except RequestValidationError as error:
                return pages.failure_of(request, _invalid(list(error.errors()), 1))
            except (HTTPException, ClientDisconnect):
                raise
            except Exception as error:
                return _of_others(request, error)

        return handle


def new_router() -> APIRouter:
    """Return a router for pages, which are no part of the API's documentation."""
    return APIRouter(route_class=ConsoleRoute, include_in_schema=False)


async def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


CurrentPlatform = Annotated[Platform, Depends(_platform)]


async def form_of(request: Request) -> Form:
    """Return the fields of a form that have a value. Raises InvalidInput."""
    if request.state.media_type != _FORM:
        raise InvalidInput("The request is no form of the console.")
    try:
        text = (await request.body()).decode()
        pairs = parse_qsl(text, keep_blank_values=False, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidInput("The form cannot be read.") from None
    return dict(pairs)


CurrentForm = Annotated[Form, Depends(form_of)]


async def _call(request: Request, platform: CurrentPlatform) -> Call:
    """Return the frame's call, with what the browser signed in with."""
    call: Call = request.state.call
    call.credential = cookies.credential_of(request, platform)
    path = request.path_params
    call.target = parse_id(path.get("database_id") or path.get("cluster_id", ""))
    if request.method not in _READS and request.state.media_type == _FORM:
        form = await form_of(request)
        call.idempotency_key = form.get("once")
        call.content = await request.body()
    return call


CurrentCall = Annotated[Call, Depends(_call)]


def calling(scope: str | None = None) -> Any:
    """Depend on a ``Caller`` who has signed in and has this scope, as in ``api.deps``."""

    async def caller(request: Request, call: CurrentCall, platform: CurrentPlatform) -> Caller:
        if call.credential is None:  # nobody has signed in: no failure to count
            raise Unauthenticated("Nobody has signed in.")
        found = await platform.requests.authenticate(call)
        request.state.principal = found.principal
        if scope is not None:
            await found.require(scope)
        return found

    return Depends(caller)


async def _database_id(database_id: str) -> uuid.UUID:
    found = parse_id(database_id)
    if found is None:
        raise NotFound("There is no such database.")
    return found


DatabaseId = Annotated[uuid.UUID, Depends(_database_id)]


def parsed(text: str, what: str) -> uuid.UUID:
    """Return an identifier of a path. Raises NotFound."""
    found = parse_id(text)
    if found is None:
        raise NotFound(f"There is no such {what}.")
    return found


def read(model: type[Model], form: Form, **given: object) -> Model:
    """Return a body from the fields of a form that it has. Raises InvalidInput."""
    names = set(model.model_fields)
    values = {name: value.strip() for name, value in form.items() if name in names}
    try:
        return model.model_validate(
            {name: value for name, value in values.items() if value} | given, context=FORM
        )
    except ValidationError as error:
        raise _invalid(list(error.errors(include_url=False)), 0) from None


def chosen(form: Form, name: str) -> list[str]:
    """Return the values of the boxes ``name:value`` that are ticked."""
    return [field.partition(":")[2] for field in form if field.partition(":")[0] == name]


def is_changed(form: Form, field: str) -> bool:
    """Whether a field is not what its form showed, which the macro ``was`` has it send.

    So what others have changed since then stays.
    """
    return form.get(field, "").strip() != form.get(f"was_{field}", "").strip()


def words(form: Form, field: str) -> list[str]:
    """Return the words of a field, which commas or white space separate."""
    return form.get(field, "").replace(",", " ").split()


def tags_of(form: Form) -> list[str]:
    """Return the tags of a form, which commas or white space separate, in lower case."""
    return words({"tags": form.get("tags", "").lower()}, "tags")


def commas(form: Form, field: str) -> list[str]:
    """Return the parts of a field, which commas separate: names may have spaces."""
    return [each.strip() for each in form.get(field, "").split(",") if each.strip()]


def files(form: Form) -> list[dict[str, str]]:
    """Return the files of a form, as ``name`` and ``sql``: those chosen, or the one that is typed.

    A script sends the chosen ones as they are; browsers give what is typed two characters at the
    end of each line.
    """
    found = [{"name": name, "sql": form[f"file:{name}"]} for name in chosen(form, "file")]
    if not found and "sql" in form:
        found = [{"name": form.get("file_name", ""), "sql": form["sql"].replace("\r\n", "\n")}]
    return found


def number(form: Form, field: str) -> int | None:
    """Return a whole number of a form; None if it has none. Raises InvalidInput."""
    try:
        return int(form[field]) if field in form else None
    except ValueError:
        raise InvalidInput.of(field, "must be a whole number") from None


def moment(form: Form, field: str) -> str:
    """Return a moment of a form with its time zone, which is UTC if it names none.

    Raises InvalidInput.
    """
    try:
        found = dt.datetime.fromisoformat(form.get(field, ""))
    except ValueError:
        raise InvalidInput.of(field, "must be a time such as 2026-01-31 12:00:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).isoformat()


def _invalid(errors: list[Any], skipped: int) -> InvalidInput:
    fields = faults.fields(errors, skipped=skipped, whole="form")
    return InvalidInput("Some of it cannot be used as it is.", fields=fields)


async def once(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do ``work``; if a first request of the same form is still at it, wait for that one's result.

    A browser sends a form twice if somebody clicks twice. Raises as ``work``.
    """
    for _ in range(_TRIES):
        try:
            return await work()
        except RequestInProgress:
            await asyncio.sleep(_PAUSE)
    return await work()
