"""Which relationship an embed means."""

from tenantry_rest.errors import ApiError
from tenantry_rest.schema.fuzzy import closest, similar
from tenantry_rest.schema.model import AnyRelationship, Computed, Name, Relationship, Schema

LEAST = 0.33  # similarity for a hint


def find_relationship(
    schema: Schema, namespace: str, origin: str, target: str, hint: str | None
) -> AnyRelationship:
    """The only relationship from a table that fits a target and a hint.

    Raises:
        ApiError: there is none (PGRST200), or there are several (PGRST201).
    """
    candidates = schema.relationships.get((Name(namespace, origin), namespace), [])
    fitting = [each for each in candidates if _fits(each, target, hint)]
    if not fitting:
        raise _none(schema, namespace, origin, target, hint)
    if len(fitting) > 1:
        raise _ambiguous(
            origin, target, [each for each in fitting if isinstance(each, Relationship)]
        )
    return fitting[0]


def _single_column(each: Relationship, side: int) -> str | None:
    single = len(each.columns) == 1 and each.kind != "m2m"
    return each.columns[0][side] if single else None


def _fits(each: AnyRelationship, target: str, hint: str | None) -> bool:
    if isinstance(each, Computed):
        return target == each.function.name
    if each.is_self:
        if hint is None:
            # The table's name is the way to many, the column's the way to one.
            return (target == each.foreign.name and each.kind == "o2m") or (
                each.kind == "m2o" and _single_column(each, 0) == target
            )
        return (
            target == each.foreign.name and each.kind == "o2m" and _single_column(each, 1) == hint
        )
    constraint = each.constraint if each.kind != "m2m" else None
    if hint is None:
        by_key = target in {constraint, _single_column(each, 0)} and not each.foreign_is_view
        return target == each.foreign.name or by_key
    junction = each.junction.table.name if each.junction else None
    hints = {constraint, _single_column(each, 0), _single_column(each, 1), junction}
    return target == each.foreign.name and hint in hints


def _none(schema: Schema, namespace: str, origin: str, target: str, hint: str | None) -> ApiError:
    by_hint = f"' using the hint '{hint}" if hint is not None else ""
    return ApiError(
        400,
        "PGRST200",
        f"Could not find a relationship between '{origin}' and '{target}' in the schema cache",
        f"Searched for a foreign key relationship between '{origin}' and '{target}{by_hint}' in "
        f"the schema '{namespace}', but no matches were found.",
        _suggestion(schema, namespace, origin, target),
    )


def _suggestion(schema: Schema, namespace: str, origin: str, target: str) -> str | None:
    known = schema.relationships.get((Name(namespace, origin), namespace))
    if known is not None:
        names = [each.foreign.name for each in known]
        near = [name for score, name in similar(names, target, least=LEAST) if score < 1]
        return f"Perhaps you meant '{near[0]}' instead of '{target}'." if near else None
    tables = [table.name for table, foreign in schema.relationships if foreign == namespace]
    found = closest(tables, origin, least=LEAST)
    return f"Perhaps you meant '{found}' instead of '{origin}'." if found else None


def _listed(columns: tuple[tuple[str, str], ...], side: int) -> str:
    return f"({', '.join(pair[side] for pair in columns)})"


def _described(each: Relationship) -> dict[str, str]:
    kinds = {
        "m2m": "many-to-many",
        "m2o": "many-to-one",
        "o2m": "one-to-many",
        "o2o": "one-to-one",
    }
    if each.junction:
        junction = each.junction
        text = (
            f"{junction.table.name} using {junction.source_constraint}"
            f"{_listed(junction.source, 0)} and {junction.target_constraint}"
            f"{_listed(junction.target, 0)}"
        )
    else:
        text = (
            f"{each.constraint} using {each.table.name}{_listed(each.columns, 0)} and "
            f"{each.foreign.name}{_listed(each.columns, 1)}"
        )
    return {
        "cardinality": kinds[each.kind],
        "embedding": f"{each.table.name} with {each.foreign.name}",
        "relationship": text,
    }


def _ambiguous(origin: str, target: str, fitting: list[Relationship]) -> ApiError:
    hints = [
        f"'{each.foreign.name}!{each.junction.table.name if each.junction else each.constraint}'"
        for each in fitting
    ]
    return ApiError(
        300,
        "PGRST201",
        "Could not embed because more than one relationship was found for "
        f"'{origin}' and '{target}'",
        [_described(each) for each in fitting],
        f"Try changing '{target}' to one of the following: {', '.join(hints)}. "
        "Find the desired relationship in the 'details' key.",
    )
