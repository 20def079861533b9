"""A query string as a whole."""

from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

from tenantry_rest.errors import ApiError, bad_query
from tenantry_rest.request import grammar, parsing, selecting
from tenantry_rest.request.parsing import Terms
from tenantry_rest.request.syntax import (
    Argument,
    Filter,
    Logic,
    OrderTerm,
    Path,
    Range,
    SelectItem,
)

RESERVED = ("select", "columns", "on_conflict")
RESERVED_ENDINGS = ("order", "limit", "offset", "and", "or")
T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """What a query string asks for; paths are those of embeds, ``()`` is the root."""

    canonical: str
    select: tuple[SelectItem, ...]
    filters: tuple[tuple[Path, Filter], ...]
    arguments: tuple[tuple[str, str], ...]
    order: tuple[tuple[Path, tuple[OrderTerm, ...]], ...]
    logic: tuple[tuple[Path, Logic], ...]
    ranges: tuple[tuple[Path, Range], ...]
    columns: tuple[str, ...] | None
    on_conflict: tuple[str, ...] | None
    filtered: frozenset[str]

    @property
    def root_filters(self) -> tuple[Filter, ...]:
        return tuple(each for path, each in self.filters if not path)

    @property
    def range(self) -> Range:
        return dict(self.ranges).get((), Range())


def pairs(raw: str) -> list[tuple[str, str | None]]:
    """The decoded keys and values of a query string; None is a key without ``=``."""
    found: list[tuple[str, str | None]] = []
    for part in raw.split("&"):
        if part:
            key, equals, value = part.partition("=")
            found.append((_decoded(key), _decoded(value) if equals else None))
    return found


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode(errors="replace")


def parse_query(raw: str, *, is_call: bool = False) -> Query:
    """Parse a query string; in a call of a function, what has no operator is an argument.

    Raises:
        ApiError: PGRST100, with what was expected where.
    """
    terms = Terms()
    terms.take(raw.count("&"))
    given = pairs(raw)
    valued = [(key, value) for key, value in given if value is not None]
    first: dict[str, str | None] = {}
    for key, value in given:
        first.setdefault(key, value)
    select = first.get("select")
    order, logic = _parse_order(valued, terms), _parse_logic(valued, terms)
    columns = _optional_columns("columns", first.get("columns"), terms)
    selected = _parsed(
        selecting.select, "*" if select is None else select, f"select parameter ({select})", terms
    )
    keys, filters = [], []
    for key, value in valued:
        if is_filter(key):
            keys.append(key)
            filters.append(_parse_filter(key, value, terms, is_call=is_call))
    on_conflict = _optional_columns("on_conflict", first.get("on_conflict"), terms)
    arguments = []
    for _, each in filters:
        if isinstance(each.operation, Argument):
            arguments.append((each.field.name, each.operation.value))
    return Query(
        canonical(given),
        selected,
        tuple(each for each in filters if not isinstance(each[1].operation, Argument)),
        tuple(arguments),
        order,
        logic,
        _parse_ranges(valued, terms),
        columns,
        on_conflict,
        frozenset(keys),
    )


def is_filter(key: str) -> bool:
    """Whether a key names a column, or an argument, and nothing else."""
    return key not in RESERVED and not _ends_in(key, *RESERVED_ENDINGS)


def _ends_in(key: str, *words: str) -> bool:
    return key.rsplit(".", 1)[-1] in words


def _parsed(parser: parsing.Parser[T], source: str, what: str, terms: Terms) -> T:
    try:
        return parsing.parse(parser, source, terms)
    except parsing.Unparsed as error:
        raise _refused(error, what) from None


def _refused(error: parsing.Unparsed, what: str) -> ApiError:
    column = error.problem.position + 1
    message = f'"failed to parse {what}" (line 1, column {column})'
    return bad_query(message, error.problem.describe())


def canonical(given: list[tuple[str, str | None]]) -> str:
    """The query string with its keys in order."""
    ordered = sorted(given, key=lambda pair: pair[0].encode())
    return "&".join(
        f"{quote(key, safe='')}={quote(value or '', safe='')}" for key, value in ordered
    )


def _optional_columns(name: str, value: str | None, terms: Terms) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(_parsed(grammar.columns, value, f"{name} parameter ({value})", terms))


def _parse_filter(key: str, value: str, terms: Terms, *, is_call: bool) -> tuple[Path, Filter]:
    path, field = _parsed(grammar.tree_path, key, f"tree path ({key})", terms)
    try:
        negated, operation = parsing.parse(grammar.filter_value, value, terms)
    except parsing.Unparsed as error:
        # An alternative is tried only where the first has consumed nothing.
        if not is_call or value.startswith(("in.", "is.", "isdistinct.", "not.")):
            raise _refused(error, f"filter ({value})") from None
        return path, Filter(field, negated=False, operation=Argument(value))
    return path, Filter(field, negated, operation)


def _parse_order(
    valued: list[tuple[str, str]], terms: Terms
) -> tuple[tuple[Path, tuple[OrderTerm, ...]], ...]:
    found = []
    for key, value in valued:
        if _ends_in(key, "order"):
            path, _ = _parsed(grammar.tree_path, key, f"tree path ({key})", terms)
            found.append((path, tuple(_parsed(grammar.order, value, f"order ({value})", terms))))
    return tuple(found)


def _parse_logic(valued: list[tuple[str, str]], terms: Terms) -> tuple[tuple[Path, Logic], ...]:
    found: list[tuple[Path, Logic]] = []
    for key, value in valued:
        if _ends_in(key, "and", "or"):
            path, operator = _parsed(grammar.logic_path, key, f"logic path ({key})", terms)
            # "and(…)" rather than "(…)", so that there is one grammar.
            tree = _parsed(grammar.logic, operator + value, f"logic tree ({value})", terms)
            found.append((path, tree))
    return tuple(found)


def _whole(value: str) -> int | None:
    try:
        return int(value.strip())
    except ValueError:  # not a number, or one of thousands of digits
        return None


def _parse_ranges(valued: list[tuple[str, str]], terms: Terms) -> tuple[tuple[Path, Range], ...]:
    limits: dict[Path, int | None] = {}
    offsets: dict[Path, int] = {}
    for key, value in valued:
        if not _ends_in(key, "limit", "offset"):
            continue
        path, _ = _parsed(grammar.tree_path, key, f"tree path ({key})", terms)
        number = _whole(value)
        if _ends_in(key, "limit"):
            limits[path] = number
        else:
            offsets[path] = max(0, number or 0)
    return tuple(
        (path, Range(offsets.get(path, 0), limits.get(path)))
        for path in dict.fromkeys([*limits, *offsets])
    )
