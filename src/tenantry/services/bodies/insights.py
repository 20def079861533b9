"""Bodies of requests about what a database does."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tenantry.pg.explaining import Wanted
from tenantry.services.advice.model import Code
from tenantry.services.bodies.fields import Body, Label, Moment, Storable
from tenantry.services.sql_runs import service as sql_runs


def _sql(text: str) -> str:
    if "\x00" in text or not text.strip():
        raise ValueError("must be SQL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can encode") from None
    return text


Sql = Annotated[str, Field(max_length=500_000), AfterValidator(_sql)]


class SignalSession(Body):
    """Which session is meant, so that a later one with its process ID is left alone."""

    started_at: Moment | None = Field(
        default=None, description="The session's `started_at`: another one gets no signal."
    )


# It has names that a tenant chose: they may begin with a space, or have a new line.
FindingObject = Annotated[Storable, Field(min_length=1, max_length=300)]


class MuteAdvice(Body):
    """A finding that is not to be reported any more."""

    code: Code = Field(examples=["unused_index"])
    object: FindingObject = Field(examples=["public.orders_note_idx"])


class RunSql(Body):
    """Statements to run, as one transaction."""

    sql: Sql = Field(examples=["SELECT id, total FROM orders ORDER BY id LIMIT 10"])
    read_only: bool | None = Field(
        default=None,
        description="Whether it is an error to change something. Default: in production, and"
        " without the scope data:write.",
    )
    timeout_ms: Annotated[int, Field(ge=1, le=30_000)] = 30_000
    max_rows: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=10_000, description="The most rows of each result."
    )

    remember: bool = Field(
        default=False,
        description="Whether to add the text to your history, once it has succeeded.",
    )

    def wanted(self) -> sql_runs.Wanted:
        return sql_runs.Wanted(
            self.sql, self.read_only, self.timeout_ms, self.max_rows, remember=self.remember
        )


class SaveSql(Body):
    """A text to save by a name, for the caller alone."""

    name: Annotated[Label, Field(max_length=100)] = Field(examples=["top customers"])
    sql: Annotated[Sql, Field(max_length=100_000)] = Field(examples=["SELECT 1"])


class Explain(Body):
    """A statement to explain, and whether to execute it for that."""

    sql: Sql = Field(examples=["SELECT * FROM orders WHERE customer_id = 7"])
    analyze: bool = Field(default=False, description="Whether to execute it, to measure each node.")
    read_only: bool = Field(
        default=True,
        description="Whether it is an error to change something. If not, it is rolled back.",
    )
    timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = 10_000

    def wanted(self) -> Wanted:
        return Wanted(self.sql, self.analyze, self.read_only, self.timeout_ms)
