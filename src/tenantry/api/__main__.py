"""``python -m tenantry.api``: serve the API until told to stop, or the supervisor is gone."""

import asyncio
import signal
import ssl

import structlog
import uvicorn

from tenantry.api.app import create_app
from tenantry.api.protocol import LimitedProtocol
from tenantry.base import logs, settings
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host.processes import lifeline

log = structlog.get_logger()


async def serve(server: uvicorn.Server, here: Settings) -> None:
    """Serve for as long as both we and the supervisor are wanted.

    SIGHUP has new connections shown the certificate that is in place then; others go on.
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
    certificate = Home(here.home).certificate if here.api_tls else None
    config = uvicorn.Config(
        create_app(here),
        host=here.api_host,
        port=here.api_port,
        http=LimitedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # api.proxies reads them: uvicorn believes whatever is on this machine
        timeout_graceful_shutdown=15,
        ssl_certfile=certificate,
        ssl_keyfile=certificate,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve(uvicorn.Server(config), here))


if __name__ == "__main__":
    main()
