"""The operator's prices of providers' tokens, with which the AI cache's savings are valued."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from psycopg.rows import class_row

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class PriceRow:
    """What a million tokens of a model cost, those of questions and those of answers.

    It holds from the begin of a day in UTC, until a later row of the same model.
    """

    model: str
    valid_from: dt.date
    currency: str
    input: Decimal
    output: Decimal


async def every(tx: Tx) -> list[PriceRow]:
    """Return all prices, by model and day."""
    async with tx.cursor(row_factory=class_row(PriceRow)) as cursor:
        await cursor.execute(
            "SELECT model, valid_from, currency, input, output FROM cache_prices"
            " ORDER BY model, valid_from"
        )
        return await cursor.fetchall()


async def replace(tx: Tx, rows: Sequence[PriceRow]) -> None:
    """Replace all prices, whose models have one for each day at most."""
    # Otherwise the rows of another transaction that commits now would not be deleted.
    await tx.execute("LOCK TABLE cache_prices IN SHARE ROW EXCLUSIVE MODE")
    await tx.execute("DELETE FROM cache_prices")
    async with tx.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO cache_prices (model, valid_from, currency, input, output)"
            " VALUES (%s, %s, %s, %s, %s)",
            [(r.model, r.valid_from, r.currency, r.input, r.output) for r in rows],
        )
