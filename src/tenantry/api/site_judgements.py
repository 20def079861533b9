"""/api/sites/{id}/hits, …/certify and …/semantic: what was found by meaning, to be judged"""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, SiteId, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.cache_usage import CertifyThreshold, JudgeHit
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/sites/{identifier}", tags=["AI cache"])

Reader = Annotated[Principal, allowed("databases:read")]
TextReader = Annotated[Principal, allowed("data:read")]
Writer = Annotated[Caller, calling("databases:write")]


class Hit(BaseModel):
    """A stored question that was found for another one. Shadow hits were not given."""

    id: str = Field(examples=["1790000000000-0"])
    prompt: str
    stored_prompt: str
    entry_id: str
    similarity: float = Field(examples=[0.985])
    cosine: float = Field(examples=[0.97])
    served: bool


class Judged(BaseModel):
    id: str
    status: Literal["judged"]


class Step(BaseModel):
    """The judged hits at or above a cosine, and the rate that their error is at most."""

    cosine: float
    judged: int
    wrong: int
    at_most: float


class Certificate(BaseModel):
    """What the judged hits allow. Without a certificate the cosine in force is 0.95."""

    certified: bool
    budget: float
    cosine: float | None = Field(description="The loosest that is certified; null: none.")
    steps: list[Step]


class Rate(BaseModel):
    """A share of cases with its interval of 95 %; null without any case."""

    cases: int
    found: int
    share: float | None
    low: float
    high: float


class Threshold(BaseModel):
    """The threshold in force, and what was measured there."""

    cosine: float
    similarity: float
    budget: float | None
    hit_rate: Rate
    false_hit_rate: Rate
    vetoes: dict[str, int]
    unjudged: int


@router.get("/hits", response_model=Listing[Hit])
async def hits(
    platform: CurrentPlatform,
    principal: TextReader,
    site_id: SiteId,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Return some of the hits that nobody has judged, drawn by lot."""
    found = await platform.judging.hits(principal.actor, site_id, limit=limit)
    return answers.listing([Hit.model_validate(asdict(each)) for each in found])


@router.post("/hits/{hit_id}/feedback", response_model=Answer[Judged])
async def judge(
    body: JudgeHit,
    platform: CurrentPlatform,
    caller: Writer,
    site_id: SiteId,
    hit_id: Annotated[str, Path(max_length=50)],
) -> Response:
    """Note whether the stored answer was right for what was asked."""
    await platform.judging.judge(caller.actor, site_id, hit_id, correct=body.correct)
    return answers.answer(Judged(id=hit_id, status="judged"), message="Judgement noted.")


@router.post("/certify", response_model=Answer[Certificate])
async def certify(
    body: CertifyThreshold, platform: CurrentPlatform, caller: Writer, site_id: SiteId
) -> Response:
    """Put the loosest threshold in force that the judged hits certify for the budget."""
    found = await platform.judging.certify(caller.actor, site_id, body.budget)
    return answers.answer(Certificate.model_validate(asdict(found)))


@router.get("/semantic", response_model=Answer[Threshold])
async def threshold(platform: CurrentPlatform, principal: Reader, site_id: SiteId) -> Response:
    """Return the threshold in force, and what was measured there."""
    found = await platform.judging.threshold(principal.actor, site_id)
    return answers.answer(Threshold.model_validate(asdict(found)))
