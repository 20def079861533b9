"""Conditions as SQL."""

from collections.abc import Callable

from tenantry_rest.plan.model import Combined, Condition, EmbedIsNull, Where
from tenantry_rest.request.syntax import Argument, Compare, Distinct, In, Is, Operation, Search
from tenantry_rest.schema.model import Name
from tenantry_rest.sql.fragments import (
    EMPTY,
    Sql,
    array,
    field,
    identifier,
    join,
    literal,
    text,
    transformed,
)

OnEmbed = Callable[[EmbedIsNull], Sql]


def on_subquery(condition: EmbedIsNull) -> Sql:
    """The presence of an embed, where its subquery is joined."""
    negation = "" if condition.negated else "NOT "
    return text(identifier(condition.embed), " IS ", negation, "DISTINCT FROM NULL")


def where_sql(table: Name, where: Where, on_embed: OnEmbed = on_subquery) -> Sql:
    """A condition; ``on_embed`` makes those on embeds."""
    if isinstance(where, EmbedIsNull):
        return on_embed(where)
    if isinstance(where, Combined):
        members = (where_sql(table, each, on_embed) for each in where.members)
        negation = "NOT" if where.negated else ""
        return text(negation, " (", join(f" {where.operator} ", members), ")")
    negation = "NOT " if where.negated else ""
    return text(negation, field(table, where.source), " ", _operation(where, where.operation))


def _operation(where: Condition, operation: Operation) -> Sql:
    match operation:
        case Compare():
            return _comparison(where, operation)
        case Is(what):
            return text("IS ", what)
        case Distinct(value):
            return text("IS DISTINCT FROM ", literal(value))
        case In(values):
            return _membership(where, values)
        case Search(function, language, value):
            configuration = text(literal(language), ", ") if language else EMPTY
            return text("@@ ", function, "(", configuration, literal(value), ")")
        case Argument():
            raise AssertionError("an argument is no condition")


def _comparison(where: Condition, operation: Compare) -> Sql:
    if operation.operator in {"like", "ilike"}:
        operand = literal(operation.value.replace("*", "%"))
    else:
        operand = transformed(where.source, literal(operation.value))
    if operation.quantifier is not None:
        operand = text(operation.quantifier, "(", operand, ")")
    return text(operation.operator, " ", operand)


def _membership(where: Condition, values: tuple[str, ...]) -> Sql:
    if values == ("",):
        return text("= ANY('{}')")
    listed = literal(array(values))
    if where.source.transform is None:
        return text("= ANY (", listed, ")")
    each = transformed(where.source, text("unnest(", listed, "::text[])"))
    return text("= ANY (SELECT ", each, ")")
