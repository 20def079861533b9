"""The OpenAPI document: complete, and true about failures."""

from pathlib import Path

from tenantry.api.app import create_app
from tenantry.base.settings import Settings


def test_every_failure_is_documented_as_problem_json() -> None:
    document = create_app(Settings(home=Path("/nowhere"))).openapi()
    assert document["openapi"].startswith("3.1")
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len(operations) >= 15
    for operation in operations:
        for status in ("4XX", "5XX"):
            (media_type,) = operation["responses"][status]["content"]
            assert media_type == "application/problem+json", operation["operationId"]
