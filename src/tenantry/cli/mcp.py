"""``tenantry mcp``: the server for AI agents."""

import socket
from collections.abc import Mapping
from os import environ
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput, Unauthenticated
from tenantry.cli import output
from tenantry.cli.client import Api, address, connect

_HOST = "127.0.0.1"  # keys are sent unencrypted
_HINT = (
    "Create a key for it: tenantry key create --name agent --scope databases:read"
    " --scope data:read --scope backups:read"
)


def mcp(
    http: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="Serve streamable HTTP on this port of this machine (127.0.0.1), at /mcp; each "
            "request has an API key as bearer token. Default: standard input and output.",
        ),
    ] = None,
    allow_writes: Annotated[
        bool,
        typer.Option(
            "--allow-writes",
            help="Offer tools that create branches, migrate and delete them.",
        ),
    ] = False,
) -> None:
    """Serve AI agents, by the Model Context Protocol: read-only, with the rights of an API key.

    Agents' programs start it and talk to it on standard input and output. The key is
    TENANTRY_API_KEY; no other one is used, so give an agent a key with the scopes that it needs.

    Examples:

        TENANTRY_API_KEY=tnt_… tenantry mcp

        tenantry mcp --http 3005 --allow-writes
    """
    # Imported here because it takes half a second, and `tenantry --help` imports this module.
    import uvicorn  # noqa: PLC0415

    from tenantry.cli import agent_tools  # noqa: PLC0415

    if http is None:
        _own_key()
        server = agent_tools.create_server(_with_own_key, allow_writes=allow_writes)
        server.run("stdio")
        return
    address()
    with _listening(http) as listener:
        server = agent_tools.create_server(_with_key_of_request, allow_writes=allow_writes)
        app = server.streamable_http_app(host=_HOST)
        output.note(f"Agents connect to http://{_HOST}:{http}/mcp, each with its own API key.")
        # Without uvicorn's own log: that is on standard output.
        uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    """Listen on a port of this machine. Raises InvalidInput if that is not possible."""
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        raise InvalidInput.of("http", f"{port} cannot be listened on: {error.strerror}") from None


def _own_key() -> None:
    """Raise Unauthenticated without a key for agents: the administrator's would be too much."""
    if not environ.get("TENANTRY_API_KEY", "").strip():
        raise Unauthenticated("An agent needs an API key in TENANTRY_API_KEY.", hint=_HINT)


def _with_own_key(_: Mapping[str, str] | None) -> Api:
    return connect()


def _with_key_of_request(headers: Mapping[str, str] | None) -> Api:
    """Connect with the key that a request has; raises Unauthenticated."""
    found = headers or {}
    scheme, _, token = found.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else found.get("x-api-key", "")
    if not key or not key.isascii() or not key.isprintable():
        raise Unauthenticated("The request has no API key as bearer token.", hint=_HINT)
    return Api(address(), key)
