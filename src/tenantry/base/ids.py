"""Identifiers: what they look like, how they are made, and how they are recognised."""

import secrets
import uuid

# No vowels and no look-alikes: names are read out, and spell no words.
_LETTERS = "bcdfghjkmnpqrstvwxz23456789"
_SUFFIX_LENGTH = 12  # 57 bits: no two meet on one cluster


def new_id() -> uuid.UUID:
    """A random identifier (RFC 9562, version 4)."""
    return uuid.uuid4()


def new_suffix() -> str:
    """The random end of a database's and its role's name."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_SUFFIX_LENGTH))


def parse_id(text: str) -> uuid.UUID | None:
    """The identifier that ``text`` writes in its usual form, or None."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None
