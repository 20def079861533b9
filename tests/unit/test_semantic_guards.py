"""The guards: which similar questions must not have the same answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_cache.rules.guards import vetoes
from tenantry_cache.rules.words import NUMBERS, OPPOSITES

_SOME = """how do I not never cancel Order order 48213 7 seven Monday open closed enable disable
    uninstall install happy unhappy Paris London the a of my iPhone 10 only other don't WHO café
    5,000 used to be becoming no longer"""
_WORDS = st.sampled_from(_SOME.split())
_QUESTIONS = st.lists(_WORDS, max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("stored", "asked", "guard"),
    [
        ("Track order 48213", "Track order 48231", "numbers"),
        ("What is 5,000 EUR in USD?", "What is 5,001 EUR in USD?", "numbers"),
        ("Are you open on Monday?", "Are you open on Sunday?", "numbers"),
        ("How long is it for two people?", "How long is it for three people?", "numbers"),
        ("Can I take it with food?", "Can I not take it with food?", "negation"),
        ("Do I need a visa?", "Don't I need a visa?", "negation"),
        ("Does it work with a card?", "Does it work without a card?", "negation"),
        ("How do I enable alerts?", "How do I disable alerts?", "opposites"),
        ("Is it open after the holiday?", "Is it open before the holiday?", "opposites"),
        ("Do you open at 10am?", "Do you open at 10pm?", "opposites"),
        ("Do you open at 10 a.m. today?", "Do you open at 10 p.m. today?", "opposites"),
        ("Can the seller sue the company?", "Can the company sue the seller?", "order"),
        ("Is it sunny in Paris today?", "Is it sunny in London today?", "names"),
        ("Is the DVD region free?", "Is the CD region free?", "names"),
        ("Is ibuprofen safe?", "Is ibuprofen unsafe?", "prefix"),
        ("Is it a refundable ticket?", "Is it a non-refundable ticket?", "prefix"),
        ("Is she an actor?", "Is she becoming an actor?", "aspect"),
        ("Is smoking allowed?", "Is smoking allowed any more?", "aspect"),
        ("Which payment is possible?", "Which other payment is possible?", "aspect"),
        ("Как отменить заказ?", "Как оплатить заказ?", "script"),
    ],
)
def test_a_change_of_meaning_is_found(stored: str, asked: str, guard: str) -> None:
    assert guard in vetoes(stored, asked)
    assert guard in vetoes(asked, stored)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("What color eyes do I have?", "What color are my eyes?"),
        ("How can I reset my password?", "How do I reset the password?"),
        ("Does AT&T sell Müller's?", "Does AT&T sell Müllers?"),
        ("Do I have seven days?", "Do I have 7 days?"),
        ("Who is the CEO of Apple?", "Who is the CEO of apple?"),
        ("Isn't it never late?", "Is it late?"),  # a double negation
        ("What is Postgres?", "Please, what is Postgres"),
        ("It\u2019s late", "It's late"),
        ("Order \uff11\uff12", "Order 12"),
        ("Wie geht's, Müller?", "Wie gehts, Müller?"),
    ],
)
def test_the_same_meaning_is_let_through(stored: str, asked: str) -> None:
    assert vetoes(stored, asked) == ()


@given(_QUESTIONS, _QUESTIONS)
def test_the_order_of_the_questions_makes_no_difference(one: str, other: str) -> None:
    assert vetoes(one, other) == vetoes(other, one) == vetoes(one, other)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_texts_can_be_compared(one: str, other: str) -> None:
    assert vetoes(one, one) == ()
    assert vetoes(one, other) == vetoes(other, one)


@given(_QUESTIONS, st.sampled_from(OPPOSITES))
def test_opposites_are_found_in_any_question(question: str, pair: tuple[str, str]) -> None:
    one, other = (f"xyz {each} {question}" for each in pair)
    if not set(pair) & set(question.lower().split()):
        assert "opposites" in vetoes(one, other)


@given(_QUESTIONS, st.sampled_from(sorted(NUMBERS)))
def test_a_further_number_is_found_in_any_question(question: str, number: str) -> None:
    assert "numbers" in vetoes(question, f"{question} {number}")
