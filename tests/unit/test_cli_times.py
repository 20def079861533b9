"""Moments as people write them: a span, a time of today, or a date, and what each is taken for."""

import datetime as dt
import time
from collections.abc import Iterator

import pytest
import typer
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed

from tenantry.cli import times


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone where it is about noon, so that an hour before and after are of today."""
    shift = dt.datetime.now(dt.UTC).hour - 12
    monkeypatch.setenv("TZ", f"<here>{shift:+d}")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def clock(hours: int) -> tuple[str, dt.datetime]:
    """The time so many hours from now, and its moment."""
    at = (dt.datetime.now() + dt.timedelta(hours=hours)).replace(microsecond=0)  # noqa: DTZ005
    return f"{at:%H:%M:%S}", at.astimezone(dt.UTC)


def test_a_time_is_todays_and_what_it_was_taken_for_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, at = clock(-1)
    assert times.past(text) == at
    assert capsys.readouterr().err == f"{text} is taken as {times.local(at)}.\n"
    text, at = clock(1)
    assert times.future(text) == at


def test_a_time_without_seconds_or_with_one_digit_is_todays_too() -> None:
    midnight = dt.datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: DTZ005
    assert times.past("0:01") == (midnight + dt.timedelta(minutes=1)).astimezone(dt.UTC)


def test_a_time_on_the_other_side_of_now_needs_its_date() -> None:
    with pytest.raises(typer.BadParameter, match="still to come today: write the date"):
        times.past(clock(1)[0])
    with pytest.raises(typer.BadParameter, match="is over today: write the date"):
        times.future(clock(-1)[0])


def test_a_moment_with_its_zone_needs_no_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    assert times.past("2026-01-02 08:34:05+05:30") == dt.datetime(
        2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC
    )
    assert capsys.readouterr().err == ""
    times.past("2026-01-02 08:34")
    assert "is taken as 2026-01-02 08:34:00" in capsys.readouterr().err


def test_what_is_shown_can_be_written_back() -> None:
    at = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert times.past(times.local(at)) == at


@pytest.mark.parametrize("text", ["2026-01-02", "20:42", "shop", "", "T", "2026-01-02T03:04:05"])
def test_only_a_whole_moment_with_its_zone_is_taken_for_one(text: str) -> None:
    assert not times.is_moment(text)


def test_restore_sends_the_time_of_today_it_understood(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database()])
    api.on("POST", f"/api/databases/{SHOP}/restore", {"id": OPERATION}, status=202)
    text, at = clock(-1)
    ended = cli("restore", "shop", "--to", text, "--no-wait")
    assert api.requests[-1].body == {"to": at.isoformat()}
    assert f"{text} is taken as {times.local(at)}." in ended.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("restore", "shop", "--to", "yesterday"), "'--to': write latest, previous, the id of a"),
        (("branch", "create", "shop", "x", "--at", "noon"), "'--at': write a span such as 90m"),
        (("branch", "create", "shop", "x", "--expires", "soon"), "'--expires': write a span"),
        (("db", "update", "shop", "--expires", "soon"), "'--expires': write never, a span such"),
        (("cluster", "restore", "shared-1", "--to", "noon"), "'--to': write latest, a span such"),
        (("recover", "--from", "/x", "--to", "noon"), "'--to': write a span such as 90m"),
        (("audit", "--since", "noon"), "'--since': write a span such as 90m"),
    ],
)
def test_what_is_no_moment_is_reported_with_its_option_and_what_can_be_written(
    api: FakeApi, cli: Cli, words: tuple[str, ...], offered: str
) -> None:
    ended = cli(*words)
    assert ended.code == 2
    assert offered in " ".join(ended.err.replace("│", " ").split())
    assert api.requests == []
