"""Killed at every step of an import: afterwards the database is empty, or whole."""

import subprocess
from typing import Any

import pytest
from psycopg import sql
from scene import Database, Scene, Victim, wait_for

from tenantry.host import processes

# One of each kind: the supervisor waits longer for each next time that the API is killed.
CASES: list[tuple[str, Victim]] = [
    ("import.copied", "api"),
    ("database.import.copy", "api"),
    ("import.wiped", "shared-1"),
    ("import.loaded", "api"),
    ("import.given", "api"),
]
# Until the copy is written down it needs the connection string, which dies with the API.
LOST = "import.copied"
ROWS = 200


def source(scene: Scene) -> Database:
    made = scene.create("source")
    with scene.connect(made["connection_string"]) as session:
        session.execute(
            "CREATE SCHEMA s; CREATE TABLE s.t (id serial PRIMARY KEY, x text);"
            "CREATE FUNCTION s.f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM s.t';"
            "CREATE VIEW s.v AS SELECT * FROM s.t;"
        )
        session.execute("INSERT INTO s.t (x) SELECT 'x' FROM generate_series(1, %s)", (ROWS,))
    return made


def ended(scene: Scene, location: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        shown = scene.ask("GET", location)
        found.update(shown.json()["data"] if shown is not None and shown.is_success else {})
        return found.get("finished_at") is not None

    wait_for("the operation's end", has_ended)
    return found


def begin(scene: Scene, target: Database, there: Database) -> str:
    path = f"/api/databases/{target['id']}/import"
    answer = scene.ask("POST", path, json={"from": there["connection_string"]})
    assert answer is not None
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def check(scene: Scene, target: Database, *, whole: bool) -> None:
    """The database is one or the other, usable, and nothing is left beside it."""
    with scene.connect(target["connection_string"]) as session:
        (schemas,) = session.execute(
            "SELECT array_agg(nspname::text ORDER BY nspname) FROM pg_namespace"
            " WHERE nspowner = current_user::regrole"
        ).fetchone() or ([],)
        assert schemas == (["public", "s"] if whole else ["public"])
        if whole:
            assert session.execute("SELECT s.f()").fetchone() == (ROWS,)
            session.execute("INSERT INTO s.t (x) VALUES ('new')")
        session.execute("CREATE TABLE mine (x int)")
    with scene.installation.superuser() as server:
        assert server.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'tenantry\\_visitor\\_%'"
            " AND coalesce(rolvaliduntil, 'infinity') = 'infinity'"
        ).fetchall() == []  # fmt: skip
    scratch = scene.installation.home / "scratch"
    assert [each for each in scratch.rglob("*") if each.is_file()] == []


@pytest.mark.parametrize(("step", "victim"), CASES)
def test_killed_while_a_database_is_imported(scene: Scene, step: str, victim: Victim) -> None:
    there, target = source(scene), scene.create("target")
    scene.arm("api", step, victim)
    location = begin(scene, target, there)
    scene.wait_restarted(victim)
    operation = ended(scene, location)
    scene.reconcile()
    whole = operation["status"] == "succeeded"
    if victim == "api":
        assert whole == (step != LOST), operation
        if not whole:
            assert "Send it again" in operation["error"]["hint"]
    check(scene, target, whole=whole)
    scene.check_filled(scene.bystander)


def running(scene: Scene) -> list[str]:
    """The command lines of PostgreSQL's programs that work on an import."""
    scratch = scene.installation.home / "scratch"
    return [" ".join(processes.command_line(pid)) for pid in processes.started_on(scratch)]


def test_killed_while_the_source_is_copied(scene: Scene) -> None:
    there, target = source(scene), scene.create("target")
    with scene.connect(there["connection_string"]) as session:
        session.execute("ALTER VIEW s.v SET (security_barrier = true)")  # pg_dump waits for it
        location = begin(scene, target, there)
        wait_for("the copy", lambda: any("pg_dump" in each for each in running(scene)))
        assert not any(there["password"] in each for each in running(scene))
        scene.kill("api")
        scene.wait_restarted("api")
        operation = ended(scene, location)
        assert "Send it again" in operation["error"]["hint"]
        assert running(scene) == []
    check(scene, target, whole=False)


def test_killed_while_an_import_is_taken_back(scene: Scene) -> None:
    there, target = source(scene), scene.create("target")
    # A function that never ends, and that building an index calls.
    with scene.connect(there["connection_string"]) as session:
        session.execute(
            sql.SQL(
                "CREATE FUNCTION s.slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$"
                " BEGIN PERFORM pg_sleep(CASE current_user::text WHEN {} THEN 0 ELSE 1000 END);"
                " RETURN $1; END $$"
            ).format(sql.Literal(there["username"]))
        )
        session.execute("CREATE INDEX ON s.t (s.slow(x))")
    scene.arm("api", "import.taken_back", "api")
    location = begin(scene, target, there)
    wait_for("the index", lambda: any("pg_restore" in each for each in running(scene)))
    scene.ask("POST", f"{location}/cancel")
    scene.wait_restarted("api")
    assert ended(scene, location)["status"] == "cancelled"
    scene.reconcile()
    check(scene, target, whole=False)


def test_killed_while_a_script_is_read(scene: Scene) -> None:
    there, target = source(scene), scene.create("target")
    script = subprocess.run(
        ["pg_dump", there["connection_string"]], check=True, capture_output=True, timeout=60
    ).stdout
    slow = script.replace(b"COPY ", b"SELECT pg_sleep(1.5);\nCOPY ", 1)
    path = f"/api/databases/{target['id']}/import"
    media = {"Content-Type": "application/octet-stream"}
    answer = scene.ask("POST", path, content=slow, headers=media)
    assert answer is not None
    wait_for("the script", lambda: any("script_loading" in each for each in running(scene)))
    scene.kill("api")
    scene.wait_restarted("api")
    operation = ended(scene, str(answer.headers["Location"]))
    assert operation["status"] == "succeeded", operation
    assert running(scene) == []
    scene.reconcile()
    check(scene, target, whole=True)


def test_killed_while_a_dump_is_sent(scene: Scene) -> None:
    there, target = source(scene), scene.create("target")
    dump = subprocess.run(
        ["pg_dump", "--format=custom", there["connection_string"]],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    uploads = scene.installation.home / "scratch" / "uploads"

    def slowly() -> Any:
        yield dump[:1000]
        wait_for("the first of it", lambda: any(uploads.iterdir()))
        scene.kill("api")
        yield dump[1000:]

    path = f"/api/databases/{target['id']}/import"
    media = {"Content-Type": "application/octet-stream"}
    assert scene.ask("POST", path, content=slowly(), headers=media) is None
    scene.wait_restarted("api")
    check(scene, target, whole=False)
