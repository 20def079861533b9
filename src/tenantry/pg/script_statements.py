"""Parse single statements of a script, and replace parts of their text."""

import re
from dataclasses import replace
from typing import Any

from pglast import ast, keywords, parser
from pglast.enums import VariableSetKind

from tenantry.pg.scripts import Statement

_MOST_PARSED = 1024 * 1024
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_KEYWORDS = (
    keywords.RESERVED_KEYWORDS | keywords.COL_NAME_KEYWORDS | keywords.TYPE_FUNC_NAME_KEYWORDS
)
# Settings whose values are lists of names (GUC_LIST_QUOTE in PostgreSQL's guc_tables.c).
_LISTS_OF_NAMES = {"search_path", "temp_tablespaces"}


def parsed(statement: Statement) -> Any:
    """Return a statement's tree, None if our parser does not accept it."""
    if len(statement.text) > _MOST_PARSED:
        return None
    try:
        found: Any = parser.parse_sql(decoded(statement.text)[0])
    except (parser.ParseError, RecursionError):
        return None
    return found[0].stmt if len(found) == 1 else None


def decoded(text: bytes) -> tuple[str, str]:
    """Return a statement's text, and the encoding in which it has the same bytes again."""
    try:
        return text.decode(), "utf-8"
    except UnicodeDecodeError:
        return text.decode("latin-1"), "latin-1"


def spliced(statement: Statement, start: int, end: int, text: str) -> Statement:
    """Return the statement with ``text`` in place of the characters from ``start`` to ``end``."""
    whole, encoding = decoded(statement.text)
    before, after = whole[:start].encode(encoding), whole[end:].encode(encoding)
    return replace(statement, text=before + text.encode() + after)


def _is_plain(name: str) -> bool:
    """Whether PostgreSQL writes a name without quotes (quote_ident)."""
    return _PLAIN.fullmatch(name) is not None and name not in _KEYWORDS


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def assigned(change: Any) -> list[str] | None:
    """Return the values that ``SET name TO value, …`` gives; None if it gives none by itself."""
    if change.kind != VariableSetKind.VAR_SET_VALUE:
        return None
    values = []
    for each in change.args or ():
        constant = getattr(each, "val", None)
        match constant:
            case ast.String():
                values.append(constant.sval or "")
            case ast.Integer():
                values.append(str(constant.ival or 0))
            case ast.Float():
                values.append(str(constant.fval))
            case _:
                return None
    return values


def database_setting(change: Any) -> str | None:
    """Return the value of ``ALTER DATABASE … SET``, as in pg_db_role_setting; None if none."""
    values = assigned(change)
    if values is not None and change.name.lower() in _LISTS_OF_NAMES:
        values = [each if _is_plain(each) else quoted(each) for each in values]
    return None if values is None else ", ".join(values)
