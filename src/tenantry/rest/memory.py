"""Memory that several databases and clients share, so that nobody has all of it. Pure."""

from collections import Counter
from typing import Self

SMALL = 64 * 1024  # bytes, of what is let through however much others have
_PER_DATABASE = 4  # such a part of all may a database have
_PER_ADDRESS = 8


class Memory:
    """Counts bytes: of all together, of each database and of each client's address."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[tuple[str, str]] = Counter()

    def share(self, database: str, address: str) -> "Share":
        """Return what one request has; it has nothing any more at the end of its block."""
        return Share(
            self._held,
            {
                ("all", ""): self._most,
                ("database", database): self._most // _PER_DATABASE,
                ("address", address): self._most // _PER_ADDRESS,
            },
        )


class Share:
    """The bytes of one request, and the limits of those that it counts for."""

    def __init__(self, held: Counter[tuple[str, str]], limits: dict[tuple[str, str], int]) -> None:
        self._held = held
        self._limits = limits
        self.size = 0

    def add(self, size: int) -> None:
        """Count further bytes, whether or not they exceed a limit."""
        self.size += size
        if size:
            for each in self._limits:
                self._held[each] += size

    def exceeds(self, more: int = 0) -> bool:
        """Whether a limit is exceeded, or would be with so many bytes more."""
        return any(self._held[each] + more > limit for each, limit in self._limits.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Count none of its bytes any more."""
        self.add(-self.size)
        for each in self._limits:
            if not self._held[each]:
                del self._held[each]
