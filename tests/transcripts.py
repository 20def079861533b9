"""Sessions at the command line as text, to compare with what somebody has read and approved.

What differs from run to run (ids, secrets, times, sizes, ports, folders) is replaced by words.
``TENANTRY_UPDATE_SNAPSHOTS=1`` writes the file in place of comparing: read the difference, as a
reader of the messages, before you commit it.
"""

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

UPDATE = "TENANTRY_UPDATE_SNAPSHOTS"

_MOMENT = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?(?:[A-Z]{2,5}|Z|[+-]\d\d:?\d\d))?"
_PATTERNS = [
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"\btnt_[\w-]{20,}", "tnt_KEY"),
    (r"\btnt_[0-9a-f]{8}\b", "tnt_BEGINNING"),
    (r"(postgres(?:ql)?://[^:@/ ]+):[^@*… ]+@", r"\1:PASSWORD@"),
    (r"(?m)^(password\s+)\S+", r"\1PASSWORD"),
    (r"(?m)^(secret\s+|URI\s+)\S+", r"\1SECRET"),
    (r"(?m)^(recovery code +\d+\s+)\S+", r"\1CODE"),
    (r"(?m)^.*[█▀▄].*\n", ""),
    (r"_before_[0-9a-f]{12}\b", "_before_N"),
    (r"(?m)^│ the system user .*\n", ""),  # where root runs it
    (r"\b\d{8}-\d{6}\b", "MOMENT"),
    (r"\b\d{14}(?=_)", "VERSION"),
    (_MOMENT, "MOMENT"),
    (r"\b\d+(?:\.\d+)? (?:B|kB|KiB|MB|MiB|GB|GiB|bytes)\b", "SIZE"),
    (r"\b\d+(?:\.\d+)? ?(?:ms|s|min|h)\b", "TIME"),
    (r"\b(PostgreSQL|PgBouncer) \d+(?:\.\d+)+", r"\1 VERSION"),
    (r"\bpid \d+", "pid N"),
    (r"\b[0-9a-f]{40,}\b", "HASH"),
]


class Transcript:
    """What was typed, and what came; ``words`` are replaced in both."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = dict(words)
        self._names: dict[str, int] = {}
        self._text = ""

    def say(self, heading: str) -> None:
        """Begin a chapter."""
        self._text += f"\n# {heading}\n"

    def run(
        self, *arguments: str, env: Mapping[str, str], code: int = 0, stdin: str = "", who: str = ""
    ) -> str:
        """Run the CLI, without a terminal; return what it printed as its result.

        What it says beside the result, on standard error, stands behind ``│``.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tenantry.cli", *arguments],
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            cwd="/",
        )
        beside = "".join(f"│ {line}\n" for line in done.stderr.splitlines())
        self.note(arguments, done.stdout + beside, code=done.returncode, who=who)
        if os.environ.get(UPDATE):
            return done.stdout  # an unexpected end is seen in the file
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{beside}"
        return done.stdout

    def note(self, arguments: tuple[str, ...], said: str, *, code: int = 0, who: str = "") -> None:
        """Take in what was said to a command."""
        typed = " ".join(f"'{each}'" if " " in each else each for each in arguments)
        end = f"[exit code {code}]\n" if code else ""
        self._text += f"\n{who}$ tenantry {typed}\n{said}{end}"

    def text(self) -> str:
        """All of it, alike in each run."""
        found = self._text
        for here, word in sorted(self._words.items(), key=lambda each: -len(each[0])):
            found = found.replace(here, word)
        for pattern, word in _PATTERNS:
            found = re.sub(pattern, word, found)
        found = re.sub(r"\b(tenant|user|user_shadow)_([a-z0-9]{12})(?![a-z0-9])", self._name, found)
        lines = [re.sub(r"(?<=\S) {2,}", "  ", line).rstrip() for line in found.splitlines()]
        return "\n".join(lines).strip() + "\n"

    def _name(self, found: re.Match[str]) -> str:
        number = self._names.setdefault(found[2], len(self._names) + 1)
        return f"{found[1]}_{number}"


def compare(text: str, file: Path) -> None:
    """Compare with what was approved; raises AssertionError with the difference."""
    if os.environ.get(UPDATE):
        file.write_text(text)
        return
    approved = file.read_text() if file.exists() else ""
    difference = "\n".join(
        difflib.unified_diff(
            approved.splitlines(), text.splitlines(), str(file.name), "now", lineterm="", n=4
        )
    )
    assert not difference, f"Read this; {UPDATE}=1 takes it as it is.\n{difference}"
