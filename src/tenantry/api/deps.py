"""Dependencies of routes: the platform, the current call, its caller, and path parameters."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer

from tenantry.base.errors import FieldError, InvalidInput, NotFound
from tenantry.base.ids import parse_id
from tenantry.base.secrets import Secret
from tenantry.base.suggestions import did_you_mean
from tenantry.control.pages import LONGEST_CURSOR
from tenantry.services.access.service import Principal
from tenantry.services.bodies.faults import printable
from tenantry.services.platform import Platform
from tenantry.services.requests.model import Call
from tenantry.services.requests.service import Caller

_key_header = APIKeyHeader(name="X-API-Key", auto_error=False)
_bearer = HTTPBearer(auto_error=False)
_PAGING = frozenset({"cursor", "limit"})  # also of lists that have one page only
_LONGEST_NAME, _MOST_NAMED = 100, 10  # of unknown parameters, in an error
_NAMELESS = "query"  # where a parameter has no name
_TARGETS = ("/api/databases/", "/api/clusters/")


# Dependencies are coroutines even if they await nothing: FastAPI runs others in a thread.
async def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


CurrentPlatform = Annotated[Platform, Depends(_platform)]


async def _call(request: Request) -> Call:
    """Return the frame's call, completed from the request's headers and path."""
    call: Call = request.state.call
    call.credential = _credential(request)
    call.idempotency_key = request.headers.get("idempotency-key")
    if request.url.path.startswith(_TARGETS):
        call.target = parse_id(request.path_params.get("identifier", ""))
    return call


CurrentCall = Annotated[Call, Depends(_call)]


def _credential(request: Request) -> Secret | None:
    """Return the API key or the session token that a request carries, if any."""
    given = request.headers.get("x-api-key")
    if given is None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else None
    return Secret(given) if given else None


def calling(scope: str | None = None) -> Any:
    """Depend on a ``Caller`` whose key or session has this scope."""

    async def caller(
        request: Request,
        call: CurrentCall,
        platform: CurrentPlatform,
        # These two only document authentication in OpenAPI.
        _key: Annotated[object, Depends(_key_header)],
        _token: Annotated[object, Depends(_bearer)],
    ) -> Caller:
        found = await platform.requests.authenticate(call)
        if scope is not None:
            await found.require(scope)
        _require_known_parameters(request)
        if call.idempotency_key is not None and not request.state.streamed:
            call.content = await request.body()
        return found

    return Depends(caller)


def _parameters(route: APIRoute) -> frozenset[str]:
    """Return the names of the parameters that a route takes in the query."""
    found = set(_PAGING)
    for field in get_flat_params(route.dependant):
        if not isinstance(field.field_info, params.Path | params.Header | params.Cookie):
            found.add(field.alias)
    return frozenset(found)


def _require_known_parameters(request: Request) -> None:
    """Raise InvalidInput for parameters of the query that the route does not take.

    Whoever mistypes one would otherwise take an answer to another question for that to theirs.
    """
    route = request.scope.get("route")
    if not request.url.query or not isinstance(route, APIRoute):
        return
    known = _parameters(route)
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        taken = sorted(known - _PAGING) or sorted(_PAGING)
        meant = did_you_mean(unknown[0], taken) or f"It takes {', '.join(taken)}."
        fields = tuple(
            FieldError(
                printable(name[:_LONGEST_NAME]) or _NAMELESS,
                "is no parameter of this request",
                "unknown",
            )
            for name in unknown[:_MOST_NAMED]
        )
        raise InvalidInput(f"{fields[0].field}: {fields[0].message}", hint=meant, fields=fields)


def allowed(scope: str | None = None) -> Any:
    """Depend on the ``Principal`` of a caller as in ``calling``, for routes that change nothing."""

    async def principal(caller: Annotated[Caller, calling(scope)]) -> Principal:
        return caller.principal

    return Depends(principal)


def _parameter(name: str, missing: str) -> Callable[[str], Awaitable[uuid.UUID]]:
    """Return a dependency that reads an identifier from the path; raises NotFound(``missing``)."""

    async def read(text: Annotated[str, Path(alias=name)]) -> uuid.UUID:
        found = parse_id(text)
        if found is None:
            raise NotFound(missing)
        return found

    return read


def _identifier(what: str) -> Callable[[str], Awaitable[uuid.UUID]]:
    return _parameter("identifier", f"There is no such {what}.")


DatabaseId = Annotated[uuid.UUID, Depends(_identifier("database"))]
RoleId = Annotated[uuid.UUID, Depends(_parameter("role_id", "This database has no such role."))]
BranchId = Annotated[
    uuid.UUID, Depends(_parameter("branch_id", "This database has no such branch."))
]
EntryId = Annotated[
    uuid.UUID,
    Depends(_parameter("whitelist_id", "There is no such entry on this database's allowlist.")),
]
SiteEntryId = Annotated[
    uuid.UUID,
    Depends(_parameter("whitelist_id", "There is no such entry on this site's allowlist.")),
]
SiteBackupId = Annotated[
    uuid.UUID, Depends(_parameter("backup_id", "This site has no such backup."))
]
TextId = Annotated[uuid.UUID, Depends(_parameter("text_id", "You have no such text."))]
KeyId = Annotated[uuid.UUID, Depends(_identifier("API key"))]
CustomerId = Annotated[uuid.UUID, Depends(_identifier("customer"))]
UserId = Annotated[uuid.UUID, Depends(_identifier("user"))]
SessionId = Annotated[uuid.UUID, Depends(_identifier("session"))]
ClusterId = Annotated[uuid.UUID, Depends(_identifier("cluster"))]
OperationId = Annotated[uuid.UUID, Depends(_identifier("operation"))]
AlertId = Annotated[uuid.UUID, Depends(_identifier("alert"))]
SiteId = Annotated[uuid.UUID, Depends(_identifier("site"))]
ChannelId = Annotated[uuid.UUID, Depends(_identifier("channel"))]

MarkId = Annotated[uuid.UUID, Depends(_parameter("mark_id", "This database has no such mark."))]
PastId = Annotated[
    uuid.UUID, Depends(_parameter("past_id", "This database has no such past session."))
]
ComparisonId = Annotated[
    uuid.UUID,
    Depends(_parameter("comparison_id", "This past session has no such comparison.")),
]

Limit = Annotated[int, Query(ge=1, le=1000, description="The most rows in one answer.")]
Cursor = Annotated[
    str | None,
    Query(max_length=LONGEST_CURSOR, description="The next_cursor of the page before."),
]
