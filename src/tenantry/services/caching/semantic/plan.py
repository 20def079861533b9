"""Whether judged hits allow a threshold. Pure.

A bound is that of Clopper and Pearson (Biometrika 26, 1934): exact for the binomial distribution,
and so also for few cases. Thresholds are tested from the strictest down, in an order that is
fixed beforehand, until one fails: so all tests together are wrong as seldom as one of them.
"""

import math
from collections.abc import Sequence

from tenantry.services.caching.semantic.model import CONFIDENCE, LOOSEST, Certificate, Rate, Step
from tenantry_cache.rules.nearness import STRICT

Judged = Sequence[tuple[float, bool]]  # the cosine of each judged hit, and whether it was right

_BISECTIONS = 50
_STEPS_IN_ONE = 100  # thresholds are hundredths
THRESHOLDS = tuple(
    hundredths / _STEPS_IN_ONE
    for hundredths in range(round(STRICT * _STEPS_IN_ONE), round(LOOSEST * _STEPS_IN_ONE) - 1, -1)
)


def upper_bound(wrong: int, judged: int, *, confidence: float = CONFIDENCE) -> float:
    """Return the rate below which the true one is, with this confidence; 1 without cases."""
    if wrong >= judged:
        return 1.0
    low, high = wrong / judged, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _at_most(wrong, judged, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def rate(found: int, cases: int) -> Rate:
    """Return a share with its two-sided interval."""
    each_side = (1 + CONFIDENCE) / 2
    low = 1 - upper_bound(cases - found, cases, confidence=each_side)
    return Rate(cases, found, low, upper_bound(found, cases, confidence=each_side))


def certify(judged: Judged, budget: float) -> Certificate:
    """Return the loosest threshold whose false hits are below ``budget``, a share of its hits."""
    steps: list[Step] = []
    threshold = None
    for each in THRESHOLDS:
        step = at(judged, each)
        steps.append(step)
        if step.upper > budget:
            break
        threshold = each
    return Certificate(budget, threshold, tuple(steps))


def at(judged: Judged, threshold: float) -> Step:
    """Return the figures of the judged hits that this threshold gives."""
    verdicts = [right for cosine, right in judged if cosine >= threshold]
    wrong = verdicts.count(False)
    return Step(threshold, len(verdicts), wrong, upper_bound(wrong, len(verdicts)))


def _at_most(found: int, cases: int, share: float) -> float:
    """Return the probability of at most ``found`` among ``cases`` (the binomial distribution).

    0 < share < 1.
    """
    log, other = math.log(share), math.log1p(-share)
    return math.fsum(
        math.exp(
            math.lgamma(cases + 1)
            - math.lgamma(each + 1)
            - math.lgamma(cases - each + 1)
            + each * log
            + (cases - each) * other
        )
        for each in range(found + 1)
    )
