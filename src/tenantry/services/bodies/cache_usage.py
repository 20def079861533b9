"""Bodies of what the AI cache saved, and of judgements of its hits."""

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from tenantry.services.bodies.fields import Body, readable
from tenantry.services.cache_usage.model import LONGEST_MODEL, Price, PriceTable
from tenantry.services.cache_usage.service import MOST_PRICES

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _day(value: object) -> object:
    # pydantic also accepts numbers and times.
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day such as 2026-01-31")
    return value


Model = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_MODEL),
    AfterValidator(readable),
    Field(description="As requests name it.", examples=["gpt-4o-mini"]),
]
Amount = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False, examples=[0.15])]
Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$"), Field(examples=["USD"])]


class CachePrice(Body):
    """What a million tokens of a model cost from a day in UTC on."""

    model: Model
    valid_from: Annotated[dt.date, BeforeValidator(_day), Field(examples=["2026-01-31"])]
    input: Annotated[Amount, Field(description="Those of requests.")]
    output: Annotated[Amount, Field(description="Those of answers.")]


class CachePrices(Body):
    """All prices, in one currency. They replace the present ones."""

    currency: Currency = Field(description="By ISO 4217. Amounts are not converted.")
    prices: Annotated[list[CachePrice], Field(max_length=MOST_PRICES)]

    @model_validator(mode="after")
    def _one_for_each_day(self) -> Self:
        if len({(each.model, each.valid_from) for each in self.prices}) < len(self.prices):
            raise ValueError("has two prices of one model from the same day on")
        return self

    def table(self) -> PriceTable:
        return PriceTable(
            self.currency,
            [
                Price(
                    each.model,
                    each.valid_from,
                    Decimal(str(each.input)),
                    Decimal(str(each.output)),
                )
                for each in self.prices
            ],
        )


class JudgeHit(Body):
    """Whether the stored answer is right for what was asked."""

    correct: bool


class CertifyThreshold(Body):
    """The acceptable share of wrong answers among those that are given."""

    budget: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False, examples=[0.02])]
