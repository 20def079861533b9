"""The OpenAPI document, fuzzed: what it allows and what it forbids, asked of a real platform."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from answers import data
from clients import hurry
from harness import Installation

# On a machine that does much else it takes several times as long.
pytestmark = [pytest.mark.takes_minutes, pytest.mark.timeout(1200)]

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,negative_data_rejection,"
    "missing_required_header,unsupported_method,allow_header_conformance,use_after_free,"
    "ignored_auth"
)
# Of each operation, besides the examples and edge cases of the document; more take minutes.
EXAMPLES = os.environ.get("TENANTRY_FUZZ_EXAMPLES", "3")
# 413 besides those that it expects: a text that is too long may make a body that is. And 503: an
# operation that it has begun may end the session of a request.
REFUSALS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """An installation of its own: what is made here would be in other tests' way."""
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


def fuzz(platform: Installation, folder: Path, *arguments: str, config: str = "") -> None:
    """Run schemathesis over the platform, with the same data each time; it has to be content."""
    settings = 'headers = { X-API-Key = "${API_KEY}" }\n' + config
    (folder / "schemathesis.toml").write_text(settings + REFUSALS)
    done = subprocess.run(
        [
            # Its program need not lie beside this Python: ./check has it in another folder.
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            "run",
            f"{platform.url}/openapi.json",
            "--seed=1",
            "--no-color",
            "--warnings=off",
            "--continue-on-failure",
            "--no-shrink",
            f"--checks={CHECKS}",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "API_KEY": platform.key},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr + errors_of(platform)


def errors_of(platform: Installation) -> str:
    """Return what the log says of failed requests, with their tracebacks."""
    log = (platform.home / "logs" / "tenantry.log").read_text()
    return "\n".join(line for line in log.splitlines() if "crashed" in line)[-20_000:]


def test_no_request_that_the_document_leads_to_breaks_anything(
    platform: Installation, tmp_path: Path
) -> None:
    revoke = r"/api/api-keys/{identifier}"
    # It finds identifiers in answers, the id of the key that it uses among them.
    fuzz(platform, tmp_path, f"--max-examples={EXAMPLES}", f"--exclude-path={revoke}")
    fuzz(platform, tmp_path, f"--max-examples={EXAMPLES}", f"--include-path={revoke}")
    with platform.client() as client:
        assert client.get("/ready").json()["status"] == "ready"
        data(client.get("/api/api-keys"))


def test_no_request_about_what_is_there_breaks_anything(
    platform: Installation, tmp_path: Path
) -> None:
    """Identifiers made up at random find nothing: here they are a database's."""
    made = platform.create()
    fuzz(
        platform,
        tmp_path,
        f"--max-examples={EXAMPLES}",
        "--phases=examples,coverage,fuzzing",
        "--include-path-regex=^/api/databases/{identifier}",
        "--exclude-method=DELETE",
        config=f'parameters = {{ "path.identifier" = "{made["id"]}" }}\n',
    )
    with platform.client() as client:
        after = data(client.get(f"/api/databases/{made['id']}"))
        assert after["database_name"] == made["database_name"]
        assert after["updated_at"] > made["updated_at"]
