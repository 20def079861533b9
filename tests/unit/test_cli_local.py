"""What the CLI does on this machine: terminals, signals, psql, the text people read, backups."""

import datetime as dt
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cli_support import (
    POOLER,
    SHOP,
    Cli,
    FakeApi,
    Request,
    database,
    installed,
    on_a_terminal,
    start,
    strings,
)
from hypothesis import example, given
from hypothesis import strategies as st

from tenantry.base.connection_strings import Login
from tenantry.cli import connecting, output, times, utilities


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture(name="shop")
def _shop(api: FakeApi) -> FakeApi:
    """An API that has one database, called shop."""
    api.on("GET", "/api/databases", [database()])
    api.on("GET", f"/api/databases/{SHOP}", database())
    api.on("GET", f"/api/databases/{SHOP}/connection-strings", strings())
    return api


# ---- terminals, signals, psql


def test_delete_asks_for_the_name_on_a_terminal(shop: FakeApi) -> None:
    shop.on("DELETE", f"/api/databases/{SHOP}", {"id": SHOP, "status": "deleted"})
    code, seen = on_a_terminal("db", "delete", "shop", typed="shopp\n")
    assert code == 1
    assert "was not deleted" in seen
    assert not shop.asked("DELETE", f"/api/databases/{SHOP}")
    code, seen = on_a_terminal("db", "delete", "shop", typed="shop\n")
    assert code == 0
    assert "is deleted" in seen
    assert shop.asked("DELETE", f"/api/databases/{SHOP}")


def test_colours_are_for_terminals_without_no_color(api: FakeApi) -> None:
    api.refuse("GET", "/api/databases", 403, "forbidden", title="This API key may not do that")
    for no_color in (False, True):
        seen = on_a_terminal("db", "list", no_color=no_color)[1]
        assert "may not do that" in seen
        assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]m", seen)) is not no_color


def test_what_is_to_be_copied_is_never_wrapped(shop: FakeApi) -> None:
    password = "s3cret" * 20
    made = database() | strings(password) | {"password": password}
    shop.on("POST", "/api/databases", made, status=201)
    _, seen = on_a_terminal("db", "create", "--name", "shop")
    assert re.search(rf"^.*password .*{password}\S*\r?$", seen, re.MULTILINE)
    assert strings(password)["shadow_database_url_pooled"] in seen


def test_ctrl_c_is_130_and_silent(api: FakeApi) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hold(_: Request) -> None:
        asked.set()
        go_on.wait(60)

    api.on_request = hold
    api.lose("GET", "/api/databases")
    with start("db", "list", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        go_on.set()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert out == b""


def test_psql_gets_the_way_and_its_own_words(
    shop: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "psql").write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([sys.argv[1:], {**os.environ}]))\n"
    )
    (programs / "psql").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PGSERVICE", "another")
    shop.text("/ca.crt", "-----BEGIN CERTIFICATE-----\n")
    words = ["-c", "select 'a b'", "--json", "--env", "--help"]
    with start("db", "psql", "--pooled", "shop", *words, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=60)
    arguments, env = json.loads(out)
    assert process.returncode == 0
    assert arguments == words
    assert {
        name: env.get(name) for name in (*connecting.parameters(Login.parse("")), "PGSERVICE")
    } == {
        "PGHOST": "db.example.com",
        "PGPORT": "6432",
        "PGUSER": "user_bcdfghjkmnpq",
        "PGDATABASE": "tenant_bcdfghjkmnpq",
        "PGSSLMODE": "verify-full",
        "PGSERVICE": None,
    }
    assert Path(env["PGSSLROOTCERT"]).read_text() == "-----BEGIN CERTIFICATE-----\n"


@example(user="a@b", name="/a", port=1)
@given(user=st.text(min_size=1), name=st.text(min_size=1), port=st.integers(1, 65535))
def test_a_connection_string_is_taken_apart_exactly(user: str, name: str, port: int) -> None:
    login = f"{quote(user, safe='')}:***"
    got = connecting.parameters(
        Login.parse(f"postgresql://{login}@h.example:{port}/{quote(name, safe='')}?a=b")
    )
    assert got["PGUSER"] == user
    assert got["PGDATABASE"] == name
    assert got["PGPORT"] == str(port)
    assert "***" not in "".join(got.values())


# ---- what people see


@given(st.text())
def test_text_of_others_cannot_steer_a_terminal(text: str) -> None:
    shown = output.plain(text)
    assert all(c.isprintable() or c in "\u200c\u200d" for c in shown)
    if text.isprintable():
        assert shown == text


NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2026-01-09T23:59:18Z", "42 s"),
        ("2026-01-09T23:58:00Z", "2 min"),
        ("2026-01-09T23:00:00+00:00", "60 min"),
        ("2026-01-09T20:00:00+01:00", "5 h"),
        ("2026-01-01T00:00:00Z", "9 d"),
        ("2026-02-08T23:59:50Z", "in 30 d"),
        (None, "-"),
    ],
)
def test_distances_are_short(moment: str | None, said: str) -> None:
    assert times.distance(moment, now=NOW) == said


@given(st.integers(1, 99999), st.sampled_from("smhdw"))
def test_spans_count_from_now_both_ways(count: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit] * count
    now = dt.datetime.now(dt.UTC)
    for read, sign in ((times.past, -1), (times.future, 1)):
        moved = (read(f"{count}{unit}") - now).total_seconds()
        assert abs(moved - sign * seconds) < 5


# ---- the three utilities


def test_pg_status_fails_when_a_part_is_down(api: FakeApi, cli: Cli) -> None:
    part = {"name": "pooler", "state": "down", "latency_ms": 1.5, "detail": "refused"}
    api.text("/ready", json.dumps({"status": "degraded", "parts": [part]}), status=503)
    api.on("GET", "/api/clusters", [{"name": "shared-1", "kind": "shared", "version": 15}])
    api.on("GET", "/api/pooler", POOLER)
    ended = cli(program=utilities.status)
    assert ended.code == 1
    for word in ("pooler", "down", "refused", "shared-1", "1.26.1"):
        assert word in ended.out


def test_pg_list_databases_lists_all(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database()], next_cursor="c")
    api.on("GET", "/api/databases", [database(name="last")])
    ended = cli(program=utilities.list_databases)
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 3


@pytest.fixture
def control(api: FakeApi) -> Path:
    """A home whose control cluster seems to run, with a pg_dump that writes its arguments."""
    data = api.home / "clusters" / "control" / "data"
    data.mkdir(parents=True)
    (data / "postmaster.pid").write_text(f"1\n{data}\n0\n5433\n/run/x\n\n")
    (data / "postmaster.opts").write_text(f'{api.home}/postgres "-D" "{data}"\n')
    (api.home / "pg_dump").write_text(
        '#!/bin/sh\nfor a; do case $a in --file=*) echo "$@" > "${a#--file=}";; esac; done\n'
    )
    (api.home / "pg_dump").chmod(0o755)
    return api.home


def test_a_backup_is_private_whole_and_kept_seven_days(control: Path, cli: Cli) -> None:
    kept, old = (control / "backups" / f"control-{day}.dump" for day in ("new", "old"))
    old.parent.mkdir()
    for file, days in ((kept, 6), (old, 8)):
        file.touch()
        past = dt.datetime.now().timestamp() - days * 86400  # noqa: DTZ005
        os.utime(file, (past, past))
    ended = cli(program=utilities.backup_control)
    assert ended.code == 0
    made = Path(ended.out.strip())
    assert re.fullmatch(r"control-\d{8}-\d{6}\.dump", made.name)
    assert set(made.parent.iterdir()) == {made, kept}
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    words = made.read_text().split()
    assert {"--host=/run/x", "--port=5433", "--no-password", "tenantry_control"} <= set(words)


def test_a_failed_backup_leaves_nothing(control: Path, cli: Cli) -> None:
    (control / "pg_dump").write_text(
        '#!/bin/sh\nfor a; do case $a in --file=*) echo half > "${a#--file=}";; esac; done\n'
        "echo no space >&2; exit 1\n"
    )
    ended = cli(program=utilities.backup_control)
    assert ended.code == 1
    assert "no space" in ended.err
    assert list((control / "backups").iterdir()) == []


def test_a_backup_of_a_stopped_cluster_says_so(control: Path, cli: Cli) -> None:
    (control / "clusters" / "control" / "data" / "postmaster.pid").unlink()
    assert cli(program=utilities.backup_control).code == 3


# ---- what is shown may be pasted back


def test_masking_is_shown_line_by_line(shop: FakeApi, cli: Cli) -> None:
    """On one line, its first comment would take all the rest along."""
    text = "-- one\nUPDATE items SET name = '\x1b[31m';\n-- two\nTRUNCATE later;\n"
    shop.on("GET", f"/api/databases/{SHOP}/masking", {"sql": text})
    shown = cli("branch", "masking", "shop").out
    assert shown == text.replace("\x1b", "\\x1b")
