"""/api/sites/{id}/proxy: the providers behind a site of the AI cache"""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer
from tenantry.api.deps import CurrentPlatform, SiteId, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.site_proxies import UpdateSiteProxy
from tenantry.services.caching.upstreams import ProxySettings
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/sites/{identifier}/proxy", tags=["AI cache"])

Reader = Annotated[Principal, allowed("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]


class SiteProxy(BaseModel):
    """The settings of a site's proxy. Of keys it says only whether there is one."""

    openai_url: str = Field(examples=["https://api.openai.com"])
    has_openai_key: bool
    anthropic_url: str = Field(examples=["https://api.anthropic.com"])
    has_anthropic_key: bool
    requests_per_minute: int | None = Field(description="null: no limit.")
    tokens_per_day: int | None = Field(description="null: no limit.")
    most_temperature: float = Field(description="Requests with a higher one are not cached.")


@router.get("", response_model=Answer[SiteProxy])
async def show(platform: CurrentPlatform, principal: Reader, site_id: SiteId) -> Response:
    """Return how a site's proxy is configured, without its keys."""
    return answers.answer(_written(await platform.proxies.show(principal.actor, site_id)))


@router.patch("", response_model=Answer[SiteProxy])
async def update(
    body: UpdateSiteProxy, platform: CurrentPlatform, caller: Writer, site_id: SiteId
) -> Response:
    """Change settings of a site's proxy: its providers, their keys, and limits."""
    async with caller.transaction() as tx:
        found = await platform.proxies.update(tx, caller.actor, site_id, body.values(), body.keys())
    return answers.answer(_written(found))


def _written(found: ProxySettings) -> SiteProxy:
    openai, anthropic = found.upstreams["openai"], found.upstreams["anthropic"]
    return SiteProxy(
        openai_url=openai.url,
        has_openai_key=openai.key is not None,
        anthropic_url=anthropic.url,
        has_anthropic_key=anthropic.key is not None,
        requests_per_minute=found.limits.requests_per_minute,
        tokens_per_day=found.limits.tokens_per_day,
        most_temperature=found.limits.most_temperature,
    )
