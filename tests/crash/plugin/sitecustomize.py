"""Loaded by Python itself into each process of an installation: it kills when a step is done.

The product knows nothing of it. In the API and in the worker it hears their events, adds
each to the file ``events``, and looks whether the file ``armed`` names this part and this
step. If so it takes that file away, so that it strikes once, and kills -9 the victim.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

PARTS = {"tenantry.api": "api", "tenantry.worker": "worker"}
VICTIMS = {
    "api": "run/api.pid",
    "worker": "run/worker.pid",
    "pooler": "run/pooler.pid",
    "control": "clusters/control/data/postmaster.pid",
    "shared-1": "clusters/shared-1/data/postmaster.pid",
}
DYING_SECONDS = 2


def part_of_this_process() -> str | None:
    words = sys.orig_argv
    return PARTS.get(words[words.index("-m") + 1]) if "-m" in words[:-1] else None


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True


def listen(home: Path, part: str) -> None:
    from tenantry.base.events import Changed, Event, StepDone, subscribe  # noqa: PLC0415

    folder = home / "crash"

    def hear(event: Event) -> None:
        match event:
            case StepDone(flow, step, subject):
                name = f"{flow}.{step}"
            case Changed(name, subject):
                pass
            case _:
                return
        kind = type(event).__name__
        told = {"part": part, "name": name, "subject": subject, "kind": kind}
        with (folder / "events").open("a") as events:
            events.write(json.dumps(told) + "\n")
        strike(name)

    def strike(name: str) -> None:
        try:
            armed = json.loads((folder / "armed").read_text())
            if (armed["part"], armed["step"]) != (part, name):
                return
            # Of two that come to the same step at once, one finds the file gone.
            (folder / "armed").rename(folder / "struck")
        except FileNotFoundError:
            return
        if armed["victim"] == part:
            os.kill(os.getpid(), signal.SIGKILL)
        victim = int((home / VICTIMS[armed["victim"]]).read_text().split()[0])
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + DYING_SECONDS
        while not is_dead(victim) and time.monotonic() < deadline:
            time.sleep(0.001)

    subscribe(hear)


if (part := part_of_this_process()) is not None:
    listen(Path(os.environ["TENANTRY_HOME"]), part)
