"""/v1/caches/{site_id}/vectors: vectors that a site's programs store and search."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field, FiniteFloat, StrictBool, StrictStr, StringConstraints, model_validator

from tenantry.base.errors import Conflict
from tenantry.cache.entries import Name, as_json
from tenantry.cache.sites import ByPath, Sites
from tenantry.services.bodies.fields import Body, Storable
from tenantry.services.caching.proxying import Served
from tenantry.services.caching.vectors import filters

if TYPE_CHECKING:
    from tenantry.services.caching.semantic.model import Embedder
    from tenantry.services.caching.vectors.model import Found, Item, Summary
    from tenantry.services.caching.vectors.service import Collections

router = APIRouter(prefix="/v1/caches/{site_id}/vectors")

MOST_ITEMS = 1000  # of a request, and of a search's results
MOST_VECTORS = 100  # of a search's results with their vectors: four million numbers are 80 MB
_MOST_TEXT = 10_000
_MOST_ATTRIBUTES = 20

Collection = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
ItemId = Annotated[Storable, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=_MOST_TEXT)]
Vector = Annotated[
    list[FiniteFloat] | StrictStr, Field(description="Numbers, or base64 of little-endian float32.")
]
Word = Annotated[str, StringConstraints(strict=True, max_length=1000)]
Attributes = Annotated[
    dict[Name, StrictBool | FiniteFloat | Word],
    Field(max_length=_MOST_ATTRIBUTES),
]
Filter = Annotated[dict[str, Any], Field(min_length=1)]


class NewItem(Body):
    """An item. Without ``vector`` the site's embedder makes it of ``text``."""

    id: ItemId
    vector: Vector | None = None
    text: Text | None = None
    attributes: Attributes = Field(default={})


class Upsert(Body):
    items: Annotated[list[NewItem], Field(min_length=1, max_length=MOST_ITEMS)]


class Search(Body):
    """``hybrid`` also looks for the words of ``text``, and fuses both orders."""

    vector: Vector | None = None
    text: Text | None = None
    k: Annotated[int, Field(ge=1, le=MOST_ITEMS)] = 10
    filter: Filter | None = None
    min_similarity: Annotated[float, Field(ge=0, le=1)] = 0.0
    hybrid: bool = False
    include_vectors: bool = False

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.vector is None and self.text is None:
            raise ValueError("has neither a vector nor a text")
        if self.hybrid and self.text is None:
            raise ValueError("has no text, whose words hybrid looks for")
        if self.include_vectors and self.k > MOST_VECTORS:
            raise ValueError(f"has a k above {MOST_VECTORS}, the most with include_vectors")
        if self.vector is not None and self.text is not None and not self.hybrid:
            raise ValueError("has a vector and a text: hybrid looks for both")
        return self


class DeleteItems(Body):
    ids: Annotated[list[ItemId], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    filter: Filter | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("has either ids or a filter")
        return self


@dataclass(frozen=True, slots=True)
class _Stored:
    """A site's collections, and what makes vectors of texts."""

    collections: "Collections"
    embedder: "Callable[[], Awaitable[Embedder]]"


async def _stored(request: Request, served: ByPath) -> _Stored:
    sites: Sites = request.app.state.sites
    return _Stored(sites.vectors(served.site), partial(_embedder, sites, served))


Stored = Annotated[_Stored, Depends(_stored)]


@router.get("")
async def index(stored: Stored) -> Response:
    """List the collections."""
    return as_json({"data": [_summary(each) for each in await stored.collections.every()]})


@router.get("/{collection}")
async def show(stored: Stored, collection: Collection) -> Response:
    return as_json(_summary(await stored.collections.show(collection)))


@router.post("/{collection}")
async def upsert(stored: Stored, collection: Collection, body: Upsert) -> Response:
    """Store items, in place of those with their ids: all or none. The first decide the width."""
    from tenantry.services.caching.vectors import model  # noqa: PLC0415

    items = [model.NewItem(each.id, each.vector, each.text, each.attributes) for each in body.items]
    count = await stored.collections.upsert(collection, items, stored.embedder)
    return as_json({"upserted": len(items), "count": count})


@router.post("/{collection}/search")
async def search(stored: Stored, collection: Collection, body: Search) -> Response:
    """Return the nearest items, the nearest first."""
    from tenantry.services.caching.vectors import model  # noqa: PLC0415

    admitted = None if body.filter is None else filters.parse(body.filter)
    if body.vector is not None:
        vector = model.unit(body.vector, "vector")
    else:
        text = body.text or ""
        vector = await stored.collections.query_vector(collection, text, stored.embedder)
    query = model.Query(
        vector,
        body.k,
        admitted,
        2 * body.min_similarity - 1,
        body.text if body.hybrid else None,
    )
    found = await stored.collections.search(collection, query)
    # Beside the requests of all sites: a vector has up to 4,096 numbers.
    rows = await asyncio.to_thread(_rows, found, whole=body.include_vectors)
    return Response(f'{{"data":[{rows}]}}', media_type="application/json")


@router.post("/{collection}/delete")
async def delete(stored: Stored, collection: Collection, body: DeleteItems) -> Response:
    """Delete items by their ids, or those that a filter admits."""
    if body.filter is not None:
        count = await stored.collections.delete_with(collection, filters.parse(body.filter))
    else:
        count = await stored.collections.delete(collection, body.ids or [])
    return as_json({"deleted": count})


@router.delete("/{collection}")
async def drop(stored: Stored, collection: Collection) -> Response:
    """Delete a collection with all its items."""
    await stored.collections.drop(collection)
    return Response(status_code=204)


@router.get("/{collection}/items/{item_id:path}")
async def get(
    stored: Stored,
    collection: Collection,
    item_id: Annotated[Storable, Path(min_length=1, max_length=200)],
) -> Response:
    return as_json(_item(await stored.collections.get(collection, item_id), whole=True))


async def _embedder(sites: Sites, served: Served) -> "Embedder":
    """Return what makes vectors of texts. Raises Conflict, Unavailable."""
    if (semantic := await sites.semantic(served)) is None:
        raise Conflict(
            "This site has no embedder, and cannot make vectors of texts.",
            hint="Send vectors, or run `tenantry cache update SITE --semantic shadow`.",
        )
    return semantic.embedder


def _summary(each: "Summary") -> dict[str, object]:
    return {
        "name": each.name,
        "dimension": each.meta.dim,
        "count": each.count,
        "embedder": each.meta.embedder,
    }


def _item(each: "Item", *, whole: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "id": each.id,
        "text": each.text,
        "attributes": dict(each.attributes),
    }
    return found | {"vector": each.vector.tolist()} if whole else found


def _rows(found: "Sequence[Found]", *, whole: bool) -> str:
    # One by one: a call of json holds up all threads.
    return ",".join(json.dumps(_found(each, whole=whole), separators=(",", ":")) for each in found)


def _found(each: "Found", *, whole: bool) -> dict[str, object]:
    near: dict[str, object] = {
        "similarity": round(each.similarity, 6),
        "cosine": round(each.near.cosine, 6),
    }
    if each.near.fused is not None:
        near["score"] = round(each.near.fused, 6)
    return _item(each.item, whole=whole) | near
