"""The plan of what is read: a tree of tables."""

from dataclasses import replace

from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError, not_embedded, not_implemented
from tenantry_rest.plan.embedding import find_relationship
from tenantry_rest.plan.fields import Context
from tenantry_rest.plan.model import (
    SOURCE,
    Combined,
    Condition,
    EmbedIsNull,
    Lifted,
    Ordered,
    Read,
    Selected,
    Source,
    Where,
)
from tenantry_rest.request.model import ApiRequest
from tenantry_rest.request.syntax import Field, Is, Path, Range, SelectField, SelectItem
from tenantry_rest.schema.model import Computed, Name, Schema


def plan_read(table: Name, request: ApiRequest, schema: Schema, config: Config) -> Read:
    """Plan what a request reads of a table, or of the rows that it writes or is returned.

    Raises:
        ApiError: what is embedded, ordered or filtered by is not there.
    """
    context = Context(schema, table)
    root = _tree(request.query.select, Read(table, table.name), context)
    if request.kind != "read":
        root.table, root.alias = SOURCE, table.name
    _relate(root, table, schema)
    _add_conditions(root, request, context, legacy=config.url_use_legacy_target_names)
    _expand_stars(root, context, beneath_aggregate=False)
    _check_aggregates(root, allowed=config.db_aggregates_enabled)
    for read in _all(root):
        read.select = [_with_alias(each) for each in read.select]
        read.order = [_related_order(read, each) for each in read.order]
        read.where = [_null_filters(read, each) for each in read.where]
    _lift(root)
    if request.kind != "write" and config.db_max_rows is not None:
        for read in _all(root):
            if not read.to_one:
                read.range = _at_most(read.range, config.db_max_rows)
    return root


def _all(read: Read) -> list[Read]:
    return [read, *(each for child in read.children for each in _all(child))]


def _at_most(wanted: Range, most: int) -> Range:
    limit = most if wanted.limit is None else min(wanted.limit, most)
    return Range(wanted.offset, limit)


def _tree(items: tuple[SelectItem, ...], read: Read, context: Context) -> Read:
    for item in items:
        if isinstance(item, SelectField):
            read.select.append(
                Selected(
                    context.output(item.field),
                    item.aggregate,
                    item.aggregate_cast,
                    item.cast,
                    item.alias,
                )
            )
        else:
            table = Name(context.table.schema, item.name)
            child = Read(
                table,
                item.name,
                read.depth + 1,
                given=item.alias,
                hint=item.hint,
                join=item.join,
                spread=item.spread,
            )
            read.children.append(_tree(item.members, child, context.at(table)))
    return read


def _relate(read: Read, table: Name, schema: Schema) -> None:
    """Find the tables of all embeds, and name them."""
    for child in read.children:
        found = find_relationship(schema, table.schema, table.name, child.name, child.hint)
        child.relationship, child.table = found, found.foreign
        child.parent = read.qualifier
        child.embed = f"{found.table.name}_{child.shown}_{child.depth}"
        if isinstance(found, Computed) or found.kind != "m2m":
            child.alias = f"{found.foreign.name}_{child.depth}"
        context = Context(schema, found.foreign)
        child.select = [
            replace(each, source=context.output(Field(each.source.name, each.source.steps)))
            for each in child.select
        ]
        _relate(child, found.foreign, schema)


def _at(read: Read, path: Path, *, legacy: bool) -> Read:
    for name in path:
        found = next((child for child in read.children if child.shown == name), None)
        if found is None:
            found = next((child for child in read.children if child.name == name), None)
            if found is None or not legacy:
                raise not_embedded(name, found.given if found else None)
            found.misnamed = True
        read = found
    return read


def _add_conditions(root: Read, request: ApiRequest, context: Context, *, legacy: bool) -> None:
    query, writes = request.query, request.kind == "write"

    def each_of(path: Path) -> tuple[Read, Context]:
        read = _at(root, path, legacy=legacy)
        return read, context if read is root else context.at(read.table)

    for path, filtered in query.filters:
        if path or not writes:
            read, here = each_of(path)
            read.where.append(here.condition(filtered))
    for path, logic in query.logic:
        if path or not writes:
            read, here = each_of(path)
            read.where.append(here.condition(logic))
    for path, terms in query.order:
        read, here = each_of(path)
        read.order = [
            Ordered(
                here.resolve(term.field)
                if term.relation is None
                else Source(term.field.name, term.field.steps),
                term.relation,
                term.direction,
                term.nulls,
            )
            for term in terms
        ]
    if writes:
        return  # all rows that were written are represented
    for path, wanted in query.ranges:
        if path:
            each_of(path)[0].range = Range(wanted.offset, _not_negative(wanted.limit))
    root.range = request.range


def _not_negative(limit: int | None) -> int | None:
    return None if limit is None else max(0, limit)


def _expand_stars(
    read: Read, context: Context, *, beneath_aggregate: bool, in_to_many: bool = False
) -> None:
    """Name all columns where a star does not do: to represent, to group or to list them."""
    here = context.at(read.table) if read.table != SOURCE else context
    grouped = beneath_aggregate or read.aggregates
    columns = here.columns()
    represented = any(column.nominal in here.schema.represented for column in columns)
    in_to_many = read.spread and (in_to_many or not read.to_one)
    expanded: list[Selected] = []
    for each in read.select:
        is_star = each.source.name == "*" and not each.source.steps
        if is_star and each.aggregate is None and (grouped or represented or in_to_many):
            expanded += [replace(each, source=here.column_output(column)) for column in columns]
        elif is_star and each.aggregate and read.spread:
            expanded.append(replace(each, source=replace(each.source, whole_row=True)))
        else:
            expanded.append(each)
    read.select = expanded
    for child in read.children:
        _expand_stars(child, context, beneath_aggregate=grouped, in_to_many=in_to_many)


def _check_aggregates(read: Read, *, allowed: bool, in_to_many: bool = False) -> None:
    if read.aggregates and not allowed:
        raise ApiError(400, "PGRST123", "Use of aggregate functions is not allowed")
    in_to_many = read.spread and (in_to_many or not read.to_one)
    if read.aggregates and in_to_many:
        raise not_implemented(
            "Aggregates are not implemented for one-to-many or many-to-many spreads."
        )
    for child in read.children:
        _check_aggregates(child, allowed=allowed, in_to_many=in_to_many)


def _with_alias(each: Selected) -> Selected:
    """The name of a column where PostgreSQL would give it another."""
    source = each.source
    if each.alias is not None:
        return each
    if each.aggregate is not None:
        return replace(each, alias="count") if source.whole_row else each
    if source.steps:
        keys = [step.operand for step in source.steps if not step.is_index]
        return replace(each, alias=keys[-1] if keys else source.name)
    if source.transform is not None or (each.cast is not None and source.name != "*"):
        return replace(each, alias=source.name)
    return each


def _related_order(read: Read, term: Ordered) -> Ordered:
    if term.embed is None:
        return term
    child = next((each for each in read.children if each.shown == term.embed), None)
    if child is None:
        raise not_embedded(term.embed)
    if not child.to_one:
        origin = read.alias if read.table == SOURCE else read.table.name
        raise ApiError(
            400,
            "PGRST118",
            f"A related order on '{child.shown}' is not possible",
            f"'{origin}' and '{child.shown}' do not form a many-to-one or one-to-one relationship",
        )
    return replace(term, embed=child.embed)


def _null_filters(read: Read, where: Where) -> Where:
    """Filters on the presence of embeds."""
    if isinstance(where, Combined):
        return replace(where, members=tuple(_null_filters(read, each) for each in where.members))
    if not isinstance(where, Condition) or where.source.steps:
        return where
    child = next((each for each in read.children if each.shown == where.source.name), None)
    if child is None:
        return where
    what = where.operation.what if isinstance(where.operation, Is) else None
    if where.source.type and what != "NULL":
        return (
            where  # the table has a column of that name, and only this filter is not the column's
        )
    if what not in {"NULL", "NOT NULL"}:
        raise ApiError(
            400,
            "PGRST120",
            f"Bad operator on the '{child.shown}' embedded resource",
            "Only is null or not is null filters are allowed on embedded resources",
        )
    negated = where.negated != (what == "NOT NULL")
    return EmbedIsNull(negated, child.embed)


def _lift(read: Read) -> None:
    """Find the columns of spreads; aggregates of to-one spreads are those of the parent."""
    for child in read.children:
        _lift(child)
    if not read.spread:
        return
    own: list[Lifted] = []
    plain: list[Selected] = []
    for each in read.select:
        if each.aggregate is None:
            own.append(Lifted(each.shown))
            plain.append(each)
        else:
            own.append(Lifted(each.shown, each.aggregate, each.aggregate_cast, each.alias))
            plain.append(replace(each, aggregate=None, aggregate_cast=None))
    read.select = plain
    for child in read.children:
        if child.spread:
            own += child.lifted
            child.lifted = [Lifted(each.name) for each in child.lifted]
        elif not child.is_empty:
            own.append(Lifted(child.shown))
    read.lifted = own
