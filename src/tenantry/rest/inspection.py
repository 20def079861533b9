"""What the process answers the platform, on its Unix socket: that it lives, and its measures."""

from tenantry.rest.databases import Databases
from tenantry.services.data_api.traffic import Traffic, encoded
from tenantry_rest import Answer, send_answer
from tenantry_rest.asgi import Receive, Scope, Send


class Inspection:
    """``GET /live``, and ``GET /measures`` for the metrics of the API."""

    def __init__(self, databases: Databases, traffic: Traffic) -> None:
        self._databases = databases
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        found = Answer(200 if scope["path"] == "/live" else 404)
        if scope["path"] == "/measures":
            sizes = {name: api.cache_bytes for name, api in self._databases.open.items()}
            body = encoded(self._traffic.measures(self._databases.served, sizes))
            found = Answer(200, [("Content-Type", "application/json")], body)
        await send_answer(found, send)
