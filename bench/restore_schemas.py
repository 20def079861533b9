"""Whether schemas that PostgreSQL accepts come back: as new, in place, as a branch, in a drill.

Each schema is made at random, of what a plain dump and load fails at, in a database of its own.
What a copy has is compared with the original, object by object and row by row; a difference has to
be in the operation's report, and only what the schema's making foretells may be there.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg

from support import Installation, machine, say

from answers import data  # isort: skip (support knows where the tests are)
from unusual_schemas import Schema, generate, inventory, unaccounted

PATIENCE = 600.0
GROUP = 20  # databases at a time: each makes the side instances of the others slower

Row = dict[str, Any]


class World:
    """An installation with one database for each schema of a group."""

    def __init__(self, here: Installation, api: httpx.Client) -> None:
        self.here = here
        self.api = api
        self.failures: list[Row] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.told: Counter[str] = Counter()

    def ended(self, answer: httpx.Response) -> Row:
        """An operation, once it has ended."""
        begun = data(answer, 202)
        path = f"/api/operations/{begun.get('operation', begun)['id']}"
        until = time.monotonic() + PATIENCE
        while (row := data(self.api.get(path)))["finished_at"] is None:
            if time.monotonic() > until:
                raise TimeoutError(f"{row['kind']} has not ended within {PATIENCE:.0f} s")
            time.sleep(0.1)
        return dict(row)

    def contents(self, name: str) -> dict[str, str]:
        with self.here.superuser(dbname=name) as session:
            return inventory(session, is_recovered=True)

    def compare(
        self, way: str, schema: Schema, before: dict[str, str], *, done: Row, name: str
    ) -> None:
        """Keep what is wrong with a copy."""
        if done["status"] != "succeeded":
            self.fail(way, schema, done["error"]["detail"])
            return
        result = done["result"]
        for kind, wanted in (("changed", schema.changed), ("lost", schema.lost)):
            found = [each["object"] for each in result[kind]]
            self.told[kind] += len(found)
            may_be = [*wanted, *schema.refreshed]
            missing = [part for part in wanted if not any(part in each for each in found)]
            more = [each for each in found if not any(part in each for part in may_be)]
            if missing or more:
                self.fail(way, schema, f"{kind}: {result[kind]}, and not {wanted}")
        remarks = [*result["changed"], *result["lost"]]
        if wrong := unaccounted(before, self.contents(name), schema, remarks):
            self.fail(way, schema, "; ".join(wrong[:5]))

    def fail(self, way: str, schema: Schema, why: str) -> None:
        say(f"{way} of {schema.name}: {why}")
        self.failures.append({"way": way, "schema": schema.name, "why": why})

    @contextmanager
    def timed(self, way: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[way] += round(time.monotonic() - began, 3)

    def try_all(self, seed: int) -> None:
        """One schema, by all ways."""
        schema = generate(seed)
        database = self.here.create(name=f"schema-{seed}", shadow=False)
        name, path = database["database_name"], f"/api/databases/{database['id']}"
        with psycopg.connect(database["connection_string"], autocommit=True) as session:
            schema.create(session)
            time.sleep(0.15)  # what is checked against the time is true no more
            before = self.contents(name)
            with self.timed("branch"):  # its parent has a session: by a dump
                answer = self.api.post(f"{path}/branches", json={"name": f"br-{seed}"})
                done = self.ended(answer)
        branch = data(answer, 202)
        self.compare("branch", schema, before, done=done, name=branch["database_name"])
        backup = self.ended(self.api.post(f"{path}/backups", json={}))["result"]["backup_id"]
        for way, to in (("backup as new", backup), ("moment as new", "latest")):
            with self.timed(way):
                done = self.ended(self.api.post(f"{path}/restore", json={"to": to, "as": "new"}))
            made = (done["result"] or {}).get("database_name", "")
            self.compare(way, schema, before, done=done, name=made)
            if made:
                self.api.delete(f"/api/databases/{done['result']['database_id']}")
        with self.timed("drill"):
            drill = self.ended(self.api.post(f"{path}/drill"))
        if (drill["status"] == "succeeded") is bool(schema.lost):
            self.fail("drill", schema, f"{drill['status']}: {drill['error']}")
        in_place: Row = {"to": "latest", "as": "in_place"}
        with self.timed("in place"):
            done = self.ended(self.api.post(f"{path}/restore", json=in_place))
        if schema.lost:
            if (done["error"] or {}).get("code") != "restore_would_lose":
                self.fail("in place without consent", schema, str(done["error"]))
            in_place["accept_losses"] = True
            done = self.ended(self.api.post(f"{path}/restore", json=in_place))
        self.compare("in place", schema, before, done=done, name=name)
        self.api.delete(f"/api/databases/{branch['id']}")
        self.api.delete(path)


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--from", type=int, default=1000, dest="first", help="the first seed")
    asked = parser.parse_args()
    began = time.monotonic()
    failures: list[Row] = []
    seconds: defaultdict[str, float] = defaultdict(float)
    told: Counter[str] = Counter()
    about: dict[str, object] = {}
    seeds = range(asked.first, asked.first + asked.schemas)
    for start in range(0, len(seeds), GROUP):
        here = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0",
                             "TENANTRY_REPLACED_DAYS": "1"})  # fmt: skip
        try:
            here.up()
            here.back_up("shared-1")
            about = machine(here)
            with here.client() as api:
                world = World(here, api)
                for seed in seeds[start : start + GROUP]:
                    say(f"schema {seed}")
                    try:
                        world.try_all(seed)
                    except Exception as error:
                        world.fail("?", generate(seed), repr(error))
                failures += world.failures
                for way, took in world.seconds.items():
                    seconds[way] += took
                told.update(world.told)
        finally:
            here.remove()
    print(
        json.dumps(
            {
                "machine": about,
                "schemas": asked.schemas,
                "seconds": round(time.monotonic() - began, 1),
                "mean_seconds": {
                    way: round(total / asked.schemas, 2) for way, total in seconds.items()
                },
                "told": told,
                "failures": failures,
                "aims": {"every schema comes back, or exactly as reported": not failures},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
