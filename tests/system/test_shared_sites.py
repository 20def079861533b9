"""Tiny sites in one Redis: each has its own keys and secrets, and nothing of the others."""

import os
import signal
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from test_ai_cache import opened as cached
from test_sites import HOSTILE, answers, opened

from answers import data, problem
from clients import eventually
from harness import Installation
from tenantry.host import processes

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def emptied(platform: Installation, api: httpx.Client) -> Iterator[None]:
    yield
    for site in data(api.get("/api/sites")):
        data(api.delete(f"/api/sites/{site['id']}"))
    assert not folder(platform).exists()


def folder(platform: Installation) -> Path:
    return platform.home / "sites" / "shared"


def pid(platform: Installation) -> int | None:
    return processes.read_pid(folder(platform) / "redis.pid")


def made(api: httpx.Client, name: str, **more: object) -> Row:
    body = {"name": name, "isolation": "shared", **more}
    found: Row = data(api.post("/api/sites", json=body), 201)
    return found


@pytest.fixture
def one(api: httpx.Client) -> Row:
    return made(api, "one")


@pytest.fixture
def other(api: httpx.Client, one: Row) -> Row:
    del one  # the first, which begins the process
    return made(api, "other", memory_mb=8)


def test_they_have_one_process_while_there_are_any(
    platform: Installation, api: httpx.Client, one: Row, other: Row
) -> None:
    running = pid(platform)
    assert running
    assert one["redis_url"].rpartition(":")[2] == other["redis_url"].rpartition(":")[2]
    assert one["key_prefix"] == f"site:{one['id']}:"
    assert (one["isolation"], one["memory_mb"], one["max_clients"]) == ("shared", 4, 20)
    config = (folder(platform) / "redis.conf").read_text()
    assert f"maxmemory {12 * 1024**2}\n" in config
    data(api.delete(f"/api/sites/{one['id']}"))
    assert pid(platform) == running
    assert f"maxmemory {8 * 1024**2}\n" in (folder(platform) / "redis.conf").read_text()
    data(api.delete(f"/api/sites/{other['id']}"))
    assert not processes.is_alive(running)


def test_code_of_a_site_of_its_own_moves_unchanged(platform: Installation, one: Row) -> None:
    own = one["key_prefix"]
    with opened(platform, one["redis_url"]) as client:
        assert client.set(f"{own}greeting", "hello", ex=60)
        with client.pipeline(transaction=True) as batch:
            assert batch.incr(f"{own}n").expire(f"{own}n", 9).execute() == [1, True]
        channel = client.pubsub()
        channel.subscribe(f"{own}news")
        assert channel.get_message(timeout=10)


def test_hostile_commands_are_refused(platform: Installation, one: Row, other: Row) -> None:
    own, theirs = one["key_prefix"], other["key_prefix"]
    lines = [part.strip() for part in HOSTILE.replace("\n", "|").split("|") if part.strip()]
    with opened(platform, other["redis_url"]) as client:
        client.set(f"{theirs}a", "theirs")
    with opened(platform, one["redis_url"]) as client:
        client.set(f"{own}a", "1")
        for line in lines:
            for foreign in ("foreign", f"{theirs}a", f"cache:{one['id']}:x"):
                words = line.format(own=own).replace("foreign", foreign).split()
                with pytest.raises(redis.RedisError, match=r"(?i)permission|not allowed"):
                    client.execute_command(*words)
        for words in (["WATCH", f"{theirs}a"], ["OBJECT", "FREQ", f"{theirs}a"]):
            with pytest.raises(redis.RedisError, match=r"(?i)permission"):
                client.execute_command(*words)
    with opened(platform, other["redis_url"]) as client:
        assert client.get(f"{theirs}a") == "theirs"


def test_another_password_or_name_does_not_get_in(
    platform: Installation, one: Row, other: Row
) -> None:
    mine = one["redis_url"].split(":")[2].partition("@")[0]
    place = one["redis_url"].rpartition("@")[2]
    for user in (f"site-{other['id']}", f"cache-{one['id']}", "platform", "default", "site"):
        with (
            opened(platform, f"rediss://{user}:{mine}@{place}") as client,
            pytest.raises((redis.AuthenticationError, redis.ResponseError)),
        ):
            client.ping()


def test_new_secrets_end_the_old_ones_and_no_others(
    platform: Installation, api: httpx.Client, one: Row, other: Row
) -> None:
    running = pid(platform)
    with (
        opened(platform, one["redis_url"]) as before,
        opened(platform, other["redis_url"]) as neighbour,
    ):
        before.ping()
        neighbour.set(f"{other['key_prefix']}a", "1")
        new = data(api.post(f"/api/sites/{one['id']}/rotate", json={}))
        with pytest.raises(redis.RedisError):
            before.ping()
        assert neighbour.get(f"{other['key_prefix']}a") == "1"
    assert answers(platform, new["redis_url"])
    assert not answers(platform, one["redis_url"])
    assert pid(platform) == running


def test_nothing_is_left_of_a_deleted_one(
    platform: Installation, api: httpx.Client, one: Row, other: Row
) -> None:
    with opened(platform, one["redis_url"]) as client:
        with client.pipeline(transaction=False) as batch:
            for number in range(2000):
                batch.set(f"{one['key_prefix']}{number}", "x")
            batch.execute()
        with cached(platform, one) as cache:
            stored = cache.post("/entries", json={"prompt": "p", "response": "r"})
            assert stored.status_code == 201, stored.text
        data(api.delete(f"/api/sites/{one['id']}"))
        with pytest.raises(redis.RedisError):
            client.ping()
    assert not answers(platform, one["redis_url"])
    acl = (folder(platform) / "users.acl").read_text()
    assert one["id"] not in acl
    assert other["id"] in acl
    found = data(api.get(f"/api/sites/{other['id']}/stats"))
    assert found["keys"] == 0
    with cached(platform, other) as cache:
        assert cache.get("/stats").json()["used_bytes"] is None


def test_a_flush_and_lists_are_of_one_site(
    platform: Installation, api: httpx.Client, one: Row, other: Row
) -> None:
    for site in (one, other):
        with opened(platform, site["redis_url"]) as client:
            for number in range(3):
                client.set(f"{site['key_prefix']}{number}", "x" * 1000)
        with cached(platform, site) as cache:
            assert cache.post("/entries", json={"prompt": "p", "response": "r"}).is_success
            turn = {"messages": [{"role": "user", "content": "hello"}]}
            assert cache.post("/history/s", json=turn).is_success
    rows = data(api.get(f"/api/sites/{one['id']}/keys", params={"limit": 1000}))
    assert {row["key"] for row in rows} == {f"{one['key_prefix']}{number}" for number in range(3)}
    stats = data(api.get(f"/api/sites/{one['id']}/stats"))
    assert stats["keys"] >= 5
    assert 3000 < stats["memory_bytes"] < 100_000
    assert (stats["memory_limit_bytes"], stats["hits"]) == (4 * 1024**2, None)
    data(api.post(f"/api/sites/{one['id']}/flush"))
    assert data(api.get(f"/api/sites/{one['id']}/stats"))["keys"] == 0
    assert data(api.get(f"/api/sites/{other['id']}/stats"))["keys"] >= 5
    with cached(platform, other) as cache:
        assert len(cache.get("/history/s").json()["messages"]) == 1
        (found,) = cache.post("/entries/search", json={"prompt": "p"}).json()["data"]
        assert found["response"] == "r"


def test_what_cannot_be_given_to_one_of_them_is_refused(api: httpx.Client, one: Row) -> None:
    path = f"/api/sites/{one['id']}"
    changes: list[Row] = [{"networks": ["203.0.113.7"]}, {"eviction": "noeviction"}]
    for change in changes:
        found = problem(api.patch(path, json=change), 422)
        assert "choose isolation dedicated" in found["detail"]
        body = {"name": "two", "isolation": "shared", **change}
        assert problem(api.post("/api/sites", json=body), 422)
    for answer in (
        api.post(f"{path}/whitelist", json={"ip_address": "203.0.113.7"}),
        api.put(f"{path}/whitelist", json={"entries": []}),
        api.post(f"{path}/whitelist/preview", json={"entries": []}),
    ):
        found = problem(answer, 409)
        assert "one port for all its sites" in found["detail"]
        assert "isolation dedicated" in found["hint"]
    assert data(api.get(f"{path}/whitelist")) == []
    assert problem(api.patch(path, json={"isolation": "dedicated"}), 422)
    assert problem(api.post("/api/sites", json={"name": "big", "memory_mb": 4}), 422)


def test_their_memory_is_in_the_budget(platform: Installation, api: httpx.Client, one: Row) -> None:
    body = {"name": "big", "memory_mb": 406}
    found = problem(api.post("/api/sites", json=body), 409)
    assert "have 4 of 409 MiB already, and 406 more do not fit" in found["detail"]
    changed = data(api.patch(f"/api/sites/{one['id']}", json={"memory_mb": 9, "max_clients": 5}))
    assert changed["memory_mb"] == 9
    assert f"maxmemory {9 * 1024**2}\n" in (folder(platform) / "redis.conf").read_text()


def test_it_comes_back_with_all_its_users(
    platform: Installation, api: httpx.Client, one: Row, other: Row
) -> None:
    running = pid(platform)
    assert running
    os.kill(running, signal.SIGKILL)
    eventually(lambda: pid(platform) not in {None, running})
    for site in (one, other):
        eventually(partial(answers, platform, site["redis_url"]))
    assert data(api.get(f"/api/sites/{other['id']}"))["status"] == "active"


def test_the_command_line(platform: Installation) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    said = platform.tenantry("cache", "create", name, "--isolation", "shared").stdout
    assert "rediss://site-" in said
    assert "shared" in platform.tenantry("cache", "show", name).stdout
    assert "hits" not in platform.tenantry("cache", "stats", name).stdout
    platform.tenantry("cache", "delete", name, "--yes")
