"""What a site has used of its limits, in memory: its Redis may be full, away, or flushed."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Count:
    """A count of the present minute or day; with the next one it begins again."""

    period: str = ""
    count: int = 0

    def add(self, period: str, by: int) -> int:
        """Add to the count. Returns what it is then."""
        if period != self.period:
            self.period, self.count = period, 0
        self.count += by
        return self.count

    def raise_to(self, period: str, least: int) -> int:
        """Make it at least what is known from elsewhere. Returns what it is then."""
        self.count = max(self.add(period, 0), least)
        return self.count


@dataclass(slots=True)
class Meter:
    """The counts of one site, in the process that serves it."""

    requests: Count = field(default_factory=Count)
    tokens: Count = field(default_factory=Count)
