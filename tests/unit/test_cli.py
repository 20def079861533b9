"""The commands that ask the API: what they send, what they print, how they end."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
from cli_support import OPERATION, POOLER, SHOP, Cli, FakeApi, database, installed, strings

from tenantry.base.errors import Unauthenticated
from tenantry.cli import client, entry_point, finding, keys, main
from tenantry.control.keys import SCOPES


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture(name="shop")
def _shop(api: FakeApi) -> FakeApi:
    """An API that has one database, called shop."""
    api.on("GET", "/api/databases", [database()])
    api.on("GET", f"/api/databases/{SHOP}", database())
    api.on("GET", f"/api/databases/{SHOP}/connection-strings", strings())
    return api


# ---- creating, and requests whose answer is lost


def test_create_sends_what_was_said_and_shows_the_password_once(api: FakeApi, cli: Cli) -> None:
    made = database() | strings("s3cret") | {"password": "s3cret"}
    api.on("POST", "/api/databases", made, status=201)
    ended = cli(
        "db", "create", "--name", "shop", "--env", "production", "--friendly-name", "The shop",
        "--owner", "ann@example.com", "--max-connections", "20", "--no-shadow",
    )  # fmt: skip
    (request,) = api.requests
    assert request.body == {
        "name": "shop",
        "environment": "production",
        "friendly_name": "The shop",
        "owner_email": "ann@example.com",
        "new_customer": False,
        "max_connections": 20,
        "shadow": False,
    }
    assert request.headers["x-api-key"] == "tnt_key"
    assert UUID(request.headers["idempotency-key"]).version == 4
    assert ended.code == 0
    assert strings("s3cret")["shadow_database_url_pooled"] in ended.out
    assert re.search(r"^password +s3cret$", ended.out, re.MULTILINE)
    assert "shown this once" in ended.err


def test_json_is_the_data_of_the_api_and_nothing_else(api: FakeApi, cli: Cli) -> None:
    made = database(friendly_name="Käse 🧀\x1b[31m") | {"password": "s3cret"}
    api.on("POST", "/api/databases", made, status=201)
    ended = cli("db", "create", "--name", "shop", "--json")
    assert json.loads(ended.out) == made
    assert ended.out.isascii()
    assert api.requests[0].body == {"name": "shop"}
    assert ended.err == ""


def test_a_lost_answer_is_asked_for_again_under_the_same_key(api: FakeApi, cli: Cli) -> None:
    api.lose("POST", "/api/databases")
    api.add("POST", "/api/databases", 502, b"<html>", "text/html")  # restarting behind a proxy
    api.refuse("POST", "/api/databases", 409, "request_in_progress", title="It still runs")
    api.on("POST", "/api/databases", database() | strings() | {"password": "s3cret"}, status=201)
    ended = cli("db", "create", "--name", "shop")
    assert ended.code == 0
    assert "s3cret" in ended.out
    assert len(api.requests) == 4
    assert len({r.headers["idempotency-key"] for r in api.requests}) == 1


def test_a_connection_lost_twice_is_reported_with_its_doubt(api: FakeApi, cli: Cli) -> None:
    api.lose("POST", "/api/databases")
    ended = cli("db", "create", "--name", "shop")
    assert ended.code == 1
    assert len(api.requests) == 2
    assert "may have been done" in ended.err


def test_a_refusal_of_the_second_request_is_final(api: FakeApi, cli: Cli) -> None:
    api.lose("POST", "/api/databases")
    api.refuse("POST", "/api/databases", 409, "name_taken", title="The name is taken")
    ended = cli("db", "create", "--name", "shop")
    assert ended.code == 1
    assert "The name is taken" in ended.err
    assert len(api.requests) == 2


def test_an_api_that_stays_away_leaves_the_doubt(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_SECOND_ANSWER_SECONDS", 0.5)
    api.lose("POST", "/api/databases")
    api.add("POST", "/api/databases", 502, b"<html>", "text/html")
    ended = cli("db", "create", "--name", "shop")
    assert ended.code == 1
    assert len(api.requests) > 2
    assert "may have been done" in ended.err


# ---- lists


def test_all_follows_the_cursors_and_limit_stops_and_says_so(api: FakeApi, cli: Cli) -> None:
    pages = [[database(name=f"db{i}") for i in range(n, n + 500)] for n in (0, 500)]
    for _ in range(2):
        api.on("GET", "/api/databases", pages[0], next_cursor="c1")
        api.on("GET", "/api/databases", pages[1], next_cursor="c2")
        api.on("GET", "/api/databases", [database(name="last")])
    ended = cli("db", "list", "--all", "--json", "--env", "staging", "--search", "50% & _")
    assert [row["name"] for row in json.loads(ended.out)] == [f"db{i}" for i in range(1000)] + [
        "last"
    ]
    assert [r.query.get("cursor") for r in api.requests] == [None, "c1", "c2"]
    assert api.requests[0].query == {"environment": "staging", "search": "50% & _", "limit": "500"}
    ended = cli("db", "list", "--limit", "700")
    assert [r.query["limit"] for r in api.requests[3:]] == ["500", "200"]
    assert "--all" in ended.err


def test_a_table_has_a_line_for_each_row_and_no_colours_in_a_pipe(api: FakeApi, cli: Cli) -> None:
    long = "x" * 300
    rows = [database(), database(name=None, owner_email=long, max_connections=5)]
    rows += [database(name=None, friendly_name=None)]
    api.on("GET", "/api/databases", rows)
    lines = cli("db", "list").out.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == [
        "NAME",
        "FRIENDLY",
        "NAME",
        "ENVIRONMENT",
        "DATABASE",
        "STATUS",
        "PLAN",
        "MAX",
        "OWNER",
        "AGE",
    ]
    assert lines[1].split()[:5] == ["shop", "The", "shop", "production", "tenant_bcdfghjkmnpq"]
    assert lines[2].startswith("The shop ")
    assert lines[3].startswith("tenant_bcdfghjkmnpq ")
    assert long in lines[2]
    assert lines[1].index(" 20 ") + 1 == lines[2].index("  5 ") + 1  # numbers stand to the right
    assert "\x1b" not in "".join(lines)


def test_the_list_shows_what_keeps_sessions_from_a_database(api: FakeApi, cli: Cli) -> None:
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=250)).isoformat()
    paused = {"until": soon, "reason": "wal", "detail": "It wrote too much."}

    def full(state: str) -> dict[str, object]:
        return {"used_bytes": 1, "quota_bytes": 1, "state": state, "detail": "Delete data."}

    rows = [
        database(name="ok"),
        database(name="near", disk=full("warning")),
        database(name="full", disk=full("read_only")),
        database(name="over", disk=full("stopped")),
        database(name="noisy", disk=full("read_only"), paused=paused),
        database(name="gone", missing_since=soon, paused=paused),
        database(name="leaves", status="deleting", paused=paused),
    ]
    api.on("GET", "/api/databases", rows)
    lines = cli("db", "list").out.splitlines()
    start, end = lines[0].index("STATUS"), lines[0].index("PLAN")
    assert [line[start:end].strip() for line in lines[1:]] == [
        "active",
        "active",
        "read-only",
        "stopped",
        "paused, 4 min left",
        "missing",
        "deleting",
    ]


def test_show_says_why_a_database_is_restricted_and_what_to_do(api: FakeApi, cli: Cli) -> None:
    disk = {"used_bytes": 1, "quota_bytes": 1, "state": "read_only", "detail": "Delete data."}
    row = database(disk=disk)
    api.on("GET", "/api/databases", [row])
    api.on("GET", f"/api/databases/{SHOP}", row)
    api.on("GET", f"/api/databases/{SHOP}/connection-strings", strings())
    lines = cli("db", "show", "shop").out.splitlines()
    assert "status               read-only" in lines
    assert "read-only            Delete data." in lines


def test_an_empty_list_says_what_to_do(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [])
    ended = cli("db", "list")
    assert ended.out == ""
    assert "tenantry db create" in ended.err


# ---- which database


def found(api: FakeApi, text: str, environment: str | None = None) -> str:
    with client.Api(api.url, "tnt_key") as connected:
        return str(finding.find(connected, text, environment)["id"])


def test_a_database_is_found_by_id_and_by_each_of_its_names(shop: FakeApi) -> None:
    names = ["tenant_bcdfghjkmnpq", "shop", "The shop"]
    assert [found(shop, text) for text in (SHOP, *names)] == [SHOP] * 4
    assert [r.path for r in shop.requests] == [f"/api/databases/{SHOP}", *["/api/databases"] * 3]
    assert [r.query["search"] for r in shop.requests[1:]] == names


def test_a_name_goes_before_a_friendly_name(api: FakeApi) -> None:
    other = database(id="other", name="other", friendly_name="shop", database_name="tenant_zzz")
    api.on("GET", "/api/databases", [other, database()])
    assert found(api, "shop") == SHOP


def test_a_chosen_name_cannot_stand_in_for_a_database_name(api: FakeApi) -> None:
    impostor = database(id="other", name="tenant_bcdfghjkmnpq", database_name="tenant_zzz")
    api.on("GET", "/api/databases", [impostor, database()])
    assert found(api, "tenant_bcdfghjkmnpq") == SHOP


def test_a_database_that_is_being_deleted_has_given_its_name_up(api: FakeApi) -> None:
    api.on("GET", "/api/databases", [database(id="old", status="deleting"), database()])
    assert found(api, "shop") == SHOP


def test_an_ambiguous_name_lists_the_candidates(api: FakeApi, cli: Cli) -> None:
    other = database(environment="staging", database_name="tenant_zzz")
    api.on("GET", "/api/databases", [database(), other])
    ended = cli("db", "stats", "shop")
    assert ended.code == 1
    for part in ("production", "staging", "tenant_bcdfghjkmnpq", "tenant_zzz", "--env"):
        assert part in ended.err


def test_an_unknown_name_offers_what_is_near(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database(name="workshop")])
    ended = cli("db", "show", "shop", "--env", "staging")
    assert ended.code == 1
    assert "in staging" in ended.err
    assert "Did you mean workshop?" in ended.err
    assert api.requests[0].query["environment"] == "staging"


# ---- one database


@pytest.mark.usefixtures("shop")
def test_show_gives_facts_and_masked_strings(cli: Cli) -> None:
    lines = cli("db", "show", "shop").out.splitlines()
    assert "environment          production" in lines
    assert "disk                 15 MiB of 10 GiB (ok)" in lines
    assert "statement timeout    1 h" in lines
    assert "idle in transaction  none" in lines
    assert f"pooled               {strings()['connection_string_pooled']}" in lines


def test_limits_are_written_as_people_write_them(shop: FakeApi, cli: Cli) -> None:
    shop.on("PATCH", f"/api/databases/{SHOP}", database(plan="premium"))
    words = "--plan premium --disk-quota 5GB --lock-timeout 30s --statement-timeout 0"
    cli(
        "db", "update", "shop", *words.split(), "--reset", "pool-size", "--reset", "max-connections"
    )
    assert shop.requests[-1].body == {
        "plan": "premium",
        "disk_quota_bytes": 5 * 2**30,
        "lock_timeout_ms": 30_000,
        "statement_timeout_ms": 0,
        "pool_size": None,
        "max_connections": None,
    }


@pytest.mark.parametrize(
    "words", [("--disk-quota", "5"), ("--lock-timeout", "5GB"), ("--reset", "disk_quota")]
)
def test_a_limit_without_its_unit_or_of_no_such_name_is_wrong_usage(
    cli: Cli, words: tuple[str, str]
) -> None:
    assert cli("db", "update", "shop", *words).code == 2


def test_update_sends_only_what_was_said(shop: FakeApi, cli: Cli) -> None:
    shop.on("PATCH", f"/api/databases/{SHOP}", database(environment="staging"))
    ended = cli("db", "update", "shop", "--new-name", "boutique", "--new-env", "staging")
    assert shop.requests[-1].body == {"name": "boutique", "environment": "staging"}
    assert re.search(r"environment +staging", ended.out)
    assert "Commands know it by the new name from now on" in ended.err
    assert "It is listed in the new environment" in ended.err
    assert cli("db", "update", "shop").code == 2


def test_tags_are_added_to_those_that_there_are_and_removed(api: FakeApi, cli: Cli) -> None:
    tagged = database(tags=["team-a", "trial"])
    for _ in range(2):
        api.on("GET", "/api/databases", [tagged])
        api.on("PATCH", f"/api/databases/{SHOP}", database(tags=["team-a", "wordpress"]))
    said = ("--tag", "wordpress", "--untag", "trial", "--untag", "no-such")
    ended = cli("db", "update", "shop", *said)
    assert api.requests[-1].body == {"tags": ["team-a", "wordpress"]}
    assert re.search(r"tags +team-a, wordpress", ended.out)
    cli("db", "update", "shop", "--untag", "team-a", "--untag", "trial")
    assert api.requests[-1].body == {"tags": []}


def test_a_list_shows_tags_where_there_are_any(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database(tags=["a", "b"]), database(name="blog")])
    ended = cli("db", "list", "--tag", "a", "--tag", "b")
    lines = [line.split() for line in ended.out.splitlines()]
    assert "TAGS" in lines[0]
    assert ("a" in lines[1], "b" in lines[1], "a" in lines[2]) == (True, True, False)
    assert api.requests[-1].query["tag"] in {"b", "a"}  # the last of them, in this API


def test_what_follows_from_a_plan_and_from_an_owner_is_said(shop: FakeApi, cli: Cli) -> None:
    shop.on("PATCH", f"/api/databases/{SHOP}", database(owner_email="ann@example.com"))
    ended = cli("db", "update", "shop", "--plan", "premium", "--owner", "ann@example.com")
    assert shop.requests[-1].body == {
        "plan": "premium",
        "owner_email": "ann@example.com",
        "new_customer": False,
    }
    assert re.search(r"owner email +ann@example.com", ended.out)
    for said in ("The plan's limits hold for it now", "The owner's keys and users see it now"):
        assert said in ended.err


def test_delete_without_a_terminal_needs_yes(shop: FakeApi, cli: Cli) -> None:
    ended = cli("db", "delete", "shop")
    assert ended.code == 1
    assert "--yes" in ended.err
    assert not shop.asked("DELETE", f"/api/databases/{SHOP}")


def test_delete_waits_for_its_operation(shop: FakeApi, cli: Cli) -> None:
    deleting = {"id": SHOP, "status": "deleting", "operation_id": OPERATION}
    shop.on("DELETE", f"/api/databases/{SHOP}", deleting, status=202)
    for status in ("queued", "running", "succeeded"):
        shop.on("GET", f"/api/operations/{OPERATION}", {"status": status, "step": "drop"})
    assert cli("db", "delete", "shop", "--yes").code == 0
    assert len(shop.asked("GET", f"/api/operations/{OPERATION}")) == 3


def test_a_deletion_that_keeps_backups_says_so(shop: FakeApi, cli: Cli) -> None:
    shop.on("DELETE", f"/api/databases/{SHOP}", {"id": SHOP, "status": "deleted"})
    assert cli("db", "delete", "shop", "--yes", "--keep-backups").code == 0
    [asked] = shop.asked("DELETE", f"/api/databases/{SHOP}")
    assert asked.query == {"keep_backups": "true"}


def test_a_failed_operation_is_a_failed_command(shop: FakeApi, cli: Cli) -> None:
    deleting = {"id": SHOP, "status": "deleting", "operation_id": OPERATION}
    shop.on("DELETE", f"/api/databases/{SHOP}", deleting, status=202)
    failed = {"status": "failed", "step": "drop", "error": {"detail": "The disk is full."}}
    shop.on("GET", f"/api/operations/{OPERATION}", failed)
    ended = cli("db", "delete", "shop", "--yes")
    assert ended.code == 1
    assert "The disk is full." in ended.err
    assert OPERATION in ended.err


@pytest.mark.usefixtures("shop")
def test_url_prints_one_line_for_a_script(cli: Cli) -> None:
    ended = cli("db", "url", "shop", "--pooled", "--shadow")
    assert ended.out == strings()["shadow_database_url_pooled"] + "\n"
    assert "rotate-password" in ended.err


def test_a_missing_shadow_is_said(shop: FakeApi, cli: Cli) -> None:
    without = strings() | {"shadow_database_url": None}
    shop.scripts.pop(("GET", f"/api/databases/{SHOP}/connection-strings"))
    shop.on("GET", f"/api/databases/{SHOP}/connection-strings", without)
    ended = cli("db", "url", "shop", "--shadow")
    assert ended.code == 1
    assert "no shadow database" in ended.err


def test_stats_reads_well(shop: FakeApi, cli: Cli) -> None:
    figures = {
        "database_name": "tenant_bcdfghjkmnpq", "size_bytes": 8388608, "size_pretty": "8192 kB",
        "active_connections": 2, "max_connections": 20, "cache_hit_ratio": 0.9876,
        "transactions_committed": 5, "transactions_rolled_back": 0,
    }  # fmt: skip
    shop.on("GET", f"/api/databases/{SHOP}/stats", figures)
    out = cli("db", "stats", "shop").out
    assert re.search(r"size +8192 kB", out)
    assert re.search(r"connections +2 of 20", out)
    assert re.search(r"cache hits +98.8%", out)


# ---- keys, audit, pooler


def test_a_key_is_made_with_its_scopes_and_end(api: FakeApi, cli: Cli) -> None:
    row = {"id": SHOP, "name": "ci", "scopes": ["databases:read", "audit:read"], "key": "tnt_new"}
    api.on("POST", "/api/api-keys", row, status=201)
    ended = cli(
        "key", "create", "--name", "ci", "--scope", "databases:read", "--scope", "audit:read",
        "--customer", "ann@example.com", "--expires", "30d",
    )  # fmt: skip
    body = api.requests[0].body
    expires = dt.datetime.fromisoformat(body.pop("expires_at"))
    assert abs(expires - dt.datetime.now(dt.UTC) - dt.timedelta(days=30)).total_seconds() < 60
    assert body == {
        "name": "ci",
        "scopes": ["databases:read", "audit:read"],
        "customer_email": "ann@example.com",
        "new_customer": False,
    }
    assert "tnt_new" in ended.out
    assert "shown this once" in ended.err


def test_the_list_of_keys_says_which_are_revoked(api: FakeApi, cli: Cli) -> None:
    row = {
        "id": SHOP, "name": "ci", "prefix": "tnt_0123", "scopes": ["audit:read"],
        "customer_email": None, "created_at": "2026-01-02T03:04:05+00:00", "last_used_at": None,
        "expires_at": None, "revoked_at": None,
    }  # fmt: skip
    api.on("GET", "/api/api-keys", [row, row | {"revoked_at": "2026-01-02T03:04:06+00:00"}])
    lines = cli("key", "list").out.splitlines()
    assert ["revoked" in line for line in lines] == [False, False, True]


def test_the_list_of_keys_says_who_is_behind_each(api: FakeApi, cli: Cli) -> None:
    row = {
        "id": SHOP, "name": "ci", "prefix": "tnt_0123", "scopes": ["audit:read"],
        "customer_email": None, "created_at": "2026-01-02T03:04:05+00:00", "last_used_at": None,
        "expires_at": None, "revoked_at": None, "status": "active", "parent": None,
        "created_by": {"kind": "platform", "id": None, "name": None},
    }  # fmt: skip
    parent = {"id": SHOP, "name": "deployer"}
    ann = {"kind": "user", "id": SHOP, "name": "ann@example.com"}
    rows = [
        row,
        row | {"parent": parent, "created_by": ann, "status": "suspended"},
        row | {"created_by": ann | {"name": None}, "status": "revoked"},
    ]
    api.on("GET", "/api/api-keys", rows)
    lines = cli("key", "list").out.splitlines()[-3:]
    assert "platform" in lines[0]
    assert "deployer (ann@example.com)" in lines[1]
    assert "suspended" in lines[1]
    assert "a deleted user" in lines[2]


def test_a_key_is_revoked_by_name_unless_two_have_it(api: FakeApi, cli: Cli) -> None:
    k1, k2 = ({"id": id_, "name": "ci", "revoked_at": None} for id_ in ("k1", "k2"))
    api.on("GET", "/api/api-keys", [k1, k2 | {"name": "b"}, k2 | {"revoked_at": "2026-01-01"}])
    api.on("GET", "/api/api-keys", [k1, k2])
    api.on("DELETE", "/api/api-keys/k1", {"id": "k1"})
    assert cli("key", "revoke", "ci").code == 0
    assert api.requests[-1].path == "/api/api-keys/k1"
    ended = cli("key", "revoke", "ci")
    assert ended.code == 1
    assert "k1, k2" in ended.err


def test_audit_takes_a_database_by_name_and_a_span(shop: FakeApi, cli: Cli) -> None:
    row = {
        "id": 1,
        "at": "2026-01-02T03:04:05+00:00",
        "actor": "admin",
        "action": "database.create",
        "resource_kind": "database",
        "resource_id": SHOP,
        "resource_name": "shop",
        "address": "127.0.0.1",
        "result": "ok",
        "request_id": "r1",
        "details": {},
    }  # fmt: skip  (of an earlier release: without a title)
    shop.on("GET", "/api/audit-logs", [row])
    ended = cli(
        "audit",
        "--resource",
        "shop",
        "--env",
        "production",
        "--since",
        "2h",
        "--action",
        "database.create",
    )
    assert shop.requests[0].query["environment"] == "production"
    query = shop.requests[-1].query
    since = dt.datetime.fromisoformat(query["since"])
    assert abs(dt.datetime.now(dt.UTC) - since - dt.timedelta(hours=2)).total_seconds() < 60
    assert query["resource_id"] == SHOP
    assert query["action"] == "database.create"
    assert ended.out.splitlines()[1].split()[2:] == [
        "admin", "database.create", "shop", "ok", "127.0.0.1", "-",
    ]  # fmt: skip


def test_audit_shows_names_and_details_and_ids_only_where_they_are_wanted(
    api: FakeApi, cli: Cli
) -> None:
    added = {
        "id": 41, "at": "2026-01-02T03:04:05+00:00", "actor": "ann@example.com",
        "action": "whitelist.add", "resource_kind": "database", "resource_id": SHOP,
        "resource_name": "tenant_bcdfghjkmnpq", "resource_title": "shop", "address": "192.0.2.7",
        "result": "ok", "request_id": "r1",
        "details": {"networks": ["203.0.113.7/32"], "count": 1},
    }  # fmt: skip
    started = {
        **added, "action": "database.migrate", "result": "accepted",
        "details": {"action": "up", "n": None, "version": 7, "operation_id": OPERATION},
    }  # fmt: skip
    login = {
        **added, "action": "login", "resource_kind": "session", "resource_name": None,
        "resource_title": None, "details": {"method": "password"},
    }  # fmt: skip
    api.on("GET", "/api/audit-logs", [added, started, login])
    words = ("--actor", "ann@example.com", "--result", "accepted", "--until", "2h")
    lines = cli("audit", *words).out.splitlines()
    query = api.requests[-1].query
    until = dt.datetime.fromisoformat(query["until"])
    assert abs(dt.datetime.now(dt.UTC) - until - dt.timedelta(hours=2)).total_seconds() < 60
    assert (query["actor"], query["result"]) == ("ann@example.com", "accepted")
    assert [line.split()[2:] for line in lines[1:]] == [
        ["ann@example.com", "whitelist.add", "shop", "ok", "192.0.2.7", "networks=203.0.113.7/32"],
        [
            *("ann@example.com", "database.migrate", "shop", "accepted", "192.0.2.7"),
            *("action=up,", "version=7"),
        ],
        ["ann@example.com", "login", "session", "ok", "192.0.2.7", "method=password"],
    ]
    wide = cli("audit", "--wide").out
    for shown in ("tenant_bcdfghjkmnpq", SHOP, OPERATION, "r1", "count=1"):
        assert shown in wide
        assert shown not in "\n".join(lines)
    assert cli("audit", "--result", "perhaps").code == 2


def test_the_pooler_shows_its_totals_and_its_pools(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/pooler", POOLER)
    lines = cli("pooler").out.splitlines()
    assert "server connections  8 of at most 60" in lines
    assert lines[-2].split()[2:] == ["CLIENTS", "WAITING", "SERVERS", "IDLE", "LONGEST", "WAIT"]
    assert lines[-1].split() == ["tenant_a", "user_a", "5", "2", "5", "3", "0.1", "s"]


# ---- failures


def test_a_problem_is_reported_whole_and_in_words(api: FakeApi, cli: Cli) -> None:
    api.refuse(
        "POST", "/api/databases", 422, "invalid_input", title="The request is not valid",
        detail="Two fields are wrong.", hint="Look at the documentation.",
        errors=[{"field": "owner_email", "message": "is no address\x1b[2J", "code": "invalid"}],
    )  # fmt: skip
    ended = cli("db", "create", "--name", "shop")
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.splitlines() == [
        "Error: The request is not valid.",
        "  Two fields are wrong.",
        "  --owner: is no address\\x1b[2J",
        "  → Look at the documentation.",
    ]


@pytest.mark.usefixtures("api")
def test_nothing_there_is_exit_code_3(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_URL", "http://127.0.0.1:1")
    ended = cli("db", "list")
    assert ended.code == 3
    assert "tenantry up" in ended.err


@pytest.mark.parametrize(("status", "body"), [(200, "<html>"), (404, "nginx"), (200, "[1]")])
def test_another_server_on_the_port_is_recognised(
    api: FakeApi, cli: Cli, status: int, body: str
) -> None:
    api.text("/api/databases", body, status=status, kind="text/html")
    ended = cli("db", "list")
    assert ended.code == 3
    assert "not as Tenantry does" in ended.err


def test_a_fault_of_ours_shows_a_traceback_only_when_asked(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("GET", "/api/databases", [{"unexpected": "shape"}])
    ended = cli("db", "list")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "fault of Tenantry" in ended.err
    monkeypatch.setenv("TENANTRY_DEBUG", "1")
    ended = cli("db", "list")
    assert "Traceback" in ended.err
    assert "tnt_key" not in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ["db", "create"],
        ["db", "create", "--name", "a", "--env", "moon"],
        ["db", "list", "--limit", "0"],
        ["key", "create", "--name", "a", "--scope", "admin", "--expires", "soon"],
        ["audit", "--since", "9999999999d"],
        ["audit", "--since", "0001-01-01T00:00+12:00"],
        ["nothing"],
    ],
)
def test_wrong_usage_is_exit_code_2(api: FakeApi, cli: Cli, words: list[str]) -> None:
    assert cli(*words).code == 2
    assert api.requests == []


# ---- address and key


def test_the_administrators_key_of_this_machine_is_used(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENANTRY_API_KEY")
    ended = cli("db", "list")
    assert ended.code == 1
    assert "admin.key" in ended.err
    assert "the first `tenantry up` makes that file" in " ".join(ended.err.split())
    (api.home / "seal.key").write_text("")  # there was a start
    lost = " ".join(cli("db", "list").err.split())
    assert "install -m 644 /dev/null" in lost
    assert "the first `tenantry up`" not in lost
    (api.home / "admin.key").write_text("tnt_admin\n")
    api.on("GET", "/api/databases", [])
    assert cli("db", "list").code == 0
    assert api.requests[0].headers["x-api-key"] == "tnt_admin"


def test_the_administrators_key_never_leaves_this_machine(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    (api.home / "admin.key").write_text("tnt_admin\n")
    monkeypatch.setenv("TENANTRY_URL", "https://elsewhere.example.com")
    monkeypatch.delenv("TENANTRY_API_KEY", raising=False)
    with pytest.raises(Unauthenticated, match="another machine"):
        client.connect()


def test_a_proxy_of_the_environment_does_not_see_this_machines_key(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    api.on("GET", "/api/databases", [])
    assert cli("db", "list").code == 0


# ---- the documentation


def test_the_documentation_names_every_command_and_option() -> None:
    reference = Path(__file__).parents[2] / "docs" / "reference"
    page = (reference / "cli.md").read_text()
    fields = (reference / "api.md").read_text().partition("## The fields of a database")[2]
    missing: list[str] = []

    def walk(command: Any, path: str) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}")
        if not hasattr(command, "commands"):
            section = page.partition(f"## `{path}`")[2].partition("\n## ")[0]
            if "](api.md#the-fields-of-a-database)" in section:
                section += fields
            options = [o for p in command.params for o in p.opts if o.startswith("--")]
            missing.extend(f"{path} {o}" for o in options if f"`{o}" not in section)
            if not section:
                missing.append(path)

    walk(typer.main.get_command(main.program()), "tenantry")
    assert missing == []
    for scope in SCOPES:
        assert f"`{scope}`" in page
        assert scope in (keys.create.__annotations__["scope"].__metadata__[0].help)
    for code in (0, entry_point.FAILED, 2, entry_point.NOT_RUNNING, entry_point.INTERRUPTED):
        assert f"| {code} |" in page


# ---- an import


def test_an_import_says_how_long_a_statement_may_take(
    shop: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = f"/api/databases/{SHOP}/import"
    dump = tmp_path / "dump"
    dump.write_bytes(b"1")
    monkeypatch.setenv("TENANTRY_IMPORT_FROM", "postgresql://db.example.com/old")
    shop.on("POST", path, {"id": OPERATION}, status=202)
    for words in ((), ("--statement-timeout", "0.5")):
        assert cli("import", "shop", "--no-wait", *words).code == 0
        assert cli("import", "shop", "--no-wait", "--file", str(dump), *words).code == 0
    plain, file, plain_limited, file_limited = shop.asked("POST", path)
    assert plain_limited.body == plain.body | {"statement_timeout_seconds": 0.5}
    assert "statement_timeout_seconds" not in plain.body
    assert file_limited.query == file.query | {"statement_timeout_seconds": "0.5"}


# ---- operations


def operation_row(**changes: object) -> dict[str, Any]:
    row = {
        "id": OPERATION,
        "kind": "database.import",
        "resource_kind": "database",
        "resource_id": SHOP,
        "resource_name": "tenant_bcdfghjkmnpq",
        "database": {
            "id": SHOP,
            "database_name": "tenant_bcdfghjkmnpq",
            "name": "shop",
            "friendly_name": None,
            "environment": "production",
        },
        "status": "running",
        "step": "load",
        "progress": 0.5,
        "error": None,
        "result": None,
        "created_at": "2026-01-02T03:04:05+00:00",
        "started_at": None,
        "finished_at": None,
    }
    unknown = ("done_bytes", "total_bytes", "bytes_per_second", "seconds_left")
    return row | dict.fromkeys(unknown) | changes


def test_a_failed_operation_is_reported_by_its_own_title(shop: FakeApi, cli: Cli) -> None:
    path = f"/api/databases/{SHOP}/migrations"
    why = {"code": "fleet_stopped", "title": "The migration of many databases was stopped",
        "detail": "Of 3 databases 1 failed."}  # fmt: skip
    shop.on("GET", f"/api/operations/{OPERATION}", operation_row(status="failed", error=why))
    shop.on("POST", path, {"id": OPERATION}, status=202)
    reported = cli("migrate", "force", "3", "--database", "shop").err
    assert "Error: The migration of many databases was stopped." in reported
    assert "Of 3 databases 1 failed." in reported
    assert f"→ `tenantry operation show {OPERATION}`" in reported
    shop.scripts.clear()
    shop.on("GET", "/api/databases", [database()])
    shop.on("GET", f"/api/operations/{OPERATION}", operation_row(status="cancelled"))
    shop.on("POST", path, {"id": OPERATION}, status=202)
    reported = cli("migrate", "force", "3", "--database", "shop").err
    assert "Error: The operation did not succeed." in reported
    assert "It was cancelled at step load." in reported


def test_operations_name_what_they_are_about(api: FakeApi, cli: Cli) -> None:
    gone = dict.fromkeys(("name", "friendly_name", "environment"))
    deleted = operation_row()["database"] | gone
    cluster = {"resource_kind": "cluster", "resource_name": "shared-1", "database": None}
    fleet = {"resource_kind": "fleet", "resource_name": None, "database": None}
    rows = [operation_row(**each) for each in ({}, {"database": deleted}, cluster, fleet)]
    api.on("GET", "/api/operations", rows)
    lines = cli("operation", "list").out.splitlines()
    start, end = lines[0].index("WHAT"), lines[0].index("STATUS")
    assert [line[start:end].strip() for line in lines[1:]] == [
        "shop (production)",
        "tenant_bcdfghjkmnpq (deleted)",
        "shared-1",
        "-",
    ]
    path = f"/api/operations/{OPERATION}"
    for row in (rows[0], rows[3]):
        api.on("GET", path, row)
    shown = [" ".join(cli("operation", "show", OPERATION).out.split()) for _ in range(2)]
    assert "database shop (production)" in shown[0]
    assert f"fleet {SHOP}" in shown[1]
