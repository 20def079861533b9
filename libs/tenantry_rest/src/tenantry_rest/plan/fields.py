"""Columns with what their types ask for: JSON paths, domain representations, text search."""

from dataclasses import dataclass, replace

from tenantry_rest.errors import no_column
from tenantry_rest.plan.model import Combined, Condition, Source, Where
from tenantry_rest.request.syntax import Compare, Field, Filter, In, Logic, Search
from tenantry_rest.schema.model import Column, Name, Schema, Table


@dataclass(frozen=True)
class Context:
    """A table whose columns are meant."""

    schema: Schema
    table: Name

    def at(self, table: Name) -> "Context":
        return replace(self, table=table)

    @property
    def known(self) -> Table | None:
        return self.schema.tables.get(self.table)

    def columns(self) -> list[Column]:
        return list(self.known.columns.values()) if self.known else []

    def _represented(self, source: Source, of: str, to: str) -> Source:
        function = self.schema.representations.get((of, to))
        return replace(source, type=of, transform=function) if function else source

    def resolve(self, field: Field) -> Source:
        """A column by its name; one that is not known may be a computed one."""
        column = self.known.columns.get(field.name) if self.known else None
        kind = column.nominal if column else ""
        return Source(field.name, field.steps, kind not in {"json", "jsonb"}, kind)

    def output(self, field: Field) -> Source:
        source = self.resolve(field)
        return self._represented(source, source.type, "json")

    def column_output(self, column: Column) -> Source:
        source = Source(column.name, (), to_json=False, type=column.nominal)
        return self._represented(source, source.type, "json")

    def payload(self, name: str) -> Source:
        """A column of a body.

        Raises:
            ApiError: PGRST204, the table has no such column.
        """
        column = self.known.columns.get(name) if self.known else None
        if column is None:
            raise no_column(self.table.name, name)
        source = Source(name, type=column.nominal, default=column.default)
        return self._represented(source, "json", source.type)

    def condition(self, logic: Logic) -> Where:
        if not isinstance(logic, Filter):
            members = tuple(self.condition(each) for each in logic.members)
            return Combined(logic.negated, logic.operator, members)
        source = self.resolve(logic.field)
        operation = logic.operation
        if isinstance(operation, Search) and self._is_text(logic.field.name):
            source = replace(source, search=operation.language or "")
        elif isinstance(operation, Compare | In):
            source = self._represented_text(source)
        return Condition(source, logic.negated, operation)

    def _is_text(self, name: str) -> bool:
        """Whether a column has to be made a tsvector; what is not known may be one already."""
        column = self.known.columns.get(name) if self.known else None
        return column is not None and column.data_type != "tsvector"

    def _represented_text(self, source: Source) -> Source:
        function = self.schema.representations.get(("text", source.type))
        return replace(source, transform=function) if function else source
