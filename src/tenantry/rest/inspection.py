"""What the process answers the platform, on its Unix socket: that it lives, and its metrics."""

from tenantry.rest.databases import Databases
from tenantry.services.data_api.traffic import Traffic
from tenantry.services.observations.exposition import MEDIA_TYPE, render
from tenantry_rest import Answer, send_answer
from tenantry_rest.asgi import Receive, Scope, Send


class Inspection:
    """``GET /live``, and ``GET /metrics`` in Prometheus's format."""

    def __init__(self, databases: Databases, traffic: Traffic) -> None:
        self._databases = databases
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        found = Answer(200 if scope["path"] == "/live" else 404)
        if scope["path"] == "/metrics":
            sizes = {name: api.cache_bytes for name, api in self._databases.open.items()}
            body = render(self._traffic.measures(self._databases.served, sizes))
            found = Answer(200, [("Content-Type", MEDIA_TYPE)], body)
        await send_answer(found, send)
