"""Objections to answering a question with the answer of a similar one.

Embeddings hardly notice that a number, a name, a negation or one word of a pair of opposites has
changed. The guards compare the words of both questions. They know English only.

Each rule was measured (docs/explanation/semantic-cache.md); a change of any is a new ``VERSION``,
since certificates hold for one version.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from tenantry_cache.rules.words import (
    CONNECTIVES,
    NEGATIONS,
    NEGATIVE_PREFIXES,
    NUMBERS,
    OPPOSITES,
)

VERSION = "1.1"

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+(?:[.,:]\d+)*")
_CAPITALISED = re.compile(r"[A-Za-z][\w&'-]*")
_FIRST_OF_SENTENCE = re.compile(r'(?:^|[.?!:]\s+|["(]\s*)([A-Za-z]\w*)')
_TIME_OF_DAY = re.compile(r"(\d)\s*([ap])\.?m\b")
_ENDINGS = ("ing", "ies", "es", "s", "ed")
_SHORTEST_STEM = 3
_LATIN_ENDS = 0x24F  # of the block Latin Extended-B
_ASPECTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bused? to be\b",
        r"\bbecoming\b",
        r"\bany ?more\b|\bno longer\b",
        r"\bsimultaneously\b|\bboth\b",
        r"\bpartly\b|\bpartially\b",
        r"\bother\b|\banother\b|\belse\b",
        r"\bonly\b",
        r"\bleast\b",
        r"\bexcept\b",
    )
)


def vetoes(stored: str, asked: str) -> tuple[str, ...]:
    """Return why the answer to ``stored`` may not answer ``asked``, as names; () if it may.

    The names are numbers, negation, opposites, order, names, prefix, aspect and script. The order
    of the arguments makes no difference.
    """
    a, b = _read(stored), _read(asked)
    rules = {
        "numbers": a.numbers != b.numbers,
        "negation": a.is_negated != b.is_negated,
        "opposites": _are_opposed(a.words, b.words),
        "order": a.content != b.content and sorted(a.content) == sorted(b.content),
        "names": bool(a.names - b.names - b.stems) and bool(b.names - a.names - a.stems),
        "prefix": _differ_by_prefix(a.words, b.words),
        "aspect": a.aspects != b.aspects,
        "script": stored != asked and not (a.is_latin and b.is_latin),
    }
    return tuple(name for name, objects in rules.items() if objects)


@dataclass(frozen=True, slots=True)
class _Question:
    numbers: tuple[str, ...]
    is_negated: bool
    words: frozenset[str]
    stems: frozenset[str]
    content: tuple[str, ...]  # stems in their order, without connectives
    names: frozenset[str]  # stems
    aspects: tuple[bool, ...]
    is_latin: bool


@lru_cache(maxsize=4096)
def _read(question: str) -> _Question:
    text = unicodedata.normalize("NFKC", question).replace("\u2019", "'")
    words = _WORD.findall(_TIME_OF_DAY.sub(r"\1 \2m", text.lower()))  # of "10 a.m." 10 and am
    return _Question(
        numbers=tuple(sorted(_numbers(words))),
        is_negated=sum(word in NEGATIONS or word.endswith("n't") for word in words) % 2 == 1,
        words=frozenset(words),
        stems=frozenset(map(_stem, words)),
        content=tuple(_stem(word) for word in words if word not in CONNECTIVES),
        names=frozenset(map(_stem, _names(text))),
        aspects=tuple(pattern.search(text) is not None for pattern in _ASPECTS),
        is_latin=all(ord(sign) <= _LATIN_ENDS for sign in text if sign.isalnum()),
    )


def _numbers(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if word[0].isdigit():
            yield word.replace(",", "")
        elif word in NUMBERS:
            yield NUMBERS[word]


def _names(text: str) -> Iterable[str]:
    """Yield the words with a capital that is not their sentence's, and all in capitals."""
    firsts = {match.start(1) for match in _FIRST_OF_SENTENCE.finditer(text)}
    for match in _CAPITALISED.finditer(text):
        word = match.group()
        is_acronym = word.isupper() and len(word) > 1
        if match.start() in firsts and not is_acronym:
            continue
        is_pronoun = word == "I" or word.startswith("I'")
        if word[0].isupper() and not is_pronoun and word.lower() not in CONNECTIVES:
            yield word.removesuffix("'s").lower()


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word.removesuffix(ending)
    return word


def _are_opposed(a: frozenset[str], b: frozenset[str]) -> bool:
    only_a, only_b = a - b, b - a
    return any(
        (one in only_a and other in only_b) or (one in only_b and other in only_a)
        for one, other in OPPOSITES
    )


def _differ_by_prefix(a: frozenset[str], b: frozenset[str]) -> bool:
    """Whether one has a word that the other has with a negating prefix, or a "non" of its own."""
    if "non" in a ^ b:
        return True
    return any(
        word.startswith(prefix) and word.removeprefix(prefix) in other
        for one, other in ((a - b, b), (b - a, a))
        for word in one
        for prefix in NEGATIVE_PREFIXES
        if len(word) > len(prefix) + 2
    )
