"""Moves whose worker is killed at all that it does: at most one database can be entered, ever.

In the end exactly one is in service, with all rows, and of a move that is given up nothing is left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest
from scene import ROWS, SMALL_LIMIT, Database, wait_for
from sweep import RisingScene, Row, risen

from clients import ask, changed

pytestmark = pytest.mark.takes_minutes

WHOLE = (ROWS, ROWS * (ROWS + 1) // 2)


@pytest.fixture(scope="module")
def scene() -> Iterator[RisingScene]:
    """An installation of its own: its worker is killed all the time."""
    with risen(TENANTRY_INSTANCE_MEMORY_MB="128") as found:
        yield found


def filled(scene: RisingScene, name: str) -> Database:
    database = scene.installation.create(name=name, maxConnections=SMALL_LIMIT)
    scene.fill(database)
    return database


def moved(scene: RisingScene, database: Database, kind: str) -> Row:
    path = f"/api/databases/{database['id']}/move"
    return scene.started(path, kind=kind, max_wait_seconds=100)


def shown(scene: RisingScene, database: Database) -> Row:
    answer = scene.ask("GET", f"/api/databases/{database['id']}")
    assert answer is not None
    row: Row = answer.json()["data"]
    return row


def entered(scene: RisingScene, database: Database) -> list[str]:
    """The clusters on which the tenant can log in to its database."""
    found = []
    for cluster in scene.installation.ports():
        if cluster == "control":
            continue
        try:
            with scene.installation.superuser(cluster) as server:
                row = server.execute(
                    "SELECT 1 FROM pg_database d, pg_roles r"
                    " WHERE d.datname = %s AND r.rolname = %s AND r.rolcanlogin"
                    " AND has_database_privilege(r.oid, d.oid, 'CONNECT')",
                    (database["database_name"], database["username"]),
                ).fetchone()
        except psycopg.OperationalError:  # it is starting, or is being removed
            continue
        if row is not None:
            found.append(cluster)
    return found


def look(scene: RisingScene, database: Database) -> None:
    assert len(entered(scene, database)) <= 1
    scene.check_filled(scene.bystander)


def direct(scene: RisingScene, database: Database) -> str:
    answer = scene.ask("GET", f"/api/databases/{database['id']}/connection-strings")
    assert answer is not None
    masked = answer.json()["data"]["connection_string"]
    return changed(masked, password=database["password"])


@contextmanager
def pooled(scene: RisingScene, database: Database) -> Iterator[None]:
    """Somebody who has come by the pooler, and goes on with the same rows afterwards."""
    with scene.connect(database["connection_string_pooled"]) as session:
        session.autocommit = True
        session.execute("SELECT 1")
        yield
        session.execute("SET statement_timeout = '20s'")
        assert session.execute("SELECT count(*), sum(n) FROM kept").fetchone() == WHOLE


def is_whole(scene: RisingScene, database: Database, cluster: str) -> None:
    assert entered(scene, database) == [cluster]
    for url in (direct(scene, database), database["connection_string_pooled"]):
        assert ask(url, "SELECT sum(n) FROM kept") == WHOLE[1]
        assert ask(url, "SELECT current_setting('work_mem')") == "5MB"


def test_it_moves_to_an_instance_and_back(scene: RisingScene) -> None:
    database = filled(scene, "whole")
    with scene.connect(database["connection_string"]) as session:
        session.execute("ALTER ROLE current_user SET work_mem = '5MB'")
    for kind in ("dedicated", "shared"):
        with pooled(scene, database):
            scene.killed_everywhere(
                partial(moved, scene, database, kind), partial(look, scene, database)
            )
        row = shown(scene, database)
        assert row["kind"] == kind
        is_whole(scene, database, row["cluster"])
        assert scene.audited("database.moved", database) == (1 if kind == "dedicated" else 2)
    nothing_is_left_of_instances(scene, database, but=1)
    # Both that are retained expire: the former instance goes, and so does what was on this one.
    with scene.installation.control() as control:
        control.execute("UPDATE replaced_databases SET expires_at = now()")
    scene.reconcile()
    nothing_is_left_of_instances(scene, database)
    is_whole(scene, database, "shared-1")
    scene.delete(database["id"])
    wait_for("its end", lambda: not entered(scene, database))
    scene.reconcile()


@pytest.mark.parametrize(
    "event",
    ["database.move.started", "database.move.paused", "database.move.loaded"],
)
def test_one_that_is_given_up(scene: RisingScene, event: str) -> None:
    database = filled(scene, "stays")
    with pooled(scene, database):
        scene.cancelled_at(
            event, partial(moved, scene, database, "dedicated"), partial(look, scene, database)
        )
    assert entered(scene, database) == ["shared-1"]
    assert ask(database["connection_string"], "SELECT sum(n) FROM kept") == WHOLE[1]
    nothing_is_left_of_instances(scene, database)
    scene.delete(database["id"])
    wait_for("its end", lambda: not entered(scene, database))
    scene.reconcile()


def test_one_that_is_given_up_on_the_way_back(scene: RisingScene) -> None:
    database = filled(scene, "stays")
    done = scene.ended(moved(scene, database, "dedicated"))
    assert done["status"] == "succeeded", done
    cluster = shown(scene, database)["cluster"]
    with pooled(scene, database):
        scene.cancelled_at(
            "database.move.loaded",
            partial(moved, scene, database, "shared"),
            partial(look, scene, database),
        )
    assert entered(scene, database) == [cluster]
    assert ask(direct(scene, database), "SELECT sum(n) FROM kept") == WHOLE[1]
    # What is retained on the shared cluster goes with the instance.
    scene.delete(database["id"])
    wait_for("its end", lambda: not entered(scene, database))
    scene.reconcile()
    nothing_is_left_of_instances(scene, database)


def test_a_branch_that_is_made_meanwhile_is_not_left_behind(scene: RisingScene) -> None:
    database = filled(scene, "parent")
    done = scene.ended(moved(scene, database, "dedicated"))
    assert done["status"] == "succeeded", done
    cluster = shown(scene, database)["cluster"]
    branches: list[Row] = []

    def look_and_branch() -> None:
        look(scene, database)
        if not branches and scene.fallen()[-1].split()[0] == "database.move.started":
            path = f"/api/databases/{database['id']}/branches"
            branches.append(scene.started(path, name="twig"))

    failed = scene.killed(partial(moved, scene, database, "shared"), look_and_branch)
    assert failed["status"] == "failed", failed
    assert "also has twig" in failed["error"]["detail"]
    (branch,) = branches
    assert scene.ended(branch)["status"] == "succeeded"
    assert entered(scene, database) == [cluster]
    assert ask(direct(scene, database), "SELECT sum(n) FROM kept") == WHOLE[1]
    for each in (branch["asked"]["id"], database["id"]):
        scene.delete(each)
        wait_for("its end", partial(is_gone, scene, each))
    scene.reconcile()
    nothing_is_left_of_instances(scene, database)


def is_gone(scene: RisingScene, database_id: str) -> bool:
    answer = scene.ask("GET", f"/api/databases/{database_id}")
    return answer is not None and answer.status_code == 404


def nothing_is_left_of_instances(scene: RisingScene, database: Database, *, but: int = 0) -> None:
    suffix = database["database_name"].removeprefix("tenant_")
    names = {f"db-{suffix[:6]}", f"db-{suffix[-6:]}"}
    home = scene.installation.home
    assert len([name for name in names if (home / "clusters" / name).exists()]) == but
    with scene.installation.control() as control:
        found = control.execute(
            "SELECT name, wanted FROM clusters WHERE name = ANY (%s)", (list(names),)
        ).fetchall()
    assert len(found) == but
    assert all(wanted == "stopped" for _, wanted in found)
    assert not names & scene.installation.pids().keys()
