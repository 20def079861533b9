"""Commands that begin an operation end alike: followed, only begun, or as JSON."""

import json
from collections.abc import Iterator

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed

CLUSTER = {"id": "1", "name": "shared-1"}
RESULT = {
    "name": "shared-2",
    "port": 5500,
    "replaced": "tenant_before",
    "tables": 3,
    "rows": 1234,
    "equal_to_live": 2,
    "seconds": 4,
    "database_name": "tenant_new",
    "returned_bytes": 0,
    "skipped": [],
}
COMMANDS = pytest.mark.parametrize(
    ("words", "path", "started", "done"),
    [
        ("cluster add", "/api/clusters", "is being added", "shared-2 takes databases, on port"),
        (
            "cluster backup shared-1",
            "/api/clusters/1/backups",
            "shared-1 is being backed up",
            "shared-1 is backed up",
        ),
        (
            "cluster verify shared-1",
            "/api/clusters/1/backups/verify",
            "The backups of shared-1 are being read",
            "The backups of shared-1 are whole",
        ),
        (
            "backup drill shop",
            f"/api/databases/{SHOP}/drill",
            "The drill of shop has started",
            "shop can be restored: 3 tables with 1,234 rows",
        ),
        (
            "branch promote shop",
            f"/api/databases/{SHOP}/promote",
            "Started",
            "kept as tenant_before",
        ),
        (
            "restore shop --to 20m --as in-place --yes",
            f"/api/databases/{SHOP}/restore",
            "shop is being restored",
            "what it was is kept as tenant_before",
        ),
    ],
)


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        api.on("GET", "/api/databases", [database(parent_id=None)])
        api.on("GET", "/api/clusters", [CLUSTER])
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@COMMANDS
def test_an_operation_is_followed_or_only_started(
    api: FakeApi, cli: Cli, *, words: str, path: str, started: str, done: str
) -> None:
    row = {"id": OPERATION, "status": "running", "step": None, "progress": 0.5, "result": None}
    row |= dict.fromkeys(("done_bytes", "total_bytes", "bytes_per_second", "seconds_left", "error"))
    ended_row = row | {"status": "succeeded", "result": RESULT}
    api.on("POST", path, row, status=202)
    api.on("GET", f"/api/operations/{OPERATION}", ended_row)
    left = cli(*words.split(), "--no-wait")
    assert f"{started}: tenantry operation watch {OPERATION}" in left.err
    assert left.out == ""
    followed = cli(*words.split())
    assert (followed.code, done in followed.err) == (0, True), followed.err
    shown = cli(*words.split(), "--json")
    assert json.loads(shown.out)["status"] == "succeeded"
    assert json.loads(cli(*words.split(), "--no-wait", "--json").out)["status"] == "running"
