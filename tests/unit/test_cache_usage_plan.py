"""What counts of the AI cache say, and how they are counted: everything that needs no server."""

import datetime as dt
import math
import uuid
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.control.cache_usage import UsageRow
from tenantry.services.cache_usage import counting, plan
from tenantry.services.cache_usage.counting import Counts
from tenantry.services.cache_usage.model import (
    BOUNDS,
    LOOKUP,
    PLAIN,
    Price,
    PriceTable,
    duration_bin,
    named,
    similarity_bin,
)

NOW = dt.datetime(2031, 1, 2, 3, 4, 30, tzinfo=dt.UTC)
TODAY = NOW.date()
SITE = uuid.UUID(int=1)
NO_PRICES = PriceTable(None, [])


def price(model: str, day: int, each: str = "1") -> Price:
    return Price(model, dt.date(2031, 1, day), Decimal(each), 2 * Decimal(each))


def row(name: str, number: int, *, model: str = "m", day: dt.date = TODAY) -> UsageRow:
    return UsageRow(NOW.replace(minute=0, second=0), day, model, name, number)


# ── figures ──────────────────────────────────────────────────────────────────


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_an_interval_has_its_share_within(found: int, more: int) -> None:
    share = plan.share(found, found + more)
    assert share.share is not None
    assert 0 <= share.low <= share.share <= share.high <= 1


def test_an_interval_is_wilsons() -> None:
    share = plan.share(15, 148)  # as in the literature, to three digits
    assert (round(share.low, 3), round(share.high, 3)) == (0.062, 0.160)
    assert (plan.share(0, 0).share, plan.share(0, 0).low, plan.share(0, 0).high) == (None, 0, 1)
    assert plan.share(0, 10).low == 0


@given(st.lists(st.floats(0, 899), min_size=1), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_in_the_bin_of_the_true_one(seconds: list[float], part: float) -> None:
    counts = Counter(duration_bin(LOOKUP, each) for each in seconds)
    true = sorted(seconds)[max(0, math.ceil(part * len(seconds)) - 1)]
    estimated = plan.duration(counts, LOOKUP, part)
    assert estimated is not None
    assert duration_bin(LOOKUP, estimated / 1000) == duration_bin(LOOKUP, true)


def test_what_takes_longer_than_all_bins_is_in_the_last() -> None:
    assert duration_bin(LOOKUP, 10**6) == f"{LOOKUP}{BOUNDS[-1]}"
    assert plan.duration({}, LOOKUP, 0.5) is None


@pytest.mark.parametrize(
    ("cosine", "name"),
    [
        (-0.3, "0"),
        (0.05, "0"),
        (0.799, "70"),
        (0.8, "80"),
        (0.954, "95"),
        (0.29, "20"),
        (1.0, "100"),
    ],
)
def test_a_cosine_has_a_bin(cosine: float, name: str) -> None:
    assert similarity_bin(cosine) == f"similarity:{name}"


@given(st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_any_model_has_a_name_that_can_be_stored(model: object) -> None:
    found = named(model)
    assert len(found) <= 100
    assert "\x00" not in found
    found.encode()  # which lone surrogates cannot be


# ── money ────────────────────────────────────────────────────────────────────


def test_tokens_cost_what_was_valid_on_their_day() -> None:
    prices = plan.Prices(PriceTable("EUR", [price("m", 2, "3"), price("m", 1), price("n", 2)]))
    assert prices.at("m", dt.date(2030, 12, 31)) is None
    assert prices.at("m", dt.date(2031, 1, 1)) == price("m", 1)
    assert prices.at("m", dt.date(2032, 1, 1)) == price("m", 2, "3")
    assert prices.at("o", TODAY) is None
    yesterday = dt.date(2031, 1, 1)
    money = prices.money(
        [
            row("saved_in", 1_000_000),
            row("saved_out", 500_000),
            row("saved_in", 1_000_000, day=yesterday),
            row("tokens_out", 1_000_000),
            row("saved_out", 10**12, model="o"),
            row("misses", 10**12),
        ]
    )
    assert (money.saved, money.paid) == (Decimal(3 + 3 + 1), Decimal(6))
    assert money.priced_from == TODAY
    assert plan.Prices(NO_PRICES).money([row("saved_in", 1)]).saved is None


def test_a_report_names_what_has_no_price() -> None:
    rows = [
        row("exact_hits", 3),
        row("saved_in", 10),
        row("misses", 7),
        row("exact_hits", 1, model="n"),
        row("saved_in", 5, model="n"),
        row("misses", 90, model=""),
        row("saved_in", 0, model=""),
        row("veto:numbers", 2),
        row("similarity:95", 4),
    ]
    found = plan.usage(SITE, rows, start=NOW, end=NOW, table=PriceTable("USD", [price("m", 1)]))
    assert found.unpriced == ["n"]
    assert [use.model for use in found.by_model] == ["", "m", "n"]
    assert (found.total.hit_rate.found, found.total.hit_rate.cases) == (4, 101)
    assert (found.vetoes, found.similarities) == ({"numbers": 2}, {0.95: 4})
    assert found.total.money.saved == Decimal("0.00001")


# ── series ───────────────────────────────────────────────────────────────────


def test_a_span_is_of_what_is_kept() -> None:
    lately = plan.span_of(NOW, start=None, end=None, step=None)
    assert (lately.resolution, lately.step) == ("minute", dt.timedelta(minutes=5))
    week = plan.span_of(NOW, start=NOW - dt.timedelta(days=7), end=None, step=60 * 60)
    assert week.resolution == "hour"
    older = plan.span_of(NOW, start=NOW - dt.timedelta(days=400), end=None, step=None)
    assert older.start > NOW - dt.timedelta(days=91)
    with pytest.raises(InvalidInput, match="90 days ago"):
        plan.span_of(NOW, start=None, end=NOW - dt.timedelta(days=91), step=None)


def test_series_have_a_value_for_each_step() -> None:
    within = plan.span_of(NOW, start=NOW - dt.timedelta(hours=2), end=NOW, step=3600)
    rows = [row("exact_hits", 1), row("misses", 3), row("saved_in", 2_000_000), row("veto:x", 1)]
    found = {
        each.name: each for each in plan.series(rows, within, PriceTable("EUR", [price("m", 1)]))
    }
    assert found.keys() >= {*PLAIN, "hit_rate", "lookup_p95_ms", "veto_x", "saved"}
    assert list(found["exact_hits"].values) == [0, 0, 1]
    assert list(found["hit_rate"].values) == [None, None, 0.25]
    assert (found["saved"].unit, list(found["saved"].values)) == ("EUR", [None, None, 2.0])
    assert "saved" not in {each.name for each in plan.series(rows, within, NO_PRICES)}


# ── counting ─────────────────────────────────────────────────────────────────


def test_counts_are_of_a_site_a_minute_and_a_model() -> None:
    counts = Counts(lambda: NOW)
    tally = counts.of(SITE)
    tally.looked_up("m", 0.004, exact_hits=1, saved_in=5)
    tally.looked_up("m", 0.004, exact_hits=1, saved_in=5)
    tally.compared("m", 0.96, ("numbers",))
    tally.compared("m", None, ())
    tally.asked_provider(None, 2.5, failures=1)
    minute = NOW.replace(second=0)
    assert counts.take() == {
        (SITE, minute, "m"): {
            "lookup:5": 2,
            "lookup_us": 8000,
            "exact_hits": 2,
            "saved_in": 10,
            "veto:numbers": 1,
            "similarity:96": 1,
        },
        (SITE, minute, ""): {"provider:3000": 1, "provider_us": 2_500_000, "failures": 1},
    }
    assert counts.take() == {}


def test_names_of_models_are_bounded() -> None:
    hours = [NOW]
    counts = Counts(lambda: hours[-1])
    for number in range(100):
        counts.of(SITE).add(f"model {number}", misses=1)
    counts.of(SITE).add("x" * 101, misses=1)
    taken = counts.take()
    assert len(taken) == counting._MOST_MODELS + 1
    assert taken[SITE, NOW.replace(second=0), "other"]["misses"] == 81
    for later, counted in ((1, "other"), (24, "another")):
        hours.append(NOW + dt.timedelta(hours=later))
        counts.of(SITE).add("another", misses=1)
        assert [model for _, _, model in counts.take()] == [counted]


def test_what_could_not_be_written_is_added_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts(lambda: NOW)
    counts.of(SITE).add("m", misses=1)
    taken = counts.take()
    counts.of(SITE).add("m", misses=2)
    counts.put_back(taken)
    assert counts.take() == {(SITE, NOW.replace(second=0), "m"): {"misses": 3}}
    # While the control database is away for long, memory is bounded.
    monkeypatch.setattr(counting, "_MOST_CELLS", 2)
    counts.put_back({(uuid.UUID(int=each), NOW, "m"): {"misses": 1} for each in range(5)})
    assert len(counts.take()) == 2
