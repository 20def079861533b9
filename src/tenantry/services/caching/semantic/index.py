"""The vectors of a site in memory, by partition: nothing of another one can be found."""

from collections.abc import Iterable
from typing import Any, Protocol

from tenantry_cache.rules.nearness import EXACT_MOST, Near, Rows, Vectors

_CONNECTIONS, _EXPAND_ADD, _EXPAND_SEARCH = 16, 128, 64


class Index:
    """Vectors of a site by identifier. Not for several threads at once."""

    def __init__(self, dim: int, *, exact_most: int = EXACT_MOST) -> None:
        self._dim = dim
        self._exact_most = exact_most
        self._partitions: dict[str, _Partition] = {}
        self._partition_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._partition_of)

    @property
    def identifiers(self) -> list[str]:
        return list(self._partition_of)

    def add(self, partition: str, identifier: str, vector: Vectors) -> None:
        """Add a vector, in place of the one that has this identifier."""
        self.remove(identifier)
        there = self._partitions.get(partition)
        if there is None:
            there = Rows(self._dim)
        elif len(there) == self._exact_most and isinstance(there, Rows):
            there = _Graph(self._dim, there.items())
        there.add(identifier, vector)
        self._partitions[partition] = there
        self._partition_of[identifier] = partition

    def remove(self, identifier: str) -> None:
        """Remove a vector, if it is there."""
        partition = self._partition_of.pop(identifier, None)
        if partition is None:
            return
        there = self._partitions[partition]
        there.remove(identifier)
        if not len(there):
            del self._partitions[partition]

    def clear(self) -> None:
        self._partitions.clear()
        self._partition_of.clear()

    def search(self, partition: str, vector: Vectors, count: int) -> Near:
        """Return the nearest ``count`` of a partition, or as many as it has."""
        there = self._partitions.get(partition)
        return [] if there is None else there.search(vector, count)


class _Partition(Protocol):
    def __len__(self) -> int: ...
    def add(self, identifier: str, vector: Vectors) -> None: ...
    def remove(self, identifier: str) -> None: ...
    def search(self, vector: Vectors, count: int) -> Near: ...


class _Graph:
    """An approximate search of usearch, with 16-bit numbers: of 100 nearest it misses about one."""

    def __init__(self, dim: int, items: Iterable[tuple[str, Vectors]]) -> None:
        # Here, since nobody needs it who has few entries. Not in a process with onnxruntime: 2.26
        # and 1.32 crash together.
        from usearch.index import Index as Usearch  # noqa: PLC0415

        self._graph: Any = Usearch(
            ndim=dim,
            metric="cos",
            dtype="f16",
            connectivity=_CONNECTIONS,
            expansion_add=_EXPAND_ADD,
            expansion_search=_EXPAND_SEARCH,
        )
        self._next = 0
        self._ids: dict[int, str] = {}
        self._keys: dict[str, int] = {}
        for identifier, vector in items:
            self.add(identifier, vector)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, identifier: str, vector: Vectors) -> None:
        key, self._next = self._next, self._next + 1
        self._graph.add(key, vector)
        self._ids[key] = identifier
        self._keys[identifier] = key

    def remove(self, identifier: str) -> None:
        key = self._keys.pop(identifier)
        del self._ids[key]
        self._graph.remove(key)

    def search(self, vector: Vectors, count: int) -> Near:
        found = self._graph.search(vector, count)
        pairs = zip(found.keys.tolist(), found.distances.tolist(), strict=True)
        return [(self._ids[key], 1 - distance) for key, distance in pairs if key in self._ids]
