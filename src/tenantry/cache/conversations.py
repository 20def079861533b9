"""/v1/caches/{site_id}/history/{session}: the turns of a conversation."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints

from tenantry.base.errors import NotFound
from tenantry.cache.sites import ByPath
from tenantry.services.bodies.fields import Body
from tenantry.services.caching.model import Message, window
from tenantry_cache.rules.questions import (
    CONVERSATION_TTL_MS,
    LONGEST_TTL_MS,
    MOST_MESSAGES,
    estimated_tokens,
)

router = APIRouter(prefix="/v1/caches/{site_id}/history/{session:path}")

_MOST_TOKENS = 10_000_000
_MOST_TEXT = 1024 * 1024

Session = Annotated[str, Path(min_length=1, max_length=200)]


class NewMessage(Body):
    """A turn. Without ``tokens`` they are estimated: four bytes each."""

    role: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    content: Annotated[str, StringConstraints(max_length=_MOST_TEXT)]
    tokens: Annotated[int, Field(ge=0, le=_MOST_TOKENS)] | None = None


class AppendMessages(Body):
    messages: Annotated[list[NewMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    ttl_seconds: Annotated[int, Field(ge=1, le=LONGEST_TTL_MS // 1000)] = (
        CONVERSATION_TTL_MS // 1000
    )


@router.post("")
async def append(served: ByPath, session: Session, body: AppendMessages) -> Response:
    """Add turns. The conversation lives ``ttl_seconds`` from now."""
    messages = [
        Message(each.role, each.content, _tokens(each.tokens, each.content))
        for each in body.messages
    ]
    count = await served.cache.append(session, messages, body.ttl_seconds * 1000)
    return JSONResponse({"count": count}, 201)


@router.get("")
async def show(
    served: ByPath,
    session: Session,
    max_tokens: Annotated[int, Query(ge=1, le=_MOST_TOKENS)] = _MOST_TOKENS,
) -> Response:
    """Return the last turns that have so many tokens together, the oldest first."""
    found = window(await served.cache.conversation(session), max_tokens)
    messages = [{"role": m.role, "content": m.content, "tokens": m.tokens} for m in found]
    return JSONResponse({"messages": messages, "tokens": sum(m.tokens for m in found)})


@router.delete("")
async def forget(served: ByPath, session: Session) -> Response:
    if not await served.cache.forget(session):
        raise NotFound("There is no such conversation.")
    return Response(status_code=204)


def _tokens(given: int | None, content: str) -> int:
    return estimated_tokens(content) if given is None else given
