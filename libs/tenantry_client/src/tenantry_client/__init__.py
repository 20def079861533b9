"""Typed client of Tenantry's REST API.

with Client("https://db.example.com:3000", "tn_…") as client:
    database = client.databases.create({"name": "shop", "environment": "staging"})
    print(database["connection_string"])
"""

from tenantry_client import models
from tenantry_client.clients import AsyncClient, Client
from tenantry_client.errors import ApiError, ConnectionFailed, OperationFailed, TenantryError

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "OperationFailed",
    "TenantryError",
    "models",
]
