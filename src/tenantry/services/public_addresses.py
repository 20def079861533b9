"""Addresses that customers may have the platform connect to: the Internet's, not this network's."""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tenantry.base.errors import Forbidden
from tenantry.services.imports import examining
from tenantry.services.imports.plan import embedded, is_allowed

# Not asyncio's own few threads: a customer's name server may take its time, whoever has given up.
_resolvers = ThreadPoolExecutor(16, thread_name_prefix="resolver")


class NotPublic(Forbidden):
    """A host has no address, or none that customers may reach."""


async def public_address(host: str, port: int) -> str:
    """Return an address of a host that customers may reach. Raises NotPublic.

    Connect to this very address, whatever the name resolves to later.
    """
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(_resolvers, ask)
    except (OSError, UnicodeError):
        raise NotPublic(f"{host} has no address.") from None
    for *_, socket_address in found:
        address = ipaddress.ip_address(socket_address[0])
        public = is_allowed(address, administrator=False, private=False)
        if public and not examining.is_own(embedded(address)):
            return str(address)
    raise NotPublic(f"{host} is at an address that customers do not reach.")
