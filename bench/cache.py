"""Look-ups of the AI cache beside GPTCache's own HTTP server, with the same embedder and data.

Stored questions are made of words, so that they differ as people's do. What is asked: a stored
question (exact); one in other words, of few that are asked again and again (semantic); and of many
(semantic, embedded), each of which needs its vector. Both have one process, and ask the platform's
embedder on the same Unix socket. Needs the program ``wrk``, and ./tenantry install-embedder.
"""

import base64
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from cache_quality import CACHE, REQUIREMENTS
from data_api_load import VARIANTS, Sent, Task, Turn, Way, by_wrk
from support import (
    Aim,
    Installation,
    Report,
    as_service_user,
    free_ports,
    installation,
    machine,
    run,
    say,
)
from tenantry.base.home import Home
from tenantry.host import environment
from tenantry.services.caching.semantic import process as embedder

environment.add_embedder()
PROGRAM = Path(__file__).resolve().parent / "cache_programs" / "gptcache_http.py"
MANY = 5000  # questions, each of which needs its vector
WRITERS = 16
BATCH = 256  # texts in one request to the embedder
TIMES_GPTCACHE = 10.0
MOST_P99_MS = 5.0  # at half of saturation, without embedding
SITE_MB = 1024

VERBS = "reset change update find delete move copy print share export cancel renew check open"
ADJECTIVES = (
    "annual blue broken cheap daily empty foreign green heavy hidden joint large late local lost"
    " main mobile monthly narrow older paper personal plain public quiet recent remote round"
    " shared simple small spare travel weekly white wooden young"
)
NOUNS = (
    "account address badge basket bicycle bill boat bonus booking bottle bridge camera card chair"
    " coat contract coupon course curtain desk device door driver engine file folder garden gift"
    " guitar hotel invoice island jacket kettle key lamp library loan map meeting mirror mug"
    " order painting parcel password pension phone piano pillow policy printer profile receipt"
    " refund report room route saddle salary shelf sofa table tent ticket towel train vase window"
)


def questions(count: int) -> list[str]:
    """Return so many different questions, always the same ones."""
    chance = random.Random(17)  # noqa: S311
    verbs, adjectives, nouns = VERBS.split(), ADJECTIVES.split(), NOUNS.split()
    found: dict[str, None] = {}
    while len(found) < count:
        verb, adjective = chance.choice(verbs), chance.choice(adjectives)
        first, second = chance.choice(nouns), chance.choice(nouns)
        found[f"How can I {verb} the {adjective} {first} of my {second}?"] = None
    return list(found)


def in_other_words(question: str) -> str:
    return question.replace("How can I", "How do I")


# ── both caches ──────────────────────────────────────────────────────────────


def vectors_of(socket: Path, texts: Sequence[str]) -> Any:
    """Return the embedder's vectors of these texts, in rows."""
    import numpy as np  # noqa: PLC0415 (a package of the embedder)

    rows = []
    transport = httpx.HTTPTransport(uds=str(socket))
    with httpx.Client(transport=transport, base_url="http://embedder", timeout=120) as client:
        for start in range(0, len(texts), BATCH):
            body = {"input": list(texts[start : start + BATCH])}
            found = client.post("/v1/embeddings", json=body).raise_for_status().json()["data"]
            rows += [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in found]
    return np.stack(rows)


@contextmanager
def own(here: Installation, texts: Sequence[str], found: dict[str, Any]) -> Iterator[Way]:
    """A site of the platform that has these questions."""
    body = {"name": f"bench-{len(texts)}", "memory_mb": SITE_MB, "semantic": "on"}
    with here.client() as api:
        site = api.post("/api/sites", json=body).raise_for_status().json()["data"]
    headers = {"Authorization": f"Bearer {site['api_key']}"}
    base = f"http://127.0.0.1:{here.cache_port}/v1/caches/own"
    with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
        wait(lambda: client.get("/semantic").is_success)
        began = time.monotonic()

        def store(number: int) -> None:
            entry = {"prompt": texts[number], "response": f"answer {number}"}
            client.post("/entries", json=entry).raise_for_status()

        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(store, range(len(texts))))
        found["stores_per_second"] = round(len(texts) / (time.monotonic() - began), 1)
        found["found"] = round(
            statistics.mean(
                bool(client.post("/entries/search", json={"prompt": each}).json()["data"])
                for each in map(in_other_words, texts[:VARIANTS])
            ),
            3,
        )
    yield Way(
        here.cache_port,
        here.pids()["cache"],
        "/v1/caches/own",
        site["api_key"],
        lambda task: task.own,
    )
    with here.client() as api:
        api.delete(f"/api/sites/{site['id']}").raise_for_status()


@contextmanager
def gptcache(
    socket: Path, packages: Path, texts: Sequence[str], found: dict[str, Any]
) -> Iterator[Way]:
    """GPTCache's server that has them; the vectors of the few questions are known to it."""
    import numpy as np  # noqa: PLC0415 (a package of the embedder)

    few = texts[:VARIANTS]
    known = [*few, *map(in_other_words, few)]
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="tnt-bench-") as name:
        folder = Path(name)
        folder.chmod(0o777)  # the program runs as the platform's user
        for part, some in (("stored", texts), ("known", known)):
            (folder / f"{part}.json").write_text(json.dumps(list(some)))
            np.save(folder / f"{part}.npy", vectors_of(socket, some))
        python = packages / "bin" / "python"
        command = [str(each) for each in (python, PROGRAM, folder, port, socket)]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **as_service_user())
        try:
            assert program.stdout is not None
            found["in_process"] = json.loads(program.stdout.readline())
            wait(lambda: httpx.get(f"http://127.0.0.1:{port}/").is_success)
            yield Way(port, program.pid, "", "none", lambda task: task.peers)
        finally:
            program.terminate()
            program.wait()


def wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


# ── what is asked ────────────────────────────────────────────────────────────


def tasks(texts: Sequence[str]) -> dict[str, tuple[Task, int]]:
    """Return each task with how many different requests it has."""

    def asking(ask: Callable[[int], str]) -> Task:
        return Task(
            lambda number: Sent("POST", "/entries/search", json.dumps({"prompt": ask(number)})),
            lambda number: Sent("POST", "/get", json.dumps({"prompt": ask(number)})),
        )

    many = min(MANY, len(texts) - VARIANTS)
    return {
        "exact": (asking(lambda number: texts[number]), VARIANTS),
        "semantic": (asking(lambda number: in_other_words(texts[number])), VARIANTS),
        "semantic, embedded": (
            asking(lambda number: in_other_words(texts[VARIANTS + number])),
            many,
        ),
    }


def measured(
    ways: dict[str, Way], texts: Sequence[str], seconds: float, rounds: int
) -> dict[str, dict[str, Turn]]:
    """Return each way's figures at each task, in turns; and of ours at half of saturation."""
    found: dict[str, dict[str, Turn]] = {}
    with tempfile.TemporaryDirectory() as name:
        ask = partial(by_wrk, Path(name))
        for task, (asked, variants) in tasks(texts).items():
            turns: dict[str, list[Turn]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, there in ways.items():
                    turns[way].append(ask(there, asked, seconds, variants=variants))
            found[task] = {way: middle(some) for way, some in turns.items()}
            half = found[task]["tenantry"].per_second / 2
            calm = ask(ways["tenantry"], asked, seconds, half, variants=variants)
            found[task]["tenantry, half load"] = calm
            say(f"{task}: {found[task]}")
    return found


def middle(turns: Sequence[Turn]) -> Turn:
    """Return the turn with the median throughput."""
    return sorted(turns, key=lambda turn: turn.per_second)[len(turns) // 2]


def benchmark(quick: bool) -> Report:
    if not environment.has_embedder():
        sys.exit("The embedder is not installed: run ./tenantry install-embedder.")
    packages = environment.ensure_packages(CACHE / "cache-bench", REQUIREMENTS)
    seconds, rounds = (2.0, 1) if quick else (10.0, 3)
    sizes = (500, 2000) if quick else (10_000, 100_000)
    results: dict[str, object] = {}
    aims: list[Aim] = []
    with installation(warm_pool=1, TENANTRY_REDIS_MEMORY_MB=str(2 * SITE_MB)) as here:
        socket = embedder.socket_of(Home(here.home))
        for size in sizes:
            say(f"{size:,} entries")
            texts, ours, theirs = questions(size), dict[str, Any](), dict[str, Any]()
            with (
                own(here, texts, ours) as own_way,
                gptcache(socket, packages, texts, theirs) as peer,
            ):
                figures = measured({"tenantry": own_way, "gptcache": peer}, texts, seconds, rounds)
            results[f"{size} entries"] = {
                "tenantry": ours,
                "gptcache": theirs,
                "look-ups": {
                    task: {way: rounded(turn) for way, turn in by_way.items()}
                    for task, by_way in figures.items()
                },
            }
            aims += reached(size, figures)
        about = machine(here)
    return Report(about, results, aims)


def rounded(turn: Turn) -> dict[str, float]:
    return {name: round(value, 2) for name, value in asdict(turn).items() if value is not None}


def reached(size: int, figures: dict[str, dict[str, Turn]]) -> list[Aim]:
    found = []
    for task, by_way in figures.items():
        times = by_way["tenantry"].per_second / by_way["gptcache"].per_second
        name = f"{size:,} entries, {task}"
        found.append(
            Aim.at_least(f"{name}: look-ups a second, times GPTCache's", times, TIMES_GPTCACHE)
        )
        if "embedded" not in task:
            calm = by_way["tenantry, half load"].p99_ms
            found.append(Aim.at_most(f"{name}: p99 at half load, ms", calm, MOST_P99_MS))
    return found


if __name__ == "__main__":
    run("cache", __doc__, benchmark)
