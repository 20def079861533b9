"""What a database exposes, as values: the schema cache."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple


class Name(NamedTuple):
    """A qualified name; an alias has no schema."""

    schema: str
    name: str


@dataclass(frozen=True)
class Column:
    """A column; ``nominal`` is its type as declared, a domain for example."""

    name: str
    description: str | None
    nullable: bool
    data_type: str
    nominal: str
    max_length: int | None
    default: str | None
    enum: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    name: Name
    description: str | None
    is_view: bool
    insertable: bool
    updatable: bool
    deletable: bool
    key: tuple[str, ...]
    columns: dict[str, Column]


@dataclass(frozen=True)
class Junction:
    """The table of a many-to-many relationship; pairs are of its column and the other's."""

    table: Name
    source_constraint: str
    target_constraint: str
    source: tuple[tuple[str, str], ...]
    target: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Relationship:
    """How two tables belong together; ``kind`` is o2m, m2o, o2o or m2m.

    ``columns`` are pairs of a column of the table and one of the foreign table. ``has_key`` says
    that the table, not the foreign one, has the foreign key.
    """

    table: Name
    foreign: Name
    kind: str
    constraint: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    junction: Junction | None = None
    table_is_view: bool = False
    foreign_is_view: bool = False
    has_key: bool = False

    @property
    def is_self(self) -> bool:
        return self.table == self.foreign

    @property
    def to_one(self) -> bool:
        return self.kind in {"m2o", "o2o"}


@dataclass(frozen=True)
class Computed:
    """A relationship that a function of a row computes."""

    table: Name
    foreign: Name
    function: Name
    to_one: bool


AnyRelationship = Relationship | Computed


@dataclass(frozen=True)
class Parameter:
    """A parameter; ``cast`` is its type without a length."""

    name: str
    type: str
    cast: str
    required: bool
    variadic: bool


@dataclass(frozen=True)
class Function:
    """A function; ``returns`` is the type, of which ``composite`` says that it has columns."""

    name: Name
    description: str | None
    parameters: tuple[Parameter, ...]
    returns: Name
    is_set: bool
    composite: bool
    volatility: str
    isolation: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def scalar(self) -> bool:
        return not self.composite and not self.is_set

    @property
    def set_of_scalar(self) -> bool:
        return not self.composite and self.is_set

    @property
    def single_row(self) -> bool:
        return self.composite and not self.is_set

    @property
    def void(self) -> bool:
        return self.returns == Name("pg_catalog", "void")


@dataclass(frozen=True)
class Handler:
    """What makes a body of a media type.

    ``function`` is an aggregate, or None where the result already is of the media type.
    """

    function: Name | None
    media: str


ANY_ELEMENT = Name("pg_catalog", "anyelement")


@dataclass(frozen=True)
class RoleSettings:
    settings: tuple[tuple[str, str], ...] = ()
    isolation: str | None = None


@dataclass(frozen=True)
class Schema:
    """The schema cache.

    ``relationships`` are by table and by the schema of the foreign one; ``representations`` the
    functions that cast a type to another; ``handlers`` by target and media type.
    """

    tables: dict[Name, Table] = field(default_factory=dict)
    relationships: dict[tuple[Name, str], list[AnyRelationship]] = field(default_factory=dict)
    functions: dict[Name, list[Function]] = field(default_factory=dict)
    representations: dict[tuple[str, str], str] = field(default_factory=dict)
    handlers: dict[tuple[Name, str], Handler] = field(default_factory=dict)
    roles: dict[str, RoleSettings] = field(default_factory=dict)

    @cached_property
    def represented(self) -> frozenset[str]:
        """The types that have a representation in JSON."""
        return frozenset(source for source, target in self.representations if target == "json")
