"""The recipe of docs/how-to/copy-a-backup-elsewhere.md, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from answers import data
from harness import Installation

RECIPE = Path(__file__).parents[2] / "docs" / "how-to" / "copy-a-backup-elsewhere.md"


def test_the_recipe_copies_what_a_timer_has_made(
    platform: Installation, api: httpx.Client, tmp_path: Path
) -> None:
    platform.create(name="to-copy")
    (script,) = re.findall(r"^```sh\n(.*?)^```$", RECIPE.read_text(), re.MULTILINE | re.DOTALL)
    (copy := tmp_path / "copy-database").write_text(script)
    (programs := tmp_path / "bin").mkdir()
    (tenantry := programs / "tenantry").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m tenantry.cli "$@"\n'
    )
    tenantry.chmod(0o755)
    (copies := tmp_path / "copies").mkdir()
    scopes = re.findall(r"--scope (\S+)", RECIPE.read_text())
    key = data(api.post("/api/api-keys", json={"name": "copies", "scopes": scopes}), 201)["key"]

    def run(folder: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", copy, "to-copy", folder],
            env={
                **platform.env,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "TENANTRY_URL": platform.url,
                "TENANTRY_API_KEY": key,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    for _ in range(2):
        done = run(copies)
        assert done.returncode == 0, done.stderr
    (old := copies / "to-copy-20200131-093012.dump").touch()
    os.utime(old, (0, 0))
    (other := copies / "notes.txt").touch()
    os.utime(other, (0, 0))
    assert run(copies).returncode == 0
    rows = data(api.get("/api/databases?search=to-copy"))
    made = data(api.get(f"/api/databases/{rows[0]['id']}/backups"))
    names = {row["file_name"] for row in made}
    assert len(names) == 3
    assert {file.name for file in copies.iterdir()} == names | {other.name}
    for row in made:
        file = copies / row["file_name"]
        assert (file.stat().st_size, file.stat().st_mode & 0o777) == (row["size_bytes"], 0o600)
