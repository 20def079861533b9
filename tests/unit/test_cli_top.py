"""``tenantry top``: one look, looks that follow each other, and what a terminal has room for."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from cli_support import SHOP, Cli, FakeApi, database, installed, on_a_terminal, start

from tenantry.cli import output, top
from tenantry.services.samples import latest

LATEST, SESSIONS = "/api/metrics/latest", f"/api/databases/{SHOP}/sessions"
PARTS = [
    {"name": "control", "state": "up", "latency_ms": 1.2, "detail": None},
    {"name": "pooler", "state": "up", "latency_ms": 0.4, "detail": None},
    {"name": "worker", "state": "down", "latency_ms": None, "detail": "It does not run."},
]


def figures(**changes: Any) -> dict[str, Any]:
    return {
        "database_id": SHOP,
        "database_name": "tenant_bcdfghjkmnpq",
        "name": "shop",
        "friendly_name": "The shop",
        "environment": "production",
        "sampled_at": "2026-01-02T03:04:05Z",
        "transactions_per_second": 212.73,
        "connections_active": 3,
        "connections_idle": 14,
        "connections_in_transaction": 1,
        "clients_waiting": 2,
        "longest_transaction_seconds": 12.8,
        "cache_hit_ratio": 0.9912,
        "cpu_percent": 18.5,
        "temporary_bytes_per_second": 0,
        "wal_bytes_per_second": 524_288.4,
        "size_bytes": 84 * 2**20,
        **changes,
    }


def session(pid: int, **changes: Any) -> dict[str, Any]:
    return {
        "pid": pid,
        "client_address": "203.0.113.7",
        "port": "direct",
        "state": "active",
        "state_seconds": 11.2,
        "age_seconds": 700.0,
        "wait_event_type": "Lock",
        "wait_event": "transactionid",
        "query": "UPDATE orders\n SET paid = true WHERE id = 7",
        **changes,
    }


UNKNOWN = figures(
    name=None,
    friendly_name="Kino",
    environment="staging",
    transactions_per_second=None,
    clients_waiting=None,
    cache_hit_ratio=None,
    longest_transaction_seconds=0,
)


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        api.text("/ready", json.dumps({"status": "not_ready", "parts": PARTS}), status=503)
        api.on("GET", LATEST, [figures(), UNKNOWN])
        api.on("GET", "/api/databases", [database()])
        api.on("GET", SESSIONS, [session(48213), session(48199, wait_event=None)])
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_a_pipe_gets_one_look_with_everything(api: FakeApi, cli: Cli) -> None:
    ended = cli("top", "--sort", "wal")
    assert ended.code == 0
    parts, _, head, first, second = ended.out.splitlines()
    assert parts[8:] == "  down: worker · up: control, pooler"
    assert head.split() == [
        "NAME", "ENV", "TX/S", "ACT", "IDLE", "INTX", "WAIT", "HITS", "TEMP/S", "WAL/S", "LONGEST",
        "CPU", "%", "SIZE",
    ]  # fmt: skip
    assert first.split() == [
        "shop", "production", "212.7", "3", "14", "1", "2", "99.1%", "0", "B", "512", "KiB", "13",
        "s", "18.5", "84", "MiB",
    ]  # fmt: skip
    assert second.split()[:8] == ["Kino", "staging", "-", "3", "14", "1", "-", "-"]
    (asked,) = api.asked("GET", LATEST)
    assert asked.query == {"sort": "wal", "limit": "50"}


def test_of_one_database_there_are_figures_and_sessions(api: FakeApi, cli: Cli) -> None:
    api.scripts[("GET", LATEST)].clear()
    api.on("GET", LATEST, [figures()])
    ended = cli("top", "shop", "--once")
    _, first, second, _, head, waiting, other = ended.out.splitlines()
    assert first == "TX/S 212.7  ACT 3  IDLE 14  INTX 1  WAIT 2  HITS 99.1%"
    assert second == "TEMP/S 0 B  WAL/S 512 KiB  LONGEST 13 s  CPU % 18.5  SIZE 84 MiB"
    assert head.split() == ["PID", "CLIENT", "STATE", "SINCE", "AGE", "WAITS", "FOR", "QUERY"]
    assert "Lock: transactionid" in waiting
    assert waiting.endswith("UPDATE orders SET paid = true WHERE id = 7")
    assert "Lock" not in other
    assert api.asked("GET", LATEST)[0].query["ids"] == SHOP


def test_a_database_without_sessions_says_so(api: FakeApi, cli: Cli) -> None:
    api.scripts[("GET", SESSIONS)].clear()
    api.on("GET", SESSIONS, [])
    assert "shop has no open session." in cli("top", "shop").err


def test_one_look_in_json(api: FakeApi, cli: Cli) -> None:
    found = json.loads(cli("top", "--json").out)
    assert found.keys() == {"at", "ready", "parts", "databases"}
    assert (found["ready"], found["parts"]) == (False, PARTS)
    assert found["databases"] == [figures(), UNKNOWN]
    found = json.loads(cli("top", "shop", "--json").out)
    assert found["database"] == "shop"
    assert [each["pid"] for each in found["sessions"]] == [48213, 48199]
    assert len(api.asked("GET", SESSIONS)) == 1


def test_with_an_interval_there_is_an_object_per_line_until_ctrl_c(api: FakeApi) -> None:
    process = start("top", "--json", "--interval", "0.5", stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout as lines:
        looks = [json.loads(lines.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        lines.read()
    assert process.wait(60) == 0
    assert looks[0]["at"] < looks[1]["at"]
    assert len(api.asked("GET", LATEST)) >= 2


def test_a_terminal_is_looked_at_until_ctrl_c(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(output, "window", lambda: (80, 24))
    monkeypatch.setattr(time, "sleep", sleep)
    ended = cli("top")
    assert ended.code == 0
    assert looks == [2.0] * 3
    assert len(api.asked("GET", LATEST)) == 3
    assert "212.7" in ended.out


def test_a_terminal_with_once_gets_one_look(api: FakeApi) -> None:
    code, seen = on_a_terminal("top", "--once", no_color=True, columns=80)
    assert code == 0
    assert "shop" in seen
    assert "No room for ENV, CPU %: " in seen
    assert len(api.asked("GET", LATEST)) == 1


def look(databases: int = 0, sessions: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "at": "2026-01-02T03:04:05+00:00",
        "ready": True,
        "parts": PARTS,
        "databases": [figures(name=f"shop-{number}") for number in range(databases)],
    }
    if sessions is not None:
        found["database"] = "shop\x1b[2J"
        found["sessions"] = [session(pid, query="SELECT é " * 100) for pid in range(sessions)]
    return found


@pytest.mark.parametrize("height", [5, 24, 60])
@pytest.mark.parametrize("found", [look(0), look(40), look(1, 0), look(1, 40)])
def test_what_is_shown_live_fits_the_terminal(found: dict[str, Any], height: int) -> None:
    lines = top._lines(found, 80, height)
    assert all(len(line) <= 80 and line.isprintable() for line in lines)
    assert len(lines) <= max(height, 7)
    shown = len([line for line in lines if "shop-" in line or "SELECT" in line])
    total = len(found.get("sessions", found["databases"]))
    if shown < total:
        assert lines[-1] == f"… and {total - shown} more"


def test_orders_are_those_of_the_api() -> None:
    assert get_args(top.Order) == get_args(latest.Order)


@pytest.mark.parametrize("wrong", [["--interval", "0"], ["--limit", "501"], ["--sort", "age"]])
def test_wrong_usage_is_refused(api: FakeApi, cli: Cli, wrong: list[str]) -> None:
    assert cli("top", *wrong).code == 2
    assert api.requests == []
