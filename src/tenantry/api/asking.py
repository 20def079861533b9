"""What a route needs of its request: the platform, who asks, and a transaction done once."""

import contextlib
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPBearer

from tenantry.api import answers, limits
from tenantry.api.limits import Limits, Use
from tenantry.base.errors import (
    FieldError,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    RequestInProgress,
)
from tenantry.base.events import StepDone, emit
from tenantry.base.ids import parse_id
from tenantry.base.secrets import RECOVERY_CODES, ROLE_PASSWORDS, Secret, SecretSource
from tenantry.control import idempotency
from tenantry.control.audit import Actor
from tenantry.control.idempotency import KeptAnswer
from tenantry.control.operations import OperationRow
from tenantry.control.pages import LONGEST_CURSOR
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal, Refusal
from tenantry.services.platform import Platform

MOST_KEY_LENGTH = 255
_TURN_SECONDS = 15.0  # how long a customer's request waits for its turn with a database
_SECRETS: dict[str, Callable[[SecretSource], Secret]] = {
    "password": SecretSource.password,
    "api_key": SecretSource.api_key,
    "totp_secret": SecretSource.totp_secret,
    **{
        f"recovery_code_{number}": partial(SecretSource.recovery_code, number=number)
        for number in range(RECOVERY_CODES)
    },
    **{
        f"role_password_{number}": partial(SecretSource.role_password, number=number)
        for number in range(ROLE_PASSWORDS)
    },
}

_key_header = APIKeyHeader(name="X-API-Key", auto_error=False)
_bearer = HTTPBearer(auto_error=False)


# Dependencies are coroutines even if they wait for nothing: FastAPI takes others to a thread.
async def platform_of(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


PlatformHere = Annotated[Platform, Depends(platform_of)]


def address_of(request: Request) -> str | None:
    """Where the request comes from, if that is known."""
    return limits.address_of(request.scope.get("client"))


def _said(request: Request) -> str:
    """Method and path as they were sent: printable, with nothing that a text column refuses."""
    path: bytes = request.scope["raw_path"]
    return f"{request.method} {path.decode('ascii', 'replace')}"[:200]


def presented(request: Request) -> Secret | None:
    """The API key or the session's token that a request carries, if any."""
    given = request.headers.get("x-api-key")
    if given is None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else None
    return Secret(given) if given else None


async def authenticated(request: Request, platform: Platform) -> Principal:
    """Who asks. Raises Unauthenticated, and TooManyRequests."""
    counters = limits_of(request)
    async with counters.recognising(address_of(request)):
        found = await platform.access.recognise(
            presented(request), address=address_of(request), request_id=request.state.request_id
        )
    if isinstance(found, Refusal):
        count(request, await counters.failure(address_of(request)))
        await platform.access.refuse(
            found, action=_said(request), audited=await counters.is_audited(found.stranger.id)
        )
    count(request, await counters.caller(found.caller_id))
    await request.state.held.enter_async_context(
        counters.running(found.caller_id, found.actor.customer_id)
    )
    return found


def limits_of(request: Request) -> Limits:
    found: Limits = request.app.state.limits
    return found


def count(request: Request, use: Use) -> None:
    """Tell the caller of this use, too. Raises TooManyRequests."""
    request.state.uses.append(use)
    use.check()


def stranger(request: Request) -> Actor:
    """Whoever asks before having said who that is."""
    return Actor(
        "anonymous",
        "anonymous",
        address=address_of(request),
        request_id=request.state.request_id,
    )


def allowed(scope: str | None = None) -> Any:
    """Who asks, if their key or session has this scope."""

    async def principal(
        request: Request,
        platform: PlatformHere,
        # These two only tell OpenAPI how to authenticate.
        _key: Annotated[object, Depends(_key_header)],
        _token: Annotated[object, Depends(_bearer)],
    ) -> Principal:
        found = await authenticated(request, platform)
        if scope is not None:
            await platform.access.authorize(found, scope, action=_said(request))
        return found

    return Depends(principal)


def _parameter(name: str, missing: str) -> Callable[[str], Awaitable[uuid.UUID]]:
    """Reads an identifier from a path; what cannot be one is told to be ``missing``."""

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
KeyId = Annotated[uuid.UUID, Depends(_identifier("API key"))]
UserId = Annotated[uuid.UUID, Depends(_identifier("user"))]
SessionId = Annotated[uuid.UUID, Depends(_identifier("session"))]
ClusterId = Annotated[uuid.UUID, Depends(_identifier("cluster"))]
OperationId = Annotated[uuid.UUID, Depends(_identifier("operation"))]

Limit = Annotated[int, Query(ge=1, le=1000, description="The most rows in one answer.")]
Cursor = Annotated[
    str | None,
    Query(max_length=LONGEST_CURSOR, description="The next_cursor of the page before."),
]


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (1 <= len(key) <= MOST_KEY_LENGTH) or not key.isascii() or not key.isprintable():
        raise InvalidInput.of(
            "Idempotency-Key", f"must be 1 to {MOST_KEY_LENGTH} printable ASCII characters"
        )
    return key


def _fingerprint(request: Request, principal: Principal, asked: bytes) -> bytes:
    """What the request asks for, however its JSON is spaced and ordered.

    Keyed with what only the caller holds: a body may have a person's password in it, and
    nobody shall guess that from what is kept. The caller's rights are part of it, so that an
    answer is not given again to who has lost the right to it.
    """
    # Routes that take no body have not looked whether it is JSON.
    with contextlib.suppress(ValueError, RecursionError):
        asked = json.dumps(json.loads(asked), sort_keys=True).encode()
    rights = f"{principal.actor.customer_id} {' '.join(sorted(principal.scopes))}"
    what = f"{request.method} {request.url.path}\n{rights}\n".encode()
    return hmac.digest(principal.secret.reveal().encode(), what + asked, hashlib.sha256)


def _mark(salt: bytes, kind: str) -> str:
    return f"<{kind}:{salt.hex()}>"


def _replay(kept: KeptAnswer, source: SecretSource) -> Response:
    body = kept.body
    for kind, derive in _SECRETS.items():
        if (mark := _mark(kept.salt, kind)) in body:
            body = body.replace(mark, derive(source).reveal())
    return Response(
        body,
        status_code=kept.status,
        media_type="application/json",
        headers={"Idempotency-Replayed": "true"},
    )


def _without_secrets(text: str, source: SecretSource) -> str:
    for kind, derive in _SECRETS.items():
        text = text.replace(derive(source).reveal(), _mark(source.salt, kind))
    return text


async def once(
    request: Request,
    principal: Principal,
    work: Callable[[Tx, SecretSource], Awaitable[JSONResponse]],
    *,
    digest: bytes | None = None,
) -> Response:
    """Do ``work`` in one transaction; under an Idempotency-Key, at most once.

    ``digest`` stands for the body of a request that was too large to be kept.

    The answer is kept with a mark in the place of each secret that it shows; a repeat
    derives the secret again (see ``SecretSource``).

    Raises InvalidInput, IdempotencyKeyReused, RequestInProgress, and what ``work`` raises.
    """
    key = _idempotency_key(request)
    async with changing(request, principal) as tx:
        if key is None:
            response: Response = await work(tx, SecretSource())
        else:
            asked = await request.body() if digest is None else digest
            response = await _under_key(tx, request, principal, key, asked, work)
    emit(StepDone("request", "committed", request.state.request_id))
    return response


@asynccontextmanager
async def visiting(request: Request, principal: Principal) -> AsyncIterator[None]:
    """Do what may wait for a tenant's database. Raises TooManyAtOnce."""
    async with limits_of(request).visiting(principal.actor.customer_id or principal.caller_id):
        yield


@asynccontextmanager
async def changing(request: Request, principal: Principal) -> AsyncIterator[Tx]:
    """A transaction of the caller's, for what a request changes.

    What changes a database or a cluster may wait for a tenant, for an operation on it, or for a
    repository elsewhere. So one request of a customer at a time has it, and the transaction a
    connection of its own; whoever waits for a turn holds nothing. Raises Busy, TooManyAtOnce.
    """
    platform = await platform_of(request)
    resource = _resource_of(request)
    if resource is None:
        async with platform.store.transaction(principal.actor) as tx:
            yield tx
        return
    async with (
        # Nobody waits for requests of a customer who asks for a neighbour's.
        limits_of(request).turn((principal.actor.customer_id, resource), within=_TURN_SECONDS),
        visiting(request, principal),
        platform.store.long_transaction(principal.actor) as tx,
    ):
        yield tx


def _resource_of(request: Request) -> uuid.UUID | None:
    """The database or the cluster that a request's path names."""
    if not request.url.path.startswith(("/api/databases/", "/api/clusters/")):
        return None
    return parse_id(request.path_params.get("identifier", ""))


async def is_repeated(request: Request, principal: Principal) -> bool:
    """Whether a request with this Idempotency-Key has been answered before."""
    key = _idempotency_key(request)
    if key is None:
        return False
    platform = await platform_of(request)
    async with platform.store.transaction(principal.actor) as tx:
        return await idempotency.find(tx, principal.caller_id, key) is not None


async def begun(
    request: Request,
    principal: Principal,
    want: Callable[[Tx], Awaitable[OperationRow]],
    message: str,
    *,
    digest: bytes | None = None,
) -> Response:
    """Want an operation, under an Idempotency-Key at most once, and answer how to follow it.

    Raises as ``once``.
    """

    async def work(tx: Tx, _: SecretSource) -> JSONResponse:
        return answers.accepted(await want(tx), message)

    return await once(request, principal, work, digest=digest)


async def _under_key(
    tx: Tx,
    request: Request,
    principal: Principal,
    key: str,
    asked: bytes,
    work: Callable[[Tx, SecretSource], Awaitable[JSONResponse]],
) -> Response:
    fingerprint = _fingerprint(request, principal, asked)
    if not await idempotency.try_lock(tx, principal.caller_id, key):
        raise RequestInProgress(
            "A request with this Idempotency-Key is still being worked on.",
            hint="Send it again in a moment.",
        )
    kept = await idempotency.find(tx, principal.caller_id, key)
    source = SecretSource.derived(
        api_key=principal.secret,
        idempotency_key=key,
        salt=kept.salt if kept else SecretSource().salt,
    )
    if kept is not None:
        if not hmac.compare_digest(kept.fingerprint, fingerprint):
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for a request that asked for something else.",
                hint="Use a new key for a new request.",
                fields=(FieldError("Idempotency-Key", "belongs to another request", "reused"),),
            )
        return _replay(kept, source)
    response = await work(tx, source)
    body = _without_secrets(bytes(response.body).decode(), source)
    await idempotency.keep(
        tx,
        principal.caller_id,
        key,
        KeptAnswer(fingerprint, source.salt, response.status_code, body),
    )
    return response
