"""Restores, branches and what has had its time, with the worker killed at all that it does.

After each death either what was or what is to come is whole and in service, never neither; in
the end nothing is left behind, and whoever was pooled goes on.
"""

import datetime as dt
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from psycopg import sql
from scene import ROWS, Database, wait_for
from sweep import RisingScene, Row, risen

from clients import block_copy
from harness import is_postmaster
from tenantry.host import processes

pytestmark = pytest.mark.takes_minutes

MASKING = "UPDATE kept SET n = -n"
WHOLE = (ROWS, ROWS * (ROWS + 1) // 2)
EMPTY = (0, None)
FEW = (10, 55)
# Each of these is killed at its steps in a module of its own, or changes nothing.
ELSEWHERE = {
    "backup.create",  # test_crash_backups
    "backup.verify",
    "cluster.add",  # test_cluster_add_killed
    "cluster.backup",  # test_cluster_backups
    "cluster.restore",  # test_cluster_restore_killed
    "cluster.verify",
    "database.blueprint",  # test_migrating, test_blueprint_killed
    "database.drill",  # test_drill
    "database.import",  # test_imports_cut_off
    "database.migrate",  # test_migrating
    "database.move",  # test_move_killed
    "database.analyze",  # test_maintenance
    "database.reindex",  # test_maintenance
    "database.vacuum",  # test_maintenance
    "database.vacuum_full",  # test_vacuum_full
    "fleet.migrate",
    "instance.create",  # test_instances_killed
    "instance.restart",
    "instance.start",
    "instance.stop",
    "site.backup",  # its file is put whole, and its row says last that it is ready
    "site.restore",  # test_cluster_restore_killed
}


@pytest.fixture(scope="module")
def backed_up() -> Iterator[RisingScene]:
    with risen(TENANTRY_BACKUPS="on") as scene:
        scene.installation.back_up("shared-1")
        yield scene


@pytest.fixture
def scene(backed_up: RisingScene) -> RisingScene:
    backed_up.reset()
    return backed_up


# ── what tenants see ─────────────────────────────────────────────────────────


def contents(scene: RisingScene, database: Database) -> tuple[Any, ...] | None:
    """How many rows there are, and their sum; of what is in service under that name."""
    with scene.installation.superuser(dbname=database["database_name"]) as server:
        return server.execute("SELECT count(*), sum(n) FROM kept").fetchone()


def look_at(scene: RisingScene, database: Database, *wanted: object) -> None:
    assert contents(scene, database) in wanted


def filled(scene: RisingScene, name: str) -> Database:
    database = scene.create(name)
    scene.fill(database)
    return database


def wrecked(scene: RisingScene) -> tuple[Database, str]:
    """A database that has lost its rows, and the moment before."""
    database = filled(scene, "wrecked")
    with scene.connect(database["connection_string"]) as session:
        session.execute("ALTER TABLE kept ADD PRIMARY KEY (n)")
    with scene.connect(database["connection_string"]) as session:
        (moment,) = session.execute("SELECT clock_timestamp()").fetchone() or (None,)
        session.execute("COMMIT; DELETE FROM kept")
    assert isinstance(moment, dt.datetime)
    return database, moment.isoformat()


def branch_of(scene: RisingScene, parent: Database) -> Database:
    """A branch with few rows, whose name and strings are its own."""
    done = scene.ended(scene.started(f"/api/databases/{parent['id']}/branches", name="branch"))
    assert done["status"] == "succeeded", done
    branch: Database = parent | {key: each for key, each in done["asked"].items() if each}
    with scene.connect(branch["connection_string"]) as session:
        session.execute("DELETE FROM kept WHERE n > 10")
    return branch


@contextmanager
def pooled(scene: RisingScene, database: Database, *, afterwards: object) -> Iterator[None]:
    """Somebody who has come by the pooler, and who goes on with what is there afterwards."""
    with scene.connect(database["connection_string_pooled"]) as session:
        session.autocommit = True
        session.execute("SELECT count(*), sum(n) FROM kept")
        yield
        session.execute("SET statement_timeout = '20s'")
        found = session.execute("SELECT count(*), sum(n) FROM kept").fetchone()
        assert found == afterwards or afterwards is None


def kept_of(scene: RisingScene, database: Database) -> list[Row]:
    answer = scene.ask("GET", f"/api/databases/{database['id']}/replaced")
    assert answer is not None
    rows: list[Row] = answer.json()["data"]
    return rows


# ── restores ─────────────────────────────────────────────────────────────────


# Those that read the log come first: it grows with every kill.
@pytest.mark.long_run
def test_a_branch_at_a_moment(scene: RisingScene) -> None:
    parent, moment = wrecked(scene)
    path = f"/api/databases/{parent['id']}/branches"
    done = scene.killed_everywhere(
        lambda: scene.started(path, name="b", at=moment), lambda: look_at(scene, parent, EMPTY)
    )
    assert done["result"]["method"] == "restore"
    assert contents(scene, done["asked"]) == WHOLE
    scene.reconcile()


def test_a_restore_in_place_and_putting_back(scene: RisingScene) -> None:
    database, moment = wrecked(scene)
    path = f"/api/databases/{database['id']}/restore"

    for to, result in ((moment, WHOLE), ("previous", EMPTY)):
        begin = partial(scene.started, path, to=to, **{"as": "in_place"})
        with pooled(scene, database, afterwards=result):
            scene.killed_everywhere(
                begin,
                lambda: look_at(scene, database, EMPTY, WHOLE),
                # Both swap in the same way; a restore has many more before it comes to that.
                statements=to == "previous",
            )
        assert contents(scene, database) == result
        scene.reconcile()
    assert len(kept_of(scene, database)) == 1
    assert scene.audited("database.restored", database) == 1
    assert scene.audited("database.put_back", database) == 2  # that it was wanted, and done
    scene.check_filled(scene.bystander)


@pytest.mark.long_run
def test_a_restore_as_new(scene: RisingScene) -> None:
    database, moment = wrecked(scene)
    path = f"/api/databases/{database['id']}/restore"
    done = scene.killed_everywhere(
        lambda: scene.started(path, to=moment, **{"as": "new"}),
        lambda: look_at(scene, database, EMPTY),
    )
    made = scene.ask("POST", f"/api/databases/{done['result']['database_id']}/rotate-password")
    assert made is not None
    scene.check_filled(made.json()["data"])
    scene.reconcile()


def test_lost_rows_that_come_back(scene: RisingScene) -> None:
    database, moment = wrecked(scene)
    path = f"/api/databases/{database['id']}/restore"
    begin = partial(scene.started, path, to=moment, tables=["kept"])
    done = scene.killed_everywhere(
        partial(begin, **{"as": "rows"}), lambda: look_at(scene, database, EMPTY, WHOLE)
    )
    assert done["result"]["inserted"] + done["result"]["already"] == ROWS
    assert contents(scene, database) == WHOLE
    scene.reconcile()


@pytest.mark.long_run
def test_a_table_that_is_copied_beside(scene: RisingScene) -> None:
    database, moment = wrecked(scene)
    path = f"/api/databases/{database['id']}/restore"
    done = scene.killed_everywhere(
        lambda: scene.started(path, to=moment, tables=["kept"]),
        lambda: look_at(scene, database, EMPTY),
    )
    assert done["result"]["tables"] == [{"schema": "public", "table": "kept", "rows": ROWS}]
    scene.reconcile()


def test_a_past_that_can_be_read(scene: RisingScene) -> None:
    database, moment = wrecked(scene)
    path = f"/api/databases/{database['id']}/past"
    done = scene.killed_everywhere(
        lambda: scene.started(path, to=moment), lambda: look_at(scene, database, EMPTY)
    )
    counted = scene.ask("GET", f"{path}/{done['id']}/tables")
    assert counted is not None
    [table] = counted.json()["data"]
    assert (table["then"], table["now"]) == (ROWS, 0)
    # Its server is killed: it is removed, and its place is free.
    for pid in filter(is_postmaster, processes.started_on(scene.installation.home / "scratch")):
        os.kill(pid, signal.SIGKILL)
    scene.reconcile()
    listed = scene.ask("GET", path)
    assert listed is not None
    assert listed.json()["data"] == []


@pytest.mark.parametrize(
    ("path", "asked", "step"),
    [
        ("restore", {"as": "in_place"}, "side_cluster.restored"),
        ("branches", {"name": "b"}, "branch.filling"),
        ("past", {}, "side_cluster.recovered"),
    ],
)
def test_one_that_is_given_up(
    scene: RisingScene, path: str, asked: dict[str, str], step: str
) -> None:
    database, moment = wrecked(scene)
    at = {"at" if path == "branches" else "to": moment}
    with pooled(scene, database, afterwards=EMPTY):
        scene.cancelled_at(
            step,
            lambda: scene.started(f"/api/databases/{database['id']}/{path}", **asked, **at),
            lambda: look_at(scene, database, EMPTY),
        )
    scene.reconcile()
    assert kept_of(scene, database) == []
    assert len(scene.listed()) == 2  # this one, and the bystander


def test_a_copy_that_is_dropped_by_hand_is_made_again(scene: RisingScene) -> None:
    parent = filled(scene, "parent")
    branch = branch_of(scene, parent)

    def look() -> None:
        if scene.fallen()[-1].startswith("branch.promote.mask"):
            _, databases = scene.installation.inventory()
            for name in databases:
                if "_copying_" in name:
                    drop_by_hand(scene, name)
            drop_by_hand(scene, parent["database_name"])

    scene.killed_everywhere(lambda: scene.started(f"/api/databases/{branch['id']}/promote"), look)
    assert contents(scene, parent) == contents(scene, branch) == FEW
    assert scene.can_log_in(parent)
    scene.reconcile()


def test_the_cluster_is_killed_at_steps_of_a_restore_in_place(scene: RisingScene) -> None:
    database, moment = wrecked(scene)
    first, *others = ["database.restore.load", "database.restore.check", "database.replaced"]
    scene.arm("worker", first, "shared-1")
    path = f"/api/databases/{database['id']}/restore"
    operation = scene.started(path, to=moment, **{"as": "in_place"})
    for following in (*others, None):
        wait_for("the kill", scene.struck)
        scene.forget_strike()
        if following is not None:
            scene.arm("worker", following, "shared-1")
        wait_for("a whole database", lambda: contents(scene, database) in {EMPTY, WHOLE})
    scene.wait_ready()
    assert scene.ended(operation)["status"] == "succeeded"
    scene.reconcile()
    scene.check_filled(database)


def drop_by_hand(scene: RisingScene, name: str) -> None:
    with scene.installation.superuser() as server:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        server.execute(drop.format(sql.Identifier(name)))


def test_what_was_replaced_and_is_dropped_by_hand_is_not_put_back(scene: RisingScene) -> None:
    """At the last moment, or before: the one that is in service stays there."""
    database, moment = wrecked(scene)
    path = f"/api/databases/{database['id']}/restore"
    done = scene.ended(scene.started(path, to=moment, **{"as": "in_place"}))
    assert done["status"] == "succeeded", done
    (kept,) = kept_of(scene, database)

    def look() -> None:
        if scene.fallen()[-1].startswith("database.put_back.prepare"):
            drop_by_hand(scene, kept["database_name"])
        look_at(scene, database, WHOLE)

    begin = partial(scene.started, path, to="previous", **{"as": "in_place"})
    with pooled(scene, database, afterwards=WHOLE):
        for _ in "12":
            done = scene.killed(begin, look)
            assert (done["status"], done["error"]["code"]) == ("failed", "conflict")
            assert f"{kept['database_name']} does not exist any more" in done["error"]["detail"]
            assert "Nothing was changed" in done["error"]["hint"]
    # It is reported of no longer than it would have been kept.
    with scene.installation.control() as control:
        control.execute("UPDATE replaced_databases SET expires_at = now()")
    scene.reconcile()
    assert kept_of(scene, database) == []


def test_what_somebody_has_dropped_is_restored_in_place(scene: RisingScene) -> None:
    """Before the restore, or in its midst."""
    database, moment = wrecked(scene)
    reader = scene.ask("POST", f"/api/databases/{database['id']}/roles", json={"name": "reader"})
    assert reader is not None
    drop_by_hand(scene, database["database_name"])
    scene.pass_once()

    def look() -> None:
        if scene.fallen()[-1].startswith("database.restore.check"):
            drop_by_hand(scene, database["database_name"])

    path = f"/api/databases/{database['id']}/restore"
    scene.killed_everywhere(partial(scene.started, path, to=moment, **{"as": "in_place"}), look)
    scene.check_filled(database)
    assert scene.can_log_in(database)
    with scene.connect(reader.json()["data"]["connection_string"]) as session:
        assert session.execute("SELECT count(*) FROM pg_tables").fetchone() is not None
    scene.reconcile()


def test_an_index_that_is_created(scene: RisingScene) -> None:
    database = filled(scene, "indexed")
    path = f"/api/databases/{database['id']}/indexes"
    done = scene.killed_everywhere(
        lambda: scene.started(path, table="public.kept", columns=["n"]),
        lambda: look_at(scene, database, WHOLE),
        statements=True,
    )
    assert done["result"]["index"] == "public.kept_n_idx"
    assert any("CREATE INDEX" in each for each in scene.fallen())
    assert {"database.create_index.created", "database.create_index.maintained"} <= {
        each.split()[0] for each in scene.fallen()
    }
    with scene.connect(database["connection_string"]) as session:
        query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = %s"
        found = session.execute(f"{query}::regclass", ("kept",)).fetchall()
    assert found == [("kept_n_idx", True)]
    scene.reconcile()


# ── branches ─────────────────────────────────────────────────────────────────


def test_a_branch_by_its_blocks(scene: RisingScene) -> None:
    parent = filled(scene, "parent")
    path = f"/api/databases/{parent['id']}/branches"

    done = scene.killed_everywhere(
        lambda: scene.started(path, name="b"),
        lambda: look_at(scene, parent, WHOLE),
        statements=True,
    )
    assert done["result"]["method"] == block_copy(scene.installation)
    assert scene.can_log_in(parent | {k: each for k, each in done["asked"].items() if each})
    assert contents(scene, done["asked"]) == WHOLE
    scene.reconcile()


@pytest.mark.long_run
def test_a_masked_branch_by_a_dump(scene: RisingScene) -> None:
    parent = filled(scene, "parent")
    scene.ask("PUT", f"/api/databases/{parent['id']}/masking", json={"sql": MASKING})
    path = f"/api/databases/{parent['id']}/branches"
    with pooled(scene, parent, afterwards=WHOLE):
        done = scene.killed_everywhere(
            lambda: scene.started(path, name="b"), lambda: look_at(scene, parent, WHOLE)
        )
    assert done["result"]["method"] == "dump"
    assert contents(scene, done["asked"]) == (ROWS, -WHOLE[1])
    scene.reconcile()


@pytest.mark.parametrize("kind", [pytest.param("reset", marks=pytest.mark.long_run), "promote"])
def test_one_in_anothers_place(scene: RisingScene, kind: str) -> None:
    parent = filled(scene, "parent")
    branch = branch_of(scene, parent)
    source, target, result = (parent, branch, WHOLE) if kind == "reset" else (branch, parent, FEW)
    path = f"/api/databases/{branch['id']}/promote"
    if kind == "reset":
        path = f"/api/databases/{parent['id']}/branches/{branch['id']}/reset"

    def look() -> None:
        look_at(scene, source, result)
        look_at(scene, target, WHOLE, FEW)

    with pooled(scene, target, afterwards=result):
        scene.killed_everywhere(lambda: scene.started(path), look)
    assert contents(scene, target) == contents(scene, source) == result
    assert len(kept_of(scene, target)) == 1
    scene.reconcile()


@pytest.mark.parametrize(
    "what",
    [pytest.param("the parent is replaced", marks=pytest.mark.long_run), "the parent goes"],
)
def test_something_else_while_a_branch_is_made(scene: RisingScene, what: str) -> None:
    """It is made whole, or it is not made, and its error says why."""
    parent = filled(scene, "parent")
    branch = branch_of(scene, parent)
    others: list[Row] = []

    def look() -> None:
        if not others and scene.fallen()[-1].startswith("branch.filling"):
            if what == "the parent goes":
                scene.delete(parent["id"])
                others.append(branch)
            else:
                others.append(scene.started(f"/api/databases/{branch['id']}/promote"))

    with scene.connect(parent["connection_string"]):  # so that it is dumped
        path = f"/api/databases/{parent['id']}/branches"
        done = scene.killed(lambda: scene.started(path, name="second"), look)
    assert others
    if done["status"] == "succeeded":
        assert contents(scene, done["asked"]) in {WHOLE, FEW}
    else:
        assert done["error"]["code"] in {"conflict", "not_found"}, done["error"]
    if what == "the parent is replaced":
        assert scene.ended(others[0])["status"] == "succeeded"
        assert contents(scene, parent) == FEW
    assert contents(scene, branch) == FEW
    scene.reconcile()


@pytest.mark.long_run
def test_a_branch_expires_while_it_is_promoted(scene: RisingScene) -> None:
    parent = filled(scene, "parent")
    branch = branch_of(scene, parent)

    def look() -> None:
        if scene.fallen()[-1].startswith("branch.promote.prepare"):
            with scene.installation.control() as control:
                control.execute(
                    "UPDATE databases SET expires_at = now() WHERE id = %s", (branch["id"],)
                )
        look_at(scene, parent, WHOLE, FEW)

    with pooled(scene, parent, afterwards=None):
        done = scene.killed(lambda: scene.started(f"/api/databases/{branch['id']}/promote"), look)
    if done["status"] == "succeeded":
        look_at(scene, parent, FEW)
    else:
        assert done["error"]["code"] in {"conflict", "not_found"}, done["error"]
        look_at(scene, parent, WHOLE)
    wait_for("its end", lambda: scene.audited("database.deleted", branch))
    scene.reconcile()


# ── what has had its time ────────────────────────────────────────────────────


def test_what_has_had_its_time(scene: RisingScene) -> None:
    """A branch expires, what was replaced goes, and an old backup, all by the worker's rounds."""
    parent = filled(scene, "parent")
    branch = branch_of(scene, parent)
    # The parent is replaced, and is kept; so is the branch's, which goes with it.
    for path in (
        f"/api/databases/{parent['id']}/branches/{branch['id']}/reset",
        f"/api/databases/{branch['id']}/promote",
    ):
        assert scene.ended(scene.started(path))["status"] == "succeeded"
    backups = f"/api/databases/{parent['id']}/backups"
    for _ in "12":
        assert scene.ended(scene.started(backups))["status"] == "succeeded"
    scene.ask("PUT", f"{backups}/schedule", json={"every": "off", "keepCount": 1, "keepDays": 0})

    def is_over() -> bool:
        files = list((scene.installation.home / "backups" / "logical").glob("*/*"))
        _, databases = scene.installation.inventory()
        gone = not any(branch["database_name"] in name or "_before_" in name for name in databases)
        return gone and len(files) == 1 and scene.audited("database.deleted", branch) == 1

    with scene.installation.control() as control:
        control.execute("UPDATE backups SET origin = 'scheduled'")
        control.execute("UPDATE replaced_databases SET expires_at = now()")
        control.execute("UPDATE databases SET expires_at = now() WHERE id = %s", (branch["id"],))
    scene.kill_worker()  # the next one begins with a round
    with pooled(scene, parent, afterwards=WHOLE):
        scene.killed_until(is_over, lambda: look_at(scene, parent, WHOLE))
    scene.reconcile()
    assert len(scene.ask("GET", backups).json()["data"]) == 1  # type: ignore[union-attr]
    assert scene.audited("database.replaced_dropped", parent) == 1
    assert {"delete.closed", "delete.main", "delete.row", "backup.reconcile.rows"} <= {
        each.split()[0] for each in scene.fallen()
    }
    scene.check_filled(scene.bystander)


def test_every_kind_of_operation_is_killed(backed_up: RisingScene) -> None:
    here = {
        "database.create_index",
        "database.past",
        "database.restore",
        "database.restore_tables",
        "database.put_back",
        "branch.create",
        "branch.reset",
        "branch.promote",
    }
    assert set(backed_up.flows()) == here | ELSEWHERE
