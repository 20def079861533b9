"""/v1/caches/{site_id}: entries, by LangCache's paths, and what it has not: feedback, and counts.

Source of the paths and fields: the client ``langcache`` 0.14.
"""

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from tenantry.base.errors import Conflict, InvalidInput, NotFound
from tenantry.cache.sites import ByPath
from tenantry.services.bodies.fields import Body
from tenantry.services.caching.model import Answer, Entry, Question, scope_digest
from tenantry_cache.rules.questions import DEFAULT_TTL_MS, LONGEST_TTL_MS

router = APIRouter(prefix="/v1/caches/{site_id}")

_MOST_ATTRIBUTES = 20
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Value = Annotated[str, StringConstraints(max_length=1000)]
Attributes = Annotated[dict[Name, Value], Field(max_length=_MOST_ATTRIBUTES)]
Strategy = Literal["exact", "semantic"]
Ttl = Annotated[int, Field(ge=1, le=LONGEST_TTL_MS)]


class _Asked(Body):
    """A question. ``scope`` is any JSON on which the answer depends beside the prompt."""

    prompt: Text
    attributes: Attributes | None = None
    scope: dict[str, object] | None = None

    def question(self) -> Question:
        return Question(self.prompt, scope_digest(self.scope), self.attributes or {})

    @property
    def model(self) -> object:
        """The model that is asked, if the caller says so. It is for the counts only."""
        return (self.scope or {}).get("model") or (self.attributes or {}).get("model")


class SearchEntries(_Asked):
    similarity_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    search_strategies: Annotated[tuple[Strategy, ...], Field(min_length=1)] = ("exact", "semantic")
    max_results: Annotated[int, Field(ge=1, le=100)] | None = None


class StoreEntry(_Asked):
    response: str
    ttl_millis: Ttl = DEFAULT_TTL_MS
    sliding: bool = False


class DeleteEntries(Body):
    attributes: Attributes


class Feedback(Body):
    correct: bool


@router.post("/entries/search")
async def search(served: ByPath, body: SearchEntries) -> Response:
    """Return the entry of a question, or of one that means the same, if there is one.

    An exact one has the similarity 1, whatever the strategies. ``similarity_threshold`` can only
    ask for more than what is in force.
    """
    if served.site.mode == "off":
        return as_json({"data": []})
    found = await served.look_up(
        body.question(),
        body.model,
        by_meaning="semantic" in body.search_strategies,
        least=body.similarity_threshold or 0.0,
    )
    if found is None:
        return as_json({"data": []})
    written = _written(found.entry)
    if found.candidate is not None:
        written |= {
            "similarity": round(found.candidate.similarity, 4),
            "searchStrategy": "semantic",
            "hitId": found.candidate.hit_id,
        }
    return as_json({"data": [written]})


@router.post("/entries")
async def store(served: ByPath, body: StoreEntry) -> Response:
    """Store an answer, in place of an earlier one to the same question."""
    if served.site.mode == "off":
        raise Conflict(
            "The cache of this site is off.",
            hint="`tenantry cache update SITE --semantic exact`, or PATCH /api/sites/{id}.",
        )
    answer = Answer(body.response, body.ttl_millis, body.sliding)
    stored = await served.store(body.question(), answer)
    if stored is None:
        raise InvalidInput.of("response", "is longer than 1 MiB with its prompt and attributes")
    return as_json({"entryId": stored.id}, 201)


@router.delete("/entries/{entry_id}")
async def delete(served: ByPath, entry_id: str) -> Response:
    if not await served.cache.delete(entry_id):
        raise NotFound("There is no such entry.")
    if served.semantic is not None:
        await served.semantic.remove(entry_id)
    return Response(status_code=204)


@router.delete("/entries")
async def delete_with(served: ByPath, body: DeleteEntries) -> Response:
    """Delete the entries that have all of these attributes."""
    if not body.attributes:
        raise InvalidInput.of("attributes", "is empty: POST …/flush deletes all entries")
    count = await served.cache.delete_with(body.attributes)
    return as_json({"deletedEntriesCount": count})


@router.post("/entries/{entry_id}/feedback")
async def judge(served: ByPath, entry_id: str, body: Feedback) -> Response:
    """Count whether an answer was right. A wrong one is deleted."""
    if not await served.cache.judge(entry_id, correct=body.correct):
        raise NotFound("There is no such entry.")
    return Response(status_code=204)


@router.post("/flush")
async def flush(served: ByPath) -> Response:
    await served.cache.flush()
    if served.semantic is not None:
        await served.semantic.flush()
    return Response(status_code=204)


@router.get("/stats")
async def stats(served: ByPath) -> Response:
    found = await served.cache.stats()
    is_alone = served.site.isolation == "dedicated"  # otherwise these are of all shared sites
    return as_json(
        {
            "counts": found.counts,
            "hit_rate": found.hit_rate,
            "used_bytes": found.used_bytes if is_alone else None,
            "most_bytes": found.most_bytes if is_alone else None,
            "evicted": found.evicted if is_alone else None,
        }
    )


def _written(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "prompt": entry.question.prompt,
        "response": entry.answer.response,
        "attributes": entry.question.attributes,
        "similarity": 1.0,
        "searchStrategy": "exact",
    }


def as_json(value: object, status: int = 200) -> Response:
    text = json.dumps(value, separators=(",", ":"))
    return Response(text, status_code=status, media_type="application/json")
