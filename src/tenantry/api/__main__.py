"""``python -m tenantry.api``: serve the API until told to stop, or the supervisor is gone."""

import asyncio

import uvicorn

from tenantry.api.app import create_app
from tenantry.base import logs, settings
from tenantry.host.processes import lifeline


async def serve(server: uvicorn.Server) -> None:
    """Serve for as long as both we and the supervisor are wanted."""

    def stop(_: object) -> None:
        server.should_exit = True

    ended = asyncio.create_task(lifeline())
    ended.add_done_callback(stop)
    await server.serve()
    ended.cancel()


def main() -> None:
    logs.configure("api")
    here = settings.load()
    config = uvicorn.Config(
        create_app(here),
        host=here.api_host,
        port=here.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=15,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve(uvicorn.Server(config)))


if __name__ == "__main__":
    main()
