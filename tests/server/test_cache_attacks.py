"""The AI cache before hostile providers and clients, with a real Redis."""

import asyncio
import gzip
import json
import socket
import socketserver
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest
from cache_service import KEY, PASSWORD, Directory, Service, cache_service

from tenantry.base.errors import Unavailable
from tenantry.base.secrets import Secret
from tenantry.cache.sites import Sites
from tenantry.services.cache_usage.counting import Counts
from tenantry.services.caching import flights, forms, lookups
from tenantry.services.caching.flights import Cut, Flight, Flights
from tenantry.services.caching.upstreams import sealed
from tenantry.services.sites.model import ServedSite

CHAT = "/v1/chat/completions"
WHOLE = json.dumps(
    {
        "choices": [{"message": {"content": "ho"}, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
    }
).encode()


class Provider(socketserver.ThreadingTCPServer):
    """A provider that answers every request with the same bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.said = b""
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answering(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(cast(Provider, self.server).said)


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with cache_service() as found:
        yield found


@pytest.fixture
def provider(service: Service) -> Iterator[Provider]:
    with Provider() as made:
        service.set_proxy(openai_url=made.url)
        yield made
        made.shutdown()


def ask(service: Service) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return service.http.post(CHAT, json=body)


@pytest.mark.parametrize(
    "said",
    [
        http(gzip.compress(gzip.compress(WHOLE)), "content-encoding: gzip, gzip"),
        http(gzip.compress(WHOLE), "content-encoding: gzip"),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx",
        http(WHOLE, "x-long: " + "x" * 200_000),
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
    ids=["twice compressed", "compressed", "upgrade", "long header", "no HTTP", "nothing"],
)
def test_an_answer_that_cannot_be_passed_on(
    service: Service, provider: Provider, said: bytes
) -> None:
    provider.said = said
    answer = ask(service)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@pytest.mark.parametrize("form", ["openai", "anthropic"])
def test_a_key_that_cannot_be_sent_is_not_shown(
    service: Service, provider: Provider, form: str
) -> None:
    site = service.directory.sites[KEY.reveal()]
    key = sealed(Secret("sk-secret "), site.id, cast(Any, form), service.seal)
    service.set_proxy(**{f"{form}_url": provider.url, f"{form}_key": key})
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    answer = service.http.post(CHAT if form == "openai" else "/v1/messages", json=body)
    service.set_proxy(**{f"{form}_key": None})
    assert answer.status_code == 503
    assert "sk-secret" not in answer.text


def test_headers_that_are_no_ascii_are_left_out(service: Service, provider: Provider) -> None:
    provider.said = http(WHOLE, "x-city: \u6771\u4eac", "content-type: application/\u6771")
    for cached in ("miss", "hit"):
        answer = ask(service)
        assert (answer.status_code, answer.headers["x-cache"]) == (200, cached)
        assert answer.content == WHOLE
        assert "x-city" not in answer.headers


def test_nobody_without_a_key_has_a_body_read(service: Service) -> None:
    url = httpx.URL(service.url)
    head = (
        "POST /v1/caches/own/entries HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        "content-length: 4000000\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(head.encode())  # and nothing else: an answer comes all the same
        assert client.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_answers_are_read_beside_the_requests_of_others(
    service: Service, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def events(text: str) -> Iterator[forms.Body]:  # takes seconds for one of 32 MB
        threads.append(threading.current_thread().name)
        yield from found(text)

    found = forms.events
    monkeypatch.setattr(forms, "events", events)
    provider.said = http(b"data: {}\n\n", "content-type: text/event-stream")
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "long"}]}
    assert service.http.post(CHAT, json=body).content == b"data: {}\n\n"
    assert [name.partition("_")[0] for name in threads] == ["parser"]


async def test_an_answer_whose_reader_leaves_at_its_last_event_is_stored() -> None:
    stored, left = asyncio.Event(), asyncio.Event()

    async def fill(flight: Flight) -> None:
        await flight.head(200, {})
        await flight.add(b"data: [DONE]")
        await left.wait()
        stored.set()

    flight = Flights().begin("site", "question", fill)
    body = aiter(flight.body())
    assert await anext(body) == b"data: [DONE]"
    await cast(Any, body).aclose()
    await asyncio.sleep(0)  # in which it was cancelled
    left.set()
    await stored.wait()


async def test_answers_of_a_site_have_room_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "_MOST_BYTES_OF_SITE", 1000)
    found = Flights()

    async def fill(flight: Flight) -> None:
        await flight.head(200, {})
        await flight.add(b"x" * 600)

    async def read(flight: Flight) -> int:
        return sum([len(chunk) async for chunk in flight.body()])

    first = found.begin("site", None, fill)
    assert await read(first) == 600
    with pytest.raises(Cut):  # as long as somebody has the first one
        await read(found.begin("site", None, fill))
    assert await read(found.begin("another site", None, fill)) == 600
    del first
    assert await read(found.begin("site", None, fill)) == 600


@dataclass
class _Lookups:
    forgotten: list[uuid.UUID] = field(default_factory=list)

    def of(self, *_: object) -> None:
        return None

    def forget(self, site_id: uuid.UUID) -> None:
        self.forgotten.append(site_id)


async def test_nothing_is_held_of_a_site_that_is_gone(service: Service) -> None:
    directory, made = Directory(), _Lookups()
    site = ServedSite(
        uuid.uuid4(), "a", None, service.redis.socket, "platform", PASSWORD, "exact", {}, None
    )
    directory.sites[KEY.reveal()] = site
    sites = Sites(directory, Counts(), cast(Any, made))
    served = await sites.of_key(KEY, None)
    await sites.tidy_once()
    assert made.forgotten == []
    directory.sites.clear()
    await sites.tidy_once()
    await sites.tidy_once()
    assert made.forgotten == [served.site.id]


async def test_stored_questions_are_read_once_redis_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookups, "_AGAIN_SECONDS", 0)
    asked: list[str] = []

    class Lookup:
        async def load(self) -> int:
            asked.append("load")
            if len(asked) == 1:
                raise Unavailable("It is just starting.")
            return 7

    await lookups.loaded(uuid.uuid4(), cast(Any, Lookup()))
    assert len(asked) == 2
