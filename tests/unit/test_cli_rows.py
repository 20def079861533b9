"""``tenantry rows`` against an API that answers what a test scripts."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import SHOP, Cli, FakeApi, database, installed

ROWS = f"/api/databases/{SHOP}/rows"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_statements_are_printed_as_lines(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "changes.json"
    file.write_text("[]")
    api.on("POST", ROWS, {"sql": "BEGIN;\nCOMMIT;", "rows": 0})
    assert cli("rows", "change", "shop", "t", "--file", str(file), "--dry-run").out == (
        "BEGIN;\nCOMMIT;\n"
    )


def test_a_hyphen_is_standard_input_and_output(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    api.text(f"{ROWS}/csv", "id\n1\n", kind="text/csv")
    exported = cli("rows", "export", "shop", "t", "--file", "-")
    assert (exported.code, exported.out) == (0, "id\n1\n")
    api.on("POST", f"{ROWS}/csv", {"rows": 1})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"id\n1\n")))
    assert cli("rows", "import", "shop", "t", "--file", "-").code == 0
    [sent] = api.asked("POST", f"{ROWS}/csv")
    assert sent.headers["content-length"] == "5"
    assert list(tmp_path.iterdir()) == []
