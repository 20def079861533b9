"""The proxy in front of providers: each answer is paid for once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import httpx

from tenantry.base.errors import InvalidInput, Unauthenticated, Unavailable
from tenantry.base.secrets import Seal, Secret, hash_token
from tenantry.services.cache_usage.counting import Tally
from tenantry.services.caching import embeddings, forms
from tenantry.services.caching.flights import Flight, Flights
from tenantry.services.caching.forms import Asked, Finish, Form
from tenantry.services.caching.model import Answer, Entry, Question
from tenantry.services.caching.service import SiteCache
from tenantry.services.caching.upstreams import (
    KEY_HEADER,
    Limits,
    ProxySettings,
    Upstream,
    Upstreams,
)
from tenantry.services.sites.model import ServedSite
from tenantry_cache.rules.questions import DEFAULT_TTL_MS

if TYPE_CHECKING:
    from tenantry.services.caching.semantic.model import Candidate
    from tenantry.services.caching.semantic.service import SemanticLookup

_P = ParamSpec("_P")
_T = TypeVar("_T")

_OK = 200
_parsers = ThreadPoolExecutor(2, thread_name_prefix="parser")
_TO_PROVIDER = ("openai-", "anthropic-", "x-stainless-", "idempotency-key", "accept", "user-agent")
_OURS = {
    "connection",
    "content-encoding",  # there is none
    "content-length",
    "date",
    "keep-alive",
    "server",
    "set-cookie",
    "transfer-encoding",
    "alt-svc",
    "strict-transport-security",
}
_UNCHANGING = (
    "x-stainless-",
    "idempotency-key",
    "user-agent",
    "accept",
)  # say nothing of the answer


@dataclass(frozen=True, slots=True)
class Served:
    """A site with its cache and counts; ``semantic`` only where it compares questions."""

    site: ServedSite
    cache: SiteCache
    tally: Tally
    semantic: "SemanticLookup | None" = None

    async def look_up(
        self, question: Question, model: object, *, by_meaning: bool = True, least: float = 0.0
    ) -> "Found | None":
        """Return the entry of a question or, ``by_meaning``, of one that means the same.

        It is counted for the ``model``. ``least`` is the similarity that the caller asks for: what
        is in force can be more.
        """
        began = time.perf_counter()
        entry, candidate = await self.cache.find(question), None
        if entry is None and by_meaning and self.semantic is not None:
            entry, candidate = await self._similar(self.semantic, question, model, least)
        seconds = time.perf_counter() - began
        if entry is None:
            self.tally.looked_up(model, seconds, misses=1)
            return None
        tokens, output = entry.answer.tokens, entry.answer.output_tokens
        kind = "exact_hits" if candidate is None else "semantic_hits"
        counts = {kind: 1, "saved_in": tokens - output, "saved_out": output}
        self.tally.looked_up(model, seconds, **counts)
        return Found(entry, candidate)

    async def _similar(
        self, semantic: "SemanticLookup", question: Question, model: object, least: float
    ) -> "tuple[Entry | None, Candidate | None]":
        found = await semantic.search(question.scope, question.prompt, question.attributes)
        self.tally.compared(model, found.cosine, found.vetoes)
        candidate = found.candidate
        if candidate is None or candidate.similarity < least:
            return None, None
        return await self.cache.find_similar(question, candidate.entry_id), candidate

    async def store(self, question: Question, answer: Answer) -> Entry | None:
        """Store an answer to be found by its question, and by those that mean the same.

        Returns None if it is too large. Raises Unavailable.
        """
        stored = await self.cache.store(question, answer)
        if stored is not None and self.semantic is not None:
            await self.semantic.store(
                stored.id, question.scope, question.prompt, question.attributes
            )
        return stored


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that is given; ``candidate`` if it is that of another question."""

    entry: Entry
    candidate: "Candidate | None"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends to one of the provider's paths; header names are in lower case."""

    raw: bytes
    headers: Mapping[str, str]

    @property
    def directives(self) -> set[str]:
        """Those of Cache-Control: no-cache asks the provider, no-store also stores nothing."""
        return {each.strip().lower() for each in self.headers.get("cache-control", "").split(",")}

    def body(self) -> dict[str, Any]:
        """Return the body. Raises InvalidInput unless it is an object of JSON.

        None of its members may be there twice: of those the provider may read the other one.
        """
        try:
            found = json.loads(self.raw, object_pairs_hook=_members)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InvalidInput("The body is not a JSON object.")
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer for the client; ``cached`` is the value of its header x-cache."""

    status: int
    cached: str
    body: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request to a provider, for a ``model``. ``finish`` reads how its answer ended.

    A complete one is stored for the ``question``, if there is one.
    """

    served: Served
    to: Upstream
    limits: Limits
    path: str
    request: Request
    finish: Callable[[bytes], Finish | None]
    model: object
    question: Question | None = None

    async def run(self, upstreams: Upstreams, flight: Flight) -> None:
        """Fill ``flight`` with the answer. Raises TooManyRequests, Unavailable, NotPublic."""
        began, is_answered = time.perf_counter(), False
        try:
            is_answered = await self._run(upstreams, flight)
        finally:
            failures = {} if is_answered else {"failures": 1}
            self.served.tally.asked_provider(self.model, time.perf_counter() - began, **failures)

    async def _run(self, upstreams: Upstreams, flight: Flight) -> bool:
        """As ``run``. Return whether the provider did what it was asked to."""
        await self.served.cache.take(
            requests_per_minute=self.limits.requests_per_minute,
            tokens_per_day=self.limits.tokens_per_day,
        )
        headers = self.request.headers
        sent = {
            name: text
            for name, text in headers.items()
            if name.startswith(_TO_PROVIDER) and text.isascii()
        }
        async with upstreams.send(self.to, self.path, self.request.raw, sent) as response:
            await flight.head(response.status_code, _passed_on(response))
            try:
                async for chunk in response.aiter_raw():
                    await flight.add(chunk)
            except httpx.HTTPError as error:
                raise Unavailable("The provider's answer was cut.") from error
        if response.status_code != _OK:
            return False
        if (finish := await _parsing(self.finish, flight.whole)) is not None:
            media_type = flight.headers.get("content-type", "application/json")
            await self._keep(finish, flight.whole, media_type)
        return True

    async def _keep(self, finish: Finish, raw: bytes, media_type: str) -> None:
        """Count the tokens, and store a complete answer before its readers see its end."""
        output = finish.output_tokens
        self.served.tally.add(self.model, tokens_in=finish.tokens - output, tokens_out=output)
        with suppress(Unavailable):
            await self.served.cache.spend(finish.tokens)
            if finish.complete and self.question is not None:
                answer = Answer(
                    raw.decode(),
                    tokens=finish.tokens,
                    media_type=media_type,
                    output_tokens=output,
                )
                await self.served.store(self.question, answer)


class Proxy:
    """Answers requests in the providers' forms, for all sites."""

    def __init__(self, upstreams: Upstreams, seal: Seal) -> None:
        self._upstreams = upstreams
        self._seal = seal
        self._flights = Flights()

    async def answer(self, served: Served, form: Form, request: Request) -> Reply:
        """Answer a request, from the cache if it may be.

        Raises InvalidInput, Unauthenticated without a key for the provider, TooManyRequests,
        Unavailable if the provider does not answer.
        """
        body = request.body()
        limits, to = self._upstream(served, form.provider, request)
        finish = partial(form.finished, stream=forms.is_stream(body))
        model = body.get("model")
        exchange = _Exchange(served, to, limits, form.path, request, finish, model)
        asked = _cacheable(served, form, request, body, limits)
        if isinstance(asked, str):
            await _note_bypass(served, model)
            return await _of_flight(self._begin(exchange), f"bypass; {asked}")
        question = forms.question(form, asked, _context(to, request))
        if "no-cache" in request.directives:
            served.tally.add(model, bypasses=1)
        elif (reply := await self._without_asking(served, question, model)) is not None:
            return reply
        return await _of_flight(self._begin(replace(exchange, question=question)), "miss")

    async def _without_asking(
        self, served: Served, question: Question, model: object
    ) -> Reply | None:
        """Answer from the cache, or by a request on its way. None: the caller has to ask."""
        named = served.site.id, question.entry_id
        starts, seen = self._flights.starts(*named), -1
        while seen != starts.count:
            seen = starts.count
            # Before the look-up: one that ends meanwhile stores its answer too late for that.
            if flight := self._flights.find(*named):
                return await _of_shared(served, model, flight)
            if (found := await served.look_up(question, model)) is not None:
                return _of_found(found)
            if flight := self._flights.find(*named):
                return await _of_shared(served, model, flight)
        return None

    async def embed(self, served: Served, request: Request) -> Reply:
        """Answer a request for embeddings: only texts that are not stored go to the provider."""
        body = request.body()
        limits, to = self._upstream(served, "openai", request)
        model = body.get("model")
        exchange = _Exchange(
            served, to, limits, embeddings.PATH, request, embeddings.finished, model
        )
        texts = embeddings.texts(body)
        if texts is None or served.site.mode == "off" or "no-store" in request.directives:
            await _note_bypass(served, model)
            return await _of_flight(self._begin(exchange), "bypass")
        digests = embeddings.digests_of(body, texts, _context(to, request))
        known = {} if "no-cache" in request.directives else await _known(served, digests)
        missing = {d: text for d, text in zip(digests, texts, strict=True) if d not in known}
        usage: Mapping[str, int] = {}
        hits = len(set(digests)) - len(missing)
        served.tally.add(model, embeddings_found=hits, embeddings_asked=len(missing))
        if missing:
            asked = replace(request, raw=_json({**body, "input": list(missing.values())}))
            reply = await _of_flight(self._begin(replace(exchange, request=asked)), "miss")
            raw = b"".join([chunk async for chunk in reply.body])
            is_usable = reply.status == _OK
            found = await _parsing(embeddings.read, raw, len(missing)) if is_usable else None
            if found is None:  # what went wrong there is the client's to see
                return replace(reply, body=_once(raw))
            new = dict(zip(missing, found.vectors, strict=True))
            known, usage = {**known, **new}, found.usage
            with suppress(Unavailable):
                await served.cache.store_embeddings(new, DEFAULT_TTL_MS)
        vectors = [known[each] for each in digests]
        whole = await _parsing(embeddings.answer, body, vectors, usage)
        cached = "hit" if not missing else f"partial; hits={hits}" if hits else "miss"
        return Reply(_OK, cached, _once(whole), {"content-type": "application/json"})

    def _upstream(
        self, served: Served, provider: forms.Provider, request: Request
    ) -> tuple[Limits, Upstream]:
        site = served.site
        settings = ProxySettings.of(site.id, site.customer_id, site.settings, self._seal)
        to = settings.upstreams[provider]
        if to.key is None:
            given = request.headers.get(KEY_HEADER, "")
            if not given or not given.isascii():
                raise Unauthenticated(
                    f"The site has no key for {provider}.",
                    hint=f"PATCH /api/sites/{{id}}/proxy, or send it in the header {KEY_HEADER}.",
                )
            to = replace(to, key=Secret(given))
        return settings.limits, to

    def _begin(self, exchange: _Exchange) -> Flight:
        name = None if exchange.question is None else exchange.question.entry_id
        run = partial(exchange.run, self._upstreams)
        return self._flights.begin(exchange.served.site.id, name, run)


async def _known(served: Served, digests: Sequence[str]) -> dict[str, object]:
    """Return the embeddings that are stored, by digest; none while Redis does not answer."""
    try:
        found = await served.cache.embeddings(digests)
    except Unavailable:
        return {}
    return {d: each for d, each in zip(digests, found, strict=True) if each is not None}


def _cacheable(
    served: Served, form: Form, request: Request, body: Mapping[str, Any], limits: Limits
) -> Asked | str:
    """Return what is asked; or a word for why the cache is not."""
    if served.site.mode == "off":
        return "off"
    if "no-store" in request.directives:
        return "no-store"
    return form.ask(body, most_temperature=limits.most_temperature)


def _context(to: Upstream, request: Request) -> list[object]:
    """Return what an answer depends on beside the body: the provider, the account, its headers."""
    if to.key is None:
        raise TypeError("a request to a provider has a key")
    headers = sorted(
        (name, value)
        for name, value in request.headers.items()
        if name.startswith(_TO_PROVIDER) and not name.startswith(_UNCHANGING)
    )
    return [to.url, hash_token(to.key).hex(), headers]


async def _note_bypass(served: Served, model: object) -> None:
    served.tally.add(model, bypasses=1)
    with suppress(Unavailable):
        await served.cache.note_bypass()


def _of_found(found: Found) -> Reply:
    answer, candidate, cached = found.entry.answer, found.candidate, "hit"
    headers = {"content-type": answer.media_type, "x-cache-entry": found.entry.id}
    if candidate is not None:
        cached = "hit; semantic"
        headers["x-cache-similarity"] = f"{candidate.similarity:.4f}"
        headers["x-cache-hit"] = candidate.hit_id
    return Reply(_OK, cached, _once(answer.response.encode()), headers)


async def _of_shared(served: Served, model: object, flight: Flight) -> Reply:
    served.tally.add(model, shared=1)
    return await _of_flight(flight, "shared")


async def _of_flight(flight: Flight, cached: str) -> Reply:
    await flight.started()
    return Reply(flight.status, cached, flight.body(), flight.headers)


def _passed_on(response: httpx.Response) -> dict[str, str]:
    """Return a provider's headers, but those of its connection, and what is not ASCII."""
    return {
        name: value
        for name, value in response.headers.items()
        if name not in _OURS and value.isascii()
    }


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInput("The body has an object with the same member twice.")
    return found


async def _parsing(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Read or write what may have many MB, beside the requests of all sites."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_parsers, partial(work, *args, **kwargs))


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
