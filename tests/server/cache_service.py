"""The AI cache with a Redis of its own, in front of providers whose answers are given."""

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import redis
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from harness import free_ports
from tenantry.base.secrets import Seal, Secret
from tenantry.cache.app import create_app
from tenantry.cache.sites import Sites
from tenantry.services.cache_usage.counting import Counts
from tenantry.services.caching.lookups import Lookups
from tenantry.services.caching.proxying import Proxy
from tenantry.services.caching.upstreams import SETTING, Upstreams
from tenantry.services.requests.proxies import Trusted
from tenantry.services.sites.model import ServedSite

KEY = Secret("tnx_the_key_of_a_site")
PASSWORD = Secret("of-the-platform")
UPSTREAM_KEY = "sk-of-the-provider"
Events = Sequence[tuple[str | None, object]]  # of a stream: names and data


@dataclass
class Directory:
    """The sites, as a test has them."""

    sites: dict[str, ServedSite] = field(default_factory=dict)  # by key

    async def find(self, site_id: uuid.UUID) -> ServedSite | None:
        return next((each for each in self.sites.values() if each.id == site_id), None)

    async def identify(self, api_key: Secret) -> uuid.UUID | None:
        found = self.sites.get(api_key.reveal())
        return None if found is None else found.id


class Redis:
    """A redis-server on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self._config = folder / "redis.conf"
        self._config.write_text(
            f"port 0\nunixsocket {self.socket}\nsave ''\ndir {folder}\nmaxmemory 64mb\n"
            f"maxmemory-policy volatile-lru\nuser default off\n"
            f"user platform on >{PASSWORD.reveal()} ~* &* +@all\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        assert program, "./check installs redis-server"
        self._process = subprocess.Popen([program, self._config], stdout=subprocess.DEVNULL)
        while True:  # until it answers; pytest's own limit ends what never does
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.socket)) == 0:
                    return
            time.sleep(0.01)

    def client(self) -> redis.Redis:
        """Return a client of it that may do everything."""
        made: redis.Redis = redis.Redis(
            unix_socket_path=str(self.socket),
            username="platform",
            password=PASSWORD.reveal(),
            decode_responses=True,
        )
        return made

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@dataclass
class Providers:
    """OpenAI and Anthropic, as far as the clients need them. ``asked`` are the bodies they got."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        app.add_api_route("/v1/responses", self.responses, methods=["POST"])
        app.add_api_route("/v1/messages", self.messages, methods=["POST"])
        app.add_api_route("/v1/embeddings", self.embeddings, methods=["POST"])
        return app

    async def _note(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.asked.append(body)
        given = request.headers.get("authorization") or request.headers.get("x-api-key", "")
        self.keys.append(given)
        if "wait" in json.dumps(body):
            await asyncio.to_thread(self.released.wait, 30)
        return body

    async def chat(self, request: Request) -> Response:
        body = await self._note(request)
        prompt = str(body["messages"][-1]["content"])
        if prompt == "fail":
            return JSONResponse({"error": {"message": "no", "type": "x"}}, 400)
        reason = "length" if prompt == "length" else "stop"
        text = f"answer {len(self.asked)}"
        if body.get("stream"):
            return _sse(_chat_events(text, reason, is_cut=prompt == "cut"))
        message = {"role": "assistant", "content": text}
        return JSONResponse(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            }
        )

    async def responses(self, request: Request) -> Response:
        body = await self._note(request)
        content = {
            "type": "output_text",
            "text": f"answer {len(self.asked)}",
            "annotations": [],
        }
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [content],
        }
        whole = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body["model"],
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": 3,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 4,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 7,
            },
        }
        if not body.get("stream"):
            return JSONResponse(whole)
        delta = {
            "type": "response.output_text.delta",
            "sequence_number": 1,
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": content["text"],
            "logprobs": [],
        }
        done = {"type": "response.completed", "sequence_number": 2, "response": whole}
        return _sse([(str(each["type"]), each) for each in (delta, done)])

    async def messages(self, request: Request) -> Response:
        body = await self._note(request)
        text = f"answer {len(self.asked)}"
        whole = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }
        if not body.get("stream"):
            return JSONResponse(whole)
        first = {**whole, "content": [], "stop_reason": None}
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": text}
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        found: list[dict[str, Any]] = [
            {"type": "message_start", "message": first},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ]
        return _sse([(each["type"], each) for each in found])

    async def embeddings(self, request: Request) -> Response:
        body = await self._note(request)
        rows = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
            for index, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": len(rows), "total_tokens": len(rows)}
        return JSONResponse(
            {"object": "list", "data": rows, "model": body["model"], "usage": usage}
        )


def _chat_events(text: str, reason: str, *, is_cut: bool) -> Events:
    shape = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [{"content": part} for part in text.split(" ")]
    found: Events = [
        (None, {**shape, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in deltas
    ]
    if is_cut:
        return found
    last = {"index": 0, "delta": {}, "finish_reason": reason}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return [*found, (None, {**shape, "choices": [last], "usage": usage}), (None, "[DONE]")]


def _sse(found: Events) -> Response:
    async def body() -> AsyncIterator[str]:
        for name, data in found:
            named = "" if name is None else f"event: {name}\n"
            yield f"{named}data: {data if isinstance(data, str) else json.dumps(data)}\n\n"

    return StreamingResponse(body(), media_type="text/event-stream")


@contextmanager
def serving(app: Any, port: int) -> Iterator[None]:
    """Serve an application in a thread of its own."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Service:
    """The AI cache, as its clients reach it, and what is behind it."""

    url: str
    site_id: uuid.UUID
    providers: Providers
    redis: Redis
    directory: Directory
    http: httpx.Client
    seal: Seal
    counts: Counts

    def set(self, **changes: Any) -> None:
        """Change attributes of the site."""
        sites = self.directory.sites
        sites[KEY.reveal()] = replace(sites[KEY.reveal()], **changes)

    def set_proxy(self, **changes: object) -> None:
        """Change settings of the site's proxy."""
        site = self.directory.sites[KEY.reveal()]
        self.set(settings={SETTING: {**site.settings[SETTING], **changes}})


@contextmanager
def cache_service(lookups: Lookups | None = None) -> Iterator[Service]:
    """Serve one site, whose providers are trusted and whose key is ``KEY``."""
    cache_port, provider_port = free_ports(2)
    site_id, providers, directory = uuid.uuid4(), Providers(), Directory()
    upstream = f"http://127.0.0.1:{provider_port}"
    with tempfile.TemporaryDirectory(prefix="tnt-cache-") as folder:
        server = Redis(Path(folder))
        server.start()
        seal = Seal(Seal.new_key())
        settings: Mapping[str, Any] = {SETTING: {"openai_url": upstream, "anthropic_url": upstream}}
        directory.sites[KEY.reveal()] = ServedSite(
            site_id, "shop", None, server.socket, "platform", PASSWORD, "exact", settings, None
        )
        counts = Counts()
        sites = Sites(directory, counts, lookups)
        app = create_app(sites, Proxy(Upstreams(), seal), Trusted())
        url = f"http://127.0.0.1:{cache_port}"
        headers = {"authorization": f"Bearer {KEY.reveal()}", "x-upstream-key": UPSTREAM_KEY}
        with (
            serving(providers.app(), provider_port),
            serving(app, cache_port),
            httpx.Client(base_url=url, headers=headers, timeout=30) as http,
        ):
            try:
                yield Service(url, site_id, providers, server, directory, http, seal, counts)
            finally:
                server.kill()
