"""Bodies of requests about rows of tables."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from tenantry.services.bodies.fields import Body, Storable
from tenantry.services.table_rows import plan
from tenantry.services.table_rows.plan import Action, Change, Page, Test

MOST_CHANGES = 100  # of a request

Name = Annotated[Storable, Field(min_length=1, max_length=63)]
# As POST …/sql returns them: integers and booleans are such, and everything else is text.
Value = (
    Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
    | Annotated[Storable, Field(max_length=500_000)]
    | None
)
ColumnName = Annotated[Storable, Field(max_length=63)]


class RowChange(Body):
    """A row to insert, update or delete."""

    action: Action
    key: dict[ColumnName, Value] = Field(
        default={},
        max_length=32,
        description="The values of the primary key, of a row to update or delete.",
        examples=[{"id": 7}],
    )
    xmin: Annotated[str, Field(pattern=r"^[0-9]{1,10}$")] | None = Field(
        default=None,
        description="The row's `xmin` when it was read: if it has another one, it has been changed"
        " since, and nothing is done.",
        examples=["74125"],
    )
    values: dict[ColumnName, Value] = Field(
        default={},
        max_length=1600,
        description="The new values. An inserted row has the defaults of columns left out.",
        examples=[{"status": "paid"}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.action == "insert" and (self.key or self.xmin):
            raise ValueError("a row to insert has no key and no xmin: its values are in values")
        if self.action == "delete" and self.values:
            raise ValueError("a row to delete has no values")
        return self

    def wanted(self) -> Change:
        return Change(
            self.action,
            {name: plan.as_text(value) for name, value in self.key.items()},
            self.xmin,
            {name: plan.as_text(value) for name, value in self.values.items()},
        )


class ChangeRows(Body):
    """Changes of rows of one table, made as one transaction."""

    schema_: Name = Field(default="public", alias="schema")
    table: Name = Field(examples=["orders"])
    changes: Annotated[list[RowChange], Field(min_length=1, max_length=MOST_CHANGES)]
    dry_run: bool = Field(
        default=False, description="Return the statements only, and change nothing."
    )


class TableName(BaseModel):
    """A table in a query string."""

    schema_: Name = Field(default="public", alias="schema")
    table: Name = Field(examples=["orders"])


class SomeRows(TableName):
    """Rows of a table, in a query string: those whose ``column`` passes a test, in an order."""

    column: ColumnName = Field(default="", description="Only rows whose value of it passes `test`.")
    test: Test = "is"
    value: Annotated[Storable, Field(max_length=1000)] = ""
    sort: ColumnName = Field(default="", description="Default: the primary key.")
    order: Literal["asc", "desc"] = "asc"

    def page(self, *, after: Sequence[str] = (), skip: int = 0) -> Page:
        return Page(
            self.column or None,
            self.test,
            self.value,
            after,
            skip,
            self.sort or None,
            self.order == "desc",
        )
