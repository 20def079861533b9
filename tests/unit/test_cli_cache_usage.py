"""``tenantry cache report``, ``prices``, ``judge`` and ``certify`` against a scripted API."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, installed

PATH = f"/api/sites/{SHOP}"
PRICES = {
    "currency": "EUR",
    "prices": [
        {"model": "m", "valid_from": "2031-01-01", "input": 1.0, "output": 2.0},
        {"model": "n", "valid_from": "2031-01-01", "input": 3.0, "output": 4.0},
    ],
}


def rate(found: int, cases: int) -> dict[str, Any]:
    share = found / cases if cases else None
    return {"cases": cases, "found": found, "share": share, "low": 0.2, "high": 0.4}


def use(model: str, **changes: Any) -> dict[str, Any]:
    counts = ("exact_hits", "semantic_hits", "misses", "bypasses", "shared", "failures")
    tokens = ("tokens_in", "tokens_out", "saved_in", "saved_out")
    named = dict.fromkeys((*counts, *tokens, "embeddings_found", "embeddings_asked"), 0)
    money = {"saved": None, "paid": None, "priced_from": None}
    return {"model": model, **named, "hit_rate": rate(3, 10), **money, **changes}


def report(**changes: Any) -> dict[str, Any]:
    durations = {"p50_ms": 1.2, "p95_ms": 4.5}
    return {
        "site_id": SHOP,
        "currency": "EUR",
        "unpriced": ["n"],
        "total": use("", saved=0.5, paid=1.5, priced_from="2031-01-01"),
        "models": [use("m", exact_hits=3, saved=0.5), use("", misses=1234)],
        "exact_rate": rate(3, 10),
        "semantic_rate": rate(0, 10),
        "lookup": durations,
        "provider": {"p50_ms": None, "p95_ms": None},
        "similarities": [{"cosine": 0.95, "searches": 4}],
        "vetoes": {"numbers": 2},
        "redis": {
            "memory_bytes": 1024,
            "memory_limit_bytes": 2048,
            "evicted_keys": 7,
            "keys": 10,
            "sampled": 10,
            "kinds": [{"kind": "entry", "keys": 10, "bytes": 512}],
            "big_keys": [{"key": "site:x", "type": "hash", "bytes": 300}],
            "slow_commands": None,
        },
        **changes,
    }


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/sites", [{"id": SHOP, "name": "shop"}])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_a_report_has_rates_with_intervals_and_money(shop: FakeApi, cli: Cli) -> None:
    shop.on("GET", f"{PATH}/report", report())
    ended = cli("cache", "report", "shop", "--days", "30")
    assert shop.asked("GET", f"{PATH}/report")[0].query == {"days": "30"}
    for text in (
        "the last 30 days",
        "30.0% (20.0% to 40.0%), 3 of 10",
        "0.5000 EUR, by prices from 2031-01-01",
        "1.2 ms, 95 % within 4.5 ms",
        "numbers 2",
        "(none)",
        "1,234",
        "site:x",
        "7 since its Redis started",
    ):
        assert text in ended.out
    assert "Without a price, and not in the money: n." in " ".join(ended.err.split())


def test_a_report_of_nothing_is_a_page_too(shop: FakeApi, cli: Cli) -> None:
    empty = use("", hit_rate=rate(0, 0))
    nothing = {"p50_ms": None, "p95_ms": None}
    shop.on(
        "GET",
        f"{PATH}/report",
        report(
            currency=None,
            unpriced=[],
            total=empty,
            models=[],
            redis=None,
            exact_rate=rate(0, 0),
            semantic_rate=rate(0, 0),
            lookup=nothing,
            similarities=[],
            vetoes={},
        ),
    )
    ended = cli("cache", "report", "shop")
    assert ended.code == 0
    assert "nothing is known of its memory" in " ".join(ended.err.split())


def test_a_price_is_set_beside_the_others(shop: FakeApi, cli: Cli) -> None:
    shop.on("GET", "/api/cache-prices", PRICES)
    shop.on("PUT", "/api/cache-prices", PRICES)
    words = ("cache", "prices", "set", "m", "--input", "5", "--output", "6")
    assert cli(*words, "--from", "2031-01-01").code == 0
    assert cli(*words, "--from", "2031-02-01", "--currency", "USD").code == 0
    first, second = (each.body for each in shop.asked("PUT", "/api/cache-prices"))
    new = {"model": "m", "valid_from": "2031-01-01", "input": 5, "output": 6}
    assert first == {"currency": "EUR", "prices": [PRICES["prices"][1], new]}
    assert second["currency"] == "USD"
    assert len(second["prices"]) == 3


def test_prices_of_a_model_are_removed(shop: FakeApi, cli: Cli) -> None:
    shop.on("GET", "/api/cache-prices", PRICES)
    shop.on("PUT", "/api/cache-prices", PRICES)
    assert cli("cache", "prices", "remove", "m").code == 0
    (body,) = (each.body for each in shop.asked("PUT", "/api/cache-prices"))
    assert body == {"currency": "EUR", "prices": [PRICES["prices"][1]]}
    assert "no price of o" in cli("cache", "prices", "remove", "o").err


def test_a_refused_price_is_called_by_its_option(shop: FakeApi, cli: Cli) -> None:
    shop.on("GET", "/api/cache-prices", {"currency": None, "prices": []})
    refused = {"field": "prices.0.input", "message": "is too large", "code": "value_error"}
    shop.refuse("PUT", "/api/cache-prices", 422, "invalid_input", errors=[refused])
    words = ("cache", "prices", "set", "m", "--input", "1e9", "--output", "6")
    assert "--input: is too large" in cli(*words).err


def test_hits_are_listed_and_judged(shop: FakeApi, cli: Cli) -> None:
    hit = {"id": "1-0", "prompt": "how can I pay", "stored_prompt": "how do I pay"}
    shop.on("GET", f"{PATH}/hits", [hit | {"cosine": 0.96, "served": False}])
    shop.on("POST", f"{PATH}/hits/1-0/feedback", {"id": "1-0", "status": "judged"})
    assert "how do I pay" in cli("cache", "judge", "shop").out
    assert cli("cache", "judge", "shop", "1-0", "wrong").code == 0
    (asked,) = shop.asked("POST", f"{PATH}/hits/1-0/feedback")
    assert asked.body == {"correct": False}
    assert cli("cache", "judge", "shop", "1-0").code == 2


@pytest.mark.parametrize(("said", "budget"), [("2%", 0.02), ("2.5 %", 0.025), ("0.1", 0.1)])
def test_a_budget_is_a_share(shop: FakeApi, cli: Cli, said: str, budget: float) -> None:
    steps = [{"cosine": 0.95, "judged": 3, "wrong": 0, "at_most": 0.63}]
    found = {"certified": False, "budget": budget, "cosine": None, "steps": steps}
    shop.on("POST", f"{PATH}/certify", found)
    ended = cli("cache", "certify", "shop", "--budget", said)
    assert [each.body for each in shop.asked("POST", f"{PATH}/certify")] == [{"budget": budget}]
    assert "Not certified" in ended.err
    assert "63.0%" in ended.out


def test_a_budget_that_is_none_is_not_sent(shop: FakeApi, cli: Cli) -> None:
    assert cli("cache", "certify", "shop", "--budget", "two").code != 0
    assert not shop.asked("POST", f"{PATH}/certify")
