"""What is asked of the AI cache, and which answers of providers are stored."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.services.caching import embeddings, forms, proxying
from tenantry.services.caching.forms import CHAT, MESSAGES, RESPONSES, Asked, Finish
from tenantry.services.caching.model import (
    MOST_TOKENS,
    Answer,
    Entry,
    Message,
    Question,
    digest,
    window,
)
from tenantry_cache.rules.questions import normalised

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(st.text(), st.text(), max_size=3)


@given(st.text())
def test_a_normalised_text_stays_so(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is it?", "  What \t is it?\n", True),
        ("café", "cafe\u0301", True),
        ("a\r\nb", "a\nb", True),
        ("if x:\n  y", "if x:\n    y", False),
        ("Polish", "polish", False),
    ],
)
def test_what_is_the_same_question(one: str, other: str, same: bool) -> None:
    assert (Question(one).entry_id == Question(other).entry_id) is same


@pytest.mark.parametrize("marks", ["\u0301\u0327", "\u0f73"])
def test_many_marks_in_a_row_do_not_hold_up_the_process(marks: str) -> None:
    assert normalised("e\u0301" + "x" + marks * 15) != "e\u0301" + "x" + marks * 15
    text = "e\u0301" + marks * 200_000  # whose composition would take minutes
    assert normalised(text) == text


@given(JSON, JSON)
def test_digests_are_equal_for_equal_values_only(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) is same


@given(st.text(), st.text(), st.text(), ATTRIBUTES, ATTRIBUTES)
def test_scopes_and_attributes_are_apart(
    prompt: str, one: str, other: str, mine: dict[str, str], theirs: dict[str, str]
) -> None:
    first, second = Question(prompt, one, mine), Question(prompt, other, theirs)
    assert (first.entry_id == second.entry_id) is ((one, mine) == (other, theirs))


@given(st.text(), st.text(), ATTRIBUTES, st.text(), st.booleans())
def test_an_entry_is_read_as_it_was_written(
    prompt: str, scope: str, attributes: dict[str, str], response: str, sliding: bool
) -> None:
    entry = Entry(Question(prompt, scope, attributes), Answer(response, 5, sliding, 7))
    assert Entry.read(entry.written()) == entry


@given(st.text() | JSON.map(json.dumps))
def test_what_a_program_wrote_is_no_entry(text: str) -> None:
    assert Entry.read(text) is None


@pytest.mark.parametrize("tokens", ["1e400", "[" * 100_000])
def test_an_entry_with_what_is_no_number_is_none(tokens: str) -> None:
    text = Entry(Question("p"), Answer("r", tokens=7)).written()
    assert Entry.read(text) is not None
    assert Entry.read(text.replace('"tokens":7', f'"tokens":{tokens}')) is None


@given(st.lists(st.integers(0, 100)), st.integers(0, 300))
def test_a_window_is_the_longest_end_that_fits(tokens: list[int], most: int) -> None:
    messages = [Message("user", str(at), count) for at, count in enumerate(tokens)]
    kept = window(messages, most)
    assert kept == messages[len(messages) - len(kept) :]
    assert sum(each.tokens for each in kept) <= most
    if len(kept) < len(messages):
        assert sum(tokens[-len(kept) - 1 :]) > most


# ── requests ─────────────────────────────────────────────────────────────────


def ask(form: forms.Form, **body: Any) -> Asked | str:
    return form.ask(body, most_temperature=1.0)


TURNS = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("form", [CHAT, RESPONSES, MESSAGES])
def test_the_last_turn_is_the_prompt(form: forms.Form) -> None:
    turns = [*TURNS, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "who?"}]
    asked = ask(form, **{form.turns: turns, "model": "m"})
    assert isinstance(asked, Asked)
    assert asked.prompt == "who?"
    assert "who?" not in json.dumps(asked.rest)
    assert "ho" in json.dumps(asked.rest)


def test_a_prompt_of_parts_is_none_of_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    both = ask(CHAT, messages=[{"role": "user", "content": parts}])
    one = ask(CHAT, messages=[{"role": "user", "content": "a\nb"}])
    assert isinstance(both, Asked)
    assert isinstance(one, Asked)
    assert forms.question(CHAT, both, []).entry_id != forms.question(CHAT, one, []).entry_id


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{}]},
        {"functions": [{}]},
        {"temperature": 1.01},
        {"n": 2},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{}]}, *TURNS]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]},
        {"system": [{"type": "document"}]},
    ],
)
def test_what_the_cache_is_not_asked_for(more: dict[str, Any]) -> None:
    assert isinstance(ask(CHAT, **{"messages": TURNS, **more}), str)


@given(JSON)
def test_no_body_makes_it_fail(value: Any) -> None:
    for form in (CHAT, RESPONSES, MESSAGES):
        ask(form, **{form.turns: value})
        ask(form, **{form.turns: [value]})
        form.finished(json.dumps(value).encode(), stream=False)
        form.finished(f"data: {json.dumps(value)}\n\n".encode(), stream=True)


# ── answers ──────────────────────────────────────────────────────────────────


def sse(*found: object) -> bytes:
    texts = (each if isinstance(each, str) else json.dumps(each) for each in found)
    return "".join(f"data: {text}\n\n" for text in texts).encode()


END = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"total_tokens": 7}}
PIECE = {"choices": [{"delta": {"content": "x"}, "finish_reason": None}]}


def test_a_stream_is_complete_with_its_end() -> None:
    whole = sse(PIECE, END, "[DONE]")
    assert CHAT.finished(whole, stream=True) == Finish(7, complete=True)


@given(st.integers(0, len(sse(PIECE, END, "[DONE]")) - 1))
def test_a_stream_that_was_cut_anywhere_is_not(at: int) -> None:
    assert CHAT.finished(sse(PIECE, END, "[DONE]")[:at], stream=True) is None


def test_a_stream_with_an_error_is_not() -> None:
    assert CHAT.finished(sse(PIECE, {"error": {}}, END, "[DONE]"), stream=True) is None
    messages = sse({"type": "error"}, {"type": "message_stop"})
    assert MESSAGES.finished(messages, stream=True) is None


def test_an_answer_with_a_tool_or_a_limit_counts_but_is_not_stored() -> None:
    def chat(reason: str, **message: object) -> Finish | None:
        body = {"choices": [{"finish_reason": reason, "message": message}], "usage": None}
        return CHAT.finished(json.dumps(body).encode(), stream=False)

    assert chat("stop", content="x") == Finish(0, complete=True)
    assert chat("length", content="x") == Finish(0, complete=False)
    assert chat("stop", tool_calls=[{}]) == Finish(0, complete=False)


@pytest.mark.parametrize("count", [10**9 + 1, 2**63, 10**30])
def test_tokens_that_no_provider_counts_fit_where_all_are_added(count: int) -> None:
    usage = {"total_tokens": count, "completion_tokens": count}
    body = {"choices": [{"finish_reason": "stop", "message": {}}], "usage": usage}
    finish = Finish(MOST_TOKENS, complete=True, output_tokens=MOST_TOKENS)
    assert CHAT.finished(json.dumps(body).encode(), stream=False) == finish
    of_texts = json.dumps({"usage": usage}).encode()
    assert embeddings.finished(of_texts) == Finish(MOST_TOKENS, complete=False)
    stored = Entry(Question("p"), Answer("r", tokens=count, output_tokens=count)).written()
    read = Entry.read(stored)
    assert read is not None
    assert (read.answer.tokens, read.answer.output_tokens) == (MOST_TOKENS, MOST_TOKENS)


def test_tokens_that_are_no_numbers_are_none() -> None:
    raw = b'{"data": [{"index": 0, "embedding": [1]}], "usage": {"total_tokens": 1e999}}'
    assert embeddings.finished(raw) == Finish(0, complete=False)
    assert embeddings.read(raw, 1) is None


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"index": 0, "embedding": []}],
        [{"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": [float("nan")]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
    ],
)
def test_embeddings_that_cannot_be_used(rows: list[dict[str, object]]) -> None:
    raw = json.dumps({"data": rows}).encode()
    assert embeddings.read(raw, max(1, len(rows))) is None


def test_embeddings_are_stored_by_text_and_by_all_else() -> None:
    body = {"model": "m", "input": ["a", "b"]}
    a, b = embeddings.digests_of(body, ["a", "b"], ["url"])
    (other,) = embeddings.digests_of({**body, "model": "n"}, ["a"], ["url"])
    (elsewhere,) = embeddings.digests_of(body, ["a"], ["other url"])
    assert len({a, b, other, elsewhere}) == 4
    assert embeddings.digests_of({**body, "input": "a"}, ["a"], ["url"]) == [a]


def test_many_texts_with_a_long_parameter_are_read_in_no_time() -> None:
    texts = [str(number) for number in range(embeddings.MOST_TEXTS)]
    body = {"input": texts, "user": "x" * 2_000_000}
    assert len(set(embeddings.digests_of(body, texts, []))) == len(texts)
    assert embeddings.texts({"input": [*texts, "more"]}) is None


def test_a_member_that_is_there_twice_is_refused() -> None:
    raw = b'{"model": "m", "messages": [{"role": "user", "content": "a", "content": "b"}]}'
    with pytest.raises(InvalidInput, match="twice"):
        proxying.Request(raw, {}).body()
