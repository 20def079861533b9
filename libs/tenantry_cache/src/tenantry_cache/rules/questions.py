"""What makes two questions the same one, and the limits of what is stored."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence

DAY_MS = 24 * 3600 * 1000
DEFAULT_TTL_MS = 7 * DAY_MS
LONGEST_TTL_MS = 365 * DAY_MS
CONVERSATION_TTL_MS = 30 * DAY_MS
MOST_ENTRY_BYTES = 1024 * 1024  # of an answer with its question; longer ones are not stored
MOST_MESSAGES = 1000  # of a conversation; the oldest ones go
NO_SCOPE = ""
_ID_LETTERS = 32  # 128 bits: nobody finds two questions with the same one

# More than Unicode's Stream-Safe Text Format allows in a row (UAX #15). Sorting them takes the
# square of their number: a prompt of 4 MiB of them would stop the process for hours.
_MARKS = "".join(
    sign
    for sign in map(chr, range(0x300, 0x1F000))
    if unicodedata.combining(unicodedata.normalize("NFD", sign)[0])
)
_MANY_MARKS = re.compile(f"[{_MARKS}]{{31}}")


def digest(*parts: object) -> str:
    """Return the SHA-256 of values of JSON, of which those that are equal have the same one.

    Members of objects have no order. 1 and 1.0 differ, as do true and 1. Raises RecursionError for
    those that are nested too deeply.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _sha256(text)


def normalised(text: str) -> str:
    """Return a text without what does not change its meaning: outer space, line ends, composition.

    In a text of one line all white space is one space; in longer ones it can be code, and stays.
    Letters keep their case: "Polish" is not "polish". A text with more than 30 combining marks in
    a row is not composed.
    """
    if not text.isascii() and not _MANY_MARKS.search(text):
        text = unicodedata.normalize("NFC", text)
    text = text.replace("\r\n", "\n").strip()
    return text if "\n" in text else " ".join(text.split())


def scope_digest(scope: Mapping[str, object] | None) -> str:
    """Return what stands for a caller's scope. Raises RecursionError, and TypeError if not JSON."""
    return NO_SCOPE if scope is None else digest("scope", scope)


def entry_id(prompt: str, scope: str, attributes: Mapping[str, str]) -> str:
    """Return the identifier of a question's entry: there is one for each question."""
    return digest(scope, dict(attributes), normalised(prompt))[:_ID_LETTERS]


def partition(scope: str, attributes: Mapping[str, str]) -> str:
    """Return the name of what is searched together: questions of one scope and its attributes."""
    return _sha256(json.dumps([scope, dict(attributes)], sort_keys=True))


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text is: four bytes each, as in English."""
    return len(text.encode("utf-8", "surrogatepass")) // 4 + 1


def last_within(counts: Sequence[int], most: int) -> int:
    """Return how many of the last ones have at most so many together."""
    for number, each in enumerate(reversed(counts)):
        most -= each
        if most < 0:
            return number
    return len(counts)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
