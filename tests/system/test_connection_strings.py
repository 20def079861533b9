"""The connection strings of each client, pasted as they are printed; ``.env``; manifests.

bench/client_strings.py does the same with the clients that take long to install.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import httpx
import pytest
import yaml
from sqlalchemy import create_engine, text

from clients import run
from harness import Installation
from tenantry.base.connection_strings import FORMATS, Format, Login, Style
from tenantry.host.certificates import OwnAuthority

QUERY = "SELECT current_user || '|' || current_database()"
ENDPOINTS = ("connection_string", "connection_string_pooled")
VERIFIED = (("--verify-full",), ())
NODE = Path(__file__).resolve().parents[1] / "node"
SCRIPT = """
const { Client } = require('pg')
const client = new Client({ connectionString: process.env.CONNECTION })
client.connect()
  .then(() => client.query("SELECT current_user || '|' || current_database() AS reported"))
  .then(({ rows }) => { console.log(rows[0].reported); return client.end() })
  .catch((error) => { console.error(error.code, error.message); process.exit(1) })
"""


@pytest.fixture(scope="module")
def database(platform: Installation) -> dict[str, Any]:
    return platform.create(friendlyName="Strings")


@pytest.fixture(scope="module")
def meant(database: dict[str, Any]) -> str:
    return f"{database['username']}|{database['database_name']}"


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    """A folder with the script beside node-postgres, which package-lock.json pins."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm")
    with TemporaryDirectory() as folder:
        shutil.copytree(NODE, folder, dirs_exist_ok=True)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", f"--prefix={folder}")
        script = Path(folder) / "connect.js"
        script.write_text(SCRIPT)
        yield script


def printed(platform: Installation, database: dict[str, Any], *options: str) -> dict[str, Any]:
    """The strings that ``db url`` prints with the password."""
    words = ("db", "url", str(database["id"]), "--password-stdin", "--json", *options)
    reported: dict[str, Any] = json.loads(
        platform.tenantry(*words, stdin=database["password"]).stdout
    )
    return reported


@pytest.mark.parametrize("verify", VERIFIED)
def test_psql(
    platform: Installation, database: dict[str, Any], meant: str, verify: tuple[str, ...]
) -> None:
    strings = printed(platform, database, "--format=psql", *verify)
    for endpoint in ENDPOINTS:
        assert run("psql", "-wAtc", QUERY, strings[endpoint]).strip() == meant


@pytest.mark.parametrize("verify", VERIFIED)
async def test_asyncpg(
    platform: Installation, database: dict[str, Any], meant: str, verify: tuple[str, ...]
) -> None:
    strings = printed(platform, database, "--format=asyncpg", *verify)
    for endpoint in ENDPOINTS:
        connection = await asyncpg.connect(strings[endpoint])
        try:
            assert await connection.fetchval(QUERY) == meant
        finally:
            await connection.close()


@pytest.mark.parametrize("verify", VERIFIED)
def test_sqlalchemy(
    platform: Installation, database: dict[str, Any], meant: str, verify: tuple[str, ...]
) -> None:
    strings = printed(platform, database, "--format=sqlalchemy", *verify)
    for endpoint in ENDPOINTS:
        engine = create_engine(strings[endpoint])
        try:
            with engine.connect() as connection:
                assert connection.scalar(text(QUERY)) == meant
        finally:
            engine.dispose()


def connect(script: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["node", script],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("form", ["node", "prisma", "drizzle"])
def test_node(
    platform: Installation, database: dict[str, Any], meant: str, node: Path, form: str
) -> None:
    """Without an option: Node verifies always. It warns of nothing, either."""
    strings = printed(platform, database, f"--format={form}")
    for endpoint in ENDPOINTS:
        done = connect(node, CONNECTION=strings[endpoint])
        assert (done.stdout.strip(), done.stderr) == (meant, "")


def test_node_notices_another_authority(
    platform: Installation, database: dict[str, Any], node: Path, tmp_path: Path
) -> None:
    other = tmp_path / "ca.crt"
    OwnAuthority(other, tmp_path / "ca.key").ensure()
    for form in ("node", "prisma"):
        reported = printed(platform, database, f"--format={form}", "--ca-file", str(other))
        done = connect(node, CONNECTION=reported["connection_string"])
        assert (done.returncode, done.stdout) == (1, "")
        assert "certificate" in done.stderr.lower()


# In the API


@pytest.mark.parametrize("form", FORMATS)
def test_the_api_has_the_same_strings(
    api: httpx.Client, database: dict[str, Any], form: Format
) -> None:
    asked = {"format": form, "verify_full": "true", "ca_file": "/srv/a b/ca.crt"}
    answer = api.get(f"/api/databases/{database['id']}/connection-strings", params=asked)
    reported = answer.json()["data"]
    style = Style(form, verify_full=True, ca_file="/srv/a b/ca.crt")
    for name in (*ENDPOINTS, "shadow_database_url", "shadow_database_url_pooled"):
        masked = database[name].replace(database["password"], "***")
        assert reported[name] == style.render(Login.parse(masked, pooled=name.endswith("pooled")))
    assert database["password"] not in answer.text


@pytest.mark.parametrize(
    "asked",
    [
        {"format": "odbc"},
        {"verify_full": "maybe"},
        {"ca_file": ""},
        {"ca_file": "a\nb"},
        {"ca_file": "x" * 1025},
    ],
)
def test_what_cannot_be_written_is_refused(
    api: httpx.Client, database: dict[str, Any], asked: dict[str, str]
) -> None:
    answer = api.get(f"/api/databases/{database['id']}/connection-strings", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


# .env


def test_an_env_file_leads_to_the_database(
    platform: Installation, database: dict[str, Any], meant: str, node: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "an app"
    words = ("db", "env", str(database["id"]), "--write", str(folder), "--json")
    first = json.loads(platform.tenantry(*words, "--prefix=DB_").stdout)
    assert (first["password"], first["replaced"]) == ("unknown", [])
    with_password = json.loads(
        platform.tenantry(*words, "--password-stdin", stdin=database["password"]).stdout
    )
    again = json.loads(platform.tenantry(*words).stdout)
    assert (with_password["password"], again["password"]) == ("given", "kept")
    env_file = folder / ".env"
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert (folder / "ca.crt").read_text() == (platform.home / "ca.crt").read_text()
    sourced = ["bash", "-c", 'set -a; . "$0" && exec "$@"', str(env_file)]
    asked = run(*sourced, "psql", "-wAtc", QUERY)
    by_url = run(*sourced, "sh", "-c", f'psql -wAtc "{QUERY}" "$DATABASE_URL"')
    # Neither names ca.crt to node-postgres: NODE_EXTRA_CA_CERTS does.
    by_node = run(*sourced, "node", str(node))
    assert {asked.strip(), by_url.strip(), by_node.strip()} == {meant}


def test_the_lines_of_others_are_not_replaced(
    platform: Installation, database: dict[str, Any], tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("DATABASE_URL=mysql://elsewhere\nKEPT=1\n")
    words = ("db", "env", str(database["id"]), "--write", str(tmp_path))
    refused = platform.tenantry(*words, check=False)
    assert refused.returncode == 1
    assert "DATABASE_URL" in refused.stderr
    assert env_file.read_text() == "DATABASE_URL=mysql://elsewhere\nKEPT=1\n"
    assert not (tmp_path / "ca.crt").exists()
    reported = platform.tenantry(*words, "--replace")
    assert "Replaced what was set before: DATABASE_URL" in reported.stderr
    assert "mysql" not in env_file.read_text()
    assert env_file.read_text().startswith("KEPT=1\n")


# Kubernetes


def test_the_variables_of_a_pod_lead_to_the_database(
    platform: Installation, database: dict[str, Any], meant: str, node: Path, tmp_path: Path
) -> None:
    """As envFrom and a volume give them to a container."""
    ca_file, folder = tmp_path / "mounted" / "ca.crt", tmp_path / "k8s"
    words = ("db", "env", str(database["id"]), "--kubernetes", f"--ca-file={ca_file}")
    written = json.loads(
        platform.tenantry(
            *(*words, "--pooled", "--password-stdin", f"--write={folder}", "--json"),
            stdin=database["password"],
        ).stdout
    )
    assert (written["name"], written["password"]) == ("strings-database", "given")
    config_map = yaml.safe_load(Path(written["config_map_file"]).read_text())
    secret = yaml.safe_load(Path(written["secret_file"]).read_text())
    ca_file.parent.mkdir()
    ca_file.write_text(config_map["data"].pop("ca.crt"))
    variables = config_map["data"] | secret["stringData"]
    assert variables["DB_PASSWORD"] == database["password"]
    pod = ["env", "-i", f"PATH={os.environ['PATH']}", *map("=".join, variables.items())]
    asked = run(*pod, "psql", "-wAtc", QUERY)
    by_url = [
        run(*pod, "psql", "-wAtc", QUERY, variables[name])
        for name in ("DATABASE_URL", "DIRECT_URL")
    ]
    by_node = run(*pod, "node", str(node))
    assert {each.strip() for each in (asked, *by_url, by_node)} == {meant}
    again = platform.tenantry(*words, f"--write={folder}", "--json")
    assert json.loads(again.stdout)["password"] == "kept"
    assert yaml.safe_load(Path(written["secret_file"]).read_text()) == secret
    refused = platform.tenantry(*words, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Add --password-stdin" in refused.stderr
