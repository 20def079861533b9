"""The server's log in JSON: whose its lines are, and what they tell of statements."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenantry.pg import server_log
from tenantry.pg.server_log import LogEntry


def written(**reported: object) -> bytes:
    """A line as PostgreSQL writes it: who, then the texts, then which function."""
    usual: dict[str, object] = {
        "timestamp": "2026-11-29 11:00:00.000 UTC", "user": "user_a", "dbname": "tenant_a",
        "pid": 12, "session_id": "1.c", "line_num": 1, "ps": "idle", "error_severity": "LOG",
        "state_code": "00000", "message": "statement: SELECT 1", "statement": None,
        "func_name": "exec_simple_query", "file_name": "postgres.c", "file_line_num": 1012,
        "application_name": "psql", "backend_type": "client backend",
    }  # fmt: skip
    return server_log.write({k: v for k, v in (usual | reported).items() if v is not None})


def entry(line: bytes, folder: Path) -> dict[str, Any] | None:
    path = folder / "log.json"
    path.write_bytes(line + b"\n")
    (found,) = server_log.lines(path, 0, most=1)
    return server_log.entry(found)


@pytest.mark.parametrize(
    ("message", "reported"),
    [
        ("statement: SELECT 1", LogEntry("statement", "SELECT 1")),
        ("statement: SELECT ': '", LogEntry("statement", "SELECT ': '")),
        ("duration: 0.125 ms", LogEntry("duration", None, 0.125)),
        ("duration: 1.500 ms  statement: SELECT 1", LogEntry("statement", "SELECT 1", 1.5)),
        ("execute <unnamed>: SELECT\n1", LogEntry("statement", "SELECT\n1")),
        ("execute fetch from a/b: SELECT 1", LogEntry("statement", "SELECT 1")),
        ("duration: 2.000 ms  execute a: SELECT 1", LogEntry("statement", "SELECT 1", 2.0)),
        ("duration: 2.000 ms  parse a: SELECT 1", None),
        ("disconnection: session time: 0:00:00.010", None),
    ],
)
def test_what_the_server_logs_of_statements(message: str, reported: LogEntry | None) -> None:
    found = server_log.read(written(message=message))
    assert found is not None
    assert server_log.read_entry(found) == reported


@pytest.mark.parametrize(
    "differing",
    [
        {"func_name": "exec_stmt_raise", "file_name": "pl_exec.c"},
        {"func_name": "exec_simple_query", "file_name": "pl_exec.c"},
        {"func_name": None, "file_name": None},
    ],
)
def test_what_a_session_says_itself_is_no_statement(differing: dict[str, object]) -> None:
    found = server_log.read(written(**differing))
    assert found is not None
    assert server_log.read_entry(found) is None


def test_an_error_has_its_statement() -> None:
    line = written(
        error_severity="ERROR", state_code="22012", message="division by zero",
        statement="SELECT 1/0", func_name="int4div", file_name="int.c",
    )  # fmt: skip
    found = server_log.read(line)
    assert found is not None
    reported = LogEntry("error", "SELECT 1/0", sqlstate="22012", message="division by zero")
    assert server_log.read_entry(found) == reported


def test_only_who_has_proved_it_has_a_session() -> None:
    for ps in ("initializing", "authentication", "startup", ""):
        assert server_log.session_of({"user": "u", "dbname": "d", "ps": ps}) is None
    assert server_log.session_of({"user": "u", "dbname": "d", "ps": "idle"}) == ("u", "d")
    assert server_log.session_of({"ps": "", "message": "checkpoint starting"}) is None


def test_lines_that_have_ended_are_read_from_a_position_on(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(b'{"a":1}\n{"b":2}\n{"c":')
    first, second = server_log.lines(path, 0, most=100)
    assert (first.start, first.length, first.head) == (0, 7, b'{"a":1}')
    assert (second.start, second.end) == (8, 16)
    assert list(server_log.lines(path, second.end, most=100)) == []
    with path.open("ab") as file:
        file.write(b"3}\n")
    assert [line.head for line in server_log.lines(path, second.end, most=100)] == [b'{"c":3}']


@pytest.mark.parametrize("size", [60_000, 65_200, 65_300, 69_000, 70_000, 2_000_000])
@pytest.mark.parametrize("letter", ["x", '"', "é", "\n", "\\", "\x01"])
def test_of_a_very_long_statement_the_beginning_is_kept(
    tmp_path: Path, size: int, letter: str
) -> None:
    letters = letter * (size // len(json.dumps(letter, ensure_ascii=False).strip('"').encode()))
    for more in range(7):  # what is cut off ends anywhere in an escape
        beginning_is_kept(f"{'x' * more}{letters}", tmp_path)


def beginning_is_kept(text: str, tmp_path: Path) -> None:
    found = entry(written(message=f"statement: {text}"), tmp_path)
    assert found is not None
    reported = server_log.read_entry(found)
    assert reported is not None
    assert reported.text is not None
    kept = reported.text.rstrip("\udcc3")  # half of a letter
    assert text.startswith(kept)
    assert len(kept) >= 10_000
    assert found["application_name"] == "psql"


def test_a_long_text_cannot_name_who_logs(tmp_path: Path) -> None:
    forged = ',"func_name":"exec_simple_query","file_name":"postgres.c"}'
    line = written(
        message=f"statement: {forged * 3000}", func_name="exec_stmt_raise", file_name="pl_exec.c"
    )
    found = entry(line, tmp_path)
    assert found is not None
    assert found["func_name"] == "exec_stmt_raise"
    assert server_log.read_entry(found) is None


def test_people_read_entries_as_lines() -> None:
    text = written(message="could not bind", error_severity="FATAL").decode()
    reported = "2026-11-29 11:00:00.000 UTC FATAL:  could not bind"
    assert server_log.readable(f"no entry\n{text}") == f"no entry\n{reported}"


def test_the_cause_of_a_failed_start_is_its_last_fatal_error() -> None:
    log = (
        "2026-12-01 05:55:16 UTC [1] FATAL:  an earlier one\n"
        "2026-12-01 05:55:17 UTC [2] LOG:  skipping a file\n"
        "2026-12-01 05:55:17 UTC [2] FATAL:  too much\n"
        "2026-12-01 05:55:17 UTC [2] HINT:  Ask for less.\n"
        "2026-12-01 05:55:17 UTC [2] LOG:  database system is shut down\n"
    )
    assert server_log.cause(log) == "too much Ask for less."
    assert server_log.cause("it printed nothing") == "it printed nothing"
