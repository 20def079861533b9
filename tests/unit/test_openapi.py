"""The OpenAPI document: complete, and true about failures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_every_list_of_a_body_has_an_end() -> None:
    """A body of 1 MiB may have 300,000 elements, each with an error of its own."""
    document = create_app(Settings(home=Path("/nowhere"))).openapi()
    schemas = document["components"]["schemas"]

    def endless(schema: Any, path: str, seen: frozenset[str]) -> Iterator[str]:
        if isinstance(schema, list):
            for number, each in enumerate(schema):
                yield from endless(each, f"{path}[{number}]", seen)
        if not isinstance(schema, dict):
            return
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        if name and name not in seen:
            yield from endless(schemas[name], f"{path}>{name}", seen | {name})
        if schema.get("type") == "array" and "maxItems" not in schema:
            yield path
        if schema.get("additionalProperties") and "maxProperties" not in schema:
            yield path
        for key, value in schema.items():
            yield from endless(value, f"{path}.{key}", seen)

    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert not [*endless(operation.get("requestBody"), path, frozenset())]
