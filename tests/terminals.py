"""A program on a terminal of its own, as a person meets it: reads prompts, types answers."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
from collections.abc import Mapping
from types import TracebackType
from typing import Self

_SECONDS = 60  # that a prompt may take to come
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The CLI of the code under test on a terminal of ``size`` (lines, columns)."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str], size: tuple[int, int] = (24, 80)
    ) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, size)
        # The width is the terminal's own, whatever the one around the tests says.
        env = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}}
        # A terminal that controls the session: passwords are asked for on /dev/tty.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, "-m", "tenantry.cli", *arguments],
            env={**env, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd="/",
        )
        os.close(theirs)
        self._raw = b""
        self._typed = 0  # where in what was seen the last answer was typed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        os.close(self._ours)  # which ends whoever still reads from it
        self._process.wait(_SECONDS)

    @property
    def seen(self) -> str:
        """All that has stood there, without colours."""
        return _STYLE.sub("", self._raw.decode(errors="replace")).replace("\r\n", "\n")

    def expect(self, text: str) -> str:
        """Wait until this has come after what was typed last; return all that was seen."""
        while text not in self.seen[self._typed :]:
            assert self._read(), f"{text!r} did not come:\n{self.seen}"
        return self.seen

    def type(self, line: str) -> None:
        """Type a line."""
        self._typed = len(self.seen)
        os.write(self._ours, f"{line}\n".encode())

    def end(self) -> tuple[int, str]:
        """Wait for its end: its exit code, and all that was seen."""
        while self._read():
            pass
        return self._process.wait(_SECONDS), self.seen

    def _read(self) -> bool:
        assert select.select([self._ours], [], [], _SECONDS)[0], f"nothing came:\n{self.seen}"
        try:
            self._raw += (came := os.read(self._ours, 65_536))
        except OSError:  # Linux's way to say that the other end is closed
            return False
        return bool(came)
