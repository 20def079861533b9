"""The data API as an application of ASGI: what surrounds the answers of databases."""

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import structlog

from tenantry.base.errors import TenantryError
from tenantry.base.ids import new_id
from tenantry.rest import pages
from tenantry.rest.authentication import Authentication, DatabaseUsers
from tenantry.rest.bodies import (
    Bodies,
    announced,
    bounded,
    check_before_writing,
    count_answer,
    most_of,
    unread,
)
from tenantry.rest.database import DatabaseApi, later
from tenantry.rest.databases import Databases
from tenantry.rest.headers import guarded, received, typed
from tenantry.rest.memory import Share
from tenantry.rest.routing import Route, database_at, route
from tenantry.services.data_api.traffic import NO_DATABASE, Traffic
from tenantry.services.requests import problems, proxies
from tenantry.services.requests.proxies import Scope, Trusted
from tenantry_rest import (
    Answer,
    ApiError,
    ClientGone,
    HttpRequest,
    head_of,
    receive_body,
    refuse,
    send_answer,
)
from tenantry_rest.asgi import Receive, Send

log = structlog.get_logger()

_GONE = 499  # in the log and in metrics only: no client is left to be answered
_STOPPED_SECONDS = 60


@dataclass
class _Exchange:
    """A request on its way to its answer; ``held`` is given up when that is sent."""

    scope: Scope
    receive: Receive
    request_id: str
    target: Route | None
    held: ExitStack

    @classmethod
    def of(
        cls, scope: Scope, receive: Receive, held: ExitStack, database: str | None
    ) -> "_Exchange":
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        target = route(raw.decode("latin-1"), database)
        return cls(scope, receive, str(new_id()), target, held)


class Application:
    """Answers requests for all databases.

    Those that come by the edge are for the database of their host name, below ``edge_domain``.
    A database's own errors have PostgREST's form, whose clients show it; others are problems.
    """

    def __init__(
        self,
        databases: Databases,
        bodies: Bodies,
        traffic: Traffic,
        authentication: Authentication,
        trusted_proxies: Trusted,
        *,
        edge_domain: str | None = None,
    ) -> None:
        self._databases = databases
        self._bodies = bodies
        self._traffic = traffic
        self._authentication = authentication
        self._trusted_proxies = trusted_proxies
        self._edge_domain = edge_domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        proxies.resolve(scope, self._trusted_proxies)
        status, database = _GONE, NO_DATABASE
        with ExitStack() as held:
            asked = _Exchange.of(scope, receive, held, self._named_by_host(scope))
            held.enter_context(structlog.contextvars.bound_contextvars(request_id=asked.request_id))
            with suppress(ClientGone):
                answer = await self._answer(asked)
                if asked.target is not None and self._databases.is_served(asked.target.database):
                    database = asked.target.database
                status = answer.status
                await send_answer(answer, send, head=scope["method"] == "HEAD")
            seconds = time.perf_counter() - began
            self._traffic.add(database, status, seconds)
            # Neither the query nor a header: they have values of rows, and tokens.
            log.info(
                "request",
                method=scope["method"],
                database=database or None,
                status=status,
                milliseconds=round(seconds * 1000, 1),
                address=proxies.address_of(scope.get("client")),
            )

    def _named_by_host(self, scope: Scope) -> str | None:
        """Return the database whose own host name the request has, if it came by the edge."""
        if self._edge_domain is None or not scope["state"]["by_edge"]:
            return None
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return database_at(hosts[0].decode("latin-1"), self._edge_domain) if hosts else None

    async def _answer(self, asked: _Exchange) -> Answer:
        path, target, request_id = asked.scope["path"], asked.target, asked.request_id
        try:
            if (found := pages.asset(path)) is not None:
                return typed(found)
            api = None if target is None else await self._databases.find(target.database)
            if target is None or api is None:
                return _problem(_nowhere(request_id, path, target))
            return await self._of_database(asked, target, api)
        except ClientGone:
            raise
        except TenantryError as error:
            return _problem(problems.of_error(request_id, path, error))
        except Exception:
            log.exception("request.crashed", method=asked.scope["method"])
            return _problem(problems.internal_error(request_id, path))

    async def _of_database(self, asked: _Exchange, target: Route, api: DatabaseApi) -> Answer:
        scope, address = asked.scope, proxies.address_of(asked.scope.get("client"))
        scope["headers"] = received(scope["headers"])
        head = _with_token(replace(head_of(scope), path=target.path))
        client = proxies.network_of(address)
        try:
            _admit(api, address)
            if not target.is_auth and (page := pages.page(scope, target.path)) is not None:
                return typed(page)
            service = self._authentication.of(api, client) if target.is_auth else api
            answers = asked.held.enter_context(self._bodies.answers.share(target.database, client))
            with self._bodies.requests.share(target.database, client) as share:
                http = await _received(service, api, head, asked, share)
                async with api.place(client):
                    check_before_writing(http, answers)
                    answer = await service.respond(http)
            self._databases.note_size(target.database, api)
            count_answer(http, answer, answers)
        except ApiError as error:
            return guarded(refuse(head, error, api.config))
        return guarded(answer)


async def _received(
    service: DatabaseApi | DatabaseUsers,
    api: DatabaseApi,
    head: HttpRequest,
    asked: _Exchange,
    share: Share,
) -> HttpRequest:
    """Return a request with its body, unless its head shows that it is refused. Raises ApiError."""
    client = proxies.network_of(proxies.address_of(asked.scope.get("client")))
    try:
        has_token = service.check_head(head)
    except ApiError as error:
        raise unread(head, error) from None
    if announced(head) == 0:
        return head
    within = bounded(head, asked.receive, share, most_of(head, has_token=has_token))
    async with api.transit(client, has_token=has_token):
        return replace(head, body=await receive_body(within))


def _admit(api: DatabaseApi, address: str | None) -> None:
    """Raise ApiError unless the database serves this address now."""
    served = api.served
    if served.networks is not None and (address is None or not served.admits(address)):
        hint = "Add it: tenantry whitelist add, or POST /api/databases/{id}/whitelist."
        message = f"The allowlist of this database does not admit {address or 'this client'}"
        raise ApiError(403, "address_not_allowed", message, hint=hint)
    if served.stopped:
        message = "The database is paused, because of its disk quota or of what it wrote"
        raise later(503, "database_paused", message, _STOPPED_SECONDS)


def _with_token(http: HttpRequest) -> HttpRequest:
    """Take the token from ``apikey`` if there is no other, as Supabase's gateway does."""
    key = http.header("apikey")
    if key is not None and http.header("authorization") is None:
        http.headers.append(("authorization", f"Bearer {key}"))
    return http


def _nowhere(request_id: str, path: str, target: Route | None) -> dict[str, object]:
    code, title = problems.named(404)
    if target is None:
        detail = "The data API has nothing at this path."
        hint = (
            "Paths begin with /DATABASE_NAME/rest/v1/ or /DATABASE_NAME/auth/v1/; at a host name of"
            " a database's own, with /rest/v1/ or /auth/v1/."
        )
    else:
        detail = f"There is no database {target.database} with a data API."
        hint = "tenantry data-api show has the URL; tenantry data-api enable makes one."
    return problems.document(
        request_id, path, status=404, code=code, title=title, detail=detail, hint=hint
    )


def _problem(document: dict[str, object]) -> Answer:
    status = int(str(document["status"]))
    headers = [("Content-Type", problems.MEDIA_TYPE), ("Access-Control-Allow-Origin", "*")]
    if status == 503:  # noqa: PLR2004
        headers.append(("Retry-After", str(problems.RETRY_SECONDS)))
    return typed(Answer(status, headers, problems.rendered(document)))
