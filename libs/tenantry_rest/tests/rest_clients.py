"""Clients of an application that serves the tests' database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import jwt
from rest_server import Server

from tenantry_rest.app import Application
from tenantry_rest.config import Config, override

SECRET = "reallyreallyreallyreallyverysafe"
Client = httpx.AsyncClient


@asynccontextmanager
async def connected(server: Server, **changed: str) -> AsyncIterator[Client]:
    """A client; settings are by their names with underscores."""
    given = {
        "db-uri": server.dsn("authenticator"),
        "db-schemas": "test",
        "db-anon-role": "anonymous",
        "db-tx-end": "rollback-allow-override",
        "db-extra-search-path": "",
        "db-channel-enabled": "false",
        "db-config": "false",
        "db-pool": "2",
        "jwt-secret": SECRET,
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    application = Application(override(Config(), given))
    await application.start()
    try:
        transport = httpx.ASGITransport(app=application)
        async with Client(transport=transport, base_url="http://rest") as client:
            client.headers.pop("accept")
            yield client
    finally:
        await application.stop()


def token(**claims: object) -> dict[str, str]:
    """The header for these claims."""
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}
