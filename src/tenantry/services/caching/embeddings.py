"""Requests for embeddings, in OpenAI's form. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenantry.services.caching.forms import Finish, tokens
from tenantry.services.caching.model import digest

PATH = "/v1/embeddings"
MOST_TEXTS = 2048  # of a request, as OpenAI's reference has it


@dataclass(frozen=True, slots=True)
class Found:
    """The provider's embeddings, in the order of the texts, and the tokens that it counted."""

    vectors: Sequence[object]
    usage: Mapping[str, int]


def texts(body: Mapping[str, Any]) -> list[str] | None:
    """Return the texts of a request; None if it has tokens, too many, or is no request."""
    given = body.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not 0 < len(given) <= MOST_TEXTS:
        return None
    if all(isinstance(each, str) for each in given):
        return given
    return None


def digests_of(
    body: Mapping[str, Any], texts: Sequence[str], context: Sequence[object]
) -> list[str]:
    """Return what embeddings are stored under: texts are not normalised, since models differ."""
    rest = {name: value for name, value in body.items() if name != "input"}
    scope = digest("embedding", rest, list(context))  # once: it may be long, and texts many
    return [digest(scope, text) for text in texts]


def read(raw: bytes, count: int) -> Found | None:
    """Return the provider's embeddings; None unless there is one that can be used for each text.

    Those with numbers that are not finite, or of several sizes, cannot.
    """
    try:
        body = json.loads(raw, parse_constant=_refuse)
        rows = sorted(body["data"], key=lambda row: row["index"])
        vectors = [row["embedding"] for row in rows]
        usage = {name: int(value) for name, value in (body.get("usage") or {}).items()}
        in_order = [row["index"] for row in rows] == list(range(count))
        sizes = {len(each) for each in vectors}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    usable = in_order and len(sizes) == 1 and 0 not in sizes
    return Found(vectors, usage) if usable else None


def finished(raw: bytes) -> Finish | None:
    """Return the tokens that an answer took. It is not stored as a whole."""
    try:
        return Finish(tokens(json.loads(raw)["usage"], "total_tokens"), complete=False)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def answer(body: Mapping[str, Any], vectors: Sequence[object], usage: Mapping[str, int]) -> bytes:
    """Return the answer for all texts; ``usage`` is that of what the provider was asked."""
    # Row by row: one call of json for millions of numbers would hold up all threads.
    rows = [
        json.dumps({"object": "embedding", "index": index, "embedding": vector})
        for index, vector in enumerate(vectors)
    ]
    counted = {"prompt_tokens": 0, "total_tokens": 0, **usage}
    model, usage_text = json.dumps(body.get("model")), json.dumps(counted)
    data = ",".join(rows)
    return f'{{"object":"list","data":[{data}],"model":{model},"usage":{usage_text}}}'.encode()
