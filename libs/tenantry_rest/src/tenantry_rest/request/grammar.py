"""The grammar of PostgREST's query strings."""

import re

from tenantry_rest.request import parsing as p
from tenantry_rest.request.parsing import Parser, Text
from tenantry_rest.request.syntax import (
    Compare,
    Distinct,
    Field,
    Filter,
    Group,
    In,
    Is,
    Logic,
    Operation,
    OrderTerm,
    Path,
    Search,
    Step,
)

SIMPLE = {
    "neq": "<>",
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
    "sl": "<<",
    "sr": ">>",
    "nxr": "&<",
    "nxl": "&>",
    "adj": "-|-",
}
QUANTIFIED = {
    "eq": "=",
    "gte": ">=",
    "gt": ">",
    "lte": "<=",
    "lt": "<",
    "like": "like",
    "ilike": "ilike",
    "match": "~",
    "imatch": "~*",
}
SEARCHES = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
IS = {
    "null": "NULL",
    "not_null": "NOT NULL",
    "true": "TRUE",
    "false": "FALSE",
    "unknown": "UNKNOWN",
}

spaces = p.many(p.one_of(" \t"))
delimiter = p.labelled(p.char("."), "delimiter (.)")


def lexeme(parser: Parser[p.T]) -> Parser[p.T]:
    def run(text: Text) -> p.T:
        spaces(text)
        found = parser(text)
        spaces(text)
        return found

    return run


comma = lexeme(p.char(","))
open_group, close_group = lexeme(p.char("(")), lexeme(p.char(")"))

_identifier_chars = p.many1(p.either(p.letter, p.digit, p.one_of("_ $")))
_usual_chars = re.compile("[A-Za-z0-9_ $]*")


def identifier(text: Text) -> str:
    start = text.position
    usual = _usual_chars.match(text.source, start)
    if usual is not None and usual.end() > start + 1:
        # All but the last at once: names are most of a query. After the last, errors are noted.
        text.advance(usual.end() - 1 - start)
    _identifier_chars(text)
    return text.source[start : text.position].strip()


def _escaped(text: Text) -> str:
    p.char("\\")(text)
    return p.any_char(text)


_quoted_chars = p.many(p.either(p.none_of('\\"'), _escaped))
_quote = p.char('"')


def quoted(text: Text) -> str:
    _quote(text)
    found = "".join(_quoted_chars(text))
    _quote(text)
    return found


def _dash_alone(text: Text) -> str:
    p.char("-")(text)
    p.not_followed_by(p.char(">"))(text)
    return "-"


def _dashed(part: Parser[str]) -> Parser[str]:
    parts = p.separated(part, p.attempt(_dash_alone))
    return lambda text: "-".join(parts(text))


field_name = p.labelled(p.either(quoted, _dashed(identifier)), "field name (* or [a..z0..9_$])")
_key_chars = p.many1(p.none_of("(-:.,>)"))
_key = p.labelled(
    p.either(quoted, _dashed(lambda text: "".join(_key_chars(text)).strip())),
    "any non reserved character different from: .,>()",
)


def starts(*wanted: str) -> tuple[Parser[object], ...]:
    return tuple(p.attempt(p.ahead(p.string(each))) for each in wanted)


_index_end: Parser[object] = p.either(*starts("->", "::", ".", ","), p.attempt(p.end))
_order_end: Parser[object] = p.either(p.attempt(p.ahead(p.char(","))), p.attempt(p.end))
_digits = p.many1(p.digit)


def _index(text: Text) -> tuple[str, bool]:
    sign = p.optional(p.char("-"))(text) or "+"
    digits = "".join(_digits(text))
    _index_end(text)
    return sign + digits, True


_operand: Parser[tuple[str, bool]] = p.either(
    p.attempt(_index), p.attempt(lambda text: (_key(text), False))
)
_arrow = p.either(p.attempt(p.string("->>")), p.attempt(p.string("->")))


def _step(text: Text) -> Step:
    arrow = _arrow(text)
    text.terms.take(1)
    operand, is_index = _operand(text)
    return Step(arrow, operand, is_index)


_steps = p.many(_step)


def _field(text: Text) -> Field:
    name = field_name(text)
    return Field(name, tuple(_steps(text)))


field = lexeme(_field)


# filters


def _everything(text: Text) -> str:
    rest = text.source[text.position :]
    text.advance(len(rest))
    return rest


_plain_chars = p.many(p.none_of(",)"))


def _plain(text: Text) -> str:
    return "".join(_plain_chars(text))


def _quoted_alone(text: Text) -> str:
    found = quoted(text)
    p.not_followed_by(p.none_of(",)"))(text)
    return found


def _array(text: Text) -> str:
    p.string("{")(text)
    inside = "".join(p.many(p.none_of("{}"))(text))
    p.string("}")(text)
    return "{" + inside + "}"


_logic_value = p.either(p.attempt(_quoted_alone), p.attempt(_array), _plain)
_elements = p.separated(p.either(p.attempt(_quoted_alone), _plain), p.char(","))


def _named(names: dict[str, str], label: str | None = None) -> Parser[str]:
    """The meaning of one of some words."""
    parsers = [p.attempt(p.string(each)) for each in names]
    choice = p.either(*parsers)
    named = p.labelled(choice, label) if label else choice
    return lambda text: names[named(text)]


_simple = _named(SIMPLE, "unknown single value operator")
_quantified = _named(QUANTIFIED, "unknown single value operator")
_search = _named(SEARCHES)


def _word(wanted: str) -> Parser[str]:
    """A word in any letter case."""

    def run(text: Text) -> str:
        for each in wanted:
            p.either(p.char(each), p.char(each.upper()))(text)
        return wanted

    return run


_is_value = p.labelled(
    p.either(*(p.attempt(_word(each)) for each in IS)),
    "isVal: (null, not_null, true, false, unknown)",
)


def _prefix(word: str) -> Parser[str]:
    def run(text: Text) -> str:
        p.string(word)(text)
        return delimiter(text)

    return p.attempt(run)


def _parenthesized(parser: Parser[str]) -> Parser[str]:
    def run(text: Text) -> str:
        p.char("(")(text)
        found = parser(text)
        p.char(")")(text)
        return found

    return p.attempt(run)


_quantifier = p.optional(_parenthesized(p.either(p.attempt(p.string("any")), p.string("all"))))
_language = p.optional(_parenthesized(identifier))


def operation(value: Parser[str]) -> Parser[tuple[bool, Operation]]:
    """An operator with its value, and whether it is negated."""

    def in_(text: Text) -> Operation:
        _prefix("in")(text)
        open_group(text)
        found = _elements(text)
        close_group(text)
        return In(tuple(found))

    def is_(text: Text) -> Operation:
        _prefix("is")(text)
        return Is(IS[_is_value(text)])

    def distinct(text: Text) -> Operation:
        _prefix("isdistinct")(text)
        return Distinct(value(text))

    def search(text: Text) -> Operation:
        function = _search(text)
        language = _language(text)
        delimiter(text)
        return Search(function, language, value(text))

    def simple(text: Text) -> Operation:
        found = _simple(text)
        delimiter(text)
        return Compare(found, value(text))

    def quantified(text: Text) -> Operation:
        found = _quantified(text)
        quantifier = _quantifier(text)
        delimiter(text)
        return Compare(found, value(text), quantifier.upper() if quantifier else None)

    positive = p.labelled(
        p.either(in_, is_, distinct, p.attempt(search), p.attempt(simple), p.attempt(quantified)),
        "operator (eq, gt, ...)",
    )
    negation = p.optional(_prefix("not"))

    def run(text: Text) -> tuple[bool, Operation]:
        negated = negation(text) is not None
        return negated, positive(text)

    return run


filter_value = operation(_everything)
_logic_operation = operation(_logic_value)


def _logic_filter(text: Text) -> Logic:
    found = field(text)
    delimiter(text)
    negated, operated = _logic_operation(text)
    return Filter(found, negated, operated)


_not = p.labelled(p.optional(_prefix("not")), "negation operator (not)")
_and_or = p.labelled(
    p.either(p.attempt(p.string("and")), p.string("or")), "logic operator (and, or)"
)


def _group(text: Text) -> Logic:
    negated = _not(text) is not None
    operator = _and_or(text)
    open_group(text)
    members = _members(text)
    close_group(text)
    return Group(negated, operator.upper(), tuple(members))


logic: Parser[Logic] = p.either(p.attempt(_logic_filter), _group)
_members = p.separated(p.term(logic), comma)


# the rest

_names = p.separated(field_name, delimiter)
columns = p.separated(p.term(field_name), comma)


def tree_path(text: Text) -> tuple[Path, Field]:
    """The embeds and the field that a filter's key names."""
    names = _names(text)
    return tuple(names[:-1]), Field(names[-1], tuple(_steps(text)))


def logic_path(text: Text) -> tuple[Path, str]:
    """The embeds and the operator that a key such as ``child.not.or`` names."""
    names = _names(text)
    negation = "not." if "not" in names else ""
    return tuple(each for each in names[:-1] if each != "not"), negation + names[-1]


def _modifier(*words: str) -> Parser[str | None]:
    def one(word: str) -> Parser[str]:
        def run(text: Text) -> str:
            delimiter(text)
            return p.string(word)(text)

        return p.attempt(run)

    return p.optional(p.either(*map(one, words)))


_direction, _nulls = _modifier("asc", "desc"), _modifier("nullsfirst", "nullslast")
NULLS = {None: "", "nullsfirst": "NULLS FIRST", "nullslast": "NULLS LAST"}


def _modifiers(text: Text, found: Field, relation: str | None) -> OrderTerm:
    direction = _direction(text)
    nulls = _nulls(text)
    _order_end(text)
    return OrderTerm(found, relation, (direction or "").upper(), NULLS[nulls])


def _related_term(text: Text) -> OrderTerm:
    relation = field_name(text)
    p.char("(")(text)
    found = field(text)
    p.char(")")(text)
    return _modifiers(text, found, relation)


def _term(text: Text) -> OrderTerm:
    return _modifiers(text, field(text), None)


order = p.separated(p.term(lexeme(p.either(p.attempt(_related_term), _term))), p.char(","))
