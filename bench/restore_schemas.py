"""Whether schemas that PostgreSQL accepts come back: restored, branched, drilled, imported.

Each schema is made at random, of what a plain dump and load fails at, in a database of its own.
What a copy has is compared with the original, object by object and row by row; a difference has to
be in the operation's report, and only what the schema's making foretells may be there.

Several schemas are tried at a time in one installation. What came of each is added to the file
``--results`` when it is done; a schema that is in that file already is not tried again.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from support import Installation, machine, say

from answers import data  # isort: skip (support knows where the tests are)
from unusual_schemas import generate, inventory, unaccounted

PATIENCE = 900.0
GROUP = 20  # databases in one installation: each makes the side cluster of the others slower
UPLOAD = {"Content-Type": "application/octet-stream"}
# An import shows of a foreign key by the statement that makes it.
FOREIGN_KEY = re.compile(r"ALTER TABLE (?:ONLY )?(\S+)\s+ADD CONSTRAINT (\S+) FOREIGN KEY")

Row = dict[str, Any]


@dataclass
class Outcome:
    """What came of one schema: how long each way took, what was reported, and what is wrong."""

    seed: int
    seconds: dict[str, float] = field(default_factory=dict)
    reported: dict[str, int] = field(default_factory=dict)
    failures: list[Row] = field(default_factory=list)


class Trial:
    """One schema in an installation, by all ways."""

    def __init__(self, here: Installation, api: httpx.Client, seed: int) -> None:
        self.here = here
        self.api = api
        self.schema = generate(seed)
        self.outcome = Outcome(seed)
        self.before: dict[str, str] = {}

    def ended(self, answer: httpx.Response) -> Row:
        """An operation, once it has ended."""
        started = data(answer, 202)
        path = f"/api/operations/{started.get('operation', started)['id']}"
        until = time.monotonic() + PATIENCE
        while (row := data(self.api.get(path)))["finished_at"] is None:
            if time.monotonic() > until:
                say(self.here.log_tail())
                at = f"{row['status']} at {row['step']} {row['progress']}"
                raise TimeoutError(f"{row['kind']} has not ended within {PATIENCE:.0f} s: {at}")
            time.sleep(0.2)
        return dict(row)

    def contents(self, name: str) -> dict[str, str]:
        with self.here.superuser(dbname=name) as session:
            return inventory(session, is_recovered=True)

    def compare(self, way: str, done: Row, *, name: str) -> None:
        """Note what is wrong with a copy."""
        if done["status"] != "succeeded":
            self.fail(way, str(done["error"]))
            return
        schema, result = self.schema, done["result"]
        for kind, wanted in (("changed", schema.changed), ("lost", schema.lost)):
            found = [each["object"] for each in result[kind]]
            self.outcome.reported[kind] = self.outcome.reported.get(kind, 0) + len(found)
            self.compare_reported(way, found, wanted)
        self.compare_contents(way, name, [*result["changed"], *result["lost"]])

    def compare_reported(self, way: str, found: Sequence[str], wanted: Sequence[str]) -> None:
        may_be = [*wanted, *self.schema.refreshed]
        missing = [part for part in wanted if not any(part in each for each in found)]
        more = [each for each in found if not any(part in each for part in may_be)]
        if missing or more:
            self.fail(way, f"reported: {found}, and not {wanted}")

    def compare_contents(self, way: str, name: str, reported: Sequence[Row]) -> None:
        if wrong := unaccounted(self.before, self.contents(name), self.schema, reported):
            self.fail(way, "; ".join(wrong[:5]))

    def fail(self, way: str, why: str) -> None:
        say(f"{way} of {self.schema.name}: {why}")
        self.outcome.failures.append({"way": way, "schema": self.schema.name, "why": why})

    @contextmanager
    def timed(self, way: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.outcome.seconds[way] = round(time.monotonic() - began, 3)

    # ── the ways ─────────────────────────────────────────────────────────────

    def run(self) -> Outcome:
        """Try all ways, and leave nothing."""
        seed = self.outcome.seed
        database = self.here.create(name=f"schema-{seed}", shadow=False)
        with psycopg.connect(database["connection_string"], autocommit=True) as session:
            self.schema.create(session)
            time.sleep(0.15)  # what is checked against the time is true no more
            self.before = self.contents(database["database_name"])
            self.branch(database)  # its parent has a session: by a dump
        self.import_dump(database)
        self.restore(database)
        self.api.delete(f"/api/databases/{database['id']}")
        return self.outcome

    def branch(self, parent: Row) -> None:
        with self.timed("branch"):
            answer = self.api.post(
                f"/api/databases/{parent['id']}/branches", json={"name": f"br-{self.outcome.seed}"}
            )
            done = self.ended(answer)
        branch = data(answer, 202)
        self.compare("branch", done, name=branch["database_name"])
        self.api.delete(f"/api/databases/{branch['id']}")

    def import_dump(self, source: Row) -> None:
        """What its owner dumps, imported into another database."""
        made = self.here.create(name=f"import-{self.outcome.seed}", shadow=False)
        path = f"/api/databases/{made['id']}/import"
        with tempfile.TemporaryDirectory() as folder, self.timed("import"):
            dump = Path(folder, "dump")
            subprocess.run(
                ["pg_dump", "--format=custom", f"--file={dump}", source["connection_string"]],
                check=True,
            )
            content = dump.read_bytes()
        with self.timed("import"):
            done = self.ended(self.api.post(path, content=content, headers=UPLOAD))
            if self.schema.lost:
                if (done["error"] or {}).get("code") != "import_would_lose":
                    self.fail("import without consent", str(done["error"]))
                accepting = {"accept_losses": "true"}
                answer = self.api.post(path, params=accepting, content=content, headers=UPLOAD)
                done = self.ended(answer)
        if done["status"] != "succeeded":
            self.fail("import", str(done["error"]))
        else:
            found = [FOREIGN_KEY.sub(r"FK CONSTRAINT \1 \2", each)
                     for each in done["result"]["left_out"]]  # fmt: skip
            self.compare_reported("import", found, [*self.schema.changed, *self.schema.lost])
            reported = [{"object": re.split(r":? \(|: ", each)[0]} for each in found]
            self.compare_contents("import", made["database_name"], reported)
        self.api.delete(f"/api/databases/{made['id']}")

    def restore(self, database: Row) -> None:
        """From a backup and to a moment, as new and in place; and the drill that foretells it."""
        name, path = database["database_name"], f"/api/databases/{database['id']}"
        backup = self.ended(self.api.post(f"{path}/backups", json={}))["result"]["backup_id"]
        for way, to in (("backup as new", backup), ("moment as new", "latest")):
            with self.timed(way):
                done = self.ended(self.api.post(f"{path}/restore", json={"to": to, "as": "new"}))
            made = (done["result"] or {}).get("database_name", "")
            self.compare(way, done, name=made)
            if made:
                self.api.delete(f"/api/databases/{done['result']['database_id']}")
        with self.timed("drill"):
            drill = self.ended(self.api.post(f"{path}/drill"))
        if (drill["status"] == "succeeded") is bool(self.schema.lost):
            self.fail("drill", f"{drill['status']}: {drill['error']}")
        in_place: Row = {"to": "latest", "as": "in_place"}
        with self.timed("in place"):
            done = self.ended(self.api.post(f"{path}/restore", json=in_place))
            if self.schema.lost:
                if (done["error"] or {}).get("code") != "restore_would_lose":
                    self.fail("in place without consent", str(done["error"]))
                in_place["accept_losses"] = True
                done = self.ended(self.api.post(f"{path}/restore", json=in_place))
        self.compare("in place", done, name=name)


# ── all of them ──────────────────────────────────────────────────────────────


class Results:
    """The outcomes, in a file if there is to be one: a line of JSON each."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.about: dict[str, object] = {}
        self.outcomes: dict[int, Outcome] = {}
        if file is not None and file.exists():
            for line in file.read_text().splitlines():
                found = Outcome(**json.loads(line))
                self.outcomes[found.seed] = found

    def add(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes[outcome.seed] = outcome
            if self._file is not None:
                with self._file.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")

    def report(self, seeds: Sequence[int]) -> Row:
        found = [self.outcomes[seed] for seed in seeds if seed in self.outcomes]
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        reported: Counter[str] = Counter()
        for each in found:
            reported.update(each.reported)
            for way, took in each.seconds.items():
                seconds[way].append(took)
        failures = [{"seed": each.seed, **why} for each in found for why in each.failures]
        return {
            "machine": self.about,
            "schemas": len(found),
            "passed": sum(not each.failures for each in found),
            "mean_seconds": {way: round(sum(t) / len(t), 2) for way, t in seconds.items()},
            "reported": reported,
            "failures": failures,
            "aims": {
                "every schema comes back, or exactly as reported": not failures
                and len(found) == len(seeds)
            },
        }


def try_group(seeds: Sequence[int], workers: int, results: Results) -> None:
    """Try schemas in one installation, so many at a time."""
    environment = {
        "TENANTRY_BACKUPS": "on",
        "TENANTRY_WARM_POOL": "0",
        "TENANTRY_REPLACED_DAYS": "1",
    }
    here = Installation(environment, patience=PATIENCE)

    def attempt(seed: int) -> None:
        say(f"schema {seed}")
        with here.client() as api:
            trial = Trial(here, api, seed)
            try:
                trial.run()
            except Exception as error:
                trial.fail("?", repr(error))
        results.add(trial.outcome)

    pool = ThreadPoolExecutor(workers)
    try:
        here.up()
        here.back_up("shared-1")
        results.about = machine(here)
        for each in [pool.submit(attempt, seed) for seed in seeds]:
            each.result()
    finally:
        pool.shutdown(cancel_futures=True)
        here.remove()


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--from", type=int, default=1000, dest="first", help="the first seed")
    parser.add_argument("--workers", type=int, default=4, help="schemas at a time")
    parser.add_argument("--results", type=Path, help="a file to add what came of each to")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = Results(asked.results)
    seeds = range(asked.first, asked.first + asked.schemas)
    wanted = [seed for seed in seeds if seed not in results.outcomes]
    began = time.monotonic()
    try:
        for start in range(0, len(wanted), GROUP):
            try_group(wanted[start : start + GROUP], asked.workers, results)
    finally:
        took = {"seconds": round(time.monotonic() - began, 1)}
        print(json.dumps(results.report(seeds) | took, indent=2))


if __name__ == "__main__":
    main()
