"""The grammar of ``select=``."""

from tenantry_rest.request import grammar as g
from tenantry_rest.request import parsing as p
from tenantry_rest.request.parsing import Parser, Text
from tenantry_rest.request.syntax import Field, SelectField, SelectItem, SelectRelation

EMBED_TERMS = 4  # besides one for the item: an embed costs more than a column
_select_end: Parser[object] = p.either(*g.starts(")", ","), p.attempt(p.end))


def _alias(text: Text) -> str:
    name = g.field_name(text)
    p.char(":")(text)
    p.not_followed_by(p.char(":"))(text)
    return name


_optional_alias = p.optional(p.attempt(_alias))


def _cast(text: Text) -> str:
    p.string("::")(text)
    return g.identifier(text)


_optional_cast = p.optional(_cast)


def _embed_parameter(text: Text) -> tuple[str, str]:
    p.char("!")(text)
    return p.either(
        p.attempt(lambda each: ("join", p.string("left")(each))),
        p.attempt(lambda each: ("join", p.string("inner")(each))),
        p.attempt(lambda each: ("hint", g.field_name(each))),
    )(text)


_optional_parameter = p.optional(_embed_parameter)


def _embed_head(text: Text) -> tuple[str, str | None, str | None]:
    """A name with its hint and its kind of join, before a parenthesis."""
    name = g.field_name(text)
    given = [_optional_parameter(text), _optional_parameter(text)]
    hints = [each[1] for each in given if each and each[0] == "hint"]
    joins = [each[1] for each in given if each and each[0] == "join"]
    g.starts("(")[0](text)
    return name, hints[0] if hints else None, joins[0] if joins else None


def _spread_head(text: Text) -> SelectRelation:
    p.string("...")(text)
    name, hint, join = _embed_head(text)
    return SelectRelation(name, None, hint, join, (), spread=True)


def _relation_head(text: Text) -> SelectRelation:
    alias = _optional_alias(text)
    start = text.position
    if text.source.startswith("count(", start):
        raise text.fail()  # an aggregate, not a relation
    name, hint, join = _embed_head(text)
    return SelectRelation(name, alias, hint, join, ())


def _embed(head: Parser[SelectRelation]) -> Parser[SelectItem]:
    parsed_head = p.attempt(g.lexeme(head))

    def run(text: Text) -> SelectItem:
        found = parsed_head(text)
        text.terms.take(EMBED_TERMS)
        p.char("(")(text)
        members = select(text)
        p.char(")")(text)
        return SelectRelation(
            found.name, found.alias, found.hint, found.join, members, found.spread
        )

    return run


def _star(text: Text) -> SelectItem:
    p.string("*")(text)
    _select_end(text)
    return SelectField(Field("*"))


def _count(text: Text) -> SelectItem:
    alias = _optional_alias(text)
    p.string("count()")(text)
    cast = _optional_cast(text)
    _select_end(text)
    return SelectField(Field("*"), "COUNT", cast, None, alias)


_function = p.either(
    p.string("sum"),
    p.string("avg"),
    p.string("count"),
    p.attempt(p.string("max")),
    p.attempt(p.string("min")),
)


def _aggregate(text: Text) -> str:
    p.char(".")(text)
    name = _function(text)
    p.string("()")(text)
    return name.upper()


_optional_aggregate = p.optional(p.attempt(_aggregate))


def _select_field(text: Text) -> SelectItem:
    alias = _optional_alias(text)
    found = g.field(text)
    cast = _optional_cast(text)
    aggregate = _optional_aggregate(text)
    aggregate_cast = _optional_cast(text)
    _select_end(text)
    return SelectField(found, aggregate, aggregate_cast, cast, alias)


_item: Parser[SelectItem] = p.either(
    _embed(_spread_head),
    _embed(_relation_head),
    g.lexeme(p.either(p.attempt(_star), p.attempt(_count), _select_field)),
)
_items = p.optional(p.separated(p.term(_item), g.comma))


def select(text: Text) -> tuple[SelectItem, ...]:
    return tuple(_items(text) or ())
