"""How many questions that mean the same the semantic cache answers, and how many that do not.

The pairs are those of fow-cache (CC BY 4.0, by Mabon ap Gwyn): 300 that have the same answer, and
300 that have another one and were written to be mistaken: orders, dates, names, negations. GPTCache
gets the same pairs and the same vectors, with its defaults. Language models wrote the pairs, and
the guards were made with knowledge of them: real traffic has fewer traps, and other ones.
"""

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import Aim, Report, hardware, run, say
from tenantry.host import environment
from tenantry.services.caching.semantic import plan
from tenantry.services.caching.semantic.embedders import OnnxFolder
from tenantry.services.caching.semantic.model import Rate
from tenantry_cache.rules import guards
from tenantry_cache.rules.nearness import STRICT

PROGRAM = Path(__file__).resolve().parent / "cache_programs" / "gptcache_pairs.py"
REQUIREMENTS = PROGRAM.parents[2] / "requirements" / "cache-bench.txt"
CACHE = Path("/var/cache/tenantry" if os.geteuid() == 0 else Path.home() / ".cache/tenantry")
THRESHOLDS = (0.60, 0.80, 0.85, 0.90, 0.95, 0.97)
BUDGETS = (0.01, 0.02, 0.05, 0.10)
BATCH = 32
MOST_TRAPS = 0.05  # of the pairs with another answer, that may be answered at 0.95


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions, whether they have the same answer, and the cosine of their vectors."""

    stored: str
    asked: str
    same: bool
    cosine: float = 0.0

    @property
    def vetoed(self) -> bool:
        return bool(guards.vetoes(self.stored, self.asked))


def read_pairs(packages: Path) -> list[Pair]:
    [file] = packages.glob("lib/python3*/site-packages/fow_cache/data/pairs.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [Pair(row["a"], row["b"], row["same_answer"]) for row in rows]


async def embed(texts: Sequence[str]) -> dict[str, Any]:
    model = OnnxFolder.in_folder(None)
    found: dict[str, Any] = {}
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        found.update(zip(part, await model.embed(part), strict=True))
    return found


def gptcache(packages: Path, pairs: Sequence[Pair], vectors: dict[str, Any]) -> list[bool]:
    given = {
        "pairs": [[pair.stored, pair.asked] for pair in pairs],
        "vectors": {text: vector.tolist() for text, vector in vectors.items()},
    }
    done = subprocess.run(
        [packages / "bin" / "python", PROGRAM],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[bool] = json.loads(done.stdout)
    return found


def judged(pairs: Sequence[Pair], answered: Sequence[bool]) -> dict[str, object]:
    """Return the figures of a cache, each with its interval of 95 %."""
    hits = [pair for pair, hit in zip(pairs, answered, strict=True) if hit]
    right = sum(pair.same for pair in hits)
    same = sum(pair.same for pair in pairs)
    return {
        "same_answered": figures(plan.rate(right, same)),
        "traps_answered": figures(plan.rate(len(hits) - right, len(pairs) - same)),
        "precision": figures(plan.rate(right, len(hits))),
    }


def figures(rate: Rate) -> dict[str, object]:
    share = None if rate.share is None else round(rate.share, 4)
    return {"of": rate.cases, "share": share, "from": round(rate.low, 4), "to": round(rate.high, 4)}


def certified(pairs: Sequence[Pair]) -> dict[str, object]:
    """What the judgement of one half certifies, and how the other half does with it."""
    drawn = random.Random(17).sample(list(pairs), len(pairs))  # noqa: S311
    half, other = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
    found: dict[str, object] = {}
    for budget in BUDGETS:
        verdicts = [(pair.cosine, pair.same) for pair in half if not pair.vetoed]
        certificate = plan.certify(verdicts, budget)
        if certificate.threshold is None:
            step = certificate.steps[-1]
            found[f"{budget:.0%}"] = f"not certified: at {step.threshold} at most {step.upper:.1%}"
        else:
            hits = [p.cosine >= certificate.threshold and not p.vetoed for p in other]
            found[f"{budget:.0%}"] = {"threshold": certificate.threshold, **judged(other, hits)}
    return found


def benchmark(quick: bool) -> Report:
    packages = environment.ensure_packages(CACHE / "cache-bench", REQUIREMENTS)
    pairs = read_pairs(packages)
    if quick:
        pairs = random.Random(17).sample(pairs, 60)  # noqa: S311
    vectors = asyncio.run(embed(sorted({text for p in pairs for text in (p.stored, p.asked)})))
    pairs = [
        Pair(p.stored, p.asked, p.same, float(vectors[p.stored] @ vectors[p.asked])) for p in pairs
    ]
    say(f"{len(pairs)} pairs")
    ours = {
        f"{threshold:.2f}": {
            "without guards": judged(pairs, [p.cosine >= threshold for p in pairs]),
            "with guards": judged(pairs, [p.cosine >= threshold and not p.vetoed for p in pairs]),
        }
        for threshold in THRESHOLDS
    }
    theirs = judged(pairs, gptcache(packages, pairs, vectors))
    traps = [p.cosine >= STRICT and not p.vetoed for p in pairs if not p.same]
    results: dict[str, object] = {
        "guards": guards.VERSION,
        "by threshold (cosine)": ours,
        "GPTCache, its defaults": theirs,
        "certified by one half": certified(pairs),
    }
    share = sum(traps) / len(traps)
    return Report(hardware(), results, [Aim.at_most("traps answered at 0.95", share, MOST_TRAPS)])


if __name__ == "__main__":
    run("cache_quality", __doc__, benchmark)
