"""Loaded by Python itself into each process of an installation: it kills when a step is done.

The product knows nothing of it. In the API and in the worker it hears their events, adds
each step to the file ``steps``, and looks whether the file ``armed`` names this part and
this step or change. If so it takes that file away, to strike only once, and kills -9 the
victim. A worker may also be killed at everything that it does: see ``rising``.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from rising import rise

PARTS = {"api", "worker", "listener"}
VICTIMS = {
    "api": "run/api.pid",
    "worker": "run/worker.pid",
    "listener": "run/listener.pid",
    "pooler": "run/pooler.pid",
    "control": "clusters/control/data/postmaster.pid",
    "shared-1": "clusters/shared-1/data/postmaster.pid",
}
DYING_SECONDS = 2


def name_of_this_process() -> str | None:
    """The part that it is; ``up`` for the supervisor."""
    match sys.orig_argv[1:]:
        case ["-m", "tenantry", name]:
            return name
        case ["-m", "tenantry.cli", *words] if "up" in words:
            return "up"
    return None


def restart_at_once() -> None:
    """Have the supervisor not wait, though a part is killed again and again."""
    from tenantry.services import supervisor  # noqa: PLC0415

    supervisor._WELL_SECONDS = 0.0


def listen(home: Path, part: str) -> None:
    from tenantry.base.events import Change, Event, StepDone, subscribe  # noqa: PLC0415
    from tenantry.host.processes import is_alive  # noqa: PLC0415

    folder = home / "crash"

    def hear(event: Event) -> None:
        match event:
            case StepDone(flow, step, subject):
                with (folder / "steps").open("a") as steps:
                    steps.write(json.dumps([part, f"{flow}.{step}", subject]) + "\n")
                strike(f"{flow}.{step}")
            case Change():
                strike(event.name())

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
        file = VICTIMS.get(armed["victim"]) or armed["file"]
        victim = int((home / file).read_text().split()[0])
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + DYING_SECONDS
        while is_alive(victim) and time.monotonic() < deadline:
            time.sleep(0.001)

    subscribe(hear)


part = name_of_this_process()
if part == "up":
    restart_at_once()
elif part in PARTS:
    home = Path(os.environ["TENANTRY_HOME"])
    if part == "worker" and "CRASH_RISING" in os.environ:
        rise(home / "crash")
    listen(home, part)
