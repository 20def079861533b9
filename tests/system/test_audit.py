"""The audit leaves as it is kept: streamed whole, and forgotten when it is old."""

import json
import uuid
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import eventually
from harness import Installation


def test_the_export_has_a_line_for_each_entry(platform: Installation, api: httpx.Client) -> None:
    resource = str(uuid.uuid4())
    with platform.control() as control:
        control.execute(
            "INSERT INTO audit_logs (actor_kind, actor_name, action, resource_kind, resource_id,"
            " result, details) SELECT 'platform', 'x', 'test', 'test', %s, 'ok',"
            " jsonb_build_object('number', n, 'text', E'one\\ntwo')"
            " FROM generate_series(1, 2500) n",
            (resource,),
        )
    with api.stream("GET", "/api/audit-logs/export", params={"resource_id": resource}) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        exported = [json.loads(line) for line in answer.iter_lines()]
    assert [row["details"]["number"] for row in exported] == list(range(2500, 0, -1))
    listed = data(api.get("/api/audit-logs", params={"resource_id": resource, "limit": 1000}))
    assert exported[:1000] == listed

    printed = platform.tenantry("audit", "--resource", resource, "--ndjson").stdout.splitlines()
    assert [json.loads(line) for line in printed] == exported


def test_the_export_is_filtered_as_the_list_is(platform: Installation, api: httpx.Client) -> None:
    bad = api.get("/api/audit-logs/export", params={"result": "perhaps"})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "result")
    nobody = api.get("/api/audit-logs/export", params={"actor": "nobody at all"})
    assert (nobody.status_code, nobody.json()["errors"][0]["field"]) == (422, "actor")
    made = platform.create()
    named = problem(api.get("/api/audit-logs", params={"resource_id": made["database_name"]}), 422)
    assert named["errors"][0]["field"] == "resource_id"
    assert made["id"] in named["detail"]
    problem(api.get("/api/audit-logs", params={"resource_id": str(uuid.uuid4())}), 422)
    asked = {"resource_id": made["id"], "action": "database.delete"}
    assert data(api.get("/api/audit-logs", params=asked)) == []
    with platform.anonymous() as anonymous:
        assert anonymous.get("/api/audit-logs/export").status_code == 401


def test_an_owner_reads_what_others_did_to_the_database(
    platform: Installation, api: httpx.Client
) -> None:
    email = f"c{uuid.uuid4().hex[:12]}@example.com"
    asked = {"name": "Owner", "scopes": ["audit:read"], "customer_email": email}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    path = f"/api/databases/{platform.create(ownerEmail=email)['id']}"
    api.patch(path, json={"friendlyName": "Renamed"}).raise_for_status()
    entry = data(api.post(f"{path}/whitelist", json={"ipAddress": "192.0.2.1"}), 201)
    api.put(f"{path}/whitelist", json={"entries": []}).raise_for_status()
    entry = data(api.post(f"{path}/whitelist", json={"ipAddress": "192.0.2.1"}), 201)
    api.delete(f"{path}/whitelist/{entry['id']}").raise_for_status()
    api.post(f"{path}/extensions", json={"name": "pg_trgm"}).raise_for_status()
    api.delete(f"{path}/extensions/pg_trgm").raise_for_status()
    role = data(api.post(f"{path}/roles", json={"name": "reader", "access": "read_only"}), 201)
    api.delete(f"{path}/roles/{role['id']}").raise_for_status()
    api.post(f"{path}/rotate-password").raise_for_status()
    api.delete(path).raise_for_status()

    with platform.client(key) as owner:

        def reported() -> list[str]:
            return [row["action"] for row in data(owner.get("/api/audit-logs"))][::-1]

        eventually(lambda: "database.deleted" in reported())
        assert reported() == [
            "database.create",
            "database.update",
            "whitelist.add",
            "whitelist.replace",
            "whitelist.add",
            "whitelist.remove",
            "extension.add",
            "extension.remove",
            "role.create",
            "role.delete",
            "role.deleted",
            "database.rotate_password",
            "database.delete",
            "database.deleted",
        ]


def test_what_was_started_is_reported_from_what_was_done(
    platform: Installation, api: httpx.Client
) -> None:
    """By the owner's names, with the addresses; what has ended is reported in a row of its own."""
    made = platform.create(name="reported", friendlyName="The reported one")
    path = f"/api/databases/{made['id']}"
    entry = data(api.post(f"{path}/whitelist", json={"ipAddress": "192.0.2.1"}), 201)
    api.delete(f"{path}/whitelist/{entry['id']}").raise_for_status()
    ended = data(api.post(f"{path}/backups", json={}), 202)

    def rows() -> list[dict[str, Any]]:
        # Of what was asked for: the platform itself removes the backup afterwards.
        asked = {"resource_id": made["id"], "actor": "administrator"}
        return list(data(api.get("/api/audit-logs", params=asked)))

    def reported(result: str) -> list[str]:
        return [row["action"] for row in rows() if row["result"] == result]

    eventually(lambda: "backup.create" in reported("ok"))
    assert reported("accepted") == ["backup.create"]
    (done,) = [row for row in rows() if (row["action"], row["result"]) == ("backup.create", "ok")]
    assert done["details"] == {"operation_id": ended["id"]}
    api.patch(path, json={"name": "renamed"}).raise_for_status()
    api.delete(path).raise_for_status()
    eventually(lambda: "database.deleted" in reported("ok"))
    assert reported("accepted") == ["database.delete", "backup.create"]
    names = [(row["action"], row["resource_title"], row["resource_name"]) for row in rows()]
    database = made["database_name"]
    assert names == [
        ("database.deleted", "renamed", database),
        ("database.delete", "renamed", database),
        ("database.update", "renamed", database),
        ("backup.create", "reported", database),
        ("backup.create", "reported", database),
        ("whitelist.remove", "reported", database),
        ("whitelist.add", "reported", database),
        ("database.create", "reported", database),
    ]

    def lines(*words: str) -> list[list[str]]:
        words = ("--resource", made["id"], "--actor", "administrator", *words)
        printed = platform.tenantry("audit", *words).stdout
        return [line.split()[3:] for line in printed.splitlines()[1:]]

    assert lines("--result", "accepted") == [
        ["database.delete", "renamed", "accepted", "127.0.0.1", "-"],
        *(line for line in lines() if line[0] == "backup.create" and "accepted" in line),
    ]
    assert lines("--action", "whitelist.add") == [
        ["whitelist.add", "reported", "ok", "127.0.0.1", "networks=192.0.2.1/32"]
    ]
    first = rows()[-1]
    assert lines("--until", first["at"]) == []
    assert len(lines()) == len(rows())
    assert ended["id"] not in str(lines())
    assert ended["id"] in str(lines("--wide"))


def test_what_is_older_than_its_retention_is_forgotten(platform: Installation) -> None:
    old, kept = (str(uuid.uuid4()) for _ in range(2))
    with platform.control() as control:
        for resource, days in ((old, 366), (kept, 364)):
            control.execute(
                "INSERT INTO audit_logs (at, actor_kind, actor_name, action, resource_kind,"
                " resource_id, result) VALUES (now() - make_interval(days => %s), 'platform',"
                " 'x', 'test', 'test', %s, 'ok')",
                (days, resource),
            )

        def left() -> set[str]:
            return {
                row[0]
                for row in control.execute(
                    "SELECT resource_id FROM audit_logs WHERE resource_id = ANY (%s)",
                    ([old, kept],),
                )
            }

        platform.reconcile()
        assert left() == {kept}


@pytest.mark.parametrize("days", ["29", "0", "-1", "NULL"])
def test_nothing_young_can_be_forgotten(platform: Installation, days: str) -> None:
    with (
        psycopg.connect(
            host=str(platform.home / "run" / "control"),
            port=5432,
            user="tenantry_platform",
            dbname="tenantry_control",
        ) as control,
        pytest.raises(psycopg.errors.RaiseException, match="30 days"),
    ):
        control.execute(f"SELECT forget_old_audit_logs({days})".encode())
