"""Pieces of SQL: constant text, quoted identifiers, and parameters.

All statements are made of these pieces: a value never is text of a statement, and a name only as
``identifier`` quotes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tenantry_rest.plan.model import Source
from tenantry_rest.request.syntax import Step
from tenantry_rest.schema.model import Name

Value = str | bytes | list[str] | None
Rendered = tuple[bytes, list[Value]]  # a statement with numbered placeholders, its parameters


@dataclass(frozen=True)
class Parameter:
    value: Value


@dataclass(frozen=True)
class Sql:
    """A piece of a statement."""

    parts: tuple[str | Parameter, ...] = ()

    def __add__(self, other: "Sql | str") -> "Sql":
        return Sql(self.parts + (other.parts if isinstance(other, Sql) else (other,)))

    def __radd__(self, other: str) -> "Sql":
        return Sql((other, *self.parts))

    def render(self) -> Rendered:
        """The statement with numbered placeholders, and its parameters."""
        texts, values = [], []
        for part in self.parts:
            if isinstance(part, Parameter):
                values.append(part.value)
                texts.append(f"${len(values)}")
            else:
                texts.append(part)
        return "".join(texts).encode(), values


EMPTY = Sql()


def text(*parts: Sql | str) -> Sql:
    found: list[str | Parameter] = []
    for part in parts:
        found += part.parts if isinstance(part, Sql) else (part,)
    return Sql(tuple(found))


def join(separator: str, pieces: Iterable[Sql | str]) -> Sql:
    found: list[Sql | str] = []
    for piece in pieces:
        found += [separator, piece] if found else [piece]
    return text(*found)


def cut(value: str) -> str:
    """A text as PostgreSQL can have it: up to a NUL."""
    return value.partition("\0")[0]


def literal(value: Value) -> Sql:
    """A parameter; PostgreSQL infers its type. No text has the character NUL."""
    return Sql((Parameter(cut(value) if isinstance(value, str) else value),))


def constant(name: str) -> Sql:
    """A name of the catalog's as a text, where PostgreSQL cannot infer a parameter's type."""
    escaped = cut(name).replace("\\", "\\\\").replace("'", "''")
    return Sql((f"E'{escaped}'",))


def identifier(name: str) -> Sql:
    """The only way a name gets into a statement."""
    quoted = cut(name).replace('"', '""')
    return Sql((f'"{quoted}"',))


def qualified(name: Name) -> Sql:
    own = identifier(name.name)
    return text(identifier(name.schema), ".", own) if name.schema else own


def column(table: Name, name: str) -> Sql:
    return text(qualified(table), ".", "*" if name == "*" else identifier(name))


def array(values: Iterable[str]) -> str:
    """PostgreSQL's text for an array of texts, so that it infers the type of the elements."""
    escaped = (cut(value).replace("\\", "\\\\") for value in values)
    return "{" + ",".join('"' + value.replace('"', '\\"') + '"' for value in escaped) + "}"


def _step(step: Step) -> Sql:
    return text(step.arrow, literal(step.operand), "::int" if step.is_index else "")


def field(table: Name, source: Source) -> Sql:
    """A column, a part of it, or all of the row."""
    if source.whole_row:
        return qualified(table)
    found = column(table, source.name)
    if source.steps:
        inner = text("to_jsonb(", found, ")") if source.to_json else found
        found = text(inner, *map(_step, source.steps))
    if source.search is not None:
        language = text(literal(source.search), ", ") if source.search else EMPTY
        found = text("to_tsvector(", language, found, ")")
    return found


def transformed(source: Source, piece: Sql) -> Sql:
    """The piece in its domain's representation, by a function that the catalog names."""
    return text(source.transform, "(", piece, ")") if source.transform is not None else piece


def cast(piece: Sql, kind: str | None) -> Sql:
    """A cast; the grammar lets a type be of letters, digits, ``_``, ``$`` and spaces only.

    It is not quoted, since ``"bigint"`` is not the type bigint.
    """
    return text("CAST( ", piece, " AS ", kind, " )") if kind is not None else piece


def aliased(piece: Sql, alias: str | None) -> Sql:
    return text(piece, " AS ", identifier(alias)) if alias is not None else piece
