"""What a query string says, as values."""

from dataclasses import dataclass

Path = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step into JSON: ``->`` or ``->>``, with a key or with an index."""

    arrow: str
    operand: str
    is_index: bool = False


@dataclass(frozen=True)
class Field:
    name: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Compare:
    """An operator of PostgreSQL with a value; ``quantifier`` is ``ANY`` or ``ALL``."""

    operator: str
    value: str
    quantifier: str | None = None


@dataclass(frozen=True)
class Is:
    what: str


@dataclass(frozen=True)
class Distinct:
    value: str


@dataclass(frozen=True)
class In:
    values: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """Full-text search: a function that makes a query, and the configuration for it."""

    function: str
    language: str | None
    value: str


@dataclass(frozen=True)
class Argument:
    """No operator: an argument of a function."""

    value: str


Operation = Compare | Is | Distinct | In | Search | Argument


@dataclass(frozen=True)
class Filter:
    field: Field
    negated: bool
    operation: Operation


@dataclass(frozen=True)
class Group:
    """Conditions that are joined by ``AND`` or ``OR``."""

    negated: bool
    operator: str
    members: tuple["Logic", ...]


Logic = Filter | Group


@dataclass(frozen=True)
class SelectField:
    field: Field
    aggregate: str | None = None
    aggregate_cast: str | None = None
    cast: str | None = None
    alias: str | None = None


@dataclass(frozen=True)
class SelectRelation:
    """An embedded resource; ``join`` is ``inner`` or ``left``."""

    name: str
    alias: str | None
    hint: str | None
    join: str | None
    members: tuple["SelectItem", ...]
    spread: bool = False


SelectItem = SelectField | SelectRelation


@dataclass(frozen=True)
class OrderTerm:
    """A term of ``order=``; with a relation, the field is one of a to-one embed."""

    field: Field
    relation: str | None = None
    direction: str = ""
    nulls: str = ""


@dataclass(frozen=True)
class Range:
    """Rows from an offset on; ``limit`` is None for all of them."""

    offset: int = 0
    limit: int | None = None


EVERYTHING = Range()
