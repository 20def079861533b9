"""What the clients need of an OpenAPI document: its operations, and the shapes of their bodies."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Mapping[str, Any]

# They ignore an Idempotency-Key: repeated, they would be carried out twice.
ONCE = frozenset(
    (
        "alerts.test_channel",
        "auth.change_password",
        "auth.login",
        "auth.logout",
        "auth.mfa",
        "auth.remove_totp",
        "past.bring_back",
        "past.compare",
        "past.sql",
        "queries.explain",
        "rows.load",
        "sql.run",
    )
)
_JSON = "application/json"
_ENVELOPE = frozenset(("success", "message", "count", "next_cursor", "data"))
_PLAIN = ("string", "integer", "number", "boolean", "null", "any")


@dataclass(frozen=True, slots=True)
class Plain:
    name: str  # one of _PLAIN


@dataclass(frozen=True, slots=True)
class Values:
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Items:
    item: "Type"


@dataclass(frozen=True, slots=True)
class Mapped:
    value: "Type"


@dataclass(frozen=True, slots=True)
class OneOf:
    types: tuple["Type", ...]


@dataclass(frozen=True, slots=True)
class Named:
    name: str


Type = Plain | Values | Items | Mapped | OneOf | Named
NULL = Plain("null")


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a shape, or a query parameter."""

    name: str
    type: Type
    required: bool
    description: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    description: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """A body: of JSON, of bytes as ``media_type``, or either."""

    type: Type | None
    media_type: str | None
    required: bool


# The answer's data; its rows page by page; its whole body; a text; bytes.
Kind = Literal["data", "pages", "whole", "text", "bytes"]


@dataclass(frozen=True, slots=True)
class Operation:
    group: str
    verb: str
    method: str
    path: str
    description: str
    query: tuple[Member, ...]
    body: Body | None
    kind: Kind
    answer: Type

    @property
    def segments(self) -> list[str]:
        """The parameters in the path, in its order."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def takes_key(self) -> bool:
        """Whether it is carried out once under an Idempotency-Key."""
        return self.method == "POST" and f"{self.group}.{self.verb}" not in ONCE

    @property
    def repeatable(self) -> bool:
        """Whether it does no harm to send it again."""
        return self.method in {"GET", "PUT"} or self.takes_key


@dataclass
class Document:
    """The operations by group, and the shapes that they use, by name."""

    operations: dict[str, list[Operation]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)


def read(document: Json) -> Document:
    """Read a document that FastAPI has generated. Raises ValueError for what is not known here."""
    reader = _Reader(document["components"]["schemas"])
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            operation = reader.operation(path, method, described)
            reader.found.operations.setdefault(operation.group, []).append(operation)
    for name in ("Operation", "Problem"):  # what the clients themselves use
        reader.named(name)
    return reader.found


class _Reader:
    def __init__(self, schemas: Json) -> None:
        self._schemas = schemas
        self.found = Document()

    def operation(self, path: str, method: str, described: Json) -> Operation:
        group, _, verb = described["operationId"].partition(".")
        query = tuple(
            self._parameter(each)
            for each in described.get("parameters", ())
            if each["in"] == "query"
        )
        kind, answer = self._answer(described["responses"], {each.name for each in query})
        return Operation(
            group,
            verb,
            method.upper(),
            path,
            described["description"],
            tuple(each for each in query if kind != "pages" or each.name != "cursor"),
            self._body(described.get("requestBody")),
            kind,
            answer,
        )

    def _parameter(self, described: Json) -> Member:
        return Member(
            described["name"],
            _without_null(self.type(described["schema"])),
            described.get("required", False),
        )

    def _body(self, described: Json | None) -> Body | None:
        if described is None:
            return None
        content = dict(described["content"])
        json = content.pop(_JSON, None)
        (media_type,) = content or (None,)
        return Body(
            None if json is None else _without_null(self.type(json["schema"], given=True)),
            media_type,
            described.get("required", False),
        )

    def _answer(self, responses: Json, query: set[str]) -> tuple[Kind, Type]:
        """Return how an answer is read, and as what; all successful ones have the same form."""
        content = next(each["content"] for code, each in responses.items() if code[0] == "2")
        if _JSON not in content:
            (media_type,) = content
            is_text = media_type.startswith("text/") and media_type != "text/csv"
            return ("text" if is_text else "bytes"), Plain("string")
        schema = content[_JSON]["schema"]
        envelope = self._schemas.get(_referred(schema), {}).get("properties", {})
        if "data" not in envelope:
            return "whole", self.type(schema)
        data = self.type(envelope["data"])
        if "cursor" in query and isinstance(data, Items):
            return "pages", data.item
        if envelope.keys() <= _ENVELOPE:
            return "data", data
        return "whole", self.type(schema)

    def type(self, schema: Json, *, given: bool = False) -> Type:
        """Return the type of a schema; of what is ``given``, names are as those of answers."""
        if "$ref" in schema:
            return self.named(_referred(schema), given=given)
        if "const" in schema or "enum" in schema:
            return Values(tuple(schema.get("enum") or [schema["const"]]))
        if "anyOf" in schema:
            return self._one_of(schema["anyOf"], given=given)
        if schema.get("type") == "array":
            items = schema.get("prefixItems") or [schema.get("items", {})]
            return Items(self._one_of(items, given=given))
        if schema.get("type") == "object":
            return self._object(schema, given=given)
        name = schema.get("type", "any")
        if name not in _PLAIN:
            raise ValueError(f"no type for {schema}")
        return Plain(name)

    def _one_of(self, schemas: Sequence[Json], *, given: bool) -> Type:
        found = dict.fromkeys(self.type(each, given=given) for each in schemas)
        return OneOf(tuple(found)) if len(found) > 1 else next(iter(found))

    def _object(self, schema: Json, *, given: bool) -> Type:
        if "properties" in schema:
            return self._shape(_pascal(schema["title"]), schema, given=given)
        value = schema.get("additionalProperties", True)
        return Mapped(Plain("any") if isinstance(value, bool) else self.type(value, given=given))

    def named(self, reference: str, *, given: bool = False) -> Type:
        """Return the type of a schema of the document, and read it."""
        schema = self._schemas[reference]
        if "properties" not in schema:
            return self.type(schema, given=given)
        return self._shape(_pascal(reference), schema, given=given)

    def _shape(self, name: str, schema: Json, *, given: bool) -> Type:
        if name not in self.found.shapes:
            self.found.shapes[name] = Shape(name, "", ())  # one may refer to itself
            required = schema.get("required", ())
            members = (
                Member(
                    _snake(key) if given else key,
                    self.type(each, given=given),
                    key in required,
                    each.get("description", ""),
                )
                for key, each in schema["properties"].items()
            )
            self.found.shapes[name] = Shape(name, schema.get("description", ""), tuple(members))
        return Named(name)


def _referred(schema: Json) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _without_null(found: Type) -> Type:
    if not isinstance(found, OneOf):
        return found
    rest = tuple(each for each in found.types if each != NULL)
    return rest[0] if len(rest) == 1 else OneOf(rest)


def _snake(name: str) -> str:
    """Return a name as answers have it: the API takes both forms."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[0].lower()}", name)


def _pascal(reference: str) -> str:
    """Return the name of a shape. FastAPI puts the module before names that it has twice."""
    *module, name = reference.removesuffix("_").split("__")
    words = [*(module[-1:] if len(module) > 1 else ()), *re.split(r"[-_]", name)]
    return "".join(part[:1].upper() + part[1:] for word in words for part in word.split("_"))
