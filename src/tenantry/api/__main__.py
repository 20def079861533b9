"""``python -m tenantry.api``: serve the API and the console.

Until a signal or the supervisor's end stops it. This is the only module of ``tenantry.api`` that
knows the console.
"""

import asyncio
import signal
import ssl
from functools import partial

import structlog
import uvicorn

from tenantry.api import deadlines
from tenantry.api.app import create_app
from tenantry.base import logs, settings
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host.processes import lifeline
from tenantry.services.observations.interpreting import observe
from tenantry.web import app as console

log = structlog.get_logger()


async def serve(server: uvicorn.Server, here: Settings) -> None:
    """Serve until the server is stopped or the supervisor has ended.

    SIGHUP reloads the certificate for new connections; open ones are unaffected.
    """
    if (context := server.config.ssl) is not None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, _read_certificate, context, here)

    def stop(_: object) -> None:
        server.should_exit = True

    ended = asyncio.create_task(lifeline())
    ended.add_done_callback(stop)
    await server.serve()
    ended.cancel()


def _read_certificate(context: ssl.SSLContext, here: Settings) -> None:
    try:
        context.load_cert_chain(Home(here.home).certificate)
    except (OSError, ssl.SSLError) as error:
        log.error("certificate.unreadable", error=str(error))  # noqa: TRY400 (the old one serves)


def main() -> None:
    logs.configure("api")
    here = settings.load()
    observe(Home(here.home), "api")
    certificate = Home(here.home).certificate if here.api_tls else None
    app = create_app(here)
    console.install(app)
    config = uvicorn.Config(
        app,
        host=here.api.host,
        port=here.api.port,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # api.proxies reads them: uvicorn trusts every program of this machine
        http=deadlines.protocol(here),
        timeout_keep_alive=here.api.idle_seconds,
        timeout_graceful_shutdown=15,
        ssl_certfile=certificate,
        ssl_keyfile=certificate,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    loop_factory = partial(deadlines.DeadlineLoop, here.api.head_seconds)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(uvicorn.Server(config), here))


if __name__ == "__main__":
    main()
