"""The vectors of a collection in memory, all of which are compared: what it finds is exact.

Rows are only appended; a removed one stays, marked, until half of all are. So a search in another
thread works on what was there when it began, and only that is copied under the lock.
"""

import hashlib
import json
import re
import threading
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenantry.services.caching.vectors.filters import (
    ORDERS,
    All,
    Compares,
    Either,
    Equals,
    Exists,
    Filter,
    Not,
    is_number,
)
from tenantry.services.caching.vectors.model import Item, Near, Query

_FIRST_ROWS = 8
_COMPACT_FROM = 1000  # removed rows
_DEPTH = 100  # of each order that is fused
_FUSION = 60  # of reciprocal-rank fusion, as its authors have it (Cormack et al., 2009)
_K1, _B = 1.2, 0.75  # of BM25
_ROUNDING = 1e-6  # of cosines in float32
_MOST_WORDS = 64  # of a query
_WORD = re.compile(r"\w+")

_Array = NDArray[Any]
_Rows = NDArray[np.bool_]


class _Growing:
    """An array that grows at its end; what ``part`` has returned never changes."""

    def __init__(self, of: type[np.generic], width: tuple[int, ...] = ()) -> None:
        self._all: _Array = np.empty((_FIRST_ROWS, *width), of)
        self.length = 0

    def part(self) -> _Array:
        return self._all[: self.length]

    def extend(self, values: _Array) -> None:
        new = self.length + len(values)
        if new > len(self._all):
            more = np.empty((max(new, 2 * len(self._all)), *self._all.shape[1:]), self._all.dtype)
            more[: self.length] = self.part()
            self._all = more
        self._all[self.length : new] = values
        self.length = new

    def keep(self, kept: _Rows) -> None:
        """Keep only some of its rows, in another array."""
        self._all = self.part()[kept].copy()
        self.length = len(self._all)


class _Columns:
    """Values of which a row has any number: ``rows`` has the row of each."""

    def __init__(self, **of: type[np.generic]) -> None:
        self._columns = {"rows": _Growing(np.int32)}
        self._columns |= {name: _Growing(each) for name, each in of.items()}

    def add(self, counts: Sequence[int], first: int, **values: Sequence[Any]) -> None:
        """Add values: so many of each row from the first one on."""
        rows = np.arange(first, first + len(counts), dtype=np.int32)
        self._columns["rows"].extend(np.repeat(rows, counts))
        for name, each in values.items():
            self._columns[name].extend(np.asarray(each, self._columns[name].part().dtype))

    def keep(self, kept: _Rows, new_rows: _Array) -> None:
        rows = self._columns["rows"]
        of_kept = kept[rows.part()]
        for each in self._columns.values():
            each.keep(of_kept)
        rows.part()[:] = new_rows[rows.part()]

    def parts(self) -> dict[str, _Array]:
        return {name: each.part() for name, each in self._columns.items()}


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What is there when a search begins."""

    ids: list[str]
    live: _Rows
    matrix: _Array
    lengths: _Array
    attributes: dict[str, _Array]
    words: dict[str, _Array]

    # ── filters ──────────────────────────────────────────────────────────────

    def admitted(self, by: Filter | None) -> _Rows:
        return self.live if by is None else self.live & self._holds(by)

    def _holds(self, by: Filter) -> _Rows:
        match by:
            case All(parts):
                return reduce(np.logical_and, map(self._holds, parts))
            case Either(parts):
                return reduce(np.logical_or, map(self._holds, parts))
            case Not(part):
                return ~self._holds(part)
            case Equals(name, value):
                return self._having(self.attributes["pairs"] == _digest(name, value))
            case Exists(name):
                return self._having(self.attributes["names"] == _digest(name))
            case Compares(name, order, number):
                named = self.attributes["names"] == _digest(name)
                return self._having(named & ORDERS[order](self.attributes["numbers"], number))
            case _:
                raise TypeError(f"{by} is no filter")

    def _having(self, chosen: _Array) -> _Rows:
        found = np.zeros(len(self.live), np.bool_)
        found[self.attributes["rows"][chosen]] = True
        return found

    # ── orders ───────────────────────────────────────────────────────────────

    def search(self, query: Query) -> list[Near]:
        cosines = self.matrix @ query.vector
        rows = np.flatnonzero(self.admitted(query.filter) & (cosines >= query.least - _ROUNDING))
        if query.words is None:
            return [
                Near(self.ids[row], float(cosines[row]), None)
                for row in _highest(cosines, rows, query.count)
            ]
        depth = max(_DEPTH, query.count)
        scores = self._scores(query.words)
        matching = rows[scores[rows] > 0]
        by_words = matching[np.lexsort((-cosines[matching], -scores[matching]))][:depth]
        orders = (_highest(cosines, rows, depth), by_words)
        fused: dict[int, float] = {}
        for order in orders:
            for rank, row in enumerate(order.tolist(), start=1):
                fused[row] = fused.get(row, 0.0) + 1 / (_FUSION + rank)
        best = sorted(fused, key=lambda row: (-fused[row], -cosines[row], row))[: query.count]
        return [Near(self.ids[row], float(cosines[row]), fused[row]) for row in best]

    def _scores(self, words: str) -> _Array:
        """Return how well the text of each row matches the words: BM25."""
        count = max(1, int(self.live.sum()))
        relative = self.lengths / max(1.0, float(self.lengths[self.live].sum()) / count)
        found = np.zeros(len(self.live), np.float64)
        for code in dict.fromkeys(_words(words)[:_MOST_WORDS]):
            rows = self.words["rows"][self.words["codes"] == code]
            times = np.bincount(rows, minlength=len(self.live))
            having = int((times[self.live] > 0).sum())
            weight = np.log1p((count - having + 0.5) / (having + 0.5))
            found += weight * times * (_K1 + 1) / (times + _K1 * (1 - _B + _B * relative))
        return found


class Index:
    """The items of a collection, by their vectors of width ``dim``, attributes and words."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._lock = threading.Lock()
        self._row_of: dict[str, int] = {}
        self._ids: list[str] = []
        self._live = _Growing(np.bool_)
        self._matrix = _Growing(np.float32, (dim,))
        self._lengths = _Growing(np.int32)
        # Digests instead of values: they have one size, and no dictionary that a site could fill.
        self._attributes = _Columns(pairs=np.uint64, names=np.uint64, numbers=np.float64)
        self._words = _Columns(codes=np.uint32)

    def __len__(self) -> int:
        return len(self._row_of)

    def add(self, items: Sequence[Item]) -> None:
        """Add items, in place of those that have their ids."""
        last = list({each.id: each for each in items}.values())
        words = [_words(each.text or "") for each in last]
        given = [pair for each in last for pair in each.attributes.items()]
        pairs, names = [_digest(*pair) for pair in given], [_digest(name) for name, _ in given]
        numbers = [value if is_number(value) else np.nan for _, value in given]
        with self._lock:
            first = len(self._ids)
            for row, each in enumerate(last, start=first):
                self._remove(each.id)
                self._row_of[each.id] = row
            self._ids.extend(each.id for each in last)
            self._live.extend(np.ones(len(last), np.bool_))
            if last:
                self._matrix.extend(np.stack([each.vector for each in last]))
            lengths = [len(each) for each in words]
            self._lengths.extend(np.asarray(lengths, np.int32))
            self._words.add(lengths, first, codes=[code for each in words for code in each])
            counts = [len(each.attributes) for each in last]
            self._attributes.add(counts, first, pairs=pairs, names=names, numbers=numbers)
            self._compact_sometimes()

    def remove(self, ids: Sequence[str]) -> None:
        """Remove items, those that are there."""
        with self._lock:
            for each in ids:
                self._remove(each)
            self._compact_sometimes()

    def search(self, query: Query) -> list[Near]:
        """Return the nearest items, the nearest first."""
        return self._snapshot().search(query)

    def admitted(self, by: Filter) -> list[str]:
        """Return the ids of the items that a filter admits."""
        snapshot = self._snapshot()
        return [snapshot.ids[row] for row in np.flatnonzero(snapshot.admitted(by))]

    def _snapshot(self) -> _Snapshot:
        with self._lock:
            return _Snapshot(
                self._ids,
                self._live.part().copy(),
                self._matrix.part(),
                self._lengths.part(),
                self._attributes.parts(),
                self._words.parts(),
            )

    def _remove(self, identifier: str) -> None:
        if (row := self._row_of.pop(identifier, None)) is not None:
            self._live.part()[row] = False

    def _compact_sometimes(self) -> None:
        if len(self._ids) - len(self._row_of) <= max(_COMPACT_FROM, len(self._row_of)):
            return
        live = self._live.part().copy()
        new_rows = (np.cumsum(live) - 1).astype(np.int32)
        self._words.keep(live, new_rows)
        self._attributes.keep(live, new_rows)
        for each in (self._matrix, self._lengths, self._live):
            each.keep(live)
        self._ids = [each for each, is_live in zip(self._ids, live, strict=True) if is_live]
        self._row_of = {each: row for row, each in enumerate(self._ids)}


def _highest(values: _Array, rows: _Array, count: int) -> _Array:
    """Return those rows with the highest values, the highest first, of equal ones the oldest."""
    if len(rows) > count:
        rows = np.sort(rows[np.argpartition(values[rows], -count)[-count:]])
    return rows[np.argsort(-values[rows], kind="stable")]


def _digest(*parts: object) -> int:
    """Return 64 bits of a name, or of a name and a value; equal ones have the same."""
    number = [float(each) if is_number(each) else each for each in parts]  # type: ignore[arg-type]
    text = json.dumps([each + 0.0 if isinstance(each, float) else each for each in number])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _words(text: str) -> list[int]:
    """Return a number for each word of a text; those that differ in case only have the same."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in found]
