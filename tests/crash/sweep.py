"""A worker killed at everything that it does: at each event, and before each change by SQL.

Nobody keeps a list of those: a new step is killed at, too, from the day on which it comes. After
each kill, while no worker is there, somebody looks at what tenants see.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from scene import Scene, wait_for

from clients import hurry

Row = dict[str, Any]
Look = Callable[[], object]
StatementsOf = Literal["operations", "rounds"]

_MOST_SECONDS = 600.0
_POLL_SECONDS = 0.003
_ASK_SECONDS = 0.1


class RisingScene(Scene):
    """An installation whose worker is there again at once whenever it was killed."""

    def __init__(self, **environment: str) -> None:
        super().__init__(**environment)
        self.installation.environment |= {
            "CRASH_RISING": "1",
            "TENANTRY_WARM_POOL": "0",
            "TENANTRY_DRILL_TIME": "off",
        }

    # ── operations ───────────────────────────────────────────────────────────

    def started(self, path: str, **asked: object) -> Row:
        """What is answered to a request whose operation goes on."""
        answer = self.ask("POST", path, json=asked)
        assert answer is not None
        assert answer.status_code == 202, answer.text
        data: Row = answer.json()["data"]
        operation: Row = data.get("operation", data)
        return operation | {"asked": data}

    def operation(self, operation_id: str) -> Row:
        answer = self.ask("GET", f"/api/operations/{operation_id}")
        assert answer is not None
        assert answer.status_code == 200, answer.text
        data: Row = answer.json()["data"]
        return data

    def _idle(self) -> bool:
        answer = self.ask("GET", "/api/operations", params={"limit": 100})
        assert answer is not None
        return all(row["finished_at"] for row in answer.json()["data"])

    def ended(self, operation: Row) -> Row:
        """An operation, once it has ended."""
        wait_for("its end", lambda: self.operation(operation["id"])["finished_at"])
        return self.operation(operation["id"]) | {"asked": operation["asked"]}

    # ── killed ───────────────────────────────────────────────────────────────

    def killed_everywhere(
        self, begin: Callable[[], Row], look: Look, *, statements: bool = False
    ) -> Row:
        """An operation that succeeds although its worker is killed at all that it does."""
        done = self.killed(begin, look, statements=statements, everywhere=True)
        assert done["status"] == "succeeded", done
        return done

    def cancelled_at(self, event: str, begin: Callable[[], Row], look: Look) -> Row:
        """The same of one that is cancelled after the death at an event."""
        started: list[Row] = []

        def look_and_cancel() -> None:
            look()
            if self.fallen()[-1].split()[0] == event:
                answer = self.ask("POST", f"/api/operations/{started[0]['id']}/cancel", json={})
                assert answer is not None
                assert answer.status_code == 202, answer.text

        def begin_and_remember() -> Row:
            started.append(begin())
            return started[0]

        done = self.killed(begin_and_remember, look_and_cancel)
        assert done["status"] == "cancelled", done
        return done

    def killed(
        self,
        begin: Callable[[], Row],
        look: Look,
        *,
        statements: bool = False,
        everywhere: bool = False,
    ) -> Row:
        """What becomes of an operation whose worker is killed at all that it does.

        With ``statements`` also before each statement of its that changes something; with
        ``everywhere`` at each of its steps, without exception. Whatever else the worker does
        meanwhile is killed, too. ``look`` is called after each death.
        """
        wait_for("the end of what the worker's rounds began", self._idle)
        self._sweep("operations" if statements else None)
        try:
            operation = begin()
            self._until(lambda: self.operation(operation["id"])["finished_at"], look)
            ended = self.operation(operation["id"])
            if everywhere and ended["status"] == "succeeded":
                # The end is there to be seen a moment before the worker falls at it.
                self._until(lambda: not self._unharmed(ended["kind"]), look)
        finally:
            self._rest()
        return self.ended(operation)

    def _unharmed(self, kind: str) -> set[str]:
        """The steps of an operation at which no worker has been killed."""
        steps = {f"{kind}.{step}" for step in self.flows()[kind]}
        return steps - {each.split()[0] for each in self.fallen()}

    def killed_until(self, over: Callable[[], object], look: Look) -> None:
        """The same where no operation is begun: the worker's own rounds do it."""
        self._sweep("rounds")
        try:
            self._until(over, look)
        finally:
            self._rest()

    def kill_worker(self) -> None:
        """Kill the worker that there is, and none after it."""
        parent = self.pid("worker")
        tasks = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        os.kill(int(tasks[0]), signal.SIGKILL)

    def fallen(self) -> list[str]:
        """What workers were killed at since the last sweep began, in that order."""
        file = self._folder / "fallen"
        return file.read_text().splitlines() if file.exists() else []

    def _sweep(self, statements_of: StatementsOf | None) -> None:
        for name in ("fallen", "struck"):
            (self._folder / name).unlink(missing_ok=True)
        wanted = self._folder / "wanted"
        wanted.write_text(json.dumps({"statements_of": statements_of}))
        wanted.chmod(0o644)
        wanted.rename(self._folder / "sweep")

    def _until(self, over: Callable[[], object], look: Look) -> None:
        give_up = time.monotonic() + _MOST_SECONDS
        asked = 0.0
        while True:
            if self.struck():
                look()
                self.forget_strike()
            elif time.monotonic() - asked > _ASK_SECONDS:
                if over():
                    return
                asked = time.monotonic()
            assert time.monotonic() < give_up, f"it does not end: {self.fallen()[-5:]}"
            time.sleep(_POLL_SECONDS)

    def _rest(self) -> None:
        (self._folder / "sweep").unlink(missing_ok=True)
        self.forget_strike()


@contextmanager
def risen(**environment: str) -> Iterator[RisingScene]:
    """A scene that is up for the duration of the block."""
    found = RisingScene(**environment)
    try:
        found.installation.up()
        hurry(found.installation)
        found.up()
        yield found
    finally:
        found.remove()
