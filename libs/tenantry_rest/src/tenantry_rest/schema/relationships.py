"""Relationships between tables, views and functions, from foreign keys."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from tenantry_rest.schema.model import (
    AnyRelationship,
    Computed,
    Junction,
    Name,
    Relationship,
    Table,
)

Columns = tuple[str, ...]


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key; ``one_to_one`` says that its columns are a key of its own table."""

    constraint: str
    table: Name
    foreign: Name
    columns: tuple[tuple[str, str], ...]
    one_to_one: bool


class ViewColumns:
    """Which views show which columns of which tables, under which names."""

    def __init__(self) -> None:
        self._shown: dict[Name, dict[Name, dict[str, list[str]]]] = defaultdict(dict)

    def add(self, view: Name, column: str, table: Name, base: str) -> None:
        columns = self._shown[table].setdefault(view, {})
        columns.setdefault(base, []).append(column)

    def showing(self, table: Name, columns: Iterable[str]) -> Iterable[tuple[Name, Columns]]:
        """The views that show all these columns, with each choice of the names there."""
        wanted = list(columns)
        for view, shown in self._shown.get(table, {}).items():
            if all(column in shown for column in wanted):
                for names in product(*(shown[column] for column in wanted)):
                    yield view, names

    def key_of(self, view: Name, tables: dict[Name, Table]) -> Columns:
        """The primary keys of the tables a view shows, where it shows them whole."""
        found: list[str] = []
        for table, views in self._shown.items():
            known = tables.get(table)
            key = known.key if known is not None and not known.is_view else ()
            shown = views.get(view, {})
            if key and all(column in shown for column in key):
                found += [shown[column][0] for column in key]
        return tuple(dict.fromkeys(found))


def all_relationships(
    keys: Iterable[ForeignKey],
    views: ViewColumns,
    tables: dict[Name, Table],
    computed: Iterable[Computed],
    exposed: Iterable[str],
) -> dict[tuple[Name, str], list[AnyRelationship]]:
    """All relationships between what is exposed, by table and schema of the foreign table."""
    direct = [each for key in keys for each in _of_key(key, views)]
    related = [*direct, *map(_inverse, direct), *_many_to_many(direct, tables)]
    schemas = set(exposed)
    detected: dict[tuple[Name, Name], list[AnyRelationship]] = defaultdict(list)
    for each in related:
        names = [each.table, each.foreign, *([each.junction.table] if each.junction else [])]
        if all(name.schema in schemas for name in names):
            detected[each.table, each.foreign].append(each)
    for function in computed:
        # A function that has a table's name is meant in its place.
        detected[function.table, function.function] = [function]
    found: dict[tuple[Name, str], list[AnyRelationship]] = defaultdict(list)
    for (table, foreign), some in detected.items():
        found[table, foreign.schema] += some
    for some in found.values():
        some.sort(key=_order)
    return dict(found)


def _order(each: AnyRelationship) -> tuple[object, ...]:
    if isinstance(each, Computed):
        return (1, each.function, each.table)
    kinds = ("o2m", "m2o", "o2o", "m2m")
    junction = each.junction
    return (
        0,
        each.foreign,
        each.is_self,
        kinds.index(each.kind),
        each.constraint,
        each.columns,
        (junction.table, junction.source_constraint, junction.target_constraint)
        if junction
        else (),
    )


def _of_key(key: ForeignKey, views: ViewColumns) -> Iterable[Relationship]:
    """A foreign key's relationships: of its tables, and of the views that show its columns."""
    kind = "o2o" if key.one_to_one else "m2o"
    own = tuple(column for column, _ in key.columns)
    others = tuple(column for _, column in key.columns)
    sources = [(key.table, own, False), *((*each, True) for each in views.showing(key.table, own))]
    targets = [
        (key.foreign, others, False),
        *((*each, True) for each in views.showing(key.foreign, others)),
    ]
    for source, columns, source_is_view in sources:
        for target, foreign_columns, target_is_view in targets:
            yield Relationship(
                source,
                target,
                kind,
                key.constraint,
                tuple(zip(columns, foreign_columns, strict=True)),
                None,
                source_is_view,
                target_is_view,
                has_key=True,
            )


def _inverse(each: Relationship) -> Relationship:
    return Relationship(
        each.foreign,
        each.table,
        "o2m" if each.kind == "m2o" else each.kind,
        each.constraint,
        tuple((foreign, own) for own, foreign in each.columns),
        None,
        each.foreign_is_view,
        each.table_is_view,
    )


def _many_to_many(direct: list[Relationship], tables: dict[Name, Table]) -> Iterable[Relationship]:
    """Pairs of foreign keys of one table, all of whose columns are in its primary key."""
    by_table: dict[Name, list[Relationship]] = defaultdict(list)
    for each in direct:
        if each.kind == "m2o":
            by_table[each.table].append(each)
    for table, some in by_table.items():
        key = set(tables[table].key) if table in tables else set()
        for one, other in product(some, some):
            columns = {own for own, _ in (*one.columns, *other.columns)}
            if one.constraint != other.constraint and columns <= key:
                junction = Junction(
                    table, one.constraint, other.constraint, one.columns, other.columns
                )
                yield Relationship(
                    one.foreign,
                    other.foreign,
                    "m2m",
                    junction=junction,
                    table_is_view=one.foreign_is_view,
                    foreign_is_view=other.foreign_is_view,
                )
