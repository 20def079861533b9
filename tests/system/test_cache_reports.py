"""What the AI cache counts and saves, by the API, the command line and the console."""

import contextlib
import html
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import redis
from playwright.sync_api import Page, expect

from answers import data, problem
from browsing import faults, visiting
from clients import eventually
from harness import Installation

Row = dict[str, Any]
PRICES: Row = {
    "currency": "EUR",
    "prices": [
        {"model": "acme-1", "valid_from": "2020-01-01", "input": 2.0, "output": 1000.0},
        {"model": "acme-1", "valid_from": "2090-01-01", "input": 9.0, "output": 9.0},
    ],
}


class Provider(BaseHTTPRequestHandler):
    """A provider whose answers take 10 tokens of input and 1,000 of output."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "Yes."}
        usage = {"prompt_tokens": 10, "completion_tokens": 1000, "total_tokens": 1010}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def provider() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site(api: httpx.Client) -> Iterator[Row]:
    made: Row = data(api.post("/api/sites", json={"name": "counted", "memory_mb": 8}), 201)
    with provider() as url:
        proxy = {"openai_url": url, "openai_key": "sk-x"}
        data(api.patch(f"/api/sites/{made['id']}/proxy", json=proxy))
        data(api.put("/api/cache-prices", json=PRICES))
        yield made
    data(api.delete(f"/api/sites/{made['id']}"))
    data(api.put("/api/cache-prices", json={"currency": "EUR", "prices": []}))


def ask(platform: Installation, site: Row, prompt: str) -> str:
    """Ask through the proxy. Returns what the cache did; nothing while it does not answer."""
    body = {"model": "acme-1", "messages": [{"role": "user", "content": prompt}]}
    headers = {"authorization": f"Bearer {site['api_key']}"}
    url = f"http://127.0.0.1:{platform.cache_port}/v1/chat/completions"
    try:
        answer = httpx.post(url, json=body, headers=headers, timeout=30)
    except httpx.TransportError:
        return ""
    return answer.headers["x-cache"] if answer.is_success else ""


def test_answers_and_their_money_are_reported(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    path = f"/api/sites/{site['id']}"
    eventually(lambda: ask(platform, site, "what is it?") == "hit")
    eventually(lambda: data(api.get(f"{path}/report"))["total"]["exact_hits"] == 1)
    report = data(api.get(f"{path}/report", params={"days": 1}))
    total = report["total"]
    assert (total["misses"], total["tokens_in"], total["saved_out"]) == (1, 10, 1000)
    assert total["hit_rate"]["cases"] == 2
    assert 0 < total["hit_rate"]["low"] < 0.5 < total["hit_rate"]["high"] < 1
    assert (total["saved"], total["paid"]) == (1.00002, 1.00002)
    assert (report["currency"], total["priced_from"]) == ("EUR", "2020-01-01")
    assert [each["model"] for each in report["models"]] == ["acme-1"]
    assert report["unpriced"] == []
    assert report["lookup"]["p95_ms"] > 0
    assert report["redis"]["sampled"] == report["redis"]["keys"] > 0
    assert {each["kind"] for each in report["redis"]["kinds"]} >= {"entry"}
    assert report["redis"]["big_keys"][0]["key"].startswith("cache:")

    drawn = data(api.get(f"{path}/analytics", params={"step": 60}))
    series = {each["name"]: each for each in drawn["series"]}
    assert sum(value for _, value in series["exact_hits"]["points"]) == 1
    assert series["saved"]["unit"] == "EUR"
    one = data(api.get(f"{path}/analytics", params={"model": "none of these"}))
    assert all(not value for each in one["series"] for _, value in each["points"])

    metrics = api.get("/metrics").text
    for line in (
        f'tenantry_cache_site_info{{name="counted",site="{site["id"]}"}} 1.0',
        f'tenantry_cache_requests_total{{result="exact_hits",site="{site["id"]}"}} 1.0',
        f'tenantry_cache_tokens_total{{kind="saved_out",site="{site["id"]}"}} 1000.0',
        f'tenantry_cache_memory_limit_bytes{{site="{site["id"]}"}}',
    ):
        assert line in metrics
    said = platform.tenantry("cache", "report", "counted").stdout
    assert "1.0000 EUR, by prices from 2020-01-01" in said


def test_names_of_keys_and_other_customers_sites_are_not_shown(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    path = f"/api/sites/{site['id']}"
    reader = data(api.post("/api/api-keys", json={"name": "r", "scopes": ["databases:read"]}), 201)
    with platform.client(reader["key"]) as client:
        redis = data(client.get(f"{path}/report"))["redis"]
        assert (redis["big_keys"], redis["slow_commands"]) == (None, None)
        assert data(client.get("/api/cache-prices")) == PRICES
        problem(client.put("/api/cache-prices", json=PRICES), 403)
        problem(client.get(f"{path}/hits"), 403)
    body = {"name": "c", "scopes": ["databases:read", "data:read", "databases:write"]}
    theirs = data(api.post("/api/api-keys", json=body | {"customer_email": "x@example.com"}), 201)
    with platform.client(theirs["key"]) as client:
        for each in ("report", "analytics", "hits", "semantic"):
            problem(client.get(f"{path}/{each}"), 404)
        problem(client.post(f"{path}/hits/1-0/feedback", json={"correct": True}), 404)
        problem(client.post(f"{path}/certify", json={"budget": 0.1}), 404)


@pytest.mark.parametrize(
    "wrong",
    [
        {"currency": "euro", "prices": []},
        {"prices": []},
        {"currency": "EUR", "prices": [PRICES["prices"][0], PRICES["prices"][0]]},
        {"currency": "EUR", "prices": [{**PRICES["prices"][0], "input": -1}]},
        {"currency": "EUR", "prices": [{**PRICES["prices"][0], "valid_from": 0}]},
        {"currency": "EUR", "prices": [{**PRICES["prices"][0], "model": "a\x00"}]},
    ],
)
def test_prices_that_are_none_are_refused(api: httpx.Client, wrong: Row) -> None:
    assert problem(api.put("/api/cache-prices", json=wrong), 422)["code"] == "invalid_input"


def test_the_console_shows_a_site_and_sets_prices(platform: Installation, site: Row) -> None:
    eventually(lambda: ask(platform, site, "in the console?") == "hit")
    with visiting(platform, platform.key) as visitor:
        eventually(lambda: "acme-1" in visitor.page(f"/sites/{site['id']}"))
        page = visitor.page(f"/sites/{site['id']}?days=1")
        assert "Exact hits" in page
        assert "EUR" in page
        assert "Big key" in page
        assert visitor.page("/cache-prices").count("acme-1") >= 2
        new = {"model": "large", "valid_from": "2031-01-01", "input": "1.5", "output": "3"}
        assert visitor.http.post("/cache-prices", data=new).status_code == 303
        assert "large" in visitor.page("/cache-prices")
        gone = {"model": "large", "valid_from": "2031-01-01"}
        assert visitor.http.post("/cache-prices/remove", data=gone).status_code == 303
        assert "large" not in visitor.page("/cache-prices")


def test_the_console_changes_a_site(platform: Installation, api: httpx.Client, site: Row) -> None:
    path = f"/sites/{site['id']}"
    with visiting(platform, platform.key) as visitor:

        def send(verb: str, **form: str) -> httpx.Response:
            return visitor.http.post(f"{path}/{verb}", data={"once": uuid.uuid4().hex, **form})

        def saved(answer: httpx.Response) -> bool:
            return str(answer.headers.get("location")) == f"{path}/settings?done=site-updated"

        form = {"name": "counted", "memory_mb": "9", "max_clients": "50", "semantic": "exact"}
        form |= {"eviction": "allkeys-lru", "persistence": "none"}
        assert saved(send("settings", **form))
        found = data(api.get(f"/api{path}"))
        assert (found["memory_mb"], found["eviction"]) == (9, "allkeys-lru")
        assert (found["max_clients"], found["networks"]) == (50, [])
        assert 'value="50"' in visitor.page(f"{path}/settings")
        refused = send("settings", **form | {"memory_mb": "2"})
        assert (refused.status_code, "Memory, MiB: is at least 8" in refused.text) == (422, True)

        proxy = data(api.get(f"/api{path}/proxy"))
        same = {"openai_url": proxy["openai_url"], "most_temperature": "1.0"}
        assert saved(send("proxy", **same, tokens_per_day="1000000", anthropic_key="sk-other"))
        wanted = proxy | {"tokens_per_day": 1_000_000, "has_anthropic_key": True}
        assert data(api.get(f"/api{path}/proxy")) == wanted
        shown = visitor.page(f"{path}/settings")
        assert ("sk-other" in shown, "sk-x" in shown, "1000000" in shown) == (False, False, True)
        emptied = {"was_tokens_per_day": "1000000"}
        assert saved(send("proxy", **same, **emptied, openai_forget="yes"))
        wanted = proxy | {"has_openai_key": False, "has_anthropic_key": True}
        assert data(api.get(f"/api{path}/proxy")) == wanted
        assert send("proxy", openai_url="ftp://x").status_code == 422

        only = send("rotate", secrets="api_key").text
        assert ("API key" in only, "rediss://" in only) == (True, False)
        assert send("rotate", secrets="none").status_code == 422


def test_the_console_shows_what_a_sites_redis_has(
    platform: Installation, api: httpx.Client, site: Row
) -> None:
    path = f"/sites/{site['id']}"
    with (
        contextlib.closing(
            redis.Redis.from_url(site["redis_url"], ssl_ca_certs=str(platform.home / "ca.crt"))
        ) as client,
        visiting(platform, platform.key) as visitor,
    ):
        for number in range(60):
            client.set(f"{site['key_prefix']}product:{number}<b>", "x", ex=3600)
        client.get(f"{site['key_prefix']}none")
        page = visitor.page(path)
        assert re.search(r"<dt>Clients</dt><dd>[1-9]\d* of 100<", page)
        assert re.search(r"<dt>Keys asked for</dt><dd>[\d,]+ found, [1-9]", page)
        names: set[str] = set()
        link = f"{path}/keys?match=product:*"
        while link:
            page = visitor.page(link)
            names |= set(re.findall(r"product:(\d+)&lt;b&gt;", page))
            following = re.search(r'rel="next" href="([^"]+)"', page)
            link = html.unescape(following[1]) if following else ""
        assert names == {str(number) for number in range(60)}
        assert "No key matches." in visitor.page(f"{path}/keys?match=nothing")
        assert visitor.http.get(f"{path}/keys?cursor=x").status_code == 422
    key = data(api.post("/api/api-keys", json={"name": "reads", "scopes": ["databases:read"]}), 201)
    with visiting(platform, key["key"]) as reader:
        assert f'href="{path}/keys"' not in reader.page(path)
        assert reader.http.get(f"{path}/keys").status_code == 403
        assert f'action="{path}/' not in reader.page(f"{path}/settings")
        assert reader.http.post(f"{path}/settings", data={"name": "x"}).status_code == 403


def test_a_site_is_made_in_the_shared_redis(platform: Installation, api: httpx.Client) -> None:
    with visiting(platform, platform.key) as visitor:
        form = {"name": "tiny", "isolation": "shared", "max_clients": "9", "semantic": "off"}
        made = visitor.http.post("/sites", data={"once": uuid.uuid4().hex, **form})
        assert "rediss://" in made.text
        (found,) = (each for each in data(api.get("/api/sites")) if each["name"] == "tiny")
        try:
            assert (found["isolation"], found["memory_mb"], found["max_clients"]) == (
                "shared",
                4,
                9,
            )
            assert found["semantic"] == "off"
            shown = visitor.page(f"/sites/{found['id']}/settings")
            assert "the shared Redis" in shown
            assert 'name="eviction"' not in shown
        finally:
            data(api.delete(f"/api/sites/{found['id']}"))


def test_a_sites_pages_are_accessible(platform: Installation, site: Row, page: Page) -> None:
    eventually(lambda: ask(platform, site, "x" * 300) == "hit")
    for place in ("", "/keys", "/access", "/backups", "/settings"):
        path = f"{platform.url}/sites/{site['id']}{place}"
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(path)
        assert faults(page) == []
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_sites_allowlist_is_changed_in_a_browser(
    platform: Installation, api: httpx.Client, site: Row, page: Page
) -> None:
    page.on("dialog", lambda question: question.accept())
    page.goto(f"{platform.url}/sites/{site['id']}")
    page.get_by_role("link", name="Allowlist", exact=True).click()
    page.get_by_label("Address or range").fill("203.0.113.7")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_text("The allowlist of the site was changed.")).to_be_visible()
    expect(page.get_by_text("machine only: Redis knows no allowlists")).to_be_visible()
    page.get_by_text("Replace the whole list", exact=True).first.click()
    page.get_by_label("Entries, one in each line").fill("203.0.113.0/24 # office")
    page.get_by_role("button", name="Show what changes").click()
    page.get_by_role("dialog").get_by_role("button", name="Replace it").click()
    expect(page.get_by_role("row", name="203.0.113.0/24")).to_be_visible()
    path = f"/api/sites/{site['id']}/whitelist"
    assert [(each["ip_address"], each["description"]) for each in data(api.get(path))] == [
        ("203.0.113.0/24", "office")
    ]
    page.get_by_role("button", name="Remove 203.0.113.0/24").click()
    expect(page.get_by_role("dialog")).to_contain_text("It is the last entry")
    page.get_by_role("dialog").get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("Empty: every address is admitted")).to_be_visible()
    assert faults(page) == []


def test_a_site_is_changed_in_a_browser(
    platform: Installation, api: httpx.Client, site: Row, page: Page
) -> None:
    page.goto(f"{platform.url}/sites/{site['id']}")
    page.get_by_role("link", name="Settings", exact=True).click()
    memory = page.get_by_label("Memory, MiB")
    memory.fill("2")
    save = page.get_by_role("button", name="Save the site")
    save.click()
    expect(page.get_by_text("Memory, MiB: is at least 8")).to_be_visible()
    expect(memory).to_have_value("2")  # what was typed stays
    memory.fill("12")
    save.click()
    expect(page.get_by_text("The site was changed")).to_be_visible()
    page.get_by_label("Requests per minute").fill("600")
    page.get_by_label("Anthropic key").fill("sk-typed")
    page.get_by_role("button", name="Save the providers").click()
    expect(page.get_by_text("with a key that is stored")).to_have_count(2)
    assert data(api.get(f"/api/sites/{site['id']}"))["memory_mb"] == 12
    proxy = data(api.get(f"/api/sites/{site['id']}/proxy"))
    assert (proxy["requests_per_minute"], proxy["has_openai_key"]) == (600, True)
    page.on("dialog", lambda question: question.accept())
    page.get_by_label("Secrets to replace").select_option("password")
    page.get_by_role("button", name="Rotate").click()
    expect(page.get_by_role("dialog").get_by_label("Redis URL", exact=True)).to_have_value(
        re.compile("^rediss://site:")
    )
    assert faults(page) == []
