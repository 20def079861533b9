"""``tenantry logs`` on files as the parts write them."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

import pytest

from tenantry.cli import logs

API = b'{"path": "/health", "part": "api"}\n'
WORKER = b'{"event": "round", "part": "worker"}\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="tnt-") as home:  # its name must be short, for sockets
        made = Path(home) / "logs"
        made.mkdir()
        yield made


def shown(folder: Path, *words: str) -> bytes:
    done = run(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    program = "from tenantry.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", program, "logs", *words],
        env={**os.environ, "TENANTRY_HOME": str(folder.parent)},
        capture_output=True,
        check=False,
    )


def test_a_part_has_its_own_lines_of_the_file_that_several_write(folder: Path) -> None:
    (folder / "tenantry.log").write_bytes(API + WORKER + b"API  http://127.0.0.1\n" + API)
    assert shown(folder, "api") == API + API
    assert shown(folder, "worker") == WORKER
    assert shown(folder, "supervisor") == b"API  http://127.0.0.1\n"


def test_the_last_lines_of_the_newest_file_are_shown(folder: Path) -> None:
    for number, name in enumerate(("shared-1-start", "shared-1-2", "shared-1-1", "control-1")):
        path = folder / f"{name}.log"
        path.write_text("".join(f"{name} {line}\n" for line in range(100)))
        os.utime(path, (number, number))
    assert shown(folder, "shared-1", "-n", "2") == b"shared-1-1 98\nshared-1-1 99\n"
    assert shown(folder, "shared-1").count(b"\n") == 50
    assert shown(folder, "control", "--lines", "0") == b""


def test_a_part_that_has_logged_nothing_is_an_error(folder: Path) -> None:
    done = run(folder, "pooler")
    assert done.returncode == 1
    assert b"pooler has logged nothing" in done.stderr
    done = run(folder, "poler")
    assert done.returncode == 1
    assert b"Did you mean pooler?" in done.stderr


def test_what_comes_is_followed_also_into_the_next_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_LOOK_SECONDS", 0.01)
    first, second = folder / "1.log", folder / "2.log"
    first.write_bytes(b"before\n")
    newest = [first]
    lines: Queue[bytes] = Queue()

    def follow() -> None:
        found: Iterator[bytes] = logs._follow(lambda: newest[0], first, 7)
        for line in found:
            lines.put(line)
            if line == b"end\n":
                return

    thread = threading.Thread(target=follow)
    thread.start()

    def comes(path: Path, written: bytes, *wanted: bytes) -> None:
        with path.open("ab") as file:
            file.write(written)
        assert [lines.get(timeout=30) for _ in wanted] == [*wanted]

    comes(first, b"one\nha")
    comes(first, b"lf\n", b"one\n", b"half\n")
    first.write_bytes(b"x\n")  # emptied, and written again
    comes(first, b"y\n", b"x\n", b"y\n")
    with first.open("ab") as file:
        file.write(b"last\n")
    second.write_bytes(b"new\n")
    newest[0] = second
    comes(second, b"end\n", b"last\n", b"new\n", b"end\n")
    thread.join(30)
    assert not thread.is_alive()
