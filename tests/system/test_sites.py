"""Sites of the AI cache: a Redis each, which does what its owner may, and nothing to others."""

import os
import signal
import socket
import ssl
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from answers import data, problem
from clients import eventually, redis_client
from harness import Installation
from tenantry.host import processes
from tenantry_cache import CacheError, SemanticCache

Row = dict[str, Any]
# What a tenant must not do: reach other keys and channels, see or stop the server, run programs.
HOSTILE = """
    SET foreign 1 | GET foreign | MSET {own}a 1 foreign 2 | COPY {own}a foreign
    RENAME {own}a foreign | SORT {own}a BY foreign* | ZUNIONSTORE {own}z 1 foreign
    SUBSCRIBE foreign | PUBLISH foreign x | PSUBSCRIBE * | PUBSUB CHANNELS
    KEYS * | SCAN 0 | RANDOMKEY | DBSIZE | FLUSHALL | FLUSHDB | SWAPDB 0 1 | MOVE {own}a 1
    SELECT 1 | INFO | CONFIG GET * | CONFIG SET maxmemory 0 | CONFIG REWRITE | MONITOR | SLOWLOG GET
    ACL LIST | ACL WHOAMI | ACL SETUSER site +@all | CLIENT LIST | CLIENT KILL TYPE normal
    CLIENT NO-EVICT on | CLIENT PAUSE 1000 | DEBUG SLEEP 1 | SHUTDOWN NOSAVE | SAVE | BGSAVE
    BGREWRITEAOF | REPLICAOF localhost 1 | SYNC | FAILOVER | CLUSTER INFO | MODULE LIST
    MODULE LOAD /tmp/x.so | LATENCY DOCTOR | MEMORY DOCTOR | OBJECT HELP | WAIT 1 1
    EVAL x 0 | SCRIPT FLUSH | FUNCTION LIST | FCALL x 0 | MIGRATE localhost 1 {own}a 0 1
    RESTORE {own}r 0 x | LASTSAVE | ROLE
"""


@pytest.fixture(autouse=True)
def emptied(api: httpx.Client) -> Iterator[None]:
    yield
    for site in data(api.get("/api/sites")):
        data(api.delete(f"/api/sites/{site['id']}"))


@pytest.fixture
def site(api: httpx.Client) -> Row:
    made: Row = data(api.post("/api/sites", json={"name": "shop", "memory_mb": 8}), 201)
    return made


def opened(platform: Installation, url: str) -> redis.Redis:
    return redis_client(url, ssl_ca_certs=str(platform.home / "ca.crt"))


def folder(platform: Installation, site: Row) -> Path:
    return platform.home / "sites" / str(site["id"])


def pid(platform: Installation, site: Row) -> int | None:
    return processes.read_pid(folder(platform, site) / "redis.pid")


def test_its_secrets_are_shown_once(platform: Installation, api: httpx.Client, site: Row) -> None:
    assert site["status"] == "active"
    assert site["redis_url"].startswith("rediss://site:")
    assert site["cache_url"].endswith(f":{platform.cache_port}")
    password = site["redis_url"].split(":")[2].partition("@")[0]
    shown = api.get(f"/api/sites/{site['id']}")
    assert data(shown)["redis_url"] == site["redis_url"].replace(password, "***")
    log = api.get("/api/audit-logs", params={"resource_id": site["id"]})
    assert data(log)[0]["action"] == "site.create"
    written = [path.read_text() for path in folder(platform, site).glob("*.*")]
    logged = (platform.home / "logs" / "tenantry.log").read_text()
    for text in (shown.text, log.text, logged, *written):
        assert password not in text
        assert site["api_key"] not in text


def test_a_repeat_under_the_same_key_shows_the_same_secrets(api: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"name": "once", "memoryMb": 8}
    first, again = (api.post("/api/sites", json=body, headers=key) for _ in range(2))
    assert data(first, 201) == data(again, 201)
    assert problem(api.post("/api/sites", json=body), 409)["code"] == "name_taken"


def test_its_owner_reads_and_writes_over_verified_tls(platform: Installation, site: Row) -> None:
    own = site["key_prefix"]
    with opened(platform, site["redis_url"]) as client:
        assert client.set(f"{own}greeting", "hello", ex=60)
        assert client.get(f"{own}greeting") == "hello"
        assert client.hset(f"{own}h", mapping={"a": "1"}) == 1
        with client.pipeline(transaction=True) as batch:
            assert batch.incr(f"{own}n").expire(f"{own}n", 9).execute() == [1, True]
        channel = client.pubsub()
        channel.subscribe(f"{own}news")
        assert channel.get_message(timeout=10)
    url = f"{site['redis_url']}?ssl_ca_certs={platform.home / 'ca.crt'}"
    with SemanticCache(url, prefix=own) as cache:
        cache.store("p", "r")
        found = cache.check("p")
        assert found is not None
        assert found.response == "r"
    with (
        SemanticCache(site["redis_url"], prefix=own) as cache,
        pytest.raises(CacheError, match="certificate verify failed"),
    ):
        cache.stats()
    strange = redis.Redis.from_url(site["redis_url"])  # which does not know our authority
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        strange.ping()


def test_hostile_commands_are_refused(platform: Installation, site: Row) -> None:
    own = site["key_prefix"]
    lines = [part.strip() for part in HOSTILE.replace("\n", "|").split("|") if part.strip()]
    with opened(platform, site["redis_url"]) as client:
        client.set(f"{own}a", "1")
        for line in lines:
            with pytest.raises(redis.RedisError, match=r"(?i)permission|not allowed"):
                client.execute_command(*line.format(own=own).split())
        assert client.get(f"{own}a") == "1"


def test_what_it_holds_is_not_given_back(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    path = f"/api/sites/{site['id']}"
    data(api.patch(path, json={"memory_mb": 64}))
    with opened(platform, site["redis_url"]) as client:
        client.set(f"{site['key_prefix']}a", "x" * 16 * 1024**2)
    assert problem(api.patch(path, json={"memory_mb": 8}), 409)["code"] == "conflict"
    assert data(api.get(path))["memory_mb"] == 64
    data(api.patch(path, json={"memory_mb": 32}))
    data(api.patch(path, json={"memory_mb": 8, "eviction": "allkeys-lru"}))


def test_a_transaction_does_not_take_all_memory(platform: Installation, site: Row) -> None:
    before, own = pid(platform, site), site["key_prefix"]
    with opened(platform, site["redis_url"]) as client:
        with pytest.raises(redis.ResponseError, match="maximum allowed size"):
            client.setrange(f"{own}a", 500 * 1024**2, "x")
        value_bytes = 7 * 1024**2
        batch = client.pipeline(transaction=True)
        for number in range(100):
            batch.setrange(f"{own}{number}", value_bytes, "x")
        with pytest.raises(redis.RedisError):
            batch.execute()
    eventually(lambda: pid(platform, site) not in {None, before})
    eventually(lambda: answers(platform, site["redis_url"]))


@pytest.mark.parametrize("url", ["default", "wrong", "none"])
def test_nobody_else_gets_in(platform: Installation, site: Row, url: str) -> None:
    _, at, place = site["redis_url"].rpartition("@")
    user = {"default": "default:", "wrong": "site:wrong", "none": ""}[url]
    with opened(platform, f"rediss://{user}{at if user else ''}{place}") as client:
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            client.ping()
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            client.execute_command("SHUTDOWN", "NOSAVE")


def test_a_neighbour_fills_only_its_own_memory(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    other = data(api.post("/api/sites", json={"name": "other", "memory_mb": 8}), 201)
    with opened(platform, site["redis_url"]) as client:
        for number in range(100):
            client.set(f"{site['key_prefix']}{number}", "x" * 1000, ex=600)
    with opened(platform, other["redis_url"]) as client:
        for number in range(40):
            with client.pipeline(transaction=False) as batch:
                for each in range(10):
                    batch.set(f"{other['key_prefix']}{number}.{each}", "x" * 50_000, ex=600)
                batch.execute()
    mine, theirs = (data(api.get(f"/api/sites/{each['id']}/stats")) for each in (site, other))
    assert (mine["keys"], mine["evicted_keys"]) == (100, 0)
    assert theirs["evicted_keys"] > 0
    assert theirs["memory_bytes"] <= theirs["memory_limit_bytes"] == 8 * 1024**2


def test_new_secrets_end_the_old_ones_at_once(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    path = f"/api/sites/{site['id']}/rotate"
    with opened(platform, site["redis_url"]) as before:
        before.ping()
        new = data(api.post(path, json={"secrets": "password"}))
        assert new["api_key"] is None
        with pytest.raises(redis.RedisError):
            before.ping()
    with opened(platform, new["redis_url"]) as client:
        assert client.ping()
    with pytest.raises(redis.AuthenticationError):
        opened(platform, site["redis_url"]).ping()
    key = data(api.post(path, json={"secrets": "api_key"}))
    assert key["api_key"] != site["api_key"]
    assert "***" in key["redis_url"]
    with opened(platform, new["redis_url"]) as client:
        assert client.ping()


def test_whoever_an_interrupted_change_left_connected_is_disconnected(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    with opened(platform, site["redis_url"]) as client:
        known = client.client_id()
        # As a kill leaves it that comes after the new users and before the disconnection.
        unread = folder(platform, site) / "unread"
        unread.touch()
        owner = unread.parent.stat()
        os.chown(unread, owner.st_uid, owner.st_gid)
        data(api.patch(f"/api/sites/{site['id']}", json={"max_clients": 50}))
        assert client.client_id() != known  # it has connected again
    assert not unread.exists()


def test_whoever_does_not_log_in_is_disconnected(platform: Installation, api: httpx.Client) -> None:
    body = {"name": "small", "memory_mb": 8, "max_clients": 8}
    small = data(api.post("/api/sites", json=body), 201)
    path = f"/api/sites/{small['id']}/stats"
    eventually(lambda: data(api.get(path))["clients"] >= 2)  # one of them is held
    with opened(platform, small["redis_url"]) as client, ExitStack() as silent:
        known = client.client_id()
        port = int(small["redis_url"].rpartition(":")[2].partition("/")[0])
        for _ in range(20):
            silent.enter_context(socket.create_connection(("localhost", port)))
        eventually(lambda: not answers(platform, small["redis_url"]))
        eventually(lambda: answers(platform, small["redis_url"]))
        assert client.client_id() == known


def test_whoever_takes_all_connections_is_shut_out_too(
    platform: Installation, api: httpx.Client
) -> None:
    body = {"name": "small", "memory_mb": 8, "max_clients": 3}
    small = data(api.post("/api/sites", json=body), 201)
    path = f"/api/sites/{small['id']}/stats"
    eventually(lambda: data(api.get(path))["clients"] >= 2)  # the platform's is there
    holders = [opened(platform, small["redis_url"]) for _ in range(3)]
    for each in holders:
        each.ping()
    with pytest.raises(redis.ConnectionError):
        opened(platform, small["redis_url"]).ping()
    new = data(api.post(f"/api/sites/{small['id']}/rotate", json={}))
    eventually(lambda: answers(platform, new["redis_url"]))
    for each in holders:
        with pytest.raises(redis.RedisError):
            each.ping()


def answers(platform: Installation, url: str) -> bool:
    try:
        with opened(platform, url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_change_is_in_force_at_once(platform: Installation, api: httpx.Client, site: Row) -> None:
    changes = {"memory_mb": 16, "max_clients": 7, "eviction": "allkeys-lru", "semantic": "off"}
    before = pid(platform, site)
    changed = data(api.patch(f"/api/sites/{site['id']}", json=changes))
    assert {name: changed[name] for name in changes} == changes
    stats = data(api.get(f"/api/sites/{site['id']}/stats"))
    assert (stats["memory_limit_bytes"], stats["max_clients"]) == (16 * 1024**2, 7)
    assert pid(platform, site) == before
    assert "maxmemory-policy allkeys-lru" in (folder(platform, site) / "redis.conf").read_text()


def test_it_comes_back_after_a_kill(platform: Installation, api: httpx.Client) -> None:
    body = {"name": "kept", "memory_mb": 8, "persistence": "aof"}
    kept = data(api.post("/api/sites", json=body), 201)
    with opened(platform, kept["redis_url"]) as client:
        client.set(f"{kept['key_prefix']}a", "1")
    before = pid(platform, kept)
    assert before
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pid(platform, kept) not in {None, before})
    eventually(lambda: answers(platform, kept["redis_url"]))
    with opened(platform, kept["redis_url"]) as client:
        assert client.get(f"{kept['key_prefix']}a") == "1"


def test_a_new_certificate_is_served_without_a_restart(platform: Installation, site: Row) -> None:
    address = ("localhost", int(site["redis_url"].rpartition(":")[2].partition("/")[0]))
    before, running = ssl.get_server_certificate(address), pid(platform, site)
    platform.tenantry("tls", "renew")
    after = ssl.get_server_certificate(address)
    assert after != before
    assert after in (platform.home / "tls" / "server.pem").read_text()
    assert pid(platform, site) == running


def test_keys_are_listed_and_flushed(platform: Installation, api: httpx.Client, site: Row) -> None:
    own, path = site["key_prefix"], f"/api/sites/{site['id']}"
    with opened(platform, site["redis_url"]) as client:
        client.set(f"{own}product:1", "x", ex=600)
        client.hset(f"{own}cart", "a", "b")
        client.set(b"site:" + own.encode()[5:] + b"\xff", "not text")
    (found,) = data(api.get(f"{path}/keys", params={"match": "product:*", "limit": 1000}))
    assert (found["key"], found["type"]) == (f"{own}product:1", "string")
    assert 0 < found["ttl_seconds"] <= 600
    assert found["bytes"] > 0
    assert len(data(api.get(f"{path}/keys", params={"limit": 1000}))) == 3
    assert problem(api.get(f"{path}/keys", params={"cursor": "x"}), 422)
    data(api.post(f"{path}/flush"))
    assert data(api.get(f"{path}/stats"))["keys"] == 0


def test_nothing_is_left_of_a_deleted_one(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    running = pid(platform, site)
    assert running
    assert data(api.delete(f"/api/sites/{site['id']}"))["status"] == "deleted"
    assert not processes.is_alive(running)
    assert not folder(platform, site).exists()
    assert not list((platform.home / "run").glob("redis-*.sock"))
    assert not list((platform.home / "logs").glob(f"*{site['id']}*"))
    assert problem(api.get(f"/api/sites/{site['id']}"), 404)


def test_what_does_not_fit_is_refused_with_the_figures(api: httpx.Client, site: Row) -> None:
    found = problem(api.post("/api/sites", json={"name": "big", "memory_mb": 402}), 409)
    assert "have 8 of 409 MiB already, and 402 more do not fit" in found["detail"]
    found = problem(api.patch(f"/api/sites/{site['id']}", json={"memory_mb": 410}), 409)
    assert "402 more do not fit" in found["detail"]


def test_a_customer_sees_only_their_own(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    scopes = ["databases:read", "databases:write", "data:read"]
    body = {"name": "ann", "scopes": scopes, "customer_email": "ann@example.com"}
    key = data(api.post("/api/api-keys", json=body), 201)
    with platform.client(key["key"]) as ann:
        assert data(ann.get("/api/sites")) == []
        for end in ("", "/stats", "/keys", "/whitelist"):
            problem(ann.get(f"/api/sites/{site['id']}{end}"), 404)
        for end in ("/rotate", "/flush"):
            problem(ann.post(f"/api/sites/{site['id']}{end}", json={}), 404)
        listed = f"/api/sites/{site['id']}/whitelist"
        entry = data(api.post(listed, json={"ip_address": "127.0.0.1"}), 201)
        problem(ann.post(listed, json={"ip_address": "192.0.2.1"}), 404)
        problem(ann.put(listed, json={"entries": []}), 404)
        problem(ann.post(f"{listed}/preview", json={"entries": []}), 404)
        problem(ann.delete(f"{listed}/{entry['id']}"), 404)
        problem(ann.delete(f"/api/sites/{site['id']}"), 404)
        mine = data(ann.post("/api/sites", json={"name": "shop", "memory_mb": 8}), 201)
        assert [each["id"] for each in data(ann.get("/api/sites"))] == [mine["id"]]
        # Another site's entry, by the path of one's own.
        problem(ann.delete(f"/api/sites/{mine['id']}/whitelist/{entry['id']}"), 404)
        own = f"/api/sites/{mine['id']}/whitelist"
        assert data(ann.post(own, json={"ip_address": "192.0.2.1"}), 201)["closes"]
        assert [each["id"] for each in data(api.get(listed))] == [entry["id"]]
        data(ann.delete(f"/api/sites/{mine['id']}"))


def test_the_command_line_does_it_all(platform: Installation, api: httpx.Client) -> None:
    def cache(*words: str) -> str:
        return platform.tenantry("cache", *words).stdout

    assert "rediss://site:" in cache("create", "blog", "--memory", "8")
    assert "blog" in cache("list")
    assert "8 MiB" in cache("show", "blog")
    assert "Redis" in cache("stats", "blog")
    assert "rediss://site:" in cache("rotate", "blog", "--only", "password")
    assert cache("keys", "blog", "--json").strip() == "[]"
    cache("whitelist", "add", "blog", "203.0.113.7", "--yes")
    assert "203.0.113.7/32" in cache("whitelist", "list", "blog")
    cache("whitelist", "remove", "blog", "203.0.113.7")
    cache("flush", "blog", "--yes")
    cache("delete", "blog", "--yes")
    assert data(api.get("/api/sites")) == []
