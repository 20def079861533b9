"""A tree of reads as one SELECT."""

from collections.abc import Iterable

from tenantry_rest.plan.model import EmbedIsNull, Lifted, Ordered, Read, Selected
from tenantry_rest.request.syntax import EVERYTHING, Range
from tenantry_rest.schema.model import Computed, Name, Relationship
from tenantry_rest.sql.filters import where_sql
from tenantry_rest.sql.fragments import (
    EMPTY,
    Sql,
    aliased,
    cast,
    column,
    field,
    identifier,
    join,
    literal,
    qualified,
    text,
    transformed,
)


def read_sql(read: Read) -> Sql:
    """The SELECT of a table with what is embedded in it."""
    table = read.qualifier
    selects: list[Sql] = [_selected(table, each) for each in read.select]
    if not read.select and not read.children:
        selects.append(column(table, "*"))  # the body leaves the columns out
    selects += [each for child in read.children for each in _embedded(child)]
    if not selects:
        selects.append(column(table, "*"))
    return text(
        "SELECT ",
        join(", ", selects),
        _from(read),
        *(_joined(child) for child in read.children),
        _where(read),
        _grouped(read),
        order_sql(table, read.order),
        limit_sql(read.range),
    )


def count_sql(read: Read) -> Sql:
    """The SELECT of one value per row of the root, without embeds and limits."""
    inner = [child for child in read.children if child.join == "inner"]

    def on_embed(condition: EmbedIsNull) -> Sql:
        child = next(each for each in read.children if each.embed == condition.embed)
        return text("" if condition.negated else "NOT ", "EXISTS (", count_sql(child), ")")

    conditions = [where_sql(read.qualifier, each, on_embed) for each in read.where]
    conditions += _join_conditions(read)
    conditions += [text("EXISTS (", count_sql(child), ")") for child in inner]
    where = text(" WHERE ", join(" AND ", conditions)) if conditions else EMPTY
    return text("SELECT 1", _from(read), where)


def _selected(table: Name, each: Selected) -> Sql:
    piece = cast(transformed(each.source, field(table, each.source)), each.cast)
    return aliased(_aggregated(piece, each.aggregate, each.aggregate_cast), each.alias)


def _aggregated(piece: Sql, aggregate: str | None, kind: str | None) -> Sql:
    return cast(text(aggregate, "(", piece, ")"), kind) if aggregate is not None else piece


def _lifted(embed: str, each: Lifted) -> Sql:
    piece = column(Name("", embed), each.name)
    return aliased(_aggregated(piece, each.aggregate, each.cast), each.alias)


def _embedded(child: Read) -> Iterable[Sql]:
    embed = identifier(child.embed)
    if child.spread:
        for each in child.lifted:
            if child.to_one:
                yield _lifted(child.embed, each)
            else:
                found = column(Name("", child.embed), each.name)
                yield aliased(text("COALESCE( ", found, ", '[]')"), each.shown)
    elif child.is_empty:
        return
    elif child.to_one:
        yield aliased(text("row_to_json(", embed, ".*)::jsonb"), child.shown)
    else:
        yield aliased(text("COALESCE( ", embed, ".", embed, ", '[]')"), child.shown)


def _joined(child: Read) -> Sql:
    embed, subquery, inner = identifier(child.embed), read_sql(child), child.join == "inner"
    condition: Sql = text("TRUE")
    if child.spread and not child.to_one:
        columns = [
            aliased(
                text("json_agg(", column(Name("", child.embed), each.name), ")::jsonb"), each.name
            )
            for each in child.lifted
        ]
        listed = join(", ", columns) if columns else text("NULL")
        subquery = text(
            "SELECT ", listed, " FROM (", subquery, ") AS ", embed, " HAVING count(*) > 0"
        )
    elif not child.to_one:
        listed = text("json_agg(", embed, ")::jsonb AS ", embed)
        subquery = text("SELECT ", listed, " FROM (", subquery, " ) AS ", embed)
        if inner:
            condition = text(embed, " IS NOT NULL")
    kind = " INNER" if inner else " LEFT"
    return text(kind, " JOIN LATERAL ( ", subquery, " ) AS ", embed, " ON ", condition)


def _from(read: Read) -> Sql:
    found = read.relationship
    table = qualified(read.table)
    if isinstance(found, Computed):
        # The cast chooses among overloaded functions also where the row is a CTE's.
        row = text(identifier(read.parent.name), "::", qualified(found.table))
        table = text(qualified(found.function), "(", row, ")")
    junction = EMPTY
    if isinstance(found, Relationship) and found.junction is not None:
        junction = text(", ", qualified(found.junction.table))
    return text(" FROM ", aliased(table, read.alias), junction)


def _join_conditions(read: Read) -> list[Sql]:
    found = read.relationship
    if not isinstance(found, Relationship):
        return []
    if found.junction is None:
        return [
            text(column(read.qualifier, foreign), " = ", column(read.parent, own))
            for own, foreign in found.columns
        ]
    between = found.junction.table
    sources = [
        text(column(between, own), " = ", column(read.parent, foreign))
        for own, foreign in found.junction.source
    ]
    targets = [
        text(column(between, own), " = ", column(read.qualifier, foreign))
        for own, foreign in found.junction.target
    ]
    return targets + sources


def _where(read: Read) -> Sql:
    conditions = [where_sql(read.qualifier, each) for each in read.where]
    conditions += _join_conditions(read)
    return text(" WHERE ", join(" AND ", conditions)) if conditions else EMPTY


def _grouped(read: Read) -> Sql:
    lifts = [
        (child, each)
        for child in read.children
        if child.spread and child.to_one
        for each in child.lifted
    ]
    if not read.aggregates and not any(each.aggregate for _, each in lifts):
        return EMPTY
    terms = [
        identifier(each.alias) if each.alias is not None else field(read.qualifier, each.source)
        for each in read.select
        if each.aggregate is None
    ]
    for child in read.children:
        if not child.spread and not child.is_empty:
            terms.append(identifier(child.shown))
        elif child.spread and not child.to_one:
            terms += [column(Name("", child.embed), each.name) for each in child.lifted]
    terms += [
        column(Name("", child.embed), each.name) for child, each in lifts if not each.aggregate
    ]
    return text(" GROUP BY ", join(", ", terms)) if terms else EMPTY


def order_sql(table: Name, order: list[Ordered]) -> Sql:
    if not order:
        return EMPTY
    terms = []
    for each in order:
        of = Name("", each.embed) if each.embed is not None else table
        terms.append(text(field(of, each.source), " ", each.direction, " ", each.nulls))
    return text(" ORDER BY ", join(", ", terms))


def limit_sql(wanted: Range) -> Sql:
    if wanted == EVERYTHING:
        return EMPTY
    limit = literal(str(wanted.limit)) if wanted.limit is not None else text("ALL")
    return text(" LIMIT ", limit, " OFFSET ", literal(str(wanted.offset)))
