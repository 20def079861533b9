"""The OpenAPI document: complete, and true about failures."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenantry.api.app import create_app
from tenantry.base.settings import Settings
from tenantry.web import app as console


def test_every_failure_is_documented_as_problem_json() -> None:
    app = create_app(Settings(home=Path("/nowhere")))
    console.install(app)
    document = app.openapi()
    assert document["openapi"].startswith("3.1")
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len(operations) >= 15
    for operation in operations:
        for status in ("4XX", "5XX"):
            (media_type,) = operation["responses"][status]["content"]
            assert media_type == "application/problem+json", operation["operationId"]


def test_each_operation_has_a_name_of_its_own() -> None:
    """The generated clients call it by that: a group of operations, and what this one does."""
    document = create_app(Settings(home=Path("/nowhere"))).openapi()
    names = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert len(set(names)) == len(names)
    assert {"databases.create", "databases.list", "sql.run"} <= set(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*[.][a-z]+(_[a-z]+)*", name) for name in names)


def _nodes(node: Any, schemas: dict[str, Any], seen: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Every object within a schema, what it refers to included."""
    if isinstance(node, list):
        for each in node:
            yield from _nodes(each, schemas, seen)
    if isinstance(node, dict):
        yield node
        name = str(node.get("$ref", "")).rpartition("/")[2]
        if name and name not in seen:
            yield from _nodes(schemas[name], schemas, seen | {name})
        for each in node.values():
            yield from _nodes(each, schemas, seen)


def test_every_list_of_a_body_has_an_end() -> None:
    """A body of 1 MiB may have 300,000 elements, each with an error of its own."""
    document = create_app(Settings(home=Path("/nowhere"))).openapi()
    schemas = document["components"]["schemas"]
    operations = [each for path in document["paths"].values() for each in path.values()]
    for operation in operations:
        for node in _nodes(operation.get("requestBody"), schemas, frozenset()):
            assert node.get("type") != "array" or "maxItems" in node, operation["operationId"]
            assert not node.get("additionalProperties") or "maxProperties" in node
