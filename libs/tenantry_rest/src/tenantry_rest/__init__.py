"""A REST API on a PostgreSQL database, compatible with PostgREST."""

from tenantry_rest.answer import Answer
from tenantry_rest.asgi import receive_request, send_answer
from tenantry_rest.catalog.loading import load_config, load_schema
from tenantry_rest.config import BadConfig, Config, read_config
from tenantry_rest.errors import ApiError
from tenantry_rest.request.model import HttpRequest
from tenantry_rest.schema.model import Schema
from tenantry_rest.serving import State, respond

__all__ = [
    "Answer",
    "ApiError",
    "BadConfig",
    "Config",
    "HttpRequest",
    "Schema",
    "State",
    "load_config",
    "load_schema",
    "read_config",
    "receive_request",
    "respond",
    "send_answer",
]
