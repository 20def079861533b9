"""Relationships between tables, views and functions, from foreign keys."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations, product
from math import prod

from tenantry_rest.errors import schema_too_large
from tenantry_rest.schema.model import (
    AnyRelationship,
    Computed,
    Junction,
    Name,
    Relationship,
    Table,
)

Columns = tuple[str, ...]
MOST = 20_000  # relationships of a schema, those between what is not exposed among them
MOST_OF_TABLE = 5_000  # exposed ones; an embed looks at all of them


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
        # Names in views, by table, the table's column, and view.
        self._shown: dict[Name, dict[str, dict[Name, list[str]]]] = defaultdict(dict)
        self._tables: dict[Name, dict[Name, None]] = defaultdict(dict)

    def add(self, view: Name, column: str, table: Name, base: str) -> None:
        self._shown[table].setdefault(base, {}).setdefault(view, []).append(column)
        self._tables[view][table] = None

    def _of(self, table: Name, columns: Iterable[str]) -> list[dict[Name, list[str]]]:
        """What shows each of the columns, the rarest first."""
        shown = self._shown.get(table, {})
        return sorted((shown.get(column, {}) for column in columns), key=len)

    def count(self, table: Name, columns: Iterable[str]) -> int:
        """How many choices ``showing`` has and how many views it looks at, without making them."""
        rarest, *others = self._of(table, columns)
        choices = (
            len(names) * prod(len(each.get(view, ())) for each in others)
            for view, names in rarest.items()
        )
        return len(rarest) + sum(choices)

    def showing(self, table: Name, columns: Iterable[str]) -> Iterable[tuple[Name, Columns]]:
        """The views that show all these columns, with each choice of the names there."""
        wanted = list(columns)
        shown = self._shown.get(table, {})
        for view in self._of(table, wanted)[0]:
            if all(view in shown.get(column, {}) for column in wanted):
                for names in product(*(shown[column][view] for column in wanted)):
                    yield view, names

    def key_of(self, view: Name, tables: dict[Name, Table]) -> Columns:
        """The primary keys of the tables a view shows, where it shows them whole."""
        found: list[str] = []
        for table in self._tables.get(view, ()):
            known, shown = tables.get(table), self._shown[table]
            key = known.key if known is not None and not known.is_view else ()
            if key and all(view in shown.get(column, {}) for column in key):
                found += [shown[column][view][0] for column in key]
        return tuple(dict.fromkeys(found))


def all_relationships(
    keys: Iterable[ForeignKey],
    views: ViewColumns,
    tables: dict[Name, Table],
    computed: Iterable[Computed],
    exposed: Iterable[str],
) -> dict[tuple[Name, str], list[AnyRelationship]]:
    """All relationships between what is exposed, by table and schema of the foreign table.

    Raises:
        ApiError: PGRST002, there are too many. A view can show a column under many names, and
            each choice of them is a relationship.
    """
    keys = list(keys)
    _limit(sum(_count(key, views) for key in keys))
    direct = [each for key in keys for each in _of_key(key, views)]
    by_table = _in_keys(direct, tables)
    _limit(2 * len(direct) + sum(map(_pairs, by_table.values())))
    related = [*direct, *map(_inverse, direct), *_many_to_many(by_table)]
    schemas = set(exposed)
    detected: dict[tuple[Name, Name], list[AnyRelationship]] = defaultdict(list)
    for each in related:
        if {each.table.schema, each.foreign.schema} <= schemas:
            # Of what a hidden junction relates there are no relationships, rather than no tables.
            some = detected[each.table, each.foreign]
            some += [each] if each.junction is None or each.junction.table.schema in schemas else []
    for function in computed:
        # A function that has a table's name is meant in its place.
        detected[function.table, function.function] = [function]
    found: dict[tuple[Name, str], list[AnyRelationship]] = defaultdict(list)
    for (table, foreign), some in detected.items():
        found[table, foreign.schema] += some
    for some in found.values():
        _limit(len(some), MOST_OF_TABLE)
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


def _limit(count: int, most: int = MOST) -> None:
    if count > most:
        of = "A table" if most == MOST_OF_TABLE else "It"
        raise schema_too_large(f"{of} has more than {most:,} relationships, with those of views.")


def _count(key: ForeignKey, views: ViewColumns) -> int:
    """How many relationships ``_of_key`` makes, or a few more, with their inverses."""
    own = tuple(column for column, _ in key.columns)
    others = tuple(column for _, column in key.columns)
    return 2 * (1 + views.count(key.table, own)) * (1 + views.count(key.foreign, others))


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


Grouped = dict[str, list[Relationship]]  # by constraint


def _in_keys(direct: list[Relationship], tables: dict[Name, Table]) -> dict[Name, Grouped]:
    """By table the ways to one, all of whose columns are in the table's primary key."""
    found: dict[Name, Grouped] = defaultdict(lambda: defaultdict(list))
    primary = {name: set(table.key) for name, table in tables.items()}
    for each in direct:
        key = primary.get(each.table, set())
        if each.kind == "m2o" and all(own in key for own, _ in each.columns):
            found[each.table][each.constraint].append(each)
    return found


def _pairs(grouped: Grouped) -> int:
    """How many pairs there are of different constraints."""
    sizes = [len(some) for some in grouped.values()]
    return sum(sizes) ** 2 - sum(size**2 for size in sizes)


def _many_to_many(by_table: dict[Name, Grouped]) -> Iterable[Relationship]:
    """Pairs of foreign keys of one table, all of whose columns are in its primary key."""
    for table, grouped in by_table.items():
        for some, others in permutations(grouped.values(), 2):
            for one, other in product(some, others):
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
