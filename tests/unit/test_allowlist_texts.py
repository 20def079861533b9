"""An allowlist as a text, and what another list changes and ends. Pure."""

import datetime as dt
import uuid
from dataclasses import dataclass
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base import allowlist_text
from tenantry.base.allowlist_text import Line
from tenantry.base.errors import InvalidInput
from tenantry.control.whitelist import EntryRow, NewEntry
from tenantry.services.network import plan
from tenantry.services.network.plan import Change, Ending

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
LATER = dt.datetime(2031, 1, 31, 12, tzinfo=dt.UTC)
OFFICE, HOME, V6 = (
    ip_network(each) for each in ("203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32")
)


def parse(text: str) -> list[Line]:
    return allowlist_text.parse(text, now=NOW)


def test_a_line_has_an_address_its_end_and_a_description() -> None:
    text = (
        "# whom we admit\r\n\n 203.0.113.9/24\n"
        "198.51.100.7 2031-01-31T13:00:00+01:00 # it's #1\n2001:db8::/32 2031-01-31#\n"
    )
    midnight = dt.datetime(2031, 1, 31, tzinfo=dt.UTC)
    assert parse(text) == [
        Line(OFFICE),
        Line(HOME, "it's #1", LATER),
        Line(V6, None, midnight),
    ]
    assert Line(HOME, "a", LATER).body() == {
        "ip_address": "198.51.100.7/32",
        "description": "a",
        "expires_at": "2031-01-31T12:00:00+00:00",
    }


DESCRIPTIONS = st.text("ab1:/# é\u2028\u00a0", max_size=20).map(str.strip)
LINES = st.builds(
    Line,
    st.sampled_from([OFFICE, HOME, V6]),
    DESCRIPTIONS.map(lambda text: text or None),
    st.none() | st.datetimes(min_value=LATER.replace(tzinfo=None), timezones=st.just(dt.UTC)),
)


@given(st.lists(LINES, max_size=6))
def test_a_text_is_read_as_it_was_written(lines: list[Line]) -> None:
    text = allowlist_text.render(lines)
    assert parse(text) == lines
    assert parse(text.replace("\n", "\r\n")) == lines  # as browsers send it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.0/8\nlocalhost", "line 2: is neither an address nor a CIDR range"),
        ("10.0.0.0/8 office", "line 1: “office” is no time such as 2031-01-31T12:00:00Z"),
        ("10.0.0.0/8 2031-01-31 the office", "line 1: has more than an address and an end"),
        ("\n10.0.0.0/8 2026-06-01T12:00Z", "line 2: has ended: leave it out"),
    ],
)
def test_what_is_no_entry_is_named_by_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"^entries: {said}"):
        parse(text)


def listed(line: Line) -> EntryRow:
    return EntryRow(uuid.uuid4(), line.network, line.description, line.expires_at, NOW)


def wanted(line: Line) -> NewEntry:
    return NewEntry(line.network, line.description, line.expires_at)


def test_what_another_list_changes() -> None:
    there = [listed(Line(OFFICE, "office")), listed(Line(HOME)), listed(Line(V6, None, LATER))]
    other = ip_network("192.0.2.1/32")
    others = [
        wanted(each)
        for each in (Line(HOME), Line(OFFICE, "a"), Line(OFFICE, "the office"), Line(other))
    ]
    assert plan.changes(there, others) == [
        Change("add", others[3]),
        Change("change", others[2], there[0]),
        Change("remove", there[2]),
    ]
    same = [wanted(Line(each.network, each.description, each.expires_at)) for each in there]
    assert plan.changes(there, same[::-1]) == []


def test_a_list_has_another_version_once_an_entry_has_changed() -> None:
    lines = [Line(OFFICE, "office"), Line(HOME, None, LATER)]
    versions = {
        plan.version([listed(each) for each in some])
        for some in (
            lines,
            lines[:1],
            [],
            [Line(OFFICE), lines[1]],
            [lines[0], Line(HOME)],
            [lines[0], Line(V6, None, LATER)],
        )
    }
    assert len(versions) == 6
    west = LATER.astimezone(dt.timezone(dt.timedelta(hours=-5)))
    assert plan.version([listed(Line(HOME, None, west)), listed(lines[0])]) == plan.version(
        [listed(each) for each in lines]
    )


@dataclass(frozen=True)
class Session:
    username: str
    address: str


def test_whose_sessions_another_list_ends() -> None:
    direct = [Session("owner", "203.0.113.9"), Session("owner", "192.0.2.1")]
    pooled = [
        *[Session("report", "192.0.2.1")] * 2,
        Session("owner", "::ffff:198.51.100.7"),
        Session("neighbour", "192.0.2.1"),
    ]
    sessions = {"shared-1": direct, "pooler": pooled}
    found = plan.endings(sessions, {"owner", "report"}, [wanted(Line(OFFICE)), wanted(Line(HOME))])
    assert found == [
        Ending("report", "192.0.2.1", "pooler", 2),
        Ending("owner", "192.0.2.1", "shared-1", 1),
    ]
    assert plan.endings(sessions, {"owner", "report"}, []) == []  # all are admitted
