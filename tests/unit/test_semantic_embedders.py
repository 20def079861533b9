"""Embedders: what they return is checked, and texts that wait are embedded together."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Callable, Sequence

import httpx
import numpy as np
import pytest

from tenantry.base.secrets import Secret
from tenantry.embedder.app import application
from tenantry.services.caching.semantic import embedders
from tenantry.services.caching.semantic.batching import Batching
from tenantry.services.caching.semantic.embedders import Hashes, Remote
from tenantry.services.caching.semantic.model import EmbedderFailed, TextRefused, checked
from tenantry_cache.rules.nearness import Vectors
from tenantry_cache.rules.questions import partition

_URL = "http://server/v1"


@pytest.mark.parametrize(
    "raw",
    [
        [[1.0, 2.0]],
        [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]],
        [[float("nan"), 1.0, 0.0]],
        [[float("inf"), 1.0, 0.0]],
        [[0.0, 0.0, 0.0]],
        [[1.0, 2.0], [1.0]],
        [["one", "two", "three"]],
        [3e38] * 3,
        None,
    ],
)
def test_what_is_no_vector_is_refused(raw: object) -> None:
    with pytest.raises(EmbedderFailed):
        checked(raw, count=1, dim=3)


def test_vectors_are_made_unit_vectors() -> None:
    [vector] = checked([[3, 0, 4]], count=1, dim=3)
    assert vector.tolist() == pytest.approx([0.6, 0.0, 0.8])


def test_partitions_are_of_one_scope_and_its_attributes() -> None:
    names = {
        partition("a", {}),
        partition("a", {"x": "1"}),
        partition("a", {"x": "2"}),
        partition("b", {}),
        partition('a", {"x": "1"}', {}),
        partition('["a", {"x": "1"}]', {}),
    }
    assert len(names) == 6
    assert partition("a", {"x": "1", "y": "2"}) == partition("a", {"y": "2", "x": "1"})


# ── servers ──────────────────────────────────────────────────────────────────


def _server(answer: Callable[[list[str]], object]) -> httpx.MockTransport:
    """Return a server that answers with what ``answer`` returns: a status, or a body of JSON."""

    async def handle(request: httpx.Request) -> httpx.Response:
        found = answer(json.loads(request.content)["input"])
        if isinstance(found, int):
            return httpx.Response(found)
        return httpx.Response(200, json=found)

    return httpx.MockTransport(handle)


def _vectors(texts: list[str], *, dim: int = 3, model: str = "m") -> object:
    rows = [{"index": at, "embedding": [float(len(text))] * dim} for at, text in enumerate(texts)]
    return {"model": model, "data": rows}


def _one(embedding: object) -> object:
    return {"model": "m", "data": [{"index": 0, "embedding": embedding}]}


async def test_numbers_are_read_from_lists_and_from_base64() -> None:
    def encoded(texts: list[str]) -> object:
        raw = base64.b64encode(np.asarray([3, 0, 4], "<f4").tobytes()).decode()
        return {"model": "m", "data": [{"index": at, "embedding": raw} for at in range(len(texts))]}

    for answer, expected in ((_vectors, [3**-0.5] * 3), (encoded, [0.6, 0.0, 0.8])):
        remote = await Remote.open(_URL, "m", transport=_server(answer))
        assert (remote.dim, remote.id) == (3, f"{_URL}/embeddings:m:3")
        assert (await remote.embed(["one", "two"]))[1].tolist() == pytest.approx(expected)
        await remote.close()


@pytest.mark.parametrize(
    ("later", "error"),
    [
        (lambda _: 500, EmbedderFailed),
        (lambda _: 401, EmbedderFailed),
        (lambda _: 413, TextRefused),
        (lambda _: {"model": "m"}, EmbedderFailed),
        (lambda texts: _vectors(texts, dim=4), EmbedderFailed),
        (lambda texts: _vectors(texts, model="another"), EmbedderFailed),
        (lambda texts: _vectors(texts[1:]), EmbedderFailed),
        (lambda texts: _vectors([*texts, "more"]), EmbedderFailed),
        (lambda _: _one([None, 1, 1]), EmbedderFailed),
        (lambda _: _one("no base64"), EmbedderFailed),
        (lambda _: _one([0, 0, 0]), EmbedderFailed),
    ],
)
async def test_a_server_that_answers_otherwise_than_at_first_has_failed(
    later: Callable[[list[str]], object], error: type[EmbedderFailed]
) -> None:
    asked: list[int] = []

    def answer(texts: list[str]) -> object:
        asked.append(1)
        return _vectors(texts) if len(asked) == 1 else later(texts)

    remote = await Remote.open(_URL, "m", transport=_server(answer))
    with pytest.raises(error) as caught:
        await remote.embed(["text"])
    assert type(caught.value) is error
    await remote.close()


async def test_a_server_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(embedders, "_SECONDS", 0.01)
    with pytest.raises(EmbedderFailed, match="took more than"):
        await Remote.open(_URL, "m", transport=httpx.MockTransport(hang))


async def test_the_key_is_sent_and_not_shown() -> None:
    seen: list[str] = []

    async def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(403)

    with pytest.raises(EmbedderFailed) as caught:
        await Remote.open(_URL, "m", key=Secret("sk-1"), transport=httpx.MockTransport(refuse))
    assert seen == ["Bearer sk-1"]
    assert "sk-1" not in repr(caught.value)


# ── the platform's own process ───────────────────────────────────────────────


async def test_the_own_process_is_such_a_server() -> None:
    batching = Batching(Hashes())
    running = asyncio.create_task(batching.run())
    transport = httpx.ASGITransport(application(batching))
    remote = await Remote.open(_URL, "", transport=transport)
    assert remote.id.endswith(f"{Hashes.id}:{Hashes.dim}")
    texts = ["How do I pay?", "Where are you?"]
    found = await remote.embed(texts)
    assert np.allclose(found, await Hashes().embed(texts), atol=1e-6)
    for refused in ([""], [], ["x" * 3000], ["x"] * 300):
        with pytest.raises(TextRefused):
            await remote.embed(refused)
    running.cancel()
    await remote.close()


class _Slow:
    """Waits for a permission before each batch, and refuses the text "long"."""

    id, dim = "slow", Hashes.dim

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = asyncio.Event()
        self.may = asyncio.Event()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.began.set()
        await self.may.wait()
        if "long" in texts:
            raise TextRefused("too long")
        if "broken" in texts:
            raise EmbedderFailed("broken")
        return await Hashes().embed(texts)


async def test_texts_that_wait_are_embedded_together() -> None:
    slow = _Slow()
    batching = Batching(slow)
    running = asyncio.create_task(batching.run())
    first = asyncio.create_task(batching.embed(["first"]))
    await slow.began.wait()
    names = [["a", "b"], ["long"], ["c"]]
    rest = [asyncio.create_task(batching.embed(each)) for each in names]
    gone = asyncio.create_task(batching.embed(["nobody waits"]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    slow.may.set()
    answers = await asyncio.gather(first, *rest, return_exceptions=True)
    refused = [isinstance(each, TextRefused) for each in answers]
    assert refused == [False, False, True, False]
    assert np.allclose(answers[1], await Hashes().embed(["a", "b"]))  # type: ignore[arg-type]
    assert slow.batches == [["first"], ["a", "b", "long", "c"], ["a"], ["b"], ["long"], ["c"]]
    with pytest.raises(EmbedderFailed, match="broken"):
        await batching.embed(["broken"])
    running.cancel()


def test_what_the_platform_runs_needs_none_of_the_packages() -> None:
    """They are installed where somebody wants them only."""
    modules = "tenantry.cache.main, tenantry.worker, tenantry.services.supervisor"
    ends = "import sys; sys.exit(not {'numpy', 'onnxruntime', 'usearch'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", f"import {modules}; {ends}"], check=True)


# ── the model that is installed ──────────────────────────────────────────────


_PROGRAM = """
import asyncio, json, sys
from tenantry.services.caching.semantic.embedders import OnnxFolder
from tenantry.services.caching.semantic.model import TextRefused

async def main():
    model, texts = OnnxFolder.in_folder(None), json.load(sys.stdin)
    found = await model.embed(texts)
    alone = await model.embed(texts[:1])
    try:
        await model.embed(["word " * 300])
    except TextRefused:
        vectors = [each.tolist() for each in (*found, *alone)]
        json.dump({"id": model.id, "dim": model.dim, "vectors": vectors}, sys.stdout)

asyncio.run(main())
"""


def test_the_installed_model_puts_the_same_meaning_together() -> None:
    """In a process of its own: onnxruntime 1.32 and usearch 2.26 crash in the same one."""
    texts = [
        "How can I reset my password?",
        "I forgot my password, how do I get a new one?",
        "What is the tallest mountain of Europe?",
    ]
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["dim"] == 384
    assert answer["id"].startswith("onnx:")
    *found, alone = np.asarray(answer["vectors"])
    assert found[0] @ found[1] > 0.6
    assert found[0] @ found[2] < 0.2
    assert np.allclose(alone, found[0], atol=1e-3)  # longer texts beside it, which pad it
