"""/api/databases/{id}/data-api"""

import dataclasses
import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer
from tenantry.api.deps import CurrentPlatform, DatabaseId, allowed, calling
from tenantry.base.settings import Settings
from tenantry.pg.api_roles import ANONYMOUS, SERVICE
from tenantry.services.access.service import Principal
from tenantry.services.bodies.data_api import CreateToken, PutDataApi, RotateDataApi
from tenantry.services.data_api import model
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/databases/{identifier}/data-api", tags=["data API"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_OPEN = "Anybody who can reach it may write, without a token, what anon may: for demos only."
_KEEP = "Keep the keys: they are not shown again."


class Auth(BaseModel):
    """The users of the application."""

    site_url: str | None
    redirect_urls: list[str]
    signup: bool


class DataApi(BaseModel):
    """The REST API of a database.

    Tokens of the secret before the present one are valid until ``previous_keys_until``.
    """

    database_id: uuid.UUID
    database_name: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    rest_url: str = Field(examples=["https://db.example.com:3001/tenant_b7kx2mw9qz4p/rest/v1"])
    schemas: list[str]
    anonymous: bool
    open: bool
    max_rows: int | None = Field(examples=[1000])
    statement_timeout_ms: int | None = Field(examples=[15_000])
    jwks_url: str | None
    allowed_origins: list[str]
    auth_url: str | None = Field(description="Where users sign in; null without auth.")
    auth: Auth | None
    keys_issued_at: dt.datetime
    previous_keys_until: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


class OpenedDataApi(DataApi):
    """A data API; its new secret and keys, which are shown only once, or null for those it had."""

    jwt_secret: str | None = Field(description="64 characters.")
    anon_key: str | None = Field(description="For clients: a token of role anon.")
    service_role_key: str | None = Field(description="For your own servers: keep it secret.")


class Token(BaseModel):
    """A token for requests to the data API; it is shown only once."""

    token: str
    role: str
    sub: str | None
    expires_at: dt.datetime


class DisabledDataApi(BaseModel):
    database_id: uuid.UUID
    status: Literal["disabled", "disabling"]


@router.get("", response_model=Answer[DataApi])
async def show(platform: CurrentPlatform, principal: Reader, database_id: DatabaseId) -> Response:
    """Return how a database's data API is configured, without its keys."""
    found = await platform.data_apis.show(principal.actor, database_id)
    return answers.answer(DataApi.model_validate(_fields(platform.settings, found)))


@router.put("", response_model=Answer[OpenedDataApi])
async def put(
    body: PutDataApi, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Enable a database's data API, or replace its configuration.

    The secret and the keys of a new one are shown only in this answer.
    """
    opened = await caller.idempotent(
        model.OpenedDataApi,
        lambda tx, secrets: platform.data_apis.put(
            tx, caller.actor, database_id, body.wanted(), secrets
        ),
    )
    said = [_OPEN] if opened.api.configuration.open else []
    said += [_KEEP] if opened.jwt_secret else []
    return answers.answer(
        opened_api(platform.settings, opened), message=" ".join(["Data API enabled.", *said])
    )


@router.delete(
    "",
    response_model=Answer[DisabledDataApi],
    responses={202: {"model": Answer[DisabledDataApi], "description": "Still being removed"}},
)
async def disable(platform: CurrentPlatform, caller: Writer, database_id: DatabaseId) -> Response:
    """Disable a database's data API, and forget its keys. What was granted to anon stays."""
    gone = await platform.data_apis.disable(caller, database_id)
    return answers.answer(
        DisabledDataApi(database_id=database_id, status="disabled" if gone else "disabling"),
        message="Data API disabled." if gone else "It answers nobody; it is being removed.",
        status=200 if gone else 202,
    )


@router.post("/rotate", response_model=Answer[OpenedDataApi])
async def rotate(
    body: RotateDataApi, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Replace the secret and the keys, which are shown only in this answer."""
    opened = await caller.idempotent(
        model.OpenedDataApi,
        lambda tx, secrets: platform.data_apis.rotate(
            tx, caller.actor, database_id, secrets.jwt_secret(), body.overlap()
        ),
    )
    return answers.answer(opened_api(platform.settings, opened), message=f"Keys replaced. {_KEEP}")


@router.post("/tokens", status_code=201, response_model=Answer[Token])
async def issue_token(
    body: CreateToken, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Sign a token with the present secret. It cannot be revoked alone: rotation ends all."""
    async with caller.transaction() as tx:
        made = await platform.data_apis.issue_token(tx, caller.actor, database_id, body.wanted())
    return answers.answer(
        Token(
            token=made.token.reveal(),
            role=made.role,
            sub=made.subject,
            expires_at=made.expires_at,
        ),
        status=201,
    )


def _fields(settings: Settings, found: model.DataApi) -> dict[str, object]:
    name, has_users = found.database.database_name, found.configuration.auth is not None
    return {
        "database_id": found.database.id,
        "database_name": name,
        "rest_url": settings.rest_url(name),
        "auth_url": settings.auth_url(name) if has_users else None,
        **dataclasses.asdict(found.configuration),
        "keys_issued_at": found.keys_issued_at,
        "previous_keys_until": found.previous_until,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }


def opened_api(settings: Settings, opened: model.OpenedDataApi) -> OpenedDataApi:
    keys = {role: key.reveal() for role, key in opened.keys().items()}
    secret = None if opened.jwt_secret is None else opened.jwt_secret.reveal()
    return OpenedDataApi.model_validate(
        _fields(settings, opened.api)
        | {
            "jwt_secret": secret,
            "anon_key": keys.get(ANONYMOUS),
            "service_role_key": keys.get(SERVICE),
        }
    )
