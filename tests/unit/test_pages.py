"""Cursors: they lead back to their row, and nothing else is taken for one."""

import base64
import datetime as dt
import json
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.control import pages
from tenantry.control.pages import FIRST, Key

times = st.datetimes(timezones=st.just(dt.UTC))
keys = st.tuples(times, st.uuids())
readers: list[Callable[[str], object]] = [pages.read_key, pages.read_number]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def as_cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@given(st.lists(keys, min_size=2, max_size=6, unique=True))
def test_a_cursor_leads_back_to_the_last_row_of_its_page(rows: list[Key]) -> None:
    page = pages.cut(rows, len(rows) - 1, lambda row: row)
    assert page.rows == rows[:-1]
    assert page.next_cursor is not None
    assert pages.read_key(page.next_cursor) == rows[-2]
    assert len(page.next_cursor) <= 300, "the API takes no longer ones"


@given(st.integers(0, 2**63 - 1))
def test_a_number_is_read_back(number: int) -> None:
    cursor = pages.cut([number, 0], 1, lambda row: (row,)).next_cursor
    assert pages.read_number(cursor) == number


@given(st.lists(keys, max_size=5), st.integers(0, 3))
def test_a_last_page_has_no_cursor(rows: list[Key], more: int) -> None:
    page = pages.cut(rows, len(rows) + more, lambda row: row)
    assert (page.rows, page.next_cursor) == (rows, None)


@given(keys)
def test_the_first_page_begins_before_every_row(key: Key) -> None:
    assert pages.read_key(None) == FIRST >= key
    assert pages.read_number(None) == 2**63 - 1


def refused(read: Callable[[str], object], cursor: str) -> None:
    with pytest.raises(InvalidInput) as reported:
        read(cursor)
    assert [each.field for each in reported.value.fields] == ["cursor"]


@pytest.mark.parametrize("read", readers)
@given(cursor=st.text(max_size=300))
def test_text_is_refused(read: Callable[[str], object], cursor: str) -> None:
    refused(read, cursor)


@pytest.mark.parametrize("read", readers)
@given(value=json_values)
def test_json_of_another_shape_is_refused(read: Callable[[str], object], value: object) -> None:
    refused(read, as_cursor([value, value, value]))
    if not isinstance(value, list):
        refused(read, as_cursor(value))


@pytest.mark.parametrize(
    "parts",
    [
        ["2026-01-01T00:00:00", str(uuid.UUID(int=0))],  # no offset
        ["2026-01-01", str(uuid.UUID(int=0))],
        ["2026-01-01T00:00:00+00:00", "0" * 32],
        ["2026-01-01T00:00:00+00:00", "\ud800"],
        ["\x00", "\x00"],
        [["2026-01-01T00:00:00+00:00"], str(uuid.UUID(int=0))],
        ["-1"],
        ["1.0"],
        ["²"],
        [""],
        [str(2**63)],
        ["9" * 5000],
        [1],
    ],
)
def test_almost_a_cursor_is_refused(parts: list[object]) -> None:
    for read in readers:
        refused(read, as_cursor(parts))


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_nesting_is_refused(depth: int) -> None:
    cursor = base64.urlsafe_b64encode(b"[" * depth + b"]" * depth).decode()
    for read in readers:
        refused(read, cursor)
