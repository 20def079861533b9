"""A worker that is killed at everything it does, once, and is there again at once.

Python loads this into the worker, if CRASH_RISING is set. The process that the supervisor knows
becomes the parent of the real worker, and has another one whenever that was killed: the
supervisor would let each wait for longer than the one before.

While there is the file ``sweep``, a worker that comes to something that none before it has come
to notes it in the file ``fallen``, has ``struck`` tell of it, and kills itself. The next one
begins when somebody has looked at what exists, and has taken ``struck`` away.
"""

import asyncio
import ctypes
import json
import os
import re
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)
_POLL_SECONDS = 0.002
_CHANGES = re.compile(
    r"\s*(ALTER|CREATE|DELETE|DROP|GRANT|INSERT|PAUSE|REASSIGN|RESUME|REVOKE|UPDATE)\b"
)
# What is only observed is written by single transactions, which no tenant depends on; those are
# aborted in tests/server/test_sample_history.py and test_query_snapshots.py.
_OBSERVED = re.compile(r"\b(samples_|sample_|newest_samples|query_|alert)")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_VISITOR = re.compile(r"tenantry_visitor_[0-9a-f_]+")


class Sweep:
    """Whoever is killed by it, and where."""

    def __init__(self, folder: Path) -> None:
        self._wanted = folder / "sweep"
        self._fallen = folder / "fallen"
        self._struck = folder / "struck"

    def come_to(self, what: str) -> None:
        """Die of it, unless somebody has already."""
        if not self._wanted.exists():
            return
        fallen = self._fallen.read_text().splitlines() if self._fallen.exists() else []
        if what in fallen:
            return
        with self._fallen.open("a") as file:
            file.write(what + "\n")
        self._struck.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def come_to_statement(self, statement: str) -> None:
        """The same of what is about to be changed by SQL, if that is wanted of who changes it."""
        if not _CHANGES.match(statement) or "procrastinate" in statement:
            return
        if _OBSERVED.search(statement):
            return
        try:
            wanted = json.loads(self._wanted.read_text())
        except FileNotFoundError:
            return
        if wanted["statements_of"] == ("rounds" if _is_round() else "operations"):
            # A password is another one each time, and so is the name of a short visit's login.
            known = _VISITOR.sub("tenantry_visitor_…", _LITERAL.sub("'…'", statement))
            self.come_to("before " + " ".join(known.split()))

    def is_looked_at(self) -> bool:
        return self._wanted.exists() and self._struck.exists()


def rise(folder: Path) -> None:
    """Return in one worker after the other."""
    sweep = Sweep(folder)
    import procrastinate  # noqa: F401, PLC0415 (they are loaded once for all workers)

    import tenantry.services.platform  # noqa: F401, PLC0415

    def hand_on(number: int, _: FrameType | None) -> None:
        os.kill(child, number)

    while True:
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _watch_events(sweep)
            _watch_statements(sweep)
            return
        signal.signal(signal.SIGTERM, hand_on)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != -signal.SIGKILL:
            os._exit(code if code >= 0 else 128 - code)
        while sweep.is_looked_at():
            time.sleep(_POLL_SECONDS)


def _is_round() -> bool:
    """Whether this is one of the worker's rounds (its ``_every``), rather than an operation."""
    task = asyncio.current_task()
    return task is not None and getattr(task.get_coro(), "__name__", "") == "_every"


def _watch_events(sweep: Sweep) -> None:
    from tenantry.base.events import Change, Event, StepDone, subscribe  # noqa: PLC0415

    def hear(event: Event) -> None:
        match event:
            case StepDone(flow, step, subject):
                sweep.come_to(f"{flow}.{step} {subject}")
            case Change(subject):
                sweep.come_to(f"{event.name()} {subject}")

    subscribe(hear)


def _watch_statements(sweep: Sweep) -> None:
    import psycopg  # noqa: PLC0415
    from psycopg import sql  # noqa: PLC0415

    execute: Any = psycopg.AsyncCursor.execute

    async def watched(cursor: object, query: Any, *arguments: Any, **options: Any) -> object:
        text = query.as_string(None) if isinstance(query, sql.Composable) else query
        sweep.come_to_statement(text.decode() if isinstance(text, bytes) else text)
        return await execute(cursor, query, *arguments, **options)

    psycopg.AsyncCursor.execute = watched  # type: ignore[assignment,method-assign]
