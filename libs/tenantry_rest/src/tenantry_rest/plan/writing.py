"""The plan of what is written."""

from collections.abc import Iterator

from tenantry_rest.errors import ApiError
from tenantry_rest.plan.fields import Context
from tenantry_rest.plan.model import Combined, Condition, Read, Source, Where, Write
from tenantry_rest.request.model import ApiRequest
from tenantry_rest.request.syntax import Compare
from tenantry_rest.schema.model import Computed, Name, Schema


def plan_write(table: Name, request: ApiRequest, schema: Schema, read: Read) -> Write:
    """Plan an insert, upsert, update or delete.

    Raises:
        ApiError: PGRST204 for an unknown column, PGRST105 for a PUT that does not name its key.
    """
    context = Context(schema, table)
    key = schema.tables[table].key
    query, preferences = request.query, request.preferences
    where = [context.condition(each) for each in query.root_filters]
    where += [context.condition(logic) for path, logic in query.logic if not path]
    conflict = None
    if request.write == "upsert":
        _check_key(request, key)
        conflict = ("merge-duplicates", key)
    elif request.write == "insert" and preferences.resolution is not None:
        conflict = (preferences.resolution, query.on_conflict or key)
    columns: tuple[Source, ...] = ()
    if request.payload is not None:
        columns = tuple(context.payload(name) for name in request.payload.keys)
    returning: tuple[str, ...] = ()
    if preferences.representation in {"representation", "headers-only"}:
        returning = returned_columns(read, key)
    return Write(
        request.write,
        table,
        columns,
        request.payload,
        conflict,
        tuple(where) if request.write != "insert" else (),
        returning,
        key,
        preferences.missing == "default" and request.write != "upsert",
    )


def _check_key(request: ApiRequest, key: tuple[str, ...]) -> None:
    query = request.query
    equal = all(
        isinstance(each.operation, Compare)
        and each.operation.operator == "="
        and each.operation.quantifier is None
        and not each.negated
        for each in query.root_filters
    )
    if query.logic or not key or query.filtered != set(key) or not equal:
        message = "Filters must include all and only primary key columns with 'eq' operators"
        raise ApiError(405, "PGRST105", message)


def _compared(where: Where) -> Iterator[str]:
    """The columns that a condition is about."""
    if isinstance(where, Condition):
        yield where.source.name
    elif isinstance(where, Combined):
        for each in where.members:
            yield from _compared(each)


def returned_columns(read: Read, key: tuple[str, ...]) -> tuple[str, ...]:
    """What the statement returns: all that is selected or needed for embeds, filters, the order
    and Location.
    """
    names = {each.source.name for each in read.select}
    if "*" in names:
        return ("*",)
    names |= {each.source.name for each in read.order if each.embed is None}
    names |= {name for each in read.where for name in _compared(each)}
    for child in read.children:
        found = child.relationship
        if isinstance(found, Computed):
            return ("*",)
        if found is not None and found.junction is not None:
            names |= {foreign for _, foreign in found.junction.source}
        elif found is not None:
            names |= {own for own, _ in found.columns}
    return tuple(sorted(names | set(key)))
