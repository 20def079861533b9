"""How much of the disk the comparisons of a past session take."""

import os
from pathlib import Path

import pytest

from tenantry.pg import past_program
from tenantry.services.lost_rows import service


@pytest.mark.parametrize(("size", "left"), [(10, 19), (400, 4)])
def test_the_oldest_comparisons_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, left: int
) -> None:
    monkeypatch.setattr(past_program, "MOST_BYTES", 400)
    monkeypatch.setattr(service, "_MOST_BYTES", 2000)
    for nth in range(30):
        for suffix in ("json", "jsonl"):
            file = tmp_path / f"{nth:02}.{suffix}"
            file.write_bytes(b"x" * size)
            os.utime(file, (nth, nth))
    service._make_room(tmp_path)
    for suffix in ("json", "jsonl"):
        found = sorted(each.stem for each in tmp_path.glob(f"*.{suffix}"))
        assert found == [f"{nth:02}" for nth in range(30 - left, 30)]
