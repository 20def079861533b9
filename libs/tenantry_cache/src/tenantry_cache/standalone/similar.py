"""What a client has in memory to find similar questions: vectors that it has read or asked for.

All of it can be lost: Redis has what is stored, and decides what is given. Needs numpy.
"""

import base64
import hashlib
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tenantry_cache.rules import questions
from tenantry_cache.rules.nearness import (
    EXACT_MOST,
    MOST_CHARACTERS,
    STRICT,
    Rows,
    Vectors,
    similarity,
    unit_rows,
)

log = logging.getLogger("tenantry_cache")

MOST_IN_MEMORY = 2 * EXACT_MOST  # vectors of all scopes
MOST_SCOPES = 1000  # there may be one for each user
_NEAREST = 4  # so many whose entries are gone are passed over in one search
_REST_SECONDS = 5.0  # without the embedder, after it has failed
_MOST_RECENT = 256  # vectors of questions that were searched and may be stored next
_SURROGATE = re.compile("[\ud800-\udfff]")  # a lone one: such a text cannot be sent


@dataclass(slots=True)
class _Scope:
    """The questions of a scope that were read from its stream, up to the identifier ``last``."""

    rows: Rows
    last: str | None = None


class Similar:
    """The vectors of one client, for several threads. ``model`` is the name of the embedder's."""

    def __init__(self, model: str) -> None:
        self._model = hashlib.sha256(model.encode()).hexdigest()[:12]
        self._dim: int | None = None
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()
        self._recent: OrderedDict[str, Vectors] = OrderedDict()
        self._rests_until = 0.0
        self._lock = threading.Lock()

    def stream(self, scope: str, attributes: Mapping[str, str]) -> str:
        """Return the name of the stream with the questions of a scope and its attributes."""
        return f"questions:{self._model}:{questions.partition(scope, attributes)}"

    # ── vectors of texts ─────────────────────────────────────────────────────

    def known(self, text: str) -> Vectors | None:
        """Return the vector of a text that was embedded lately."""
        with self._lock:
            return self._recent.get(text)

    def may_embed(self, text: str) -> bool:
        """Whether to call the embedder: not for a long text, nor when it has just failed."""
        is_usable = text and len(text) <= MOST_CHARACTERS and not _SURROGATE.search(text)
        return bool(is_usable) and time.monotonic() >= self._rests_until

    def keep(self, text: str, raw: object) -> Vectors | None:
        """Return what the embedder gave for a text, as a unit vector; None if that is none."""
        vector: Vectors
        try:
            numbers = list(raw)  # type: ignore[call-overload]  # a caller's function gave it
            if not numbers:
                raise ValueError("The embedder gave no vector.")  # noqa: TRY301 (as unit_rows)
            [vector] = unit_rows([numbers], count=1, dim=self._dim or len(numbers))
        except (TypeError, ValueError) as error:
            self._rests_until = time.monotonic() + _REST_SECONDS
            log.warning("Questions are found by their exact text only: %s", error)
            return None
        with self._lock:
            self._dim = len(vector)
            self._recent[text] = vector
            if len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)
        return vector

    # ── questions of a scope ─────────────────────────────────────────────────

    def last(self, stream: str) -> str | None:
        """Return the identifier up to which a stream was read; None from its beginning."""
        with self._lock:
            there = self._scopes.get(stream)
            return None if there is None else there.last

    def read(
        self, stream: str, after: str | None, found: Sequence[tuple[str, Mapping[str, str]]]
    ) -> None:
        """Take what was found in a stream after an identifier, if it was read up to there."""
        with self._lock:
            there = self._scopes.get(stream)
            if there is None and found and self._dim is not None:
                there = self._scopes[stream] = _Scope(Rows(self._dim))
            if there is None:
                return
            self._scopes.move_to_end(stream)
            if there.last != after:  # another thread was here meanwhile
                return
            for identifier, fields in found:
                there.last = identifier
                self._add(there.rows, fields)
            while len(self._scopes) > 1 and not self._has_room():
                self._scopes.popitem(last=False)

    def has(self, stream: str, entry_id: str) -> bool:
        with self._lock:
            there = self._scopes.get(stream)
            return there is not None and entry_id in there.rows

    def nearest(self, stream: str, vector: Vectors) -> list[tuple[str, float]]:
        """Return the nearest questions that are near enough, with similarities, nearest first."""
        with self._lock:
            there = self._scopes.get(stream)
            found = [] if there is None else there.rows.search(vector, _NEAREST)
        return [(each, similarity(cosine)) for each, cosine in found if cosine >= STRICT]

    def forget(self, stream: str, entry_id: str | None = None) -> None:
        """Forget a question whose entry is gone; without one, all of the stream."""
        with self._lock:
            there = self._scopes.get(stream)
            if there is None:
                return
            if entry_id is None:
                del self._scopes[stream]
            elif entry_id in there.rows:
                there.rows.remove(entry_id)

    def is_longer(self, stream: str, length: int) -> bool:
        """Whether more was read than a stream has: it was deleted or evicted meanwhile."""
        with self._lock:
            there = self._scopes.get(stream)
            return there is not None and len(there.rows) > length

    def clear(self) -> None:
        with self._lock:
            self._scopes.clear()

    def _has_room(self) -> bool:
        count = sum(len(each.rows) for each in self._scopes.values())
        return count <= MOST_IN_MEMORY and len(self._scopes) <= MOST_SCOPES

    def _add(self, rows: Rows, fields: Mapping[str, str]) -> None:
        try:
            raw = np.frombuffer(base64.b64decode(fields["vector"], validate=True), dtype="<f2")
            [vector] = unit_rows([raw], count=1, dim=rows.dim)
            entry_id = fields["entry"]
        except (KeyError, ValueError):  # of another width, or of another version
            return
        if entry_id in rows:
            rows.remove(entry_id)
        rows.add(entry_id, vector)
        if len(rows) > EXACT_MOST:
            rows.remove(rows.oldest)


def addition(key: str, entry_id: str, vector: Vectors) -> tuple[str | int, ...]:
    """Return the command that adds a question to a stream, in place of the oldest of many."""
    numbers = base64.b64encode(vector.astype("<f2").tobytes()).decode()
    return ("XADD", key, "MAXLEN", EXACT_MOST, "*", "entry", entry_id, "vector", numbers)
