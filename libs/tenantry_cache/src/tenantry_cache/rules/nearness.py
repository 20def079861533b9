"""How near two questions are: the cosine of their vectors, and from which one an answer is given.

Needs numpy.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # one unit vector in each row
Near = list[tuple[str, float]]  # identifiers with their cosines, the nearest first

STRICT = 0.95  # the cosine from which stored answers are given, if no lower one was measured
MOST_CHARACTERS = 2000  # of a question; embedders ignore the end of longer ones
EXACT_MOST = 10_000  # vectors that are compared one by one; more of them take too long
_FIRST_ROWS = 8


def unit_rows(raw: object, *, count: int, dim: int) -> Vectors:
    """Return what an embedder gave, as unit vectors in rows.

    Raises ValueError unless these are ``count`` finite vectors of this width, none all zero.
    """
    try:
        found = np.asarray(raw, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The embedder gave no vectors: {error}.") from error
    if found.shape != (count, dim):
        raise ValueError(f"The embedder gave {found.shape} numbers, not {(count, dim)}.")
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise ValueError("The embedder gave a vector without a direction.")
    return np.asarray(found / lengths, dtype=np.float32)


def similarity(cosine: float) -> float:
    """Return the similarity, 0 to 1, of a cosine."""
    return (1 + cosine) / 2


class Rows:
    """Vectors by identifier, all of which are compared. A removed row is filled with the last."""

    def __init__(self, dim: int) -> None:
        self._matrix: Vectors = np.empty((_FIRST_ROWS, dim), np.float32)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._rows

    @property
    def dim(self) -> int:
        return int(self._matrix.shape[1])

    @property
    def oldest(self) -> str:
        """The identifier that was added first. Raises StopIteration if there is none."""
        return next(iter(self._rows))

    def items(self) -> Iterable[tuple[str, Vectors]]:
        return zip(self._ids, self._matrix, strict=False)

    def add(self, identifier: str, vector: Vectors) -> None:
        """Add a vector whose identifier is not there."""
        row = len(self._ids)
        if row == len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.empty_like(self._matrix)])
        self._matrix[row] = vector
        self._ids.append(identifier)
        self._rows[identifier] = row

    def remove(self, identifier: str) -> None:
        """Remove a vector that is there."""
        row, last = self._rows.pop(identifier), self._ids.pop()
        if last != identifier:
            self._matrix[row] = self._matrix[len(self._ids)]
            self._ids[row] = last
            self._rows[last] = row

    def search(self, vector: Vectors, count: int) -> Near:
        """Return the nearest ``count``, or as many as there are."""
        cosines = self._matrix[: len(self._ids)] @ vector
        rows = np.arange(len(cosines))
        if len(cosines) > count:
            rows = np.argpartition(cosines, -count)[-count:]
        nearest = rows[np.argsort(-cosines[rows])]
        return [(self._ids[row], float(cosines[row])) for row in nearest]
