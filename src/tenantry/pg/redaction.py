"""Remove secrets from statements.

Where a statement has a word that goes with secrets, all its literals and comments are replaced, in
any kind of statement: an unfinished or mistyped statement has no tree to inspect, and no tree shows
what a function makes of its arguments. So a table's other values are lost with a password's; a text
is never parsed, and no text takes long.
"""

import re
from collections.abc import Callable

REMOVED = "'***'"
_SUSPICIOUS = re.compile(
    r"""
    passw | passphrase | \bpwd\b | secret | credential | token | api_?key | private_?key
    | authorization | bearer | \bjwt | connection \b | dblink | options \s* \( | set_config
    | pgp_ | \bcrypt | encrypt | \bhmac | ://[^\s/@]*@
    | ^ \s* execute \b
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
# Each match has one of these in it. To look for them takes a hundredth of the time, and most texts
# have none.
_SIGNS = (
    "passw", "passphrase", "pwd", "secret", "credential", "token", "api_key", "apikey",
    "private_key", "privatekey", "authorization", "bearer", "jwt", "connection", "dblink",
    "options", "set_config", "pgp_", "crypt", "hmac", "://", "execute",
)  # fmt: skip
_PIECES = re.compile(
    r"""
    (?P<comment> --[^\n]*+ | /\*.*?(?:\*/|\Z) )
    | (?P<name> "[^"]*+(?:"|\Z) )
    | (?P<literal>(?:  # those that touch are one: what stands for each would be one, too
        \b[eE]'(?:[^'\\]++|\\.|'')*+(?:'|\\?\Z)
        | '(?:[^']++|'')*+(?:'|\Z)
        | (?:\b[eE])?\$(?P<tag>(?:[^\W\d]\w*+)?)\$.*?(?:\$(?P=tag)\$|\Z)
      )+)
    """,
    re.DOTALL | re.VERBOSE,
)

_NUMBER = re.compile(r"(?<![\w$.])\.?\d[\w.]*+")
# A value needs no quotes there.
_SETS = re.compile(
    r"\s*(?:alter\s+(?:role|user|database)\b.*?\b)?set\s+(?:session\s+|local\s+)?"
    r"[\w.\"]+\s*(?:=|\bto\b)\s*",
    re.IGNORECASE | re.DOTALL,
)


def is_suspicious(statement: str) -> bool:
    """Whether a statement, or what an error says of one, may have a secret in it."""
    lowered = statement.lower()
    return any(sign in lowered for sign in _SIGNS) and bool(_SUSPICIOUS.search(statement))


def redact(statement: str) -> str:
    """Return the statement without possible secrets, never longer. A second call is a no-op."""
    return _without_literals(statement) if is_suspicious(statement) else statement


def without_constants(statement: str) -> str:
    """Return the statement without its constants and comments: it shows no data then."""
    return _without_literals(statement, between=lambda text: _NUMBER.sub("?", text))


def _without_literals(statement: str, *, between: Callable[[str], str] = str) -> str:
    """Return the statement without literals and comments; ``between`` changes other text."""
    if sets := _SETS.match(statement):
        return statement[: sets.end()] + _instead_of(statement[sets.end() :])
    said, at = [], 0
    for piece in _PIECES.finditer(statement):
        said.append(between(statement[at : piece.start()]))
        at = piece.end()
        if piece["literal"] is None:
            said.append(piece[0] if piece["name"] else " ")
            continue
        said.append(_instead_of(piece[0]))
        is_plain = piece[0].startswith("'") or piece["tag"] is not None
        if is_plain and "\\'" in piece[0]:
            # Without standard_conforming_strings the literal continues behind its apparent end.
            at = len(statement)
            break
    said.append(between(statement[at:]))
    return "".join(said)


def _instead_of(text: str) -> str:
    return REMOVED if len(text) >= len(REMOVED) else "''"[: len(text)]
