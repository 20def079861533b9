"""Two shared clusters: their databases, and everything that is done with them, side by side."""

import datetime as dt
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import (
    ENDPOINTS,
    ask,
    changed,
    do,
    eventually,
    hurry,
    login,
    port_of,
    refusal,
    succeeded,
)
from harness import SERVICE_USER, Installation, free_ports

Row = dict[str, Any]

COUNT = 30
SECOND = "shared-2"


class Two:
    """An installation with two shared clusters, and databases across both."""

    def __init__(self) -> None:
        self.elsewhere = Path(tempfile.mkdtemp(prefix="tnt-elsewhere-"))
        self.elsewhere.chmod(0o755)
        self.repository = self.elsewhere / "repository"
        self.repository.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.repository, SERVICE_USER, SERVICE_USER)
        (self.port,) = free_ports(1)
        self.platform = Installation(
            {
                "TENANTRY_BACKUPS": "on",
                "TENANTRY_BACKUP_DIR": str(self.repository),
                "TENANTRY_INSTANCE_PORTS": f"{self.port}-{self.port}",
            }
        )
        self.databases: list[Row] = []

    def live(self) -> None:
        self.platform.up()
        self.platform.tenantry("cluster", "add")
        hurry(self.platform)
        self.databases = [
            self.platform.create(name=f"app-{number}", shadow=number == 0)
            for number in range(COUNT)
        ]
        for number, database in enumerate(self.databases):
            do(database["connection_string"], f"CREATE TABLE held AS SELECT {number} AS n")

    def on(self, cluster: str) -> Iterator[Row]:
        """The databases of a cluster, each once."""
        return (each for each in self.databases if each["cluster"] == cluster)

    def number(self, database: Row) -> int:
        return self.databases.index(database)

    def remove(self) -> None:
        self.platform.remove()
        shutil.rmtree(self.elsewhere)


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    """An installation of its own: it is killed, and lost."""
    found = Two()
    try:
        found.live()
        yield found
    finally:
        found.remove()


@pytest.fixture
def api(two: Two) -> Iterator[httpx.Client]:
    with two.platform.client() as client:
        yield client


def whole(api: httpx.Client, operation: Row) -> Row:
    """An operation that has succeeded."""
    return succeeded(api, operation["id"])


def answers(url: str, number: int) -> bool:
    try:
        return ask(url, "SELECT n FROM held") == number
    except psycopg.OperationalError:
        return False


def test_databases_are_placed_on_both_and_reached_by_both_ports(
    two: Two, api: httpx.Client
) -> None:
    placed = Counter(each["cluster"] for each in two.databases)
    assert set(placed) == {"shared-1", SECOND}
    assert min(placed.values()) >= COUNT // 3
    ports = {"shared-1": two.platform.pg_port, SECOND: two.port}
    for database in two.databases:
        assert port_of(database["connection_string"]) == ports[database["cluster"]]
        assert port_of(database["connection_string_pooled"]) == two.platform.pool_port
        for endpoint in ENDPOINTS:
            assert ask(database[endpoint], "SELECT n FROM held") == two.number(database)
    first = two.databases[0]
    for endpoint in ("shadow_database_url", "shadow_database_url_pooled"):
        assert ask(first[endpoint], "SELECT 1") == 1
    rows = {row["name"]: row for row in data(api.get("/api/clusters"))}
    assert {name: row["databases"] for name, row in rows.items() if name != "control"} == placed
    assert rows[SECOND]["port"] == two.port
    status = {each["name"]: each for each in two.platform.status()["clusters"]}
    assert status[SECOND]["status"] == "running"


def test_administrators_choose_the_cluster(two: Two, api: httpx.Client) -> None:
    for cluster in ("shared-1", SECOND):
        made = [two.platform.create(name=f"on-{cluster}-{n}", cluster=cluster) for n in range(3)]
        assert {each["cluster"] for each in made} == {cluster}
        for each in made:
            assert api.delete(f"/api/databases/{each['id']}").is_success
    wrong = problem(api.post("/api/databases", json={"name": "x", "cluster": "shared-9"}), 422)
    assert wrong["errors"][0]["field"] == "cluster"
    key = data(
        api.post(
            "/api/api-keys",
            json={
                "name": "theirs",
                "scopes": ["databases:write"],
                "customer_email": "ann@example.com",
            },
        ),
        201,
    )["key"]
    with two.platform.client(key) as theirs:
        problem(theirs.post("/api/databases", json={"name": "x", "cluster": "shared-1"}), 403)
    problem(api.post("/api/clusters", json={"name": "shared-1"}), 422)
    problem(api.post("/api/clusters", json={"name": "pooler"}), 422)
    full = problem(api.post("/api/clusters", json={}), 409)
    assert full["detail"] == "The memory of this machine is enough for 2 shared clusters."


@pytest.mark.parametrize("cluster", ["shared-1", SECOND])
def test_an_allowlist_and_a_password(two: Two, api: httpx.Client, cluster: str) -> None:
    database = next(two.on(cluster))
    path = f"/api/databases/{database['id']}"
    with (
        login(database["connection_string"]) as direct,
        login(database["connection_string_pooled"]) as pooled,
    ):
        entries = {"entries": [{"ip_address": "203.0.113.7"}]}
        data(api.put(f"{path}/whitelist", json=entries))
        for session in (direct, pooled):
            with pytest.raises(psycopg.Error):
                session.execute("SELECT 1")
    for endpoint in ENDPOINTS:
        refusal(database[endpoint])
    data(api.put(f"{path}/whitelist", json={"entries": []}))
    renewed = data(api.post(f"{path}/rotate-password"))
    for endpoint in ENDPOINTS:
        refusal(database[endpoint])
        database[endpoint] = renewed[endpoint]
        assert ask(database[endpoint], "SELECT n FROM held") == two.number(database)


def test_a_database_moves_to_the_other_and_back(two: Two, api: httpx.Client) -> None:
    database = two.platform.create(name="wanderer", cluster="shared-1")
    do(database["connection_string"], "CREATE TABLE held AS SELECT 7 AS n")
    path = f"/api/databases/{database['id']}"
    ports = {"shared-1": two.platform.pg_port, SECOND: two.port}
    with login(database["connection_string_pooled"]) as pooled:
        for cluster in (SECOND, "shared-1"):
            asked = {"kind": "shared", "cluster": cluster}
            done = whole(api, data(api.post(f"{path}/move", json=asked), 202))
            assert (done["result"]["cluster"], done["result"]["port"]) == (cluster, ports[cluster])
            direct = changed(database["connection_string"], port=str(ports[cluster]))
            assert answers(direct, 7)
            assert pooled.execute("SELECT n FROM held").fetchone() == (7,)
    assert len(data(api.get(f"{path}/replaced"))) == 2
    assert api.delete(path).is_success
    eventually(lambda: api.get(path).status_code == 404)
    for cluster in ports:
        with two.platform.superuser(cluster) as server:
            left = server.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
                (database["database_name"],),
            ).fetchall()
        assert left == []


@pytest.mark.parametrize("cluster", ["shared-1", SECOND])
def test_a_backup_a_restore_and_branches(two: Two, api: httpx.Client, cluster: str) -> None:
    two.platform.back_up(cluster)
    database = next(two.on(cluster))
    path = f"/api/databases/{database['id']}"
    moment = dt.datetime.now(dt.UTC).isoformat()
    do(database["connection_string"], "DELETE FROM held")
    wanted = {"to": moment, "as": "in_place"}
    whole(api, data(api.post(f"{path}/restore", json=wanted), 202))
    for endpoint in ENDPOINTS:
        assert ask(database[endpoint], "SELECT n FROM held") == two.number(database)
    for name, at in (("now", None), ("then", moment)):
        body = {"name": f"{name}-{cluster}"} | ({"at": at} if at else {})
        branch = data(api.post(f"{path}/branches", json=body), 202)
        whole(api, branch["operation"])
        assert branch["cluster"] == cluster
        for endpoint in ENDPOINTS:
            assert ask(branch[endpoint], "SELECT n FROM held") == two.number(database)
        assert api.delete(f"/api/databases/{branch['id']}").is_success
    drill = data(api.post(f"{path}/drill", json={}), 202)
    whole(api, drill)


@pytest.mark.parametrize("cluster", ["shared-1", SECOND])
def test_a_killed_cluster_disturbs_no_database_of_the_other(two: Two, cluster: str) -> None:
    mine = next(two.on(cluster))
    other = next(two.on("shared-1" if cluster == SECOND else SECOND))
    with (
        login(other["connection_string"]) as direct,
        login(other["connection_string_pooled"]) as pooled,
    ):
        os.kill(two.platform.pids()[cluster], signal.SIGKILL)
        for session in (direct, pooled):
            session.execute("SELECT n FROM held")
        for endpoint in ENDPOINTS:
            eventually(partial(answers, mine[endpoint], two.number(mine)))
        for session in (direct, pooled):
            session.execute("SELECT n FROM held")


def test_one_of_the_clusters_is_restored_whole(two: Two) -> None:
    mine, other = next(two.on(SECOND)), next(two.on("shared-1"))
    two.platform.back_up(SECOND)
    moment = dt.datetime.now(dt.UTC).isoformat()
    for database in (mine, other):
        do(database["connection_string"], "CREATE TABLE later AS SELECT 1 AS n")
    done = two.platform.cluster("restore", SECOND, "--to", moment, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert ask(mine["connection_string"], "SELECT to_regclass('later')") is None
    assert ask(other["connection_string"], "SELECT n FROM later") == 1
    for database in two.on(SECOND):
        assert ask(database["connection_string_pooled"], "SELECT n FROM held") == two.number(
            database
        )
    kept = two.platform.tenantry("cluster", "retained", "--json").stdout
    assert SECOND in kept


def test_everything_is_recovered_into_an_empty_home(two: Two) -> None:
    for cluster in ("control", "shared-1", SECOND):
        two.platform.back_up(cluster)
    late = two.platform.create(name="late", cluster=SECOND)
    two.databases.append(late)
    do(late["connection_string"], f"CREATE TABLE held AS SELECT {two.number(late)} AS n")
    key = two.elsewhere / "backup.key"
    key.write_text((two.platform.home / "backup.key").read_text())
    two.platform.down()  # archives all
    assert not two.platform.processes()
    two.platform.destroy()
    words = ["--from", str(two.repository), "--key-file", str(key), "--yes"]
    two.platform.tenantry("recover", *words)
    two.platform.up()
    for database in two.databases:
        for endpoint in ENDPOINTS:
            assert ask(database[endpoint], "SELECT n FROM held") == two.number(database)
