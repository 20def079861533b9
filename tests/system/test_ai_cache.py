"""The AI cache of the platform: its process, and the settings of a site's proxy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import eventually
from harness import Installation

Row = dict[str, Any]


@pytest.fixture
def site(api: httpx.Client) -> Iterator[Row]:
    made: Row = data(api.post("/api/sites", json={"name": "answers", "memory_mb": 8}), 201)
    yield made
    data(api.delete(f"/api/sites/{made['id']}"))


@contextmanager
def opened(platform: Installation, site: Row) -> Iterator[httpx.Client]:
    """Yield a client of the site's cache, once its process answers."""

    def answers() -> bool:
        try:
            return client.get("/stats").is_success
        except httpx.TransportError:
            return False

    url = f"http://127.0.0.1:{platform.cache_port}/v1/caches/{site['id']}"
    headers = {"authorization": f"Bearer {site['api_key']}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        eventually(answers)
        yield client


def test_its_process_runs_while_there_is_a_site(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    with opened(platform, site) as cache:
        entry = {"prompt": "What is it?", "response": "A cache."}
        assert cache.post("/entries", json=entry).status_code == 201
        search = {"prompt": "What is it?"}
        (found,) = cache.post("/entries/search", json=search).json()["data"]
        assert found["response"] == "A cache."
        assert data(api.get(f"/api/sites/{site['id']}/keys")) == []
        assert "cache" in {part["name"] for part in platform.status()["parts"]}
        former = site["api_key"]
        new = data(api.post(f"/api/sites/{site['id']}/rotate", json={"secrets": "api_key"}))
        eventually(lambda: cache.get("/stats").status_code == 401)
        cache.headers["authorization"] = f"Bearer {new['api_key']}"
        assert cache.get("/stats").json()["counts"]["exact_hits"] == 1
        assert former != new["api_key"]


def test_keys_of_providers_are_not_shown(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    path = f"/api/sites/{site['id']}/proxy"
    assert data(api.get(path))["openai_url"] == "https://api.openai.com"
    body = {"openai_url": "http://127.0.0.1:9", "openai_key": "sk-secret", "tokens_per_day": 5}
    shown = api.patch(path, json=body)
    assert data(shown)["has_openai_key"] is True
    log = api.get("/api/audit-logs", params={"resource_id": site["id"]})
    assert data(log)[0]["action"] == "site.proxy"
    logged = (platform.home / "logs" / "tenantry.log").read_text()
    for text in (shown.text, api.get(path).text, log.text, logged):
        assert "sk-secret" not in text
    elsewhere = {"openai_url": "http://127.0.0.1:10"}
    assert data(api.patch(path, json=elsewhere))["has_openai_key"] is False
    for wrong in ({}, {"openai_url": "ftp://x"}, {"other": 1}, {"openai_key": "sk "}):
        assert problem(api.patch(path, json=wrong), 422)["code"] == "invalid_input"
