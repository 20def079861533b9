"""The CPU time and memory of the sessions of databases, from their processes on this machine."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tenantry.host import processes
from tenantry.host.processes import ProcessUse


class SessionUse:
    """The CPU time that the sessions of each database have used, and their memory now.

    A session's time counts until it was last seen: what it used from then to its end is lost.
    """

    def __init__(self) -> None:
        self._before: dict[int, ProcessUse] = {}
        self._cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self._memory: dict[str, int] = {}

    def look(self, pids: Mapping[str, Sequence[int]]) -> None:
        """Look at the processes of all open sessions, by the name of their database."""
        now: dict[int, ProcessUse] = {}
        memory: defaultdict[str, int] = defaultdict(int)
        for name, some in pids.items():
            for pid in some:
                if (use := processes.use(pid)) is None:
                    continue
                now[pid] = use
                before = self._before.get(pid)
                earlier = before.cpu_seconds if before and before.began == use.began else 0.0
                self._cpu_seconds[name] += max(0.0, use.cpu_seconds - earlier)
                memory[name] += use.memory_bytes
        self._before = now
        self._memory = dict(memory)

    def cpu_seconds(self, name: str) -> float:
        """Return what the sessions of a database have used since the first look."""
        return self._cpu_seconds.get(name, 0.0)

    def memory_bytes(self, name: str) -> int:
        return self._memory.get(name, 0)
