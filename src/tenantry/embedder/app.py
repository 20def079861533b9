"""OpenAI's ``/v1/embeddings`` on a Unix socket, for all sites of this host."""

import asyncio
import base64
import sys
from contextlib import suppress
from typing import Annotated

import structlog
import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tenantry.base import logs, settings
from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.services.caching.semantic import process
from tenantry.services.caching.semantic.batching import Batching
from tenantry.services.caching.semantic.embedders import OnnxFolder
from tenantry.services.caching.semantic.model import Embedder, EmbedderFailed, TextRefused
from tenantry.services.requests import http_server
from tenantry_cache.rules.nearness import MOST_CHARACTERS

log = structlog.get_logger()

_Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore")

    input: Annotated[list[_Text], Field(min_length=1, max_length=256)]


def application(embedder: Embedder) -> Starlette:
    """Return the application of ASGI that embeds texts; ``model`` in its answers is the id."""

    async def embeddings(request: Request) -> Response:
        try:
            asked = _Asked.model_validate_json(await request.body())
            vectors = await embedder.embed(asked.input)
        except (ValidationError, TextRefused) as error:
            is_form = isinstance(error, ValidationError)
            return _failed(422, "The input is not 1 to 256 texts." if is_form else str(error))
        except EmbedderFailed as error:
            return _failed(503, str(error))
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector.tobytes())}
            for index, vector in enumerate(vectors.astype("<f4"))
        ]
        return JSONResponse({"object": "list", "model": embedder.id, "data": data})

    return Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])])


async def serve(here: Settings) -> None:
    """Load the model and serve it. Raises MachineError if there is none."""
    batching = Batching(OnnxFolder.in_folder(here.embedder.folder))
    config = uvicorn.Config(
        application(batching),
        uds=str(process.socket_of(Home(here.home))),
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    config.load()
    running = asyncio.create_task(batching.run())
    try:
        await http_server.serve(config, here)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def main() -> None:
    """Be the program."""
    logs.configure("embedder")
    here = settings.load()
    try:
        http_server.run(serve(here), here)
    except MachineError as error:
        log.error("embedder.not_started", error=str(error))  # noqa: TRY400 (it says all)
        sys.exit(1)


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _failed(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "embedding"}}, status)
