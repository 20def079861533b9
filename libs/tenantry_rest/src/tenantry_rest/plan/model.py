"""What a request does, in terms of the database: the plan that SQL is made of."""

from dataclasses import dataclass, field

from tenantry_rest.request.media import Media
from tenantry_rest.request.payload import Payload
from tenantry_rest.request.syntax import EVERYTHING, Operation, Range, Step
from tenantry_rest.schema.model import AnyRelationship, Function, Handler, Name

SOURCE = Name("", "pgrst_source")


@dataclass(frozen=True)
class Source:
    """A column with what is done to it.

    ``transform`` is a function of a domain representation, ``search`` the configuration with
    which a text is made a tsvector ("" is the default one). ``whole_row`` is all of the table.
    """

    name: str
    steps: tuple[Step, ...] = ()
    to_json: bool = True
    type: str = ""
    transform: str | None = None
    search: str | None = None
    default: str | None = None
    whole_row: bool = False


@dataclass(frozen=True)
class Selected:
    source: Source
    aggregate: str | None = None
    aggregate_cast: str | None = None
    cast: str | None = None
    alias: str | None = None

    @property
    def shown(self) -> str:
        return self.alias or self.source.name


@dataclass(frozen=True)
class Condition:
    source: Source
    negated: bool
    operation: Operation


@dataclass(frozen=True)
class EmbedIsNull:
    """Whether an embed has no row; ``embed`` is the alias of its subquery."""

    negated: bool
    embed: str


@dataclass(frozen=True)
class Combined:
    negated: bool
    operator: str
    members: tuple["Where", ...]


Where = Condition | EmbedIsNull | Combined


@dataclass(frozen=True)
class Ordered:
    """A term of the order; with ``embed``, of the subquery with that alias."""

    source: Source
    embed: str | None
    direction: str
    nulls: str


@dataclass(frozen=True)
class Lifted:
    """A column of a spread, as its parent selects it."""

    name: str
    aggregate: str | None = None
    cast: str | None = None
    alias: str | None = None

    @property
    def shown(self) -> str:
        return self.alias or self.name


@dataclass
class Read:
    """A table that is read, and what is embedded in it.

    ``alias`` is the table's, ``embed`` that of its subquery, ``name`` and ``given`` are the
    request's words for it. ``lifted`` are the columns of a spread. ``misnamed`` says that the
    request refers to an embed by its name although it has an alias.
    """

    table: Name
    name: str
    depth: int = 0
    alias: str | None = None
    given: str | None = None
    hint: str | None = None
    join: str | None = None
    spread: bool = False
    embed: str = ""
    select: list[Selected] = field(default_factory=list)
    where: list[Where] = field(default_factory=list)
    order: list[Ordered] = field(default_factory=list)
    range: Range = EVERYTHING
    relationship: AnyRelationship | None = None
    parent: Name = SOURCE
    lifted: list[Lifted] = field(default_factory=list)
    misnamed: bool = False
    children: list["Read"] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return self.given or self.name

    @property
    def qualifier(self) -> Name:
        """How columns of the table are qualified."""
        return Name("", self.alias) if self.alias is not None else self.table

    @property
    def to_one(self) -> bool:
        return self.relationship is not None and self.relationship.to_one

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it or of what it embeds is selected."""
        return not self.select and all(child.is_empty for child in self.children)

    @property
    def misnamed_embeds(self) -> list[tuple[str, str]]:
        """The names and aliases of the embeds that the request refers to by their names."""
        found = []
        for child in self.children:
            found += [(child.name, child.shown)] if child.misnamed else []
            found += child.misnamed_embeds
        return found

    @property
    def aggregates(self) -> bool:
        return any(each.aggregate for each in self.select)


@dataclass(frozen=True)
class Write:
    """An insert, upsert, update or delete; ``conflict`` is what to do and on which columns."""

    kind: str
    table: Name
    columns: tuple[Source, ...]
    payload: Payload | None
    conflict: tuple[str, tuple[str, ...]] | None
    where: tuple[Where, ...]
    returning: tuple[str, ...]
    key: tuple[str, ...]
    defaults: bool


@dataclass(frozen=True)
class Call:
    """A call of a function, with arguments of the query string or with a body."""

    function: Function
    named: tuple[str, ...]
    arguments: dict[str, str | list[str]] | None
    payload: Payload | None
    returning: tuple[str, ...]


@dataclass(frozen=True)
class Body:
    """How the body is made: by a function of this library's, or by a handler for a target."""

    kind: str
    handler: Handler | None = None
    target: Name | None = None


@dataclass(frozen=True)
class Plan:
    """All of it; ``read`` selects from a table, or from what was written or returned."""

    read: Read
    body: Body
    media: Media
    read_only: bool
    write: Write | None = None
    call: Call | None = None
