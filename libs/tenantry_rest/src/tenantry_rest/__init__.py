"""A REST API on a PostgreSQL database, compatible with PostgREST."""

from tenantry_rest.answer import Answer
from tenantry_rest.asgi import ClientGone, head_of, receive_body, receive_request, send_answer
from tenantry_rest.auth import Authenticator, Caller, read_keys
from tenantry_rest.catalog.changes import load_fingerprint, measure_schema
from tenantry_rest.catalog.loading import load_config, load_schema
from tenantry_rest.config import BadConfig, Config, read_config
from tenantry_rest.cors import exposing, preflight
from tenantry_rest.errors import ApiError
from tenantry_rest.request.model import HttpRequest
from tenantry_rest.schema.model import Schema
from tenantry_rest.serving import Prepared, State, refuse, respond
from tenantry_rest.shapes import Shapes

__all__ = [
    "Answer",
    "ApiError",
    "Authenticator",
    "BadConfig",
    "Caller",
    "ClientGone",
    "Config",
    "HttpRequest",
    "Prepared",
    "Schema",
    "Shapes",
    "State",
    "exposing",
    "head_of",
    "load_config",
    "load_fingerprint",
    "load_schema",
    "measure_schema",
    "preflight",
    "read_config",
    "read_keys",
    "receive_body",
    "receive_request",
    "refuse",
    "respond",
    "send_answer",
]
