"""Request bodies that a route reads itself because it accepts more than one media type."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from tenantry.api.frame import FOLDER
from tenantry.base.errors import Conflict
from tenantry.base.home import Home
from tenantry.host import files
from tenantry.services.imports.uploads import paced
from tenantry.services.tenant_migrations.folders import MOST_ARCHIVE_BYTES, Folder

JSON = "application/json"
_Model = TypeVar("_Model", bound=BaseModel)


def parsed(model: type[_Model], body: bytes) -> _Model:
    """Parse a JSON body. Raises RequestValidationError."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # An input may be a secret, or large, except where one of a few names was expected.
        found: list[dict[str, Any]] = []
        for each in error.errors(include_url=False):
            given = each["input"] if each["type"] == "literal_error" else None
            found.append({**each, "loc": ("body", *each["loc"]), "input": given})
        raise RequestValidationError(found) from None


def described(model: type[BaseModel], **others: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI description of a body: this model as JSON, or others by media type."""
    schema = model.model_json_schema(by_alias=True)
    parts: dict[str, Any] = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(parts[value["$ref"].rpartition("/")[2]])
        return {key: inlined(each) for key, each in value.items()}

    content = {JSON: {"schema": inlined(schema)}}
    content |= {media: {"schema": other} for media, other in others.items()}
    return {"requestBody": {"required": True, "content": content}}


FOLDER_SCHEMA = {
    FOLDER: {
        "type": "string",
        "format": "binary",
        "description": "A tar archive of at most 64 MiB of files: first request.json, which is the"
        " JSON body without its files, then the files.",
    }
}


@asynccontextmanager
async def received_folder(request: Request, home: Home) -> AsyncIterator[tuple[Folder, bytes]]:
    """Yield the uploaded folder, which is in an unnamed temporary file, and its hash.

    Raises InvalidInput, BadMigrations, Conflict if it is too large, UploadTooSlow.
    """
    files.ensure_folder(home.scratch)
    digest = hashlib.sha256()
    with TemporaryFile(dir=home.scratch) as file:
        size = 0
        async for chunk in paced(request.stream()):
            size += len(chunk)
            if size > MOST_ARCHIVE_BYTES:
                raise Conflict(
                    f"The folder is larger than {MOST_ARCHIVE_BYTES:,} bytes.",
                    hint="Run it in parts; or load its data with psql.",
                )
            digest.update(chunk)
            await run_in_threadpool(file.write, chunk)
        file.seek(0)
        yield await run_in_threadpool(Folder, _binary(file)), digest.digest()


def _binary(file: Any) -> BinaryIO:
    binary: BinaryIO = file
    return binary
