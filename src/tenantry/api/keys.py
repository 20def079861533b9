"""/api/api-keys"""

import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, Cursor, KeyId, Limit, allowed, calling
from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal, ShownKey
from tenantry.services.bodies.access import CreateKey
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api", tags=["access"])

Reader = Annotated[Principal, allowed("keys:read")]
Writer = Annotated[Caller, calling("keys:write")]


class Creator(BaseModel):
    """The creator of a key: the origin of the chain of keys that created it."""

    kind: Literal["user", "platform"]
    id: uuid.UUID | None = Field(description="Of the user, who may be deleted.")
    name: str | None = Field(description="The user's e-mail address; null once they are deleted.")


class Parent(BaseModel):
    """The key that created a key."""

    id: uuid.UUID
    name: str


class ApiKey(BaseModel):
    id: uuid.UUID
    name: str
    prefix: str
    status: Literal["active", "revoked", "expired", "suspended"] = Field(
        description="Active if the key and all of its grantors are."
    )
    scopes: list[str] = Field(description="What was granted.")
    effective_scopes: list[str] = Field(description="What it may do now.")
    customer_email: str | None
    created_by: Creator
    parent: Parent | None = Field(description="The key that created it, if no user did.")
    expires_at: dt.datetime | None = Field(description="When it, or one of its grantors, expires.")
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None
    created_at: dt.datetime


class NewApiKey(ApiKey):
    """An API key with its secret, which is shown only once and stored as a hash."""

    key: str


def _shown(key: ShownKey) -> ApiKey:
    row, rights, first = key.row, key.chain.rights, key.chain.links[0]
    parent = key.chain.parent
    return ApiKey(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        status=rights.status,
        scopes=row.scopes,
        effective_scopes=sorted(rights.scopes),
        customer_email=row.customer_email,
        created_by=Creator(
            kind="platform" if first.created_by is None else "user",
            id=first.created_by,
            name=first.user_email,
        ),
        parent=None if parent is None else Parent(id=parent.id, name=parent.name),
        expires_at=rights.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
    )


@router.post("/api-keys", status_code=201, response_model=Answer[NewApiKey])
async def create(body: CreateKey, platform: CurrentPlatform, caller: Writer) -> Response:
    """Create an API key. It is shown only in this answer."""

    async def work(tx: Tx, secrets: SecretSource) -> tuple[ShownKey, Secret]:
        secret = secrets.api_key()
        made = await platform.access.create_key(tx, caller.principal, secret, body.wanted())
        return made, secret

    made, secret = await caller.idempotent(tuple[ShownKey, Secret], work)
    return answers.answer(
        NewApiKey(**_shown(made).model_dump(), key=secret.reveal()),
        message="API key made. Keep it: it is not shown again.",
        status=201,
    )


@router.get("/api-keys", response_model=Listing[ApiKey])
async def index(
    platform: CurrentPlatform, principal: Reader, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List API keys, newest first, without their secrets."""
    page = await platform.access.page_of_keys(principal, cursor=cursor, limit=limit)
    return answers.listing([_shown(row) for row in page.rows], next_cursor=page.next_cursor)


@router.delete("/api-keys/{identifier}", response_model=Answer[ApiKey])
async def revoke(platform: CurrentPlatform, caller: Writer, key_id: KeyId) -> Response:
    """Revoke an API key, and those created with it, permanently; effective on the next request."""
    async with caller.transaction() as tx:
        row = await platform.access.revoke_key(tx, caller.principal, key_id)
    return answers.answer(_shown(row), message="API key revoked.")
