"""A database through each of its four strings, with the programs that people use."""

import os
import subprocess

import pytest

from harness import Installation

STRINGS = (
    "connection_string",
    "connection_string_pooled",
    "shadow_database_url",
    "shadow_database_url_pooled",
)


def run(*words: str, **env: str) -> str:
    done = subprocess.run(
        words, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("string", STRINGS)
def test_psql_verifies_the_certificate(platform: Installation, string: str) -> None:
    database = platform.create()
    url = database[string].replace("sslmode=require", "sslmode=verify-full")
    url += f"&sslrootcert={platform.home / 'ca.crt'}"
    told = run("psql", "-w", "-At", url, "-c", "SELECT current_user, current_database()")
    name = database["database_name"] + ("_shadow" if "shadow" in string else "")
    assert told.strip() == f"{database['username']}|{name}"
