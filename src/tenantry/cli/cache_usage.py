"""``tenantry cache report``, ``prices``, ``judge`` and ``certify``: what the AI cache saves."""

import datetime as dt
import re
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.sizes import readable
from tenantry.cli import output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding_sites import Named, find
from tenantry.cli.times import local

prices = typer.Typer(
    help="The operator's prices of tokens, by which the AI cache's savings are valued.",
    no_args_is_help=True,
)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="As requests name it.", show_default=False)
]

_PRICES: dict[str, output.Cell] = {
    "MODEL": "model",
    "FROM": "valid_from",
    "INPUT": "input",
    "OUTPUT": "output",
}
_MODELS: dict[str, output.Cell] = {
    "MODEL": lambda row: row["model"] or "(none)",
    "EXACT": lambda row: f"{row['exact_hits']:,}",
    "SIMILAR": lambda row: f"{row['semantic_hits']:,}",
    "MISSES": lambda row: f"{row['misses']:,}",
    "HIT RATE": lambda row: _percent(row["hit_rate"]["share"]),
    "TOKENS SAVED": lambda row: f"{row['saved_in'] + row['saved_out']:,}",
    "SAVED": lambda row: None if row["saved"] is None else f"{row['saved']:,.4f}",
}
_KINDS: dict[str, output.Cell] = {
    "KIND": "kind",
    "KEYS": lambda row: f"{row['keys']:,}",
    "MEMORY": lambda row: readable(row["bytes"]),
}
_BIG: dict[str, output.Cell] = {
    "BIG KEY": "key",
    "TYPE": "type",
    "MEMORY": lambda row: readable(row["bytes"]),
}
_SLOW: dict[str, output.Cell] = {
    "SLOW COMMAND": "command",
    "KEY": "key",
    "TOOK": lambda row: f"{row['milliseconds']:,.1f} ms",
    "AT": lambda row: local(row["at"]),
}
_HITS: dict[str, output.Cell] = {
    "HIT": "id",
    "ASKED": "prompt",
    "STORED": "stored_prompt",
    "COSINE": lambda row: f"{row['cosine']:.3f}",
    "GIVEN": lambda row: "yes" if row["served"] else "no",
}
_STEPS: dict[str, output.Cell] = {
    "COSINE": lambda row: f"{row['cosine']:.2f}",
    "JUDGED": "judged",
    "WRONG": "wrong",
    "ERRORS AT MOST": lambda row: _percent(row["at_most"]),
}


def report(
    site: Named,
    *,
    days: Annotated[int, typer.Option(min=1, max=90, help="Of the last so many days.")] = 7,
    as_json: Json = False,
) -> None:
    """Show what a site's cache answered and saved, and what takes its memory and time.

    Examples:

        tenantry cache report shop

        tenantry cache report shop --days 30 --json
    """
    with connect() as api:
        row = find(api, site)
        found = api.get(f"/api/sites/{row['id']}/report", days=str(days))
    if as_json:
        output.as_json(found)
        return
    output.heading(f"{row['name']}, the last {output.count(days, 'day')}")
    output.facts(_facts(found))
    if found["models"]:
        output.line("")
        output.table(found["models"], _MODELS, empty="", spare=("MISSES", "TOKENS SAVED"))
    if found["unpriced"]:
        named = ", ".join(name or "(none)" for name in found["unpriced"])
        output.note(f"Without a price, and not in the money: {named}.")
    _show_memory(found["redis"])


def _facts(found: Row) -> list[tuple[str, object]]:
    total, currency = found["total"], found["currency"]
    facts: list[tuple[str, object]] = [
        ("hit rate", _rate(total["hit_rate"])),
        ("exact", _rate(found["exact_rate"])),
        ("similar", _rate(found["semantic_rate"])),
        ("past the cache", f"{total['bypasses']:,}, shared {total['shared']:,}"),
        ("failures", f"{total['failures']:,}"),
        ("look-ups take", _durations(found["lookup"])),
        ("providers take", _durations(found["provider"])),
        ("tokens paid for", f"{total['tokens_in']:,} in, {total['tokens_out']:,} out"),
        ("tokens saved", f"{total['saved_in']:,} in, {total['saved_out']:,} out"),
    ]
    if total["saved"] is not None:
        facts += [
            ("saved", f"{total['saved']:,.4f} {currency}, by prices from {total['priced_from']}"),
            ("paid", f"{total['paid']:,.4f} {currency}"),
        ]
    if found["vetoes"]:
        vetoes = sorted(found["vetoes"].items(), key=lambda pair: -pair[1])
        facts.append(("refused by", ", ".join(f"{name} {count:,}" for name, count in vetoes)))
    if found["similarities"]:
        bins = [f"{each['cosine']:.2f}: {each['searches']:,}" for each in found["similarities"]]
        facts.append(("nearest cosine", ", ".join(bins)))
    return facts


def _show_memory(found: Row | None) -> None:
    if found is None:
        output.note("Its Redis does not answer: nothing is known of its memory.")
        return
    output.line("")
    used, limit = readable(found["memory_bytes"]), readable(found["memory_limit_bytes"])
    evicted = found["evicted_keys"]
    output.facts(
        [
            ("memory", f"{used} of {limit}"),
            ("keys", f"{found['keys']:,}, of which {found['sampled']:,} were read"),
            ("evicted", None if evicted is None else f"{evicted:,} since its Redis started"),
        ]
    )
    for rows, columns in (
        (found["kinds"], _KINDS),
        (found["big_keys"], _BIG),
        (found["slow_commands"], _SLOW),
    ):
        if rows:
            output.line("")
            output.table(rows, columns, empty="")


def judge(
    site: Named,
    hit: Annotated[
        str | None, typer.Argument(metavar="[HIT]", help="A hit of the list.", show_default=False)
    ] = None,
    verdict: Annotated[
        Literal["right", "wrong"] | None,
        typer.Argument(metavar="[right|wrong]", show_default=False),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List hits that nobody has judged, drawn by lot; or judge one of them.

    A hit is right if the answer to the stored question also answers what was asked.

    Examples:

        tenantry cache judge shop

        tenantry cache judge shop 1790000000000-0 right
    """
    if (hit is None) != (verdict is None):
        raise typer.BadParameter("say right or wrong after the hit.")
    with connect() as api:
        path = f"/api/sites/{find(api, site)['id']}/hits"
        if hit is None:
            found = api.get(path, limit=str(limit))
        else:
            found = api.post(f"{path}/{quote(hit)}/feedback", {"correct": verdict == "right"})
    if as_json:
        output.as_json(found)
    elif hit is None:
        output.table(found, _HITS, empty="There is no hit to be judged.")
    else:
        output.done(f"The hit is noted as {verdict}")


def certify(
    site: Named,
    *,
    budget: Annotated[
        str,
        typer.Option(metavar="PERCENT", help="The acceptable share of wrong answers: 2%."),
    ],
    as_json: Json = False,
) -> None:
    """Put the loosest threshold in force that the judged hits certify for a budget of errors.

    Example:

        tenantry cache certify shop --budget 2%
    """
    with connect() as api:
        path = f"/api/sites/{find(api, site)['id']}/certify"
        found = api.post(path, {"budget": _share(budget)})
    if as_json:
        output.as_json(found)
        return
    if found["certified"]:
        output.done(f"Answers are given from a cosine of {found['cosine']:.2f}")
    else:
        output.note("Not certified: answers are given from a cosine of 0.95.")
    output.table(found["steps"], _STEPS, empty="")


# ── prices ───────────────────────────────────────────────────────────────────


@prices.command("list")
def list_prices(as_json: Json = False) -> None:
    """List the prices of a million tokens, by model and day.

    Example:

        tenantry cache prices list
    """
    with connect() as api:
        found = api.get("/api/cache-prices")
    if as_json:
        output.as_json(found)
        return
    output.table(
        found["prices"], _PRICES, empty="There is no price. `tenantry cache prices set` adds one."
    )
    if found["currency"]:
        output.note(f"In {found['currency']}, for a million tokens; days are in UTC.")


@prices.command("set")
def set_price(
    model: Model,
    *,
    input_price: Annotated[
        float, typer.Option("--input", min=0, help="Of a million tokens of requests.")
    ],
    output_price: Annotated[
        float, typer.Option("--output", min=0, help="Of a million tokens of answers.")
    ],
    valid_from: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="A day in UTC; default: today.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(help="Of all prices, such as EUR. At first USD.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set the price of a model from a day on; earlier prices stay for the time before.

    Example:

        tenantry cache prices set gpt-4o-mini --input 0.15 --output 0.60 --from 2026-01-31
    """
    day = valid_from or dt.datetime.now(dt.UTC).date().isoformat()
    price = {"model": model, "valid_from": day, "input": input_price, "output": output_price}
    with connect() as api:
        there = api.get("/api/cache-prices")
        others = [
            each for each in there["prices"] if (each["model"], each["valid_from"]) != (model, day)
        ]
        wanted = currency or there["currency"] or "USD"
        found = _put(api, wanted, [*others, price])
    if as_json:
        output.as_json(found)
        return
    output.done(f"{model} costs {input_price:g} in and {output_price:g} out from {day} on")


@prices.command("remove")
def remove_price(model: Model, *, as_json: Json = False) -> None:
    """Remove all prices of a model.

    Example:

        tenantry cache prices remove gpt-4o-mini
    """
    with connect() as api:
        there = api.get("/api/cache-prices")
        others = [each for each in there["prices"] if each["model"] != model]
        if len(others) == len(there["prices"]):
            raise NotFound(
                f"There is no price of {model}.", hint="`tenantry cache prices list` shows them."
            )
        found = _put(api, there["currency"], others)
    if as_json:
        output.as_json(found)
        return
    output.done(f"{model} has no price any more")


def _put(api: Api, currency: str, rows: list[Row]) -> Any:
    return api.put("/api/cache-prices", {"currency": currency, "prices": rows})


# ── how it is shown ──────────────────────────────────────────────────────────


def _share(text: str) -> float:
    """Return ``2%`` or ``0.02`` as a share."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip(), re.ASCII)
    if found is None:
        raise InvalidInput.of("budget", "is no share such as 2%")
    return float(found[1]) / (100 if found[2] else 1)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _rate(found: Row) -> str | None:
    """Return a share with its interval and its cases; None without any."""
    if found["share"] is None:
        return None
    low, high = _percent(found["low"]), _percent(found["high"])
    return f"{_percent(found['share'])} ({low} to {high}), {found['found']:,} of {found['cases']:,}"


def _durations(found: Row) -> str | None:
    if found["p50_ms"] is None:
        return None
    return f"{found['p50_ms']:,.1f} ms, 95 % within {found['p95_ms']:,.1f} ms"
