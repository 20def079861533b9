"""The program ``tenantry-rest``: serves one database in place of a PostgREST."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from tenantry_rest.app import Admin, Application
from tenantry_rest.config import BadConfig, Config, read_config

HOSTS = {"*": "0.0.0.0", "*4": "0.0.0.0", "!4": "0.0.0.0", "*6": "::", "!6": "::"}  # noqa: S104
LEVELS = {"crit": "critical", "warn": "warning"}


def run() -> None:
    """Serve until a signal ends it.

    Settings are those of PostgREST: a configuration file as the argument, ``PGRST_`` variables,
    and the database's own.
    """
    parser = argparse.ArgumentParser(prog="tenantry-rest", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a configuration file of PostgREST's")
    given = parser.parse_args()
    try:
        asyncio.run(_serve(given.file))
    except (BadConfig, OSError) as error:
        sys.exit(str(error))


def _read(file: Path | None) -> Config:
    text = file.read_text(encoding="utf-8") if file is not None else ""
    return read_config(text, os.environ)


async def _serve(file: Path | None) -> None:
    config = _read(file)
    level = LEVELS.get(config.log_level, config.log_level)
    logging.basicConfig(level=level.upper(), stream=sys.stderr)
    # A statement that fails ends its pipeline; the client is answered, and the log need not say so.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    logging.getLogger("psycopg.pool").setLevel(logging.WARNING)
    application = Application(config)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, application.reload_schema)
    loop.add_signal_handler(signal.SIGUSR2, lambda: application.reload_config(_read(file)))
    servers = [_server(application, level)]
    sockets = [[_bound(config)]]
    if config.admin_server_port is not None:
        servers.append(_server(Admin(application), level))
        host = config.admin_server_host or config.server_host
        sockets.append([_listening(host, config.admin_server_port, reuse=False)])
    await asyncio.gather(
        *(server.serve(each) for server, each in zip(servers, sockets, strict=True))
    )


def _server(application: Application | Admin, level: str) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application,
            lifespan="on" if isinstance(application, Application) else "off",
            log_level=level,
            access_log=level in {"info", "debug"},
            server_header=False,
        )
    )


def _bound(config: Config) -> socket.socket:
    if config.server_unix_socket:
        path = Path(config.server_unix_socket)
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(path))
        path.chmod(int(config.server_unix_socket_mode, 8))
        return bound
    return _listening(config.server_host, config.server_port, reuse=config.server_reuseport)


def _listening(host: str, port: int, *, reuse: bool) -> socket.socket:
    address = HOSTS.get(host, host)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((address, port))
    return bound
