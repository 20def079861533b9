"""Sparklines: how values are drawn, in the list of databases and for one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, database, installed, on_a_terminal
from hypothesis import given
from hypothesis import strategies as st

from tenantry.cli.metrics import sparkline

LIST, SPARKLINES, METRICS = (
    "/api/databases",
    "/api/metrics/sparklines",
    f"/api/databases/{SHOP}/metrics",
)


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_values_are_drawn_from_zero_to_their_maximum() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([1000, 1000]) == "██"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([None, 0.5, None]) == " █ "
    assert sparkline([]) == ""
    assert sparkline([-3, -1]) == "▁▁"  # durations, after the clock was set back
    assert sparkline([-4, 2]) == "▁█"
    # A peak is not lost where there is no room for each value.
    assert sparkline([0, 9, 0, 0, None, None], width=3) == "█▁ "


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e15)), max_size=400), st.integers(1, 60))
def test_every_sparkline_fits(values: list[float | None], width: int) -> None:
    drawn = sparkline(values, width=width)
    assert len(drawn) <= width
    assert set(drawn) <= set(" ▁▂▃▄▅▆▇█")


def shown(name: str, unit: str, *values: float | None) -> dict[str, Any]:
    points = [[f"2026-01-02T03:{5 * at:02}:00Z", value] for at, value in enumerate(values)]
    return {"name": name, "unit": unit, "points": points}


SERIES = {
    "database_id": SHOP,
    "from": "2026-01-02T03:00:00Z",
    "to": "2026-01-02T03:20:00Z",
    "step_seconds": 300,
    "series": [
        shown("size_bytes", "bytes", None, 8 * 2**20, 12 * 2**20),
        shown("commits", "transactions/s", 0.25, 12_345.6, None),
        shown("wal_bytes", "bytes/s", 0, 2048, 1024),
        shown("cache_hit_ratio", "ratio", 0.5, 1, 0.987),
    ],
}


def test_each_series_has_a_line(api: FakeApi, cli: Cli) -> None:
    api.on("GET", LIST, [database()])
    api.on("GET", METRICS, SERIES)
    ended = cli("db", "metrics", "shop", "--from", "2026-01-02T03:00:00Z")
    assert ended.out == (
        "SERIES           TREND  LAST    MIN    MAX     UNIT\n"
        "size              ▆█    12 MiB  8 MiB  12 MiB\n"
        "commits          ▁█     12,346  0.25   12,346  transactions/s\n"
        "wal              ▁█▅    1 KiB   0 B    2 KiB   /s\n"
        "cache_hit_ratio  ▅██    98.7%   50.0%  100.0%  ratio\n"
    )
    assert "a point for each 5 min" in ended.err
    assert api.requests[-1].query["from"] == "2026-01-02T03:00:00+00:00"


def test_series_in_json_are_the_api_s(api: FakeApi, cli: Cli) -> None:
    api.on("GET", LIST, [database()])
    api.on("GET", METRICS, SERIES)
    assert json.loads(cli("db", "metrics", "shop", "--json").out) == SERIES


def test_a_database_without_samples_says_so(api: FakeApi, cli: Cli) -> None:
    api.on("GET", LIST, [database()])
    api.on("GET", METRICS, SERIES | {"series": []})
    ended = cli("db", "metrics", "shop")
    assert (ended.out, ended.err) == ("", "shop has not been sampled in that time.\n")


def spark(*values: float | None) -> dict[str, Any]:
    return {
        "database_id": SHOP,
        "from": "2026-01-02T03:00:00Z",
        "step_seconds": 3600,
        "series": [{"name": "transactions", "unit": "transactions/s", "values": [*values]}],
    }


def test_the_wide_list_has_sparklines(api: FakeApi, cli: Cli) -> None:
    api.on("GET", LIST, [database(), database(id="another", name="other")])
    api.on("GET", SPARKLINES, [spark(0, 5, 10)])
    head, first, second = cli("db", "list", "--wide").out.splitlines()
    place = head.index("ACTIVITY")
    assert first[place:].startswith("▁▅█  ")
    assert second[place] == "-"


def test_json_and_the_usual_list_ask_for_none(api: FakeApi, cli: Cli) -> None:
    api.on("GET", LIST, [database()])
    assert "activity" not in json.loads(cli("db", "list", "--wide", "--json").out)[0]
    assert "ACTIVITY" not in cli("db", "list").out


def test_a_narrow_terminal_keeps_activity_before_what_is_right_of_it(api: FakeApi) -> None:
    api.on("GET", LIST, [database()])
    api.on("GET", SPARKLINES, [spark(*range(24))])
    _, seen = on_a_terminal("db", "list", "--wide", no_color=True, columns=120)
    assert "ACTIVITY" in seen.splitlines()[0]
    assert "No room for FRIENDLY NAME, PLAN, MAX, AGE" in seen
