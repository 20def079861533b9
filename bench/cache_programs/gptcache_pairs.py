"""Whether GPTCache, with its defaults, answers the second text of a pair from the first.

Reads JSON with ``pairs`` of texts and the ``vectors`` of texts; prints a list of true and false.
Runs in an environment of its own (requirements/cache-bench.txt).
"""

import json
import sys
import tempfile
from typing import Any

import numpy as np
from gptcache import Cache
from gptcache.adapter.api import get, put
from gptcache.manager import manager_factory
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation import SearchDistanceEvaluation


def answers(pair: list[str], vectors: dict[str, Any], folder: str) -> bool:
    """Whether a cache that has the first text only answers the second."""
    stored, asked = pair
    dim = len(vectors[stored])
    cache = Cache()
    cache.init(
        pre_embedding_func=get_prompt,
        embedding_func=lambda text, **_: vectors[text],
        data_manager=manager_factory(
            "sqlite,faiss", data_dir=folder, vector_params={"dimension": dim}
        ),
        similarity_evaluation=SearchDistanceEvaluation(),
    )
    put(stored, "answer", cache_obj=cache)
    return get(asked, cache_obj=cache) is not None


def main() -> None:
    given = json.load(sys.stdin)
    vectors = {text: np.asarray(row, np.float32) for text, row in given["vectors"].items()}
    found = []
    for pair in given["pairs"]:
        with tempfile.TemporaryDirectory() as folder:
            found.append(answers(pair, vectors, folder))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
