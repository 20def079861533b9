"""Bodies of requests to maintain a database's tables and indexes."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tenantry.pg.index_creation import Method
from tenantry.services.bodies import table_rows
from tenantry.services.bodies.fields import Body, StatementSeconds, readable
from tenantry.services.vacuuming.model import Definition, Wanted

_LONGEST = 63  # bytes of an identifier: PostgreSQL cuts a longer one


def _identifier(name: str) -> str:
    if not 1 <= len(name.encode()) <= _LONGEST:
        raise ValueError(f"must have 1 to {_LONGEST} bytes")
    return name


Name = Annotated[str, StringConstraints(min_length=3, max_length=130), AfterValidator(readable)]
Table = Annotated[Name, Field(examples=["public.events"])]
Index = Annotated[Name, Field(examples=["public.events_pkey"])]
IndexName = Annotated[str, AfterValidator(readable), AfterValidator(_identifier)]
LockSeconds = Annotated[float, Field(ge=0.001, le=600)]


class VacuumFull(Body):
    """The tables to rewrite. Default: those that would give back a tenth of their size or more."""

    tables: list[Table] = Field(default=[], max_length=1000)
    lock_timeout_seconds: LockSeconds = Field(
        default=5, description="How long to wait for each table; who comes meanwhile waits behind."
    )
    statement_timeout_seconds: StatementSeconds = None

    def wanted(self) -> Wanted:
        return Wanted(
            "vacuum_full", self.tables, self.lock_timeout_seconds, self.statement_timeout_seconds
        )


class Analyze(Body):
    """The tables to analyze. Default: all that the database's owner role owns."""

    tables: list[Table] = Field(default=[], max_length=1000)
    lock_timeout_seconds: LockSeconds = Field(
        default=5, description="How long to wait for each table."
    )
    statement_timeout_seconds: StatementSeconds = None

    def wanted(self) -> Wanted:
        return Wanted(
            "analyze", self.tables, self.lock_timeout_seconds, self.statement_timeout_seconds
        )


class Vacuum(Analyze):
    """The tables to vacuum. Default: all that the database's owner role owns."""

    analyze: bool = Field(default=False, description="Whether to collect statistics, too.")

    def wanted(self) -> Wanted:
        return Wanted(
            "vacuum",
            self.tables,
            self.lock_timeout_seconds,
            self.statement_timeout_seconds,
            analyze=self.analyze,
        )


class Reindex(Body):
    """The indexes to rebuild, and the tables of which to rebuild all indexes."""

    indexes: list[Index] = Field(default=[], max_length=1000)
    tables: list[Table] = Field(default=[], max_length=1000)
    lock_timeout_seconds: LockSeconds = Field(
        default=60, description="How long to wait for transactions that are open."
    )
    statement_timeout_seconds: StatementSeconds = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.indexes and not self.tables:
            raise ValueError("name indexes or tables")
        return self

    def wanted(self) -> Wanted:
        return Wanted(
            "reindex",
            self.tables,
            self.lock_timeout_seconds,
            self.statement_timeout_seconds,
            indexes=self.indexes,
        )


class CreateIndex(Body):
    """The index to create, while its table is used."""

    table: Table
    columns: list[table_rows.Name] = Field(
        min_length=1,
        max_length=32,
        description="Its columns, in order.",
        examples=[["customer_id"]],
    )
    name: IndexName | None = Field(
        default=None, description="Without its schema. Default: as PostgreSQL names it."
    )
    method: Method = Field(default="btree", description="The access method.")
    unique: bool = Field(
        default=False, description="Whether no two rows may have the same values; for `btree`."
    )
    lock_timeout_seconds: LockSeconds = Field(
        default=60, description="How long to wait for transactions that are open."
    )
    statement_timeout_seconds: StatementSeconds = None

    @model_validator(mode="after")
    def _can_be_unique(self) -> Self:
        if self.unique and self.method != "btree":
            raise ValueError("only an index of the method btree can be unique")
        return self

    def wanted(self) -> Wanted:
        return Wanted(
            "create_index",
            [self.table],
            self.lock_timeout_seconds,
            self.statement_timeout_seconds,
            index=Definition(
                columns=tuple(self.columns), name=self.name, method=self.method, unique=self.unique
            ),
        )
