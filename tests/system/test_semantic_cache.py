"""Questions that mean the same, on the platform: the embedder runs while a site needs it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answers import data, problem
from browsing import visiting
from clients import eventually
from harness import Installation

Row = dict[str, Any]
STORED = "How can I reset my password?"
ASKED = "How do I reset my password?"


@pytest.fixture
def cache(platform: Installation, api: httpx.Client) -> Iterator[httpx.Client]:
    """Return a client of the cache of a site that compares questions, once it does."""
    body = {"name": "faq", "memory_mb": 8, "semantic": "on"}
    site: Row = data(api.post("/api/sites", json=body), 201)
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{platform.cache_port}/v1/caches/{site['id']}",
        headers={"authorization": f"Bearer {site['api_key']}", "x-site": site["id"]},
        timeout=30,
    )

    def is_open() -> bool:
        try:
            return client.get("/semantic").is_success
        except httpx.TransportError:
            return False

    with client:
        eventually(is_open)
        yield client
    data(api.delete(f"/api/sites/{site['id']}"))
    eventually(lambda: "embedder" not in parts(platform))


def parts(platform: Installation) -> set[str]:
    return {part["name"] for part in platform.status()["parts"]}


def found(cache: httpx.Client, prompt: str, **more: object) -> list[Row]:
    answer = cache.post("/entries/search", json={"prompt": prompt, **more})
    rows: list[Row] = answer.raise_for_status().json()["data"]
    return rows


def test_a_question_is_answered_in_other_words_and_judged(
    platform: Installation, api: httpx.Client, cache: httpx.Client
) -> None:
    assert "embedder" in parts(platform)
    entry = {"prompt": STORED, "response": "By e-mail."}
    entry_id = cache.post("/entries", json=entry).json()["entryId"]
    [similar] = found(cache, ASKED)
    assert (similar["id"], similar["response"]) == (entry_id, "By e-mail.")
    assert similar["searchStrategy"] == "semantic"
    assert 0.975 <= similar["similarity"] < 1
    # What a caller asks for beyond that, another scope, and a guard.
    assert found(cache, ASKED, similarityThreshold=0.9999) == []
    assert found(cache, ASKED, attributes={"tenant": "another"}) == []
    assert found(cache, ASKED, scope={"user": "another"}) == []
    assert found(cache, "How can I not reset my password?") == []

    ids = {each["id"] for each in cache.get("/hits").json()["data"]}
    assert similar["hitId"] in ids
    path = f"/hits/{similar['hitId']}/feedback"
    assert cache.post(path, json={"correct": True}).status_code == 204
    assert cache.post(path, json={"correct": True}).status_code == 404
    certificate = cache.post("/certify", json={"budget": 0.02}).json()
    assert certificate["certified"] is False
    assert certificate["steps"] == [{"cosine": 0.95, "judged": 1, "wrong": 0, "at_most": 0.95}]
    figures = cache.get("/semantic").json()
    assert (figures["cosine"], figures["similarity"]) == (0.95, 0.975)
    assert figures["false_hit_rate"]["cases"] == 1
    assert figures["vetoes"]["negation"] == 1
    assert cache.get("/stats").json()["counts"]["semantic_hits"] == 1

    site = cache.headers["x-site"]
    data(api.patch(f"/api/sites/{site}", json={"semantic": "shadow"}))
    eventually(lambda: not found(cache, ASKED))
    data(api.patch(f"/api/sites/{site}", json={"semantic": "exact"}))
    eventually(lambda: cache.get("/semantic").status_code == 409)
    assert found(cache, STORED)[0]["similarity"] == 1


def test_hits_are_judged_without_the_sites_key(
    platform: Installation, api: httpx.Client, cache: httpx.Client
) -> None:
    path = f"/api/sites/{cache.headers['x-site']}"
    cache.post("/entries", json={"prompt": STORED, "response": "By e-mail."})
    assert found(cache, ASKED)
    [hit] = data(api.get(f"{path}/hits"))
    assert (hit["prompt"], hit["stored_prompt"], hit["served"]) == (ASKED, STORED, True)
    listed = platform.tenantry("cache", "judge", "faq").stdout
    assert hit["id"] in listed
    platform.tenantry("cache", "judge", "faq", hit["id"], "right")
    assert data(api.get(f"{path}/hits")) == []
    feedback = {"correct": True}
    assert problem(api.post(f"{path}/hits/{hit['id']}/feedback", json=feedback), 404)
    assert problem(api.post(f"{path}/hits/nonsense/feedback", json=feedback), 404)
    assert data(api.get(f"{path}/semantic"))["false_hit_rate"]["cases"] == 1
    certificate = data(api.post(f"{path}/certify", json={"budget": 0.02}))
    assert certificate["certified"] is False
    asked = {"resource_id": cache.headers["x-site"]}
    assert data(api.get("/api/audit-logs", params=asked))[0]["action"] == "site.certify"
    problem(api.post(f"{path}/certify", json={"budget": 1}), 422)
    with visiting(platform, platform.key) as visitor:
        shown = path.removeprefix("/api")
        assert "from a cosine of 0.950 on, which is the strict one" in visitor.page(shown)
        certified = visitor.http.post(f"{shown}/certify", data={"budget": "99"}).text
        assert "Answers are given from a cosine of" in certified
        assert "99.0 %" in certified
        assert "certified for 99.0 % of wrong ones" in visitor.page(shown)
        assert visitor.http.post(f"{shown}/certify", data={"budget": "100"}).status_code == 422
        tight = visitor.http.post(f"{shown}/certify", data={"budget": "0.1"}).text
        assert "Not certified" in tight
    eventually(lambda: data(api.get(f"{path}/report"))["total"]["semantic_hits"] == 1)
    similarities = data(api.get(f"{path}/report"))["similarities"]
    assert sum(each["searches"] for each in similarities) == 1

    data(api.patch(path, json={"semantic": "exact"}))
    eventually(lambda: api.get(f"{path}/hits").status_code == 409)
