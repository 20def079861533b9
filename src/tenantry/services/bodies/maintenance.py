"""Bodies of requests to maintain a database's tables and indexes."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tenantry.services.bodies.fields import Body, StatementSeconds, readable
from tenantry.services.vacuuming.model import Wanted

Name = Annotated[str, StringConstraints(min_length=3, max_length=130), AfterValidator(readable)]
Table = Annotated[Name, Field(examples=["public.events"])]
Index = Annotated[Name, Field(examples=["public.events_pkey"])]
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

    analyze: bool = Field(
        default=False, strict=True, description="Whether to collect statistics, too."
    )

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
