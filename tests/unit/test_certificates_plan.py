"""What is done about the certificate, and when."""

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.services.certificates import plan
from tenantry.services.certificates.plan import Failures, InPlace, Keep, Obtain, Wait, Wanted

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ACME = "https://acme.example/dir"
WANTED = Wanted(ACME, frozenset(["db.example.com"]))

lifetimes = st.timedeltas(dt.timedelta(hours=1), 400 * DAY)
shares = st.floats(-0.5, 1.5)
failures = st.builds(
    Failures,
    st.integers(0, 10_000),
    st.none() | st.timedeltas(-10 * DAY, 10 * DAY).map(lambda delta: NOW + delta),
)


def held(
    lifetime: dt.timedelta = 90 * DAY,
    gone: float = 0.1,
    *,
    source: str = ACME,
    names: frozenset[str] = WANTED.names,
    unwanted: bool = False,
    fingerprint: str = "",
) -> InPlace:
    """One of which a share of its lifetime is gone."""
    start = NOW - lifetime * gone
    return InPlace(source, names, start, start + lifetime, unwanted, fingerprint)


@given(lifetimes, shares, failures)
def test_it_is_kept_for_two_thirds_of_its_lifetime(
    lifetime: dt.timedelta, gone: float, failed: Failures
) -> None:
    found = held(lifetime, gone)
    step = plan.decide(WANTED, found, failed, NOW)
    assert isinstance(step, Keep) == (found.not_after - lifetime / 3 > NOW)
    if isinstance(step, Keep):
        assert NOW < step.until < found.not_after


@given(lifetimes, shares, failures)
def test_no_wait_is_longer_than_a_day_and_none_has_no_end(
    lifetime: dt.timedelta, gone: float, failed: Failures
) -> None:
    step = plan.decide(WANTED, held(lifetime, gone), failed, NOW)
    if isinstance(step, Wait):
        assert NOW < step.until <= NOW + DAY
        later = plan.decide(WANTED, held(lifetime, gone), failed, step.until)
        assert isinstance(later, Obtain | Keep)


@given(st.integers(1, 10_000))
def test_each_failure_makes_the_wait_longer_up_to_a_day(count: int) -> None:
    def wait(count: int) -> dt.timedelta:
        return Failures(count, NOW).retry_at(NOW) - NOW

    assert wait(1) == dt.timedelta(minutes=5)
    assert wait(count) <= wait(count + 1) <= max(2 * wait(count), wait(1))
    assert wait(count) <= DAY


def test_authorities_that_count_failures_are_not_vexed() -> None:
    """Let's Encrypt takes five failed validations an hour for a name."""
    now, tries = NOW, 0
    while now < NOW + dt.timedelta(hours=1):
        tries += 1
        now = Failures(tries, now).retry_at(now)
    assert tries == 4


def test_a_clock_that_was_set_back_makes_nobody_wait() -> None:
    assert Failures(3, NOW + DAY).retry_at(NOW) == NOW


def test_another_is_needed_for_these_reasons() -> None:
    def reason(found: InPlace | None) -> str:
        step = plan.decide(WANTED, found, Failures(), NOW)
        assert isinstance(step, Obtain)
        return step.reason

    assert reason(None) == "there is none"
    assert reason(held(unwanted=True)) == "it is to be revoked"
    assert reason(held(source="own")) == "it is of another authority"
    assert reason(held(names=frozenset())) == "it is not for db.example.com"
    assert reason(held(gone=0.7)) == "a third of its lifetime is left"
    assert reason(held(gone=1.1)) == "a third of its lifetime is left"


@pytest.mark.parametrize("gone", [0.1, 0.7, 1.1])
def test_what_is_in_a_file_is_in_place_until_the_file_changes(gone: float) -> None:
    wanted = Wanted("file:///etc/db.crt", frozenset(), "ab")
    there = held(gone=gone, source=wanted.source, fingerprint="ab")
    assert isinstance(plan.decide(wanted, there, Failures(), NOW), Keep)
    other = dataclasses.replace(there, fingerprint="cd")
    assert plan.decide(wanted, other, Failures(), NOW) == Obtain("its file has changed")
    assert plan.decide(WANTED, there, Failures(), NOW) == Obtain("it is of another authority")


@given(lifetimes, shares)
def test_nobody_is_warned_before_it_should_have_been_renewed(
    lifetime: dt.timedelta, gone: float
) -> None:
    found = held(lifetime, gone)
    left = found.not_after - NOW
    warned = plan.warning(found, NOW)
    assert (warned is not None) == (left <= min(14 * DAY, lifetime / 6))
    if warned:
        assert found.renews_at < NOW
        assert ("expired" in warned) == (left <= dt.timedelta())


def test_the_warning_says_how_long_is_left() -> None:
    def warned(left: dt.timedelta) -> str | None:
        return plan.warning(held(90 * DAY, 1 - left / (90 * DAY)), NOW)

    assert warned(14 * DAY + dt.timedelta(minutes=1)) is None
    assert warned(13.5 * DAY) == "The certificate expires in 13 days."
    assert warned(dt.timedelta(hours=30, minutes=1)) == "The certificate expires in 30 hours."
