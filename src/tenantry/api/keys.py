"""/api/api-keys"""

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.asking import Cursor, KeyId, Limit, PlatformHere, allowed, once
from tenantry.api.requests.access import CreateKey
from tenantry.base.secrets import SecretSource
from tenantry.control.keys import ApiKeyRow
from tenantry.control.store import Tx
from tenantry.services.access.service import Principal

router = APIRouter(prefix="/api", tags=["access"])

Reader = Annotated[Principal, allowed("keys:read")]
Writer = Annotated[Principal, allowed("keys:write")]


class ApiKey(BaseModel):
    id: uuid.UUID
    name: str
    prefix: str
    scopes: list[str]
    customer_email: str | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None
    created_at: dt.datetime


class NewApiKey(ApiKey):
    """With the key itself, which is shown this once and kept as a hash."""

    key: str


def _shown(row: ApiKeyRow) -> ApiKey:
    return ApiKey.model_validate(row, from_attributes=True)


@router.post("/api-keys", status_code=201, response_model=Answer[NewApiKey])
async def create(
    request: Request, body: CreateKey, platform: PlatformHere, principal: Writer
) -> Response:
    """Make an API key. It is in this answer and nowhere else."""

    async def work(tx: Tx, secrets: SecretSource) -> JSONResponse:
        secret = secrets.api_key()
        row = await platform.access.create_key(
            tx,
            principal,
            secret,
            name=body.name,
            scopes=sorted(set(body.scopes)),
            customer_email=body.customer_email,
            expires_at=body.expires_at,
        )
        key = NewApiKey(**_shown(row).model_dump(), key=secret.reveal())
        return answers.answer(
            key, message="API key made. Keep it: it is not shown again.", status=201
        )

    return await once(request, principal, work)


@router.get("/api-keys", response_model=Listing[ApiKey])
async def index(
    platform: PlatformHere, principal: Reader, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """API keys, newest first, without what is secret of them."""
    page = await platform.access.page_of_keys(principal, cursor=cursor, limit=limit)
    return answers.listing([_shown(row) for row in page.rows], next_cursor=page.next_cursor)


@router.delete("/api-keys/{identifier}", response_model=Answer[ApiKey])
async def revoke(platform: PlatformHere, principal: Writer, key_id: KeyId) -> Response:
    """End an API key for good, from the next request on."""
    async with platform.store.transaction(principal.actor) as tx:
        row = await platform.access.revoke_key(tx, principal, key_id)
    return answers.answer(_shown(row), message="API key revoked.")
