"""GPTCache's own HTTP server, with the vectors of the platform's embedder.

    python gptcache_http.py FOLDER PORT SOCKET

The folder has ``stored.json`` (texts), ``stored.npy`` (their vectors), and the same of ``known``:
texts whose vectors need no embedder. Any other text is sent to the embedder's Unix socket. First it
prints, as JSON, how many known texts a second it answers in process, without HTTP. Runs in an
environment of its own (requirements/cache-bench.txt).
"""

import base64
import http.client
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from gptcache.adapter.api import get, init_similar_cache
from gptcache.manager import manager_factory
from gptcache_server.server import app

IN_PROCESS = 200  # look-ups


class OnSocket(http.client.HTTPConnection):
    """A connection to a Unix socket, which stays open."""

    def __init__(self, path: str) -> None:
        super().__init__("embedder")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Embedding:
    """The platform's embedder, as GPTCache wants it."""

    def __init__(self, path: str, known: dict[str, Any]) -> None:
        self._connection = OnSocket(path)
        self._known = known
        self.dimension = len(next(iter(known.values())))

    def to_embeddings(self, text: str, **_: object) -> Any:
        if (found := self._known.get(text)) is not None:
            return found
        body = json.dumps({"input": [text]})
        self._connection.request("POST", "/v1/embeddings", body)
        answer = json.loads(self._connection.getresponse().read())
        return np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")


def main() -> None:
    folder, port, path = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    texts, known = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("stored", "known")
    )
    vectors = dict(zip(known, np.load(folder / "known.npy"), strict=True))
    embedding = Embedding(path, vectors)
    manager = manager_factory(
        "sqlite,faiss",
        data_dir=str(folder / "gptcache"),
        max_size=2 * len(texts),
        vector_params={"dimension": embedding.dimension},
    )
    init_similar_cache(embedding=embedding, data_manager=manager)
    answers = [f"answer {number}" for number in range(len(texts))]
    manager.import_data(texts, answers, list(np.load(folder / "stored.npy")), [None] * len(texts))
    began = time.perf_counter()
    found = sum(get(known[number % len(known)]) is not None for number in range(IN_PROCESS))
    took = time.perf_counter() - began
    print(json.dumps({"per_second": IN_PROCESS / took, "found": found / IN_PROCESS}), flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
