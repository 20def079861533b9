"""Whether judged hits allow a threshold."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.services.caching.semantic.model import LOOSEST, Policy
from tenantry.services.caching.semantic.plan import THRESHOLDS, at, certify, rate, upper_bound
from tenantry_cache.rules.nearness import STRICT


@pytest.mark.parametrize(
    ("wrong", "judged", "bound"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (0, 299, 1 - 0.05 ** (1 / 299)),  # of no case of n, the bound has a closed form
        (0, 1000, 1 - 0.05 ** (1 / 1000)),
        (1, 10, 0.39416),  # Clopper and Pearson's table, one-sided 95 %
        (5, 100, 0.10225),
    ],
)
def test_bounds_are_those_of_clopper_and_pearson(wrong: int, judged: int, bound: float) -> None:
    assert upper_bound(wrong, judged) == pytest.approx(bound, abs=1e-5)


@given(st.integers(1, 300), st.data())
def test_more_errors_have_a_higher_bound(judged: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, judged - 1))
    assert wrong / judged < upper_bound(wrong, judged) <= upper_bound(wrong + 1, judged) <= 1
    found = rate(wrong, judged)
    assert 0 <= found.low <= wrong / judged < found.high <= 1


def test_a_share_of_nothing_is_unknown() -> None:
    found = rate(0, 0)
    assert (found.share, found.low, found.high) == (None, 0, 1)


def test_thresholds_go_down_from_the_strict_one() -> None:
    assert THRESHOLDS[0] == STRICT
    assert THRESHOLDS[-1] == LOOSEST
    assert list(THRESHOLDS) == sorted(THRESHOLDS, reverse=True)


def test_few_judgements_certify_nothing() -> None:
    found = certify([(0.99, True)] * 50, 0.01)
    assert found.threshold is None
    [step] = found.steps
    assert (step.threshold, step.judged, step.wrong) == (STRICT, 50, 0)
    assert step.upper == pytest.approx(1 - 0.05 ** (1 / 50))


def test_the_loosest_threshold_within_the_budget_is_certified() -> None:
    judged = [(0.97, True)] * 300 + [(0.905, True)] * 100 + [(0.88, False)] * 20
    found = certify(judged, 0.01)
    assert found.threshold == pytest.approx(0.89)
    assert found.steps[-1].threshold == pytest.approx(0.88)
    assert found.steps[-1].upper > 0.01 >= found.steps[-2].upper


def test_what_fails_at_a_strict_threshold_is_not_certified_at_a_looser_one() -> None:
    # At 0.90 one error of 1,001 would be within 1 %; at 0.95 it is one of one.
    found = certify([(0.96, False)] + [(0.90, True)] * 1000, 0.01)
    assert found.threshold is None


def test_certificates_are_wrong_as_seldom_as_they_say() -> None:
    chance, budget, wrong = random.Random(17), 0.05, 0  # noqa: S311
    for _ in range(200):
        # The true share of false hits is just over the budget, at every threshold.
        judged = [(0.96, chance.random() > budget * 1.02) for _ in range(150)]
        wrong += certify(judged, budget).threshold is not None
    assert wrong <= 20  # of 200, 10 are expected at most; more than 20 happen once in 500


@given(st.lists(st.tuples(st.floats(0.8, 1), st.booleans()), max_size=60))
def test_figures_count_what_is_at_or_above(judged: list[tuple[float, bool]]) -> None:
    step = at(judged, 0.9)
    assert step.judged == sum(cosine >= 0.9 for cosine, _ in judged)
    assert step.wrong == sum(cosine >= 0.9 and not right for cosine, right in judged)
    assert not math.isnan(step.upper)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        "{}",
        "[1]",
        '["1.0", 0.9, 0.01]',  # for other guards
        '["1.1", 0.5, 0.01]',  # looser than anything that is certified
        '["1.1", 0.96, 0.01]',
        '["1.1", NaN, 0.01]',
        '["1.1", 0.9, 0]',
        '["1.1", 0.9, null]',
        '["1.1", [], 0.01]',
    ],
)
def test_a_policy_that_cannot_be_used_is_the_strict_one(text: str | None) -> None:
    assert Policy.read(text) == Policy()


def test_a_policy_is_read_as_it_was_written() -> None:
    assert Policy.read(Policy(0.9, 0.02).written()) == Policy(0.9, 0.02)
