"""Bodies of requests about what a database does."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tenantry.pg.explaining import Wanted
from tenantry.services.advice.model import Code
from tenantry.services.bodies.fields import Body, Moment, Storable


def _sql(text: str) -> str:
    if "\x00" in text or not text.strip():
        raise ValueError("must be SQL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can encode") from None
    return text


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


class Explain(Body):
    """A statement to explain, and whether to execute it for that."""

    sql: Annotated[str, Field(max_length=500_000), AfterValidator(_sql)] = Field(
        examples=["SELECT * FROM orders WHERE customer_id = 7"]
    )
    analyze: bool = Field(
        default=False, strict=True, description="Whether to execute it, to measure each node."
    )
    read_only: bool = Field(
        default=True,
        strict=True,
        description="Whether it is an error to change something. If not, it is rolled back.",
    )
    timeout_ms: Annotated[int, Field(ge=1, le=60_000, strict=True)] = 10_000

    def wanted(self) -> Wanted:
        return Wanted(self.sql, self.analyze, self.read_only, self.timeout_ms)
