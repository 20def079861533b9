"""The HTTP server of the API and of the data API: uvicorn, with our limits and deadlines."""

import asyncio
import signal
import ssl
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host.processes import lifeline
from tenantry.services.requests import deadlines

log = structlog.get_logger()


def configured(app: Any, here: Settings, *, host: str, port: int, tls: bool) -> uvicorn.Config:
    """Return the server of an application of ASGI at a port."""
    certificate = Home(here.home).certificate if tls else None
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # read by requests.proxies: uvicorn trusts all of this machine
        http=deadlines.protocol(here),
        timeout_keep_alive=here.api.idle_seconds,
        timeout_graceful_shutdown=15,
        ssl_certfile=certificate,
        ssl_keyfile=certificate,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def on_socket(app: Any, path: Path) -> uvicorn.Config:
    """Return the server of an application for the platform itself, on a Unix socket.

    Only the platform's user can reach the folder of its sockets.
    """
    return uvicorn.Config(app, uds=str(path), lifespan="off", log_config=None, access_log=False)


async def serve(config: uvicorn.Config, here: Settings) -> None:
    """Serve until a signal or the supervisor's end stops it.

    SIGHUP reloads the certificate for new connections; open ones are unaffected.
    """
    server = uvicorn.Server(config)
    if (context := config.ssl) is not None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, _read_certificate, context, here)

    def stop(_: object) -> None:
        server.should_exit = True

    ended = asyncio.create_task(lifeline())
    ended.add_done_callback(stop)
    await server.serve()
    ended.cancel()


def run(main: Coroutine[Any, Any, None], here: Settings, *, shares_port: bool = False) -> None:
    """Run the program of a server in an event loop that limits TLS handshakes.

    With ``shares_port`` several of them listen on the same port.
    """
    loop_factory = partial(deadlines.DeadlineLoop, here.api.head_seconds, shares_port=shares_port)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main)


def _read_certificate(context: ssl.SSLContext, here: Settings) -> None:
    try:
        context.load_cert_chain(Home(here.home).certificate)
    except (OSError, ssl.SSLError) as error:
        log.error("certificate.unreadable", error=str(error))  # noqa: TRY400 (the old one serves)
