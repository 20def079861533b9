"""Which name a client may have meant: similarity by n-grams, then by edit distance."""

from collections import Counter
from collections.abc import Iterable

SIZES = (3, 2)  # of n-grams; the shorter ones are tried if by the longer ones nothing is similar
CONSIDERED = 50
LONGEST = 200  # characters; the edit distance takes as many steps as both have, multiplied
MOST = 1000  # names; all of them are read


def similar(names: Iterable[str], wanted: str, *, least: float) -> list[tuple[float, str]]:
    """The names that are like another, with their similarity from ``least`` to 1, best first.

    There are none for a long text, or among too many names: a hint is not worth the time.
    """
    if len(wanted) > LONGEST:
        return []
    target = wanted.lower()
    unique = {name.lower(): name for name in names if len(name) <= LONGEST}
    if len(unique) > MOST:
        return []
    if target in unique:
        return [(1.0, unique[target])]
    for size in SIZES:
        grams = _grams(target, size)
        near = []
        for name in unique:
            theirs = _grams(name, size)
            shared = sum(count * theirs[gram] for gram, count in grams.items())
            if shared:
                norms = _square(grams) * _square(theirs)
                near.append((shared / norms**0.5, name))
        near.sort(key=lambda each: -each[0])
        scored = [(_closeness(target, name), unique[name]) for _, name in near[:CONSIDERED]]
        if found := [each for each in scored if each[0] >= least]:
            return sorted(found, key=lambda each: -each[0])
    return []


def closest(names: Iterable[str], wanted: str, *, least: float) -> str | None:
    """The most similar name, if its similarity is no smaller than ``least``."""
    return next((name for _, name in similar(names, wanted, least=least)), None)


def _square(grams: Counter[str]) -> int:
    return sum(count * count for count in grams.values())


def _grams(text: str, size: int) -> Counter[str]:
    kept = "".join(char for char in text if char.isalnum() or char.isspace() or char == ",")
    padded = f"-{kept}-"
    return Counter(padded[start : start + size] for start in range(len(padded) - size + 1))


def _closeness(one: str, other: str) -> float:
    """1 less the edit distance, relative to the longer text."""
    row = list(range(len(other) + 1))
    for number, char in enumerate(one, 1):
        previous, row[0] = row[0], number
        for column, theirs in enumerate(other, 1):
            changed = previous + (char != theirs)
            previous, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, changed)
    return 1 - row[-1] / max(len(one), len(other), 1)
