"""The benchmark of the command line's start still runs: what its server answers is the API's."""

import importlib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    return importlib.import_module("cli_startup")


def test_each_of_its_commands_succeeds(benchmark: Any) -> None:
    with benchmark.answering() as env:
        for words in benchmark.COMMANDS.values():
            took, computed = benchmark.call(words, env)
            assert took > 0
            assert computed > 0
