"""Entries move from the server's log to their databases: once, whole, within bounds."""

import dataclasses
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from database_rows import database_row
from tenantry.control.log_settings import LogSettings
from tenantry.pg import names, server_log
from tenantry.pg.catalog import MANAGED
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import Address
from tenantry.pg.drivers import ProcessDriver
from tenantry.services.databases.plan import wanted_state
from tenantry.services.statement_log import entries
from tenantry.services.statement_log.entries import FIRST, EntryFiles, Place, parse_place
from tenantry.services.statement_log.floods import MOST_A_SECOND, LogCounter, Window
from tenantry.services.statement_log.moving import Mover

A, B = uuid.UUID(int=1), uuid.UUID(int=2)
LOGGED: Mapping[str, uuid.UUID] = {"tenant_a": A, "tenant_b": B}
SECRET = "s3cr3t-W0rd"


def line(text: str, **reported: object) -> bytes:
    usual: dict[str, object] = {
        "timestamp": "2026-11-29 11:00:00.000 UTC", "user": "user_a", "dbname": "tenant_a",
        "session_id": "1.c", "ps": "idle", "error_severity": "LOG", "state_code": "00000",
        "message": f"statement: {text}", "detail": f"of {SECRET}",
        "func_name": "exec_simple_query", "file_name": "postgres.c", "application_name": "psql",
    }  # fmt: skip
    return server_log.write(usual | reported) + b"\n"


def cluster_in(root: Path) -> Cluster:
    return Cluster("shared-1", root, Address(root, 5432), root, root / "logs", ProcessDriver())


@dataclasses.dataclass
class Scene:
    root: Path

    def __post_init__(self) -> None:
        self.logs = self.root / "logs"
        self.logs.mkdir()
        self.files = EntryFiles(self.root / "statements")
        self.cluster = cluster_in(self.root)
        self.written = 0
        self.log()  # from whose end on everything is moved
        self.mover().move({}, [])

    def mover(self) -> Mover:
        return Mover(lambda: [self.cluster], self.files)

    def log(self, *lines: bytes, file: str = "a") -> Path:
        path = self.logs / f"shared-1-{file}.json"
        with path.open("ab") as log:
            log.write(b"".join(lines))
        self.written += 1
        os.utime(path, ns=(self.written, self.written))  # in the order in which they were written
        return path

    def entries(self, database_id: uuid.UUID = A) -> list[dict[str, Any]]:
        return [found for _, found in self.files.oldest_first(database_id, after=FIRST)]

    def reported(self, database_id: uuid.UUID = A) -> list[str]:
        return [each.get("statement") or each["message"] for each in self.entries(database_id)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_entries_are_those_of_logged_databases(scene: Scene) -> None:
    mover = scene.mover()
    scene.log(
        line("SELECT 1", remote_host="203.0.113.7"),
        line("SELECT 2", dbname="tenant_b", remote_host="[local]"),
        line("SELECT 3", dbname="tenant_c"),
        line("SELECT 4", dbname="tenant_a_shadow"),
        line("SELECT 5", ps="startup"),
        line("SELECT 6", func_name="exec_stmt_raise", file_name="pl_exec.c"),
        line("SELECT 7", user=names.visitor("a" * 32)),
        line("SELECT 8", user=names.visitor(names.running("a" * 32))),
        line("", error_severity="FATAL", message="terminating connection"),
        line("", error_severity="ERROR", message="no such table", state_code="42P01"),
        b"no entry\n",
    )
    assert not mover.move(LOGGED, [])
    assert scene.reported() == ["SELECT 1", "SELECT 4", "SELECT 8", "no such table"]
    assert scene.reported(B) == ["SELECT 2"]
    first, *_, error = scene.entries()
    assert first == {
        "time": "2026-11-29T11:00:00.000+00:00", "kind": "statement", "database_name": "tenant_a",
        "role": "user_a", "application": "psql", "client_address": "203.0.113.7",
        "session_id": "1.c", "statement": "SELECT 1",
    }  # fmt: skip
    assert (error["kind"], error["sqlstate"]) == ("error", "42P01")
    assert "client_address" not in scene.entries(B)[0]


def test_the_log_is_followed_from_file_to_file(scene: Scene) -> None:
    mover = scene.mover()
    scene.log(line("1"), line("2")[:-9])
    mover.move(LOGGED, [])
    assert scene.reported() == ["1"]
    scene.log(line("2")[-9:])
    scene.log(line("3"), file="0 after a clock was set back")
    mover.move(LOGGED, [])
    scene.log(line("4"), file="0 after a clock was set back")
    scene.mover().move(LOGGED, [])
    assert scene.reported() == ["1", "2", "3", "4"]


def test_what_was_deleted_before_it_was_read_is_reported_of(scene: Scene) -> None:
    mover = scene.mover()
    scene.log(line("1")).unlink()
    scene.log(line("2"), file="b")
    mover.move({"tenant_a": A}, [(A, "a notice")])
    assert [each["kind"] for each in scene.entries()] == ["notice", "notice", "statement"]
    assert scene.reported()[0] == "a notice"
    assert "may be missing" in scene.reported()[1]
    mover.move({"tenant_a": A}, [])
    assert len(scene.reported()) == 3


def test_secrets_are_overwritten_in_the_log(scene: Scene) -> None:
    plain = line("SELECT 1")
    kept = line("SELECT 2")
    hidden = line(f"ALTER ROLE app PASSWORD '{SECRET}'")
    error = line(
        "", error_severity="ERROR", message=f'syntax error at or near "{SECRET}"',
        statement=f'ALTER ROLE app PASSWORD "{SECRET}"', state_code="42601",
    )  # fmt: skip
    elsewhere = line(f"SET app.token = {SECRET}", dbname="tenant_c")
    path = scene.log(kept, hidden, error, elsewhere, plain)
    size, time = path.stat().st_size, path.stat().st_mtime_ns
    scene.mover().move(LOGGED, [])
    assert scene.reported() == ["SELECT 2", "ALTER ROLE app PASSWORD '***'", "***", "SELECT 1"]
    after = path.read_bytes()
    assert after.startswith(kept)
    assert after.endswith(plain)
    assert SECRET.encode() not in after[len(kept) : -len(plain)]
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, time)
    assert all(isinstance(json.loads(each), dict) for each in after.splitlines())


DYING = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_log_entries import LOGGED, cluster_in
from tenantry.services.statement_log.entries import EntryFiles
from tenantry.services.statement_log.floods import MOST_A_SECOND, LogCounter, Window
from tenantry.services.statement_log.moving import Mover

class Dying(EntryFiles):
    def append(self, *asked):
        end = super().append(*asked)
        if asked[0].int == {last}:
            os.kill(os.getpid(), signal.SIGKILL)
        return end

root = Path({root!r})
Mover(lambda: [cluster_in(root)], Dying(root / "statements")).move(LOGGED, [])
"""


@pytest.mark.parametrize("last", [A, B])
def test_a_kill_leaves_no_entry_out_and_none_twice(scene: Scene, last: uuid.UUID) -> None:
    program = DYING.format(path=sys.path, last=last.int, root=str(scene.root))
    expected = []
    for number in range(3):
        text = f"SELECT {number}; ALTER ROLE app PASSWORD '{SECRET}'"
        expected.append(f"SELECT {number}; ALTER ROLE app PASSWORD '***'")
        scene.log(line(text), line(text, dbname="tenant_b"))
        done = subprocess.run([sys.executable, "-c", program], check=False)
        assert done.returncode == -signal.SIGKILL
        # A write that was cut off, too.
        file = scene.root / "statements" / str(A) / "00000001.jsonl"
        with file.open("ab") as torn:
            torn.write(b'{"statement":"torn')
    scene.mover().move(LOGGED, [])
    assert (scene.reported(A), scene.reported(B)) == (expected, expected)
    assert SECRET not in "".join(path.read_text() for path in scene.logs.iterdir())


def test_entries_have_a_bound(scene: Scene) -> None:
    text = "x" * 10_000
    end = FIRST
    for number in range(5):
        end = scene.files.append(A, end, ({"n": 1000 * number + n, "t": text} for n in range(1000)))
    folder = scene.root / "statements" / str(A)
    paths = sorted(folder.iterdir())
    assert len(paths) == entries.MOST_FILES
    most = entries.MOST_FILES * (entries.MOST_OF_A_FILE + len(text) + 100)
    assert sum(path.stat().st_size for path in paths) <= most
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    numbers = [found["n"] for found in scene.entries()]
    assert numbers == list(range(numbers[0], 5000))


def test_pages_go_back_and_on(scene: Scene) -> None:
    end = scene.files.append(A, FIRST, [{"n": n} for n in range(10)])
    back = list(scene.files.newest_first(A, before=None))
    assert [found["n"] for _, found in back] == list(range(9, -1, -1))
    assert [name for name, _ in back] == sorted((name for name, _ in back), reverse=True)
    place = parse_place(back[3][0])
    assert place is not None
    assert [f["n"] for _, f in scene.files.newest_first(A, before=place)] == list(range(5, -1, -1))
    assert [f["n"] for _, f in scene.files.oldest_first(A, after=place)] == [7, 8, 9]
    # A file that is gone has no successor of the same number.
    (scene.root / "statements" / str(A) / "00000001.jsonl").unlink()
    assert scene.files.append(A, end, [{"n": 10}]).number == 2
    assert parse_place("1-1") is None
    assert parse_place("00000001-0000000\u0661") is None


def test_entries_of_databases_that_are_gone_are_deleted(scene: Scene) -> None:
    mover = scene.mover()
    scene.log(line("1"), line("2", dbname="tenant_b"))
    mover.move(LOGGED, [])
    mover.forget({B: 30})
    assert scene.files.databases() == {B}
    os.utime(scene.root / "statements" / str(B) / "00000001.jsonl", (1, 1))
    mover.forget({B: 30})
    assert scene.reported(B) == []
    scene.log(line("3", dbname="tenant_b"))
    mover.move(LOGGED, [])
    assert scene.reported(B) == ["3"]
    assert scene.files.end(B) > Place(2, 0)


def test_each_line_is_counted_once_for_the_database_of_its_session(scene: Scene) -> None:
    counter = LogCounter(lambda: [scene.cluster])
    assert counter.count() == {}
    one, two = line("SELECT 1"), line("SELECT 22", dbname="tenant_a_shadow")
    scene.log(one, two[:-9], line("", dbname="tenant_b", error_severity="FATAL"), b"no entry\n")
    assert counter.count() == {"tenant_a": len(one) - 1}
    scene.log(line("SELECT 3", dbname="tenant_c"), file="b")
    assert set(counter.count()) == {"tenant_c"}
    assert counter.count() == {}


def test_a_flood_is_what_is_logged_on_average_of_the_last_seconds() -> None:
    window = Window()
    second = {"a": MOST_A_SECOND, "b": MOST_A_SECOND + 1}
    assert not any(window.add(second, now) for now in range(4))
    assert window.add(second, 4) == ["b"]
    assert window.add(second, 5) == ["b"]
    window.forget("b")
    assert window.add({"a": 1}, 5) == ["a"]
    assert window.add({}, 6) == []
    assert window.add({"c": MOST_A_SECOND * 5 + 1}, 60) == ["c"]


def test_entries_are_deleted_after_the_days_of_their_database(scene: Scene) -> None:
    mover = scene.mover()
    scene.log(line("1"), line("2", dbname="tenant_b"))
    mover.move(LOGGED, [])
    for database_id in (A, B):
        path = scene.root / "statements" / str(database_id) / "00000001.jsonl"
        os.utime(path, (time.time() - 2 * 86_400,) * 2)
    mover.forget({A: 1, B: 3})
    assert (scene.reported(A), scene.reported(B)) == ([], ["2"])


def test_a_database_logs_what_its_owner_wants() -> None:
    def defaults(**wanted: object) -> dict[str, str]:
        row = database_row("a", **wanted)
        return {k: v for k, v in wanted_state(row).defaults.items() if k.startswith("log_")}

    assert defaults() == {}
    assert defaults(log_statements="ddl") == {
        "log_error_verbosity": "verbose",
        "log_min_duration_statement": "-1",
        "log_min_messages": "log",
        "log_parameter_max_length": "0",
        "log_statement": "ddl",
    }
    slow = defaults(log_min_duration_ms=0, log_errors=True)
    assert (slow["log_statement"], slow["log_min_duration_statement"]) == ("none", "0")
    assert (slow["log_min_messages"], slow["log_min_error_statement"]) == ("error", "error")
    assert set(slow) <= set(MANAGED)
    assert defaults(log_statements="all", log_paused_until=dt.datetime.now(dt.UTC)) == {}
    assert not LogSettings(keep_days=3).is_on
    assert LogSettings(min_duration_ms=0).is_on
