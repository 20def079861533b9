"""The example for pull requests: a branch with its migrations, created again and deleted."""

import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest

from harness import Installation

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(platform: Installation, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    own = {"TENANTRY_URL": platform.url, "TENANTRY_API_KEY": platform.key}
    return subprocess.run(
        [sys.executable, EXAMPLES / "preview_branch.py", *arguments],
        env={**platform.env, **own},
        capture_output=True,
        text=True,
        check=False,
    )


def columns(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute("SELECT * FROM orders")
        return [each.name for each in cursor.description or ()]


def test_a_branch_for_a_pull_request(platform: Installation, tmp_path: Path) -> None:
    shop, branch = f"shop-{uuid.uuid4().hex[:8]}", f"pr-{uuid.uuid4().hex[:8]}"
    parent = platform.create(name=shop)["connection_string"]
    with psycopg.connect(parent) as connection:
        connection.execute("CREATE TABLE orders (id int)")
    create = ("create", shop, branch, "--migrations", tmp_path)
    (tmp_path / "000001_total.up.sql").write_text("ALTER TABLE orders ADD total int")
    first = run(platform, *create)
    assert first.returncode == 0, first.stderr
    assert columns(first.stdout.strip()) == ["id", "total"]

    (tmp_path / "000002_paid.up.sql").write_text("ALTER TABLE orders ADD paid boolean")
    second = run(platform, *create)
    assert second.returncode == 0, second.stderr
    assert columns(second.stdout.strip()) == ["id", "total", "paid"]
    assert columns(parent) == ["id"]

    (tmp_path / "000003_wrong.up.sql").write_text("ALTER TABLE nothing ADD paid boolean")
    third = run(platform, *create)
    assert third.returncode == 1
    assert (third.stdout, "nothing" in third.stderr) == ("", True)

    for _ in range(2):  # a workflow may run twice
        assert run(platform, "delete", shop, branch).returncode == 0
    with pytest.raises(psycopg.OperationalError):
        columns(second.stdout.strip())


def test_a_database_that_is_missing(platform: Installation) -> None:
    done = run(platform, "create", "nothing-of-that-name", "pr-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "0 databases are called nothing-of-that-name" in done.stderr


def test_the_workflow_calls_the_example() -> None:
    workflow = (EXAMPLES / "preview-branches.yml").read_text()
    for action in ("create", "delete"):
        assert f'preview_branch.py {action} "$DATABASE" "$BRANCH"' in workflow
