"""Tokens, pages and limits of application users."""

import base64
import datetime as dt
import hashlib
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.rest.authentication import _content
from tenantry.services.application_users import limits, one_time, plan
from tenantry.services.application_users.limits import Limit, Limits
from tenantry.services.application_users.model import AuthError, AuthSettings, Session
from tenantry.services.application_users.one_time import Carried, Challenge
from tenantry.services.application_users.plan import RefreshToken
from tenantry_rest import HttpRequest

ONE, OTHER = b"1" * 64, b"2" * 64
SETTINGS = AuthSettings("https://app.example.com/home", ("myapp://signed-in",))


def session(counter: int, age: float = 60) -> Session:
    now = dt.datetime.now(dt.UTC)
    return Session(uuid.uuid4(), uuid.uuid4(), counter, age, "password", now)


@given(st.uuids(), st.integers(0, 2**63 - 1))
def test_a_refresh_token_is_read_by_the_secrets_that_are_valid(
    session_id: uuid.UUID, counter: int
) -> None:
    token = RefreshToken(session_id, counter)
    sealed = token.sealed(ONE)
    assert plan.read_refresh_token(sealed, [OTHER, ONE]) == token
    assert plan.read_refresh_token(sealed, [OTHER]) is None


@given(st.text(), st.integers(0, 73), st.sampled_from("ABab01_-"))
def test_no_other_text_is_a_refresh_token(text: str, place: int, letter: str) -> None:
    assert plan.read_refresh_token(text, [ONE]) is None
    sealed = RefreshToken(uuid.UUID(int=7), 1).sealed(ONE)
    changed = sealed[:place] + letter + sealed[place + 1 :]
    assert (plan.read_refresh_token(changed, [ONE]) is None) or changed == sealed


@pytest.mark.parametrize(
    ("counter", "there", "outcome"),
    [
        (3, session(3), "rotate"),
        (9, session(3), "rotate"),  # the database was restored to an earlier time
        (2, session(3, age=2), "repeat"),
        (2, session(3, age=11), "reuse"),
        (1, session(3, age=2), "reuse"),
    ],
)
def test_what_becomes_of_a_session(counter: int, there: Session, outcome: str) -> None:
    assert plan.refreshing(RefreshToken(there.id, counter), there) == outcome


@pytest.mark.parametrize(
    ("wanted", "page"),
    [
        (None, "https://app.example.com/home"),
        ("https://app.example.com/other?x=1", "https://app.example.com/other?x=1"),
        ("myapp://signed-in", "myapp://signed-in"),
        ("https://app.example.com.evil.example/", None),
        ("https://app.example.com@evil.example/", None),
        ("https://app.example.com\\@evil.example/", None),
        ("//evil.example", None),
        ("javascript:alert(1)", None),
        ("https://app.example.com/\r\nSet-Cookie: x", None),
        ("https://[", None),
    ],
)
def test_where_a_link_leads(wanted: str | None, page: str | None) -> None:
    assert plan.redirect_of(SETTINGS, wanted) == (page or SETTINGS.site_url)


@given(st.text())
def test_a_link_leads_to_one_origin(wanted: str) -> None:
    found = plan.redirect_of(SETTINGS, wanted)
    assert found is not None
    assert found.startswith(("https://app.example.com/", "myapp://signed-in"))


def test_metadata_is_merged() -> None:
    assert plan.merged({"a": 1, "b": 2}, {"a": None, "c": {}}) == {"b": 2, "c": {}}


def test_attempts_are_counted_for_a_time() -> None:
    now = 0.0
    counted = Limits(lambda: now)
    limit = Limit("tests", 2, 60, "over_request_rate_limit", "")
    for _ in range(2):
        counted.take("one", limit, "ann")
    with pytest.raises(AuthError) as refused:
        counted.take("one", limit, "ann")
    assert (refused.value.status, refused.value.retry_seconds) == (429, 60)
    counted.take("one", limit, "bob")
    counted.take("other", limit, "ann")
    counted.give_back("one", limit, "ann")
    counted.take("one", limit, "ann")
    counted.clear("one", limit, "ann")
    counted.take("one", limit, "ann")
    now = 61
    for _ in range(2):
        counted.take("one", limit, "bob")


def test_a_flood_of_subjects_takes_bounded_memory_and_pushes_out_none_in_use() -> None:
    counted = Limits()
    counted.take("one", limits.SIGN_UP_MAILS)
    counted.take("one", Limit("tests", 1, 900, "", ""), "ann")
    once = Limit("once", 1, 900, "", "")
    counted.take("one", once, "ann")
    for number in range(3 * limits._MOST):
        counted.take("one", once, str(number))
        with pytest.raises(AuthError):
            counted.take("one", once, "ann")
    assert {limit: len(counters) for (_, limit), counters in counted._of.items()} == {
        "sign-up mails": 1,
        "tests": 1,
        "once": limits._MOST,
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    ),
    st.integers(0, 2 * plan.DEEPEST),
)
def test_depth_is_that_of_the_deepest(content: object, around: int) -> None:
    def depth(of: object) -> int:
        if isinstance(of, dict):
            of = list(of.values())
        return 1 + max(map(depth, of), default=0) if isinstance(of, list) else 0

    for number in range(around):
        content = [content, 1] if number % 2 else {"a": 1, "b": content}
    assert plan.is_too_deep(content) == (depth(content) > plan.DEEPEST)


@given(st.text("\\u0\0a"), st.text("\\u0\0a"))
def test_a_character_that_postgresql_has_not_is_refused(name: str, value: str) -> None:
    body = json.dumps({name: [value]}).encode()
    if "\0" in name + value:
        with pytest.raises(AuthError, match="bad_json"):
            _content(HttpRequest("POST", "/signup", "", [], body))
    else:
        assert _content(HttpRequest("POST", "/signup", "", [], body)) == {name: [value]}


CHALLENGES = st.builds(Challenge, st.text(max_size=128), st.booleans())


@given(st.builds(Carried, st.none() | CHALLENGES, st.none() | st.text(max_size=320), st.booleans()))
def test_a_token_carries_what_it_was_made_with(carried: Carried) -> None:
    token = one_time.made(carried)
    assert one_time.carried_by(token) == carried
    assert one_time.made(carried) != token


@given(st.text() | st.binary().map(lambda raw: f"x.{base64.urlsafe_b64encode(raw).decode()}"))
def test_any_text_carries_something(text: str) -> None:
    assert isinstance(one_time.carried_by(text), Carried)


@given(st.text("abc-._~", min_size=43, max_size=128), st.booleans())
def test_a_challenge_is_met_by_its_verifier_only(verifier: str, is_hash: bool) -> None:
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    challenge = Challenge(digest.decode().rstrip("=") if is_hash else verifier, is_hash)
    assert challenge.is_met(verifier)
    assert not challenge.is_met(f"{verifier}a")


@pytest.mark.parametrize(
    ("page", "given"),
    [
        ("https://a.example/x?y=%20&z#part", "https://a.example/x?y=%20&z&code=c.d%26#part"),
        ("myapp://signed-in", "myapp://signed-in?code=c.d%26"),
    ],
)
def test_a_page_is_given_a_code(page: str, given: str) -> None:
    assert plan.with_code(page, "c.d&") == given
