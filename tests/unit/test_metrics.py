"""What metrics are declared, how they are reported, and what is counted in several processes."""

import importlib
import pkgutil
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import prometheus_server
import tenantry
from tenantry.base import events
from tenantry.base.events import Change, Event
from tenantry.base.home import Home
from tenantry.services.observations import counts, interpreting, requests
from tenantry.services.observations.counts import Counts
from tenantry.services.observations.exposition import render
from tenantry.services.observations.model import METRICS, Metric, gauge

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


@pytest.fixture(autouse=True, scope="module")
def _declared() -> None:
    """All of them are declared where they are measured."""
    for module in pkgutil.walk_packages(tenantry.__path__, "tenantry."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


def row_of(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    unit = metric.unit or ""
    return f"| `{metric.name}` | {metric.kind} | {unit} | {labels} | {metric.help} |"


def test_the_page_lists_every_metric_as_it_is_and_no_other() -> None:
    listed = re.findall(
        r"^\| `(?:tenantry|pg|pgbouncer)_\w+` \| .*$", PAGE.read_text(), re.MULTILINE
    )
    assert sorted(listed) == sorted(map(row_of, METRICS.values()))


def test_every_metric_is_named_by_the_conventions() -> None:
    for metric in METRICS.values():
        assert metric.help
        assert "le" not in metric.labels
        if re.match("pg(bouncer)?_", metric.name):
            continue  # named by another exporter
        assert re.fullmatch(r"tenantry(_[a-z0-9]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric
        assert not re.search("_(seconds|bytes)_(?!total$)", metric.name)
        assert not re.search("_(ms|milliseconds|minutes|hours|kb|mb|gb|percent)(_|$)", metric.name)


@pytest.fixture
def exposition() -> bytes:
    """Every metric, each with a value, as Prometheus would read it."""
    requests.observe_request("GET", "/api/databases", 200, 0.1)
    measured = [
        metric(1, *(f'a "{label}" \\ \n' for label in metric.labels))
        for metric in METRICS.values()
        if metric.kind != "histogram"
    ]
    return render(measured, requests.REGISTRY)


def test_what_is_reported_is_read_as_it_was_meant(exposition: bytes) -> None:
    families = list(text_string_to_metric_families(exposition.decode()))
    found = {
        family.name + ("_total" if family.type == "counter" else ""): family for family in families
    }
    assert found.keys() == METRICS.keys()
    for name, family in found.items():
        kind = "untyped" if family.type == "unknown" else family.type
        assert (kind, family.documentation) == (METRICS[name].kind, METRICS[name].help)
        assert all(set(METRICS[name].labels) <= set(each.labels) for each in family.samples)


def test_promtool_finds_nothing_to_say(exposition: bytes) -> None:
    assert prometheus_server.found_by_promtool(exposition) == []


def test_what_is_not_measured_is_absent() -> None:
    assert b"tenantry_databases" not in render([])


def test_a_measure_has_the_labels_of_its_metric() -> None:
    with pytest.raises(ValueError, match="labels"):
        METRICS["tenantry_databases"](1)
    with pytest.raises(ValueError, match="declared twice"):
        gauge("tenantry_databases", "again")


# ── events ───────────────────────────────────────────────────────────────────


def kinds(kind: type[Event] = Event) -> Iterator[type[Event]]:
    for each in kind.__subclasses__():
        if (
            getattr(events, each.__name__) is each
        ):  # and not what dataclass() made again, with slots
            yield each
            yield from kinds(each)


def example(kind: type[Event]) -> Event:
    values = {str: "x", int: 2, int | None: 2, Mapping[str, int]: {"192.0.2.1": 2}}
    hints = get_type_hints(kind)
    return kind(**{each.name: values[hints[each.name]] for each in fields(kind)})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [each for each in kinds() if each is not Change])
def test_every_event_has_a_meaning(tmp_path: Path, kind: type[Event]) -> None:
    """One that was forgotten where events are interpreted would break whoever emits it."""
    interpreting.interpret(Counts(tmp_path, "api"), example(kind))


def test_an_event_is_called_as_its_class() -> None:
    assert events.RulesWritten.name() == "rules.written"
    assert events.PoolerUsersWritten.name() == "pooler_users.written"


# ── totals ───────────────────────────────────────────────────────────────────


def reported(folder: Path) -> dict[tuple[str, ...], float]:
    return {
        (each.metric.name, *each.labels): each.value for each in counts.totals(folder) if each.value
    }


def test_there_is_one_total_of_all_processes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    worker, supervisor = Counts(home.counts, "worker"), Counts(home.counts, "supervisor")
    interpreting.interpret(worker, events.RulesWritten("shared-1"))
    interpreting.interpret(supervisor, events.RulesWritten("shared-1"))
    interpreting.interpret(supervisor, events.ProcessDied("pooler"))
    interpreting.interpret(worker, events.SessionsEnded("too many locks", "user_a", 3))
    worker.write()
    supervisor.write()
    assert reported(home.counts) == {
        ("tenantry_changes_total", "rules.written"): 2,
        ("tenantry_process_deaths_total", "pooler"): 1,
        ("tenantry_sessions_ended_total", "too many locks"): 3,
    }


def test_a_total_goes_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(3):
        process = Counts(tmp_path, "api")
        interpreting.interpret(process, events.LoginsRefused(5))
        process.write()
    assert reported(tmp_path) == {("tenantry_logins_refused_total",): 15}


def test_what_is_counted_is_written_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = threading.Event()
    monkeypatch.setattr(counts, "_WRITE_SECONDS", 0.0)
    write = Counts.write

    def watched(self: Counts) -> None:
        write(self)
        written.set()

    monkeypatch.setattr(Counts, "write", watched)
    interpreting.interpret(Counts(tmp_path, "api"), events.LoginsRefused(1))
    assert written.wait(30)
    assert reported(tmp_path) == {("tenantry_logins_refused_total",): 1}


@pytest.mark.parametrize("text", ["", "{", "[[1]]", '[["x", [], 1]]', '[["tenantry_x", "y", "z"]]'])
def test_a_damaged_file_is_started_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "api.json").write_text(text)
    (tmp_path / "worker.json").write_text('[["tenantry_logins_refused_total", [], 2]]')
    assert reported(tmp_path) == {("tenantry_logins_refused_total",): 2}
    process = Counts(tmp_path, "api")
    interpreting.interpret(process, events.LoginsRefused(1))
    process.write()
    assert reported(tmp_path) == {("tenantry_logins_refused_total",): 3}


def test_what_has_not_happened_is_0_where_something_counts(tmp_path: Path) -> None:
    assert counts.totals(tmp_path / "nothing") == []
    Counts(tmp_path, "api").add(METRICS["tenantry_logins_refused_total"])
    (tmp_path / "api.json").write_text("[]")
    assert METRICS["tenantry_logins_ended_total"](0) in counts.totals(tmp_path)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from("xyz"), st.integers(1, 9))))
def test_nothing_is_counted_twice_or_lost(
    tmp_path_factory: pytest.TempPathFactory, added: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("counts")
    for process, label, amount in added:
        one = Counts(folder, process)
        one.add(METRICS["tenantry_changes_total"], label, amount=amount)
        one.write()
    assert sum(reported(folder).values()) == sum(amount for *_, amount in added)
