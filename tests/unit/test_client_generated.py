"""The clients of libs/tenantry_client are what the API's OpenAPI document gives."""

import subprocess
import sys
from pathlib import Path

GENERATOR = Path(__file__).parents[2] / "libs" / "tenantry_client" / "generator" / "generate.py"


def test_the_clients_are_current() -> None:
    done = subprocess.run(
        [sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False
    )
    again = "Run libs/tenantry_client/generator/generate.py, in the environment of ./check."
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{again}"
