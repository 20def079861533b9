"""An instance of PostgreSQL 17 on a machine whose own is 15, with all that an instance can do.

Other modules test what each of these is; here they meet catalogs, privileges and programs of
another major version.
"""

import datetime as dt
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import later_postgres
from answers import data, problem
from clients import (
    ENDPOINTS,
    STRINGS,
    ask,
    changed,
    do,
    eventually,
    finished,
    hurry,
    login,
    refusal,
    verified,
)
from harness import Installation
from postgres_server import programs_of

Row = dict[str, Any]

MAJOR = 17
VERSION = "SELECT current_setting('server_version_num')::int / 10000"


@pytest.fixture(scope="module")
def engines() -> Iterator[Path]:
    with later_postgres.engines() as folder:
        yield folder


@pytest.fixture(scope="module")
def platform(engines: Path) -> Iterator[Installation]:
    """An installation of its own: it has engines that no other has, and is backed up."""
    backups = later_postgres.can_be_backed_up(engines, MAJOR)
    found = Installation(
        {
            "TENANTRY_ENGINES": str(engines),
            "TENANTRY_BACKUPS": "on" if backups else "off",
            "TENANTRY_WARM_POOL": "1",
            "TENANTRY_INSTANCE_MEMORY_MB": "128",
        }
    )
    try:
        found.up()
        hurry(found)
        later_postgres.offer(engines, MAJOR)  # as a package that is installed while it is up
        yield found
    finally:
        found.remove()


@pytest.fixture
def api(platform: Installation) -> Iterator[httpx.Client]:
    with platform.client() as client:
        yield client


def done(api: httpx.Client, operation: Row) -> Row:
    found = finished(api, operation["id"])
    assert found["status"] == "succeeded", found["error"]
    return found


@pytest.fixture(scope="module")
def instance(platform: Installation) -> Row:
    with platform.client() as api:
        body = {"name": "shop", "kind": "dedicated", "version": MAJOR, "memory_mb": 256}
        made: Row = data(api.post("/api/databases", json=body), 202)
        done(api, {"id": made["operation_id"]})
    hurry(platform)
    do(made["connection_string"], "CREATE TABLE held AS SELECT 1 AS n")
    return made


def path(database: Row, *more: str) -> str:
    return "/".join((f"/api/databases/{database['id']}", *more))


def test_it_is_offered_beside_the_machines_own(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    there = {row["major"]: row for row in data(api.get("/api/versions")) if row["installed"]}
    assert {15, MAJOR} <= {*there}
    assert there[MAJOR]["minor"].startswith(f"{MAJOR}.")
    assert "17." in platform.tenantry("versions").stdout
    assert data(api.get(path(instance)))["version"] == MAJOR
    clusters = {each["name"]: each for each in platform.status()["clusters"]}
    assert clusters[instance["cluster"]]["version"] == MAJOR
    assert clusters["shared-1"]["version"] == 15
    assert clusters[instance["cluster"]]["warnings"] == []


def test_it_is_reached_by_every_string(platform: Installation, instance: Row) -> None:
    for name in STRINGS:
        assert ask(verified(platform, instance[name]), VERSION) == MAJOR
    own = platform.tenantry("cluster", "psql", instance["cluster"], "-XAtc", "SHOW server_version")
    assert own.stdout.startswith(f"{MAJOR}.")


def test_its_login_creates_roles_that_obey_its_list(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    direct = instance["connection_string"]
    do(direct, "CREATE ROLE theirs LOGIN CREATEDB PASSWORD 'theirs'")
    do(direct, "CREATE DATABASE reports")
    theirs = changed(direct, user="theirs", password="theirs", dbname="reports")
    assert ask(theirs, "SELECT current_user") == "theirs"
    do(theirs, "CREATE DATABASE more")
    for name in ENDPOINTS:  # who enters the managed database is the platform's to say
        into = changed(instance[name], user="theirs", password="theirs")
        assert "permission denied for database" in refusal(into)
    assert data(api.get(path(instance, "stats")))["unmanaged"] == ["more", "reports"]
    elsewhere = {"entries": [{"ip_address": "203.0.113.7"}]}
    with login(theirs) as session:
        data(api.put(path(instance, "whitelist"), json=elsewhere))
        eventually(lambda: session.closed or not alive(session))
    assert "no pg_hba.conf entry" in refusal(theirs)
    here = {"entries": [{"ip_address": "127.0.0.0/8"}, {"ip_address": "::1"}]}
    data(api.put(path(instance, "whitelist"), json=here))
    assert ask(theirs) == 1
    data(api.put(path(instance, "whitelist"), json={"entries": []}))
    do(
        direct,
        "GRANT CREATE ON SCHEMA public TO theirs",
    )
    do(direct, "SET ROLE theirs; CREATE TABLE public.of_theirs (); RESET ROLE")
    platform.reconcile()
    platform.check_ownership()
    assert not [each for each in data(api.get("/api/alerts")) if "owner" in str(each).lower()]


def alive(session: psycopg.Connection[Any]) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def test_roles_extensions_and_the_data_api(api: httpx.Client, instance: Row) -> None:
    role = data(api.post(path(instance, "roles"), json={"name": "reporting"}), 201)
    for name in ENDPOINTS:
        assert ask(role[name], "SELECT n FROM held") == 1
    renewed = data(api.post(path(instance, "rotate-password")))
    instance.update({name: renewed[name] for name in STRINGS})
    do(instance["connection_string"], "CREATE EXTENSION citext; CREATE EXTENSION pg_trgm")
    assert ask(instance["connection_string_pooled"], "SELECT 'A'::citext = 'a'") is True
    keys = data(api.put(path(instance, "data-api"), json={}))
    do(instance["connection_string"], "GRANT SELECT ON held TO anon")
    with httpx.Client(headers={"apikey": keys["anon_key"]}, timeout=20) as client:
        url = f"{keys['rest_url']}/held"
        eventually(lambda: client.get(url).is_success)
        assert client.get(url).json() == [{"n": 1}]


def test_it_is_looked_into_and_maintained(api: httpx.Client, instance: Row) -> None:
    for part in ("stats", "metrics", "queries", "sessions", "tables", "advice", "logs",
                 "metrics/prometheus", "settings", "extensions", "connection-strings"):  # fmt: skip
        answer = api.get(path(instance, part))
        assert answer.is_success, (part, answer.text)
    asked = {"sql": "SELECT n FROM held"}
    (found,) = data(api.post(path(instance, "sql"), json=asked))["results"]
    assert found["rows"] == [[1]]
    assert api.post(path(instance, "explain"), json=asked).is_success


def test_it_is_configured_stopped_and_started(api: httpx.Client, instance: Row) -> None:
    settings = path(instance, "settings")
    wanted = {"parameters": {"io_combine_limit": "64kB", "work_mem": "6MB"}}
    data(api.patch(settings, json=wanted))
    refused = {"parameters": {"transaction_timeout": "600s"}}
    assert (
        "for the platform's own sessions"
        in problem(api.patch(settings, json=refused), 422)["detail"]
    )
    shown = "SHOW io_combine_limit"
    eventually(lambda: {ask(instance[name], shown) for name in ENDPOINTS} == {"64kB"})
    for verb in ("stop", "start"):
        done(api, data(api.post(path(instance, verb)), 202))
    for name in ENDPOINTS:
        assert ask(instance[name], "SHOW work_mem") == "6MB"


def test_it_is_branched_and_dumped(api: httpx.Client, instance: Row) -> None:
    done(api, data(api.post(path(instance, "backups"), json={}), 202))
    branch = data(api.post(path(instance, "branches"), json={"name": "b"}), 202)
    done(api, branch["operation"])
    for name in ENDPOINTS:
        assert ask(branch[name], VERSION) == MAJOR
        assert ask(branch[name], "SELECT n FROM held") == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        do(branch["connection_string"], "CREATE ROLE more")
    assert api.delete(path(branch)).is_success
    eventually(lambda: api.get(path(branch)).status_code == 404)


def test_it_is_restored_to_a_moment(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    if platform.environment["TENANTRY_BACKUPS"] == "off":
        pytest.skip(f"no pgBackRest here knows PostgreSQL {MAJOR}")
    platform.back_up(instance["cluster"])
    moment = dt.datetime.now(dt.UTC).isoformat()
    do(instance["connection_string"], "DELETE FROM held")
    wanted = {"to": moment, "as": "in_place"}
    done(api, data(api.post(path(instance, "restore"), json=wanted), 202))
    for name in ENDPOINTS:
        assert ask(instance[name], "SELECT n FROM held") == 1


def test_what_15_has_is_imported(platform: Installation, api: httpx.Client) -> None:
    source = platform.create(name="old", shadow=False)
    do(
        source["connection_string"],
        "CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);"
        "INSERT INTO items (name) SELECT 'n' || g FROM generate_series(1, 100) g;"
        "CREATE FUNCTION double(int) RETURNS int LANGUAGE sql RETURN $1 * 2",
    )
    body = {"name": "imported", "kind": "dedicated", "version": MAJOR}
    made = data(api.post("/api/databases", json=body), 202)
    done(api, {"id": made["operation_id"]})
    began = data(api.post(path(made, "import"), json={"from": source["connection_string"]}), 202)
    assert done(api, began)["result"]["differences"] == []
    assert ask(made["connection_string"], "SELECT double(count(*)::int) FROM items") == 200
    assert ask(made["connection_string_pooled"], VERSION) == MAJOR


def test_a_database_of_15_moves_to_it_and_not_back(
    platform: Installation, api: httpx.Client
) -> None:
    small = platform.create(name="small")
    do(small["connection_string"], "CREATE TABLE held AS SELECT generate_series(1, 100) AS n")
    assert ask(small["connection_string_pooled"], VERSION) == 15
    body = {"kind": "dedicated", "version": MAJOR}
    result = done(api, data(api.post(path(small, "move"), json=body), 202))["result"]
    direct = changed(small["connection_string"], port=str(result["port"]))
    for url in (direct, small["connection_string_pooled"]):
        assert ask(url, VERSION) == MAJOR
        assert ask(url, "SELECT sum(n) FROM held") == 5050
    do(direct, "CREATE ROLE theirs; DROP ROLE theirs")
    (back,) = problem(api.post(path(small, "move"), json={"kind": "shared"}), 422)["errors"]
    assert "the database is on PostgreSQL 17, the target would have 15" in back["message"]
    assert ask(direct, "SELECT sum(n) FROM held") == 5050


def test_a_dump_of_it_is_read_by_its_own_programs(
    api: httpx.Client, platform: Installation, tmp_path: Path
) -> None:
    made = platform.create(name="from-dump", shadow=False)
    dump = tmp_path / "dump"
    source = platform.create(name="to-dump", shadow=False)
    do(source["connection_string"], "CREATE TABLE t AS SELECT 7 AS n")
    subprocess.run(
        [programs_of(MAJOR) / "pg_dump", "-Fc", f"--file={dump}", source["connection_string"]],
        check=True,
    )
    sent = {"Content-Type": "application/octet-stream"}
    began = api.post(path(made, "import"), content=dump.read_bytes(), headers=sent)
    done(api, data(began, 202))
    assert ask(made["connection_string"], "SELECT n FROM t") == 7


def test_nothing_is_left_of_it(platform: Installation, api: httpx.Client, instance: Row) -> None:
    name = instance["cluster"]
    assert api.delete(path(instance)).is_success
    eventually(lambda: api.get(path(instance)).status_code == 404)
    assert not (platform.home / "clusters" / name).exists()
    assert name not in platform.pids()


def test_one_that_cannot_be_backed_up_is_refused(
    platform: Installation, api: httpx.Client, engines: Path
) -> None:
    if platform.environment["TENANTRY_BACKUPS"] == "off":
        pytest.skip("it needs backups")
    for built in engines.glob("pgbackrest-*[0-9]"):
        built.unlink()  # Debian 12's own does not know it
    body = {"name": "other", "kind": "dedicated", "version": MAJOR}
    said = problem(api.post("/api/databases", json=body), 422)["errors"][0]
    assert said["field"] == "version"
    assert "pgBackRest does not know PostgreSQL 17" in said["message"]
    assert "does not know PostgreSQL 17" in platform.tenantry("doctor", check=False).stdout
