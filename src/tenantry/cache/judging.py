"""/v1/caches/{site_id}: what was found by meaning, to be judged, and the budget for errors."""

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from tenantry.base.errors import Conflict
from tenantry.cache.entries import Feedback, as_json
from tenantry.cache.sites import ByPath, Sites
from tenantry.services.bodies.fields import Body

if TYPE_CHECKING:
    from tenantry.services.caching.semantic.model import Rate
    from tenantry.services.caching.semantic.service import SemanticLookup

router = APIRouter(prefix="/v1/caches/{site_id}")

Budget = Annotated[float, Field(gt=0, lt=1)]


class Certify(Body):
    """The acceptable share of wrong answers among those that are given."""

    budget: Budget


@router.get("/hits")
async def hits(
    request: Request, served: ByPath, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Response:
    """Return some of the hits that nobody has judged, drawn by lot."""
    found = await (await _semantic(request, served)).to_judge(limit)
    return as_json(
        {
            "data": [
                {
                    "id": each.id,
                    "prompt": each.asked,
                    "stored_prompt": each.stored,
                    "entry_id": each.entry_id,
                    "similarity": round((1 + each.cosine) / 2, 4),
                    "cosine": each.cosine,
                    "served": each.served,
                }
                for each in found
            ]
        }
    )


@router.post("/hits/{hit_id}/feedback")
async def judge(request: Request, served: ByPath, hit_id: str, body: Feedback) -> Response:
    """Note whether the stored answer was right for what was asked."""
    await (await _semantic(request, served)).judge(hit_id, right=body.correct)
    return Response(status_code=204)


@router.post("/certify")
async def certify(request: Request, served: ByPath, body: Certify) -> Response:
    """Put the loosest threshold in force that the judged hits certify for the budget."""
    found = await (await _semantic(request, served)).certify(body.budget)
    return as_json(
        {
            "certified": found.threshold is not None,
            "budget": found.budget,
            "cosine": found.threshold,
            "steps": [
                {
                    "cosine": step.threshold,
                    "judged": step.judged,
                    "wrong": step.wrong,
                    "at_most": round(step.upper, 4),
                }
                for step in found.steps
            ],
        }
    )


@router.get("/semantic")
async def figures(request: Request, served: ByPath) -> Response:
    """Return the threshold in force, and what was measured there."""
    found = await (await _semantic(request, served)).figures()
    return as_json(
        {
            "cosine": found.policy.threshold,
            "similarity": round((1 + found.policy.threshold) / 2, 4),
            "budget": found.policy.budget,
            "hit_rate": _rate(found.hits),
            "false_hit_rate": _rate(found.false_hits),
            "vetoes": found.vetoes,
            "unjudged": found.unjudged,
        }
    )


async def _semantic(request: Request, served: ByPath) -> "SemanticLookup":
    sites: Sites = request.app.state.sites
    if (found := await sites.semantic(served)) is None:
        raise Conflict(
            "This site does not compare questions.",
            hint="`tenantry cache update SITE --semantic shadow`, or PATCH /api/sites/{id}.",
        )
    return found


def _rate(rate: "Rate") -> dict[str, object]:
    share = None if rate.share is None else round(rate.share, 4)
    return {
        "cases": rate.cases,
        "found": rate.found,
        "share": share,
        "low": round(rate.low, 4),
        "high": round(rate.high, 4),
    }
