"""The AI cache with a real Redis, and the providers' own clients through its proxy."""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import anthropic
import httpx
import openai
import pytest
from cache_service import KEY, UPSTREAM_KEY, Service, cache_service
from langcache import LangCache
from langcache.models import SearchStrategy

from clients import eventually
from tenantry.services.caching.model import Entry, Question
from tenantry.services.caching.service import SiteCache

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with cache_service() as found:
        yield found


@pytest.fixture
def service(running: Service) -> Service:
    """The service with nothing stored, and nothing asked."""
    running.http.post("/v1/caches/own/flush").raise_for_status()
    running.providers.asked.clear()
    running.providers.keys.clear()
    running.providers.released.clear()
    return running


def chat(prompt: str, **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def stats(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.http.get("/v1/caches/own/stats").json()
    return found


# ── entries ──────────────────────────────────────────────────────────────────


def test_the_client_of_langcache_is_served(service: Service) -> None:
    with LangCache(
        server_url=service.url, cache_id=str(service.site_id), api_key=KEY.reveal()
    ) as client:
        assert client.search(prompt="What is it?").data == []
        stored = client.set(prompt="What is it?", response="A cache.", attributes={"app": "a"})
        found = client.search(
            prompt="  What  is it?",
            attributes={"app": "a"},
            search_strategies=[SearchStrategy.EXACT],
        )
        assert [(each.id, each.response, each.similarity) for each in found.data] == [
            (stored.entry_id, "A cache.", 1.0)
        ]
        assert client.search(prompt="What is it?").data == []  # other attributes
        client.set(prompt="Another?", response="Yes.", attributes={"app": "a", "user": "u"})
        assert client.delete_query(attributes={"app": "a"}).deleted_entries_count == 2
        again = client.set(prompt="What is it?", response="A cache.")
        client.delete_by_id(entry_id=again.entry_id)
        assert client.search(prompt="What is it?").data == []
        client.flush()


def test_scopes_are_apart_in_searches(service: Service) -> None:
    paths = "/v1/caches/own/entries"
    body = {"prompt": "who am I?", "response": "Ada", "scope": {"user": "ada"}}
    assert service.http.post(paths, json=body).status_code == 201

    def found(scope: dict[str, str] | None) -> list[str]:
        asked = {"prompt": "who am I?"} | ({} if scope is None else {"scope": scope})
        answer = service.http.post(f"{paths}/search", json=asked)
        return [each["response"] for each in answer.json()["data"]]

    assert found({"user": "ada"}) == ["Ada"]
    assert found({"user": "bob"}) == found(None) == []


def test_feedback_deletes_a_wrong_answer(service: Service) -> None:
    paths = "/v1/caches/own/entries"
    entry = service.http.post(paths, json={"prompt": "p", "response": "wrong"}).json()["entryId"]
    path = f"{paths}/{entry}/feedback"
    assert service.http.post(path, json={"correct": True}).status_code == 204
    assert service.http.post(path, json={"correct": False}).status_code == 204
    assert service.http.post(path, json={"correct": False}).status_code == 404
    assert service.http.post(f"{paths}/search", json={"prompt": "p"}).json() == {"data": []}
    counts = stats(service)["counts"]
    assert (counts["judged_right"], counts["judged_wrong"]) == (1, 1)


def test_keys_of_others_and_paths_of_others_are_refused(service: Service) -> None:
    unknown = {"authorization": "Bearer tnx_nobody"}
    assert service.http.get("/v1/caches/own/stats", headers=unknown).status_code == 401
    other = service.http.get(f"/v1/caches/{uuid.uuid4()}/stats")
    assert (other.status_code, other.json()["code"]) == (404, "not_found")
    bad = service.http.post("/v1/caches/own/entries", json={"prompt": "", "more": 1})
    assert bad.status_code == 422
    assert {each["field"] for each in bad.json()["errors"]} >= {"prompt", "response", "more"}
    typed = {"content-type": "application/json"}
    no_json = service.http.post("/v1/caches/own/entries", content=b"{", headers=typed)
    assert (no_json.status_code, no_json.json()["code"]) == (400, "invalid_json")
    assert service.http.post("/v1/caches/own/entries", content=b"x" * 5_000_000).status_code == 413


def test_the_allowlist_holds_for_its_cache_too(service: Service) -> None:
    site = replace(service.directory.sites[KEY.reveal()], networks=(ip_network("203.0.113.7"),))
    assert [site.admits(each) for each in ("203.0.113.7", "127.0.0.1")] == [True, True]
    assert [site.admits(each) for each in ("203.0.113.8", None)] == [False, False]


def test_sites_do_not_see_each_other(service: Service) -> None:
    """Also in one Redis: all keys have the site's id."""
    mine = service.directory.sites[KEY.reveal()]
    service.directory.sites["tnx_other"] = replace(mine, id=uuid.uuid4())
    try:
        paths = "/v1/caches/own/entries"
        service.http.post(paths, json={"prompt": "p", "response": "mine"}).raise_for_status()
        other = {"authorization": "Bearer tnx_other"}
        found = service.http.post(f"{paths}/search", json={"prompt": "p"}, headers=other)
        assert found.json() == {"data": []}
        service.http.post("/v1/caches/own/flush", headers=other).raise_for_status()
        assert service.http.post(f"{paths}/search", json={"prompt": "p"}).json()["data"]
    finally:
        del service.directory.sites["tnx_other"]


def test_a_conversation_is_cut_to_a_window(service: Service) -> None:
    path = "/v1/caches/own/history/of%2Fada"
    turns = [{"role": "user", "content": str(n), "tokens": 10} for n in range(5)]
    assert service.http.post(path, json={"messages": turns}).json() == {"count": 5}
    found = service.http.get(path, params={"max_tokens": 25}).json()
    assert [each["content"] for each in found["messages"]] == ["3", "4"]
    assert service.http.delete(path).status_code == 204
    assert service.http.delete(path).status_code == 404


# ── the proxy ────────────────────────────────────────────────────────────────


def test_the_client_of_openai_pays_once(service: Service) -> None:
    more = {"x-upstream-key": UPSTREAM_KEY}
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=KEY.reveal(), default_headers=more)
    messages: Any = [{"role": "user", "content": "hello"}]
    texts, streamed = set(), set()
    for _ in range(2):
        whole = client.chat.completions.create(model="m", messages=messages)
        texts.add(whole.choices[0].message.content)
        stream = client.chat.completions.create(model="m", messages=messages, stream=True)
        streamed.add("|".join(chunk.choices[0].delta.content or "" for chunk in stream))
    assert texts == {"answer 1"}
    assert streamed == {"answer|2|"}
    answers = [client.responses.create(model="m", input="hello").output_text for _ in range(2)]
    assert answers == ["answer 3"] * 2
    for _ in range(2):
        events = list(client.responses.create(model="m", input="hello", stream=True))
        assert events[-1].type == "response.completed"
    assert len(service.providers.asked) == 4
    assert set(service.providers.keys) == {f"Bearer {UPSTREAM_KEY}"}
    assert stats(service)["counts"]["tokens_saved"] == 4 * 7


def test_the_client_of_anthropic_pays_once(service: Service) -> None:
    client = anthropic.Anthropic(
        base_url=service.url,
        api_key=KEY.reveal(),
        default_headers={"x-upstream-key": UPSTREAM_KEY},
    )
    asked: Any = {
        "model": "m",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hello"}],
    }
    whole: list[Any] = [client.messages.create(**asked) for _ in range(2)]
    assert [each.content[0].text for each in whole] == ["answer 1"] * 2
    for _ in range(2):
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_text() == "answer 2"
    assert len(service.providers.asked) == 2
    assert set(service.providers.keys) == {UPSTREAM_KEY}


def test_embeddings_go_to_the_provider_once_each(service: Service) -> None:
    client = openai.OpenAI(
        base_url=f"{service.url}/v1",
        api_key=KEY.reveal(),
        default_headers={"x-upstream-key": UPSTREAM_KEY},
    )

    def embedded(*texts: str) -> list[float]:
        found = client.embeddings.create(model="e", input=list(texts), encoding_format="float")
        return [each.embedding[0] for each in found.data]

    assert embedded("a", "bb", "a") == [1.0, 2.0, 1.0]
    assert embedded("ccc", "bb") == [3.0, 2.0]
    assert embedded("a") == [1.0]
    assert [each["input"] for each in service.providers.asked] == [["a", "bb"], ["ccc"]]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (chat("p", tools=[{"type": "function"}]), "tools"),
        (chat("p", temperature=1.5), "temperature"),
        (chat("p", n=2), "n"),
        (
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "content",
        ),
        ({"model": "m", "messages": [{"role": "assistant", "content": "p"}]}, "form"),
    ],
)
def test_what_is_no_plain_question_passes_by(
    service: Service, body: dict[str, object], reason: str
) -> None:
    for _ in range(2):
        answer = service.http.post(CHAT, json=body)
        assert answer.headers["x-cache"] == f"bypass; {reason}"
    assert len(service.providers.asked) == 2


def test_only_what_ended_well_is_stored(service: Service) -> None:
    for prompt in ("length", "fail"):
        for _ in range(2):
            assert service.http.post(CHAT, json=chat(prompt)).headers["x-cache"] == "miss"
    for prompt in ("cut", "length"):
        for _ in range(2):
            answer = service.http.post(CHAT, json=chat(prompt, stream=True))
            assert answer.headers["x-cache"] == "miss"
    assert len(service.providers.asked) == 8


def test_a_client_decides_by_cache_control(service: Service) -> None:
    def asked(directive: str | None) -> tuple[str, str]:
        headers = {} if directive is None else {"cache-control": directive}
        answer = service.http.post(CHAT, json=chat("hello"), headers=headers)
        return answer.headers["x-cache"], answer.json()["choices"][0]["message"]["content"]

    assert asked("no-store") == ("bypass; no-store", "answer 1")
    assert asked(None) == ("miss", "answer 2")
    assert asked("no-cache") == ("miss", "answer 3")
    assert asked(None) == ("hit", "answer 3")
    service.set(mode="off")
    try:
        assert asked(None) == ("bypass; off", "answer 4")
    finally:
        service.set(mode="exact")


def test_another_context_is_another_question(service: Service) -> None:
    bodies = [
        chat("hello"),
        chat("hello", model="other"),
        chat("hello", user="ada"),
        chat("hello", temperature=0.5),
        {"model": "m", "messages": [{"role": "system", "content": "s"}, *_turn("hello")]},
        {"model": "m", "messages": [*_turn("hi"), *_turn("hello")]},
    ]
    for body in bodies:
        assert service.http.post(CHAT, json=body).headers["x-cache"] == "miss"
        assert service.http.post(CHAT, json=body).headers["x-cache"] == "hit"
    other = {"x-upstream-key": "sk-of-another-account"}
    assert service.http.post(CHAT, json=bodies[0], headers=other).headers["x-cache"] == "miss"


def _turn(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def test_one_request_serves_all_who_ask_at_the_same_time(service: Service) -> None:
    barrier = threading.Barrier(5)

    def ask() -> tuple[str, str]:
        barrier.wait()
        with service.http.stream("POST", CHAT, json=chat("wait", stream=True)) as answer:
            return answer.headers["x-cache"], answer.read().decode()

    def shared() -> int:
        return sum(cell["shared"] for cell in list(service.counts._cells.values()))

    before = shared()
    with ThreadPoolExecutor(5) as threads:
        asked = [threads.submit(ask) for _ in range(5)]
        try:
            # All are there before it ends: who looks up meanwhile finds neither it nor its answer.
            eventually(lambda: shared() == before + 4)
        finally:
            service.providers.released.set()
        found = [each.result() for each in asked]
    assert len(service.providers.asked) == 1
    assert len({body for _, body in found}) == 1
    assert [cached for cached, _ in found].count("miss") == 1


def test_an_answer_that_comes_and_ends_during_a_look_up_is_found(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = SiteCache.find

    def ask() -> tuple[str, str]:
        answer = service.http.post(CHAT, json=chat("meanwhile"))
        return answer.headers["x-cache"], answer.text

    others: list[tuple[str, str]] = []

    async def slow(self: SiteCache, question: Question) -> Entry | None:
        found = await find(self, question)
        if not others:
            others.append(("", ""))  # its own look-up is not slow
            others.append(await asyncio.to_thread(ask))
        return found

    monkeypatch.setattr(SiteCache, "find", slow)
    cached, body = ask()
    assert (cached, others[1]) == ("hit", ("miss", body))
    assert len(service.providers.asked) == 1


def test_limits_of_a_site(service: Service) -> None:
    site_id = service.site_id
    service.set(id=uuid.uuid4())  # nothing is spent yet
    service.set_proxy(tokens_per_day=7)
    try:
        for expected in (200, 429):
            assert service.http.post(CHAT, json=chat(str(expected))).status_code == expected
        assert service.http.post(CHAT, json=chat("200")).headers["x-cache"] == "hit"
        service.set_proxy(tokens_per_day=None, requests_per_minute=1)
        statuses = [service.http.post(CHAT, json=chat(f"m{n}")).status_code for n in range(3)]
        assert statuses.count(429) >= 1  # a minute may have ended between two of them
    finally:
        service.set_proxy(tokens_per_day=None, requests_per_minute=None)
        service.set(id=site_id)


@pytest.mark.parametrize("trouble", ["full", "away"])
def test_limits_hold_while_redis_does_not_count(service: Service, trouble: str) -> None:
    site_id = service.site_id
    service.set(id=uuid.uuid4())
    service.set_proxy(tokens_per_day=20)  # of which each answer takes 7
    client = service.redis.client()
    try:
        assert service.http.post(CHAT, json=chat("before")).status_code == 200
        if trouble == "full":
            client.config_set("maxmemory", 1)
        else:
            service.redis.kill()
        statuses = [service.http.post(CHAT, json=chat(f"t{n}")).status_code for n in range(4)]
        assert statuses == [200, 200, 429, 429]
        service.set_proxy(tokens_per_day=None, requests_per_minute=2)
        statuses = [service.http.post(CHAT, json=chat(f"m{n}")).status_code for n in range(6)]
        assert statuses.count(429) >= 2  # a minute may have ended between two of them
    finally:
        if trouble == "full":
            client.config_set("maxmemory", 64 * 1024**2)
        else:
            service.redis.start()
        service.set_proxy(tokens_per_day=None, requests_per_minute=None)
        service.set(id=site_id)


def test_without_a_key_for_the_provider(service: Service) -> None:
    with httpx.Client(
        base_url=service.url, headers={"authorization": f"Bearer {KEY.reveal()}"}
    ) as client:
        refused = client.post(CHAT, json=chat("hello"))
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert "x-upstream-key" in refused.json()["hint"]


def test_customers_do_not_reach_this_network(service: Service) -> None:
    service.set(customer_id=uuid.uuid4())
    try:
        refused = service.http.post(CHAT, json=chat("hello"))
    finally:
        service.set(customer_id=None)
    assert refused.status_code == 403
    assert service.providers.asked == []


def test_without_redis_everything_is_a_miss(service: Service) -> None:
    assert service.http.post(CHAT, json=chat("hello")).headers["x-cache"] == "miss"
    service.redis.kill()
    try:
        for _ in range(2):
            answer = service.http.post(CHAT, json=chat("hello"))
            assert (answer.status_code, answer.headers["x-cache"]) == (200, "miss")
        search = service.http.post("/v1/caches/own/entries/search", json={"prompt": "p"})
        assert (search.status_code, search.json()) == (200, {"data": []})
        stored = service.http.post("/v1/caches/own/entries", json={"prompt": "p", "response": "r"})
        assert stored.status_code == 503
    finally:
        service.redis.start()
    assert service.http.post(CHAT, json=chat("hello")).headers["x-cache"] == "miss"
    assert service.http.post(CHAT, json=chat("hello")).headers["x-cache"] == "hit"


# ── counts ───────────────────────────────────────────────────────────────────


def counted(service: Service) -> dict[str, dict[str, int]]:
    """What was counted since the last call, by model, without durations."""
    found: dict[str, dict[str, int]] = {}
    for (site, _, model), counts in service.counts.take().items():
        if site != service.site_id:  # of another test
            continue
        some = found.setdefault(model, {})
        for name, number in counts.items():
            if not name.startswith(("lookup", "provider")) and number:
                some[name] = some.get(name, 0) + number
    return found


def test_what_comes_of_requests_is_counted_by_model(service: Service) -> None:
    counted(service)

    def ask(prompt: str, headers: dict[str, str] | None = None, **more: object) -> str:
        answer = service.http.post(CHAT, json=chat(prompt, **more), headers=headers or {})
        return str(answer.headers["x-cache"])

    assert ask("count me") == "miss"
    assert ask("count me") == "hit"
    assert ask("count me", model="n", stream=True) == "miss"
    assert ask("count me", model="n", stream=True) == "hit"
    assert ask("count me", tools=[{"type": "function"}]).startswith("bypass")
    assert ask("count me", {"cache-control": "no-cache"}) == "miss"
    assert ask("fail") == "miss"
    assert counted(service) == {
        "m": {
            "misses": 2,
            "exact_hits": 1,
            "bypasses": 2,
            "failures": 1,
            "tokens_in": 9,
            "tokens_out": 12,
            "saved_in": 3,
            "saved_out": 4,
        },
        "n": {
            "misses": 1,
            "exact_hits": 1,
            "tokens_in": 3,
            "tokens_out": 4,
            "saved_in": 3,
            "saved_out": 4,
        },
    }


def test_entries_and_embeddings_are_counted(service: Service) -> None:
    counted(service)
    paths = "/v1/caches/own/entries"
    scope = {"scope": {"model": "small"}}
    service.http.post(f"{paths}/search", json={"prompt": "a", **scope})
    service.http.post(paths, json={"prompt": "a", "response": "b", **scope})
    service.http.post(f"{paths}/search", json={"prompt": "a", **scope})
    service.http.post(f"{paths}/search", json={"prompt": "a", "scope": {"model": {"b": 1}}})
    body = {"model": "e", "input": ["one", "two"]}
    service.http.post("/v1/embeddings", json=body)
    service.http.post("/v1/embeddings", json={**body, "input": ["one", "three"]})
    assert counted(service) == {
        "small": {"misses": 1, "exact_hits": 1},
        "other": {"misses": 1},
        "e": {"embeddings_found": 1, "embeddings_asked": 3, "tokens_in": 3},
    }
