"""What is stored with a vector, and what a search asks and finds. Values only."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenantry.base.errors import InvalidInput
from tenantry.services.caching.vectors.filters import Attributes, Filter

Vector = NDArray[np.float32]  # of length 1
MOST_NUMBERS = 4096  # of a vector


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be stored; ``vector`` as the client sent it, None if ``text`` is embedded."""

    id: str
    vector: Sequence[float] | str | None
    text: str | None
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Item:
    id: str
    vector: Vector
    text: str | None
    attributes: Attributes

    def written(self) -> str:
        """Return the item as it is stored, without its id."""
        numbers = base64.b64encode(self.vector.astype("<f4").tobytes()).decode()
        return json.dumps([numbers, self.text, dict(self.attributes)], separators=(",", ":"))

    @classmethod
    def read(cls, identifier: str, written: str) -> "Item | None":
        """Return a stored item; None if it is none, such as one of another version."""
        try:
            numbers, text, attributes = json.loads(written)
            vector = np.frombuffer(base64.b64decode(numbers, validate=True), dtype="<f4")
            return cls(identifier, vector.astype(np.float32), text, dict(attributes))
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Meta:
    """What holds of a whole collection.

    ``embedder`` is the id of what made its vectors, None if its programs did. ``stamp`` is
    another one whenever items are added: an index in memory with another one misses some.
    """

    dim: int
    embedder: str | None
    stamp: str

    def written(self) -> str:
        return json.dumps([self.dim, self.embedder, self.stamp])

    @classmethod
    def read(cls, written: str | None) -> "Meta | None":
        try:
            dim, embedder, stamp = json.loads(written or "null")
            return cls(int(dim), embedder, str(stamp))
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Summary:
    """A collection: how many numbers its vectors have, and how many of them there are."""

    name: str
    meta: Meta
    count: int


@dataclass(frozen=True, slots=True)
class Query:
    """The nearest ``count`` to ``vector``, of those that the filter admits.

    Those with a cosine below ``least`` are left out. With ``words`` the order of the vectors and
    that of the words of the texts are fused.
    """

    vector: Vector
    count: int
    filter: Filter | None = None
    least: float = -1.0
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Near:
    """What a search of an index finds; ``fused`` is None without words."""

    id: str
    cosine: float
    fused: float | None


@dataclass(frozen=True, slots=True)
class Found:
    item: Item
    near: Near

    @property
    def similarity(self) -> float:
        """The similarity, 0 to 1."""
        return (1 + self.near.cosine) / 2


def unit(given: Sequence[float] | str, field: str) -> Vector:
    """Return a vector, which is a list of numbers or base64 of little-endian float32, of length 1.

    Raises InvalidInput for one that has no direction, or with numbers that are not finite.
    """
    try:
        raw: Any = given
        if isinstance(given, str):
            raw = np.frombuffer(base64.b64decode(given, validate=True), dtype="<f4")
        with np.errstate(over="ignore"):
            found = np.asarray(raw, dtype=np.float32)
            length = float(np.linalg.norm(found))
    except (ValueError, TypeError, OverflowError, binascii.Error):
        raise InvalidInput.of(field, "is no list of numbers, nor base64 of float32") from None
    if found.ndim != 1 or not 0 < len(found) <= MOST_NUMBERS:
        raise InvalidInput.of(field, f"has 1 to {MOST_NUMBERS:,} numbers")
    if not np.isfinite(length) or not length:
        message = "has numbers that are not finite, are too large, or all zero"
        raise InvalidInput.of(field, message)
    return np.asarray(found / length, dtype=np.float32)


def require_width(vectors: Mapping[str, Vector], dim: int) -> None:
    """Raise InvalidInput unless all vectors, by the names of their fields, have this width."""
    for field, vector in vectors.items():
        if len(vector) != dim:
            raise InvalidInput.of(
                field, f"has {len(vector):,} numbers, and the vectors of this collection {dim:,}"
            )
