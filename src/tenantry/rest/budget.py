"""The memory that all schema caches together may take. Pure."""

import pickle
from collections import OrderedDict

from tenantry_rest import Schema

# Measured with Python 3.11: a schema in memory is six times as large as pickled. A database's pool,
# plans and verified tokens take about as much as a small schema, whatever its size.
_PER_PICKLED_BYTE = 6
_BESIDES = 40_000


def size_of(schema: Schema) -> int:
    """Return about how many bytes of memory a database with this schema takes."""
    return _PER_PICKLED_BYTE * len(pickle.dumps(schema)) + _BESIDES


class Budget:
    """The sizes of databases' caches, in the order of their last use."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self.used = 0  # bytes of all together

    def touch(self, name: str) -> None:
        """Note a use of a database's cache, if it has one."""
        if name in self._sizes:
            self._sizes.move_to_end(name)

    def put(self, name: str, size: int) -> list[str]:
        """Note the size of a cache; return which others to drop, the longest unused first."""
        self.forget(name)
        self._sizes[name] = size
        self.used += size
        surplus, left = [], self.used
        for other, taken in self._sizes.items():
            if left <= self._most or other == name:
                break
            left -= taken
            surplus.append(other)
        return surplus

    def forget(self, name: str) -> None:
        """Note that a database's cache is gone."""
        self.used -= self._sizes.pop(name, 0)
