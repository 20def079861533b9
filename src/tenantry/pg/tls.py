"""Read the certificate that a port presents, PostgreSQL's protocol included."""

import asyncio
import ssl
import struct

from tenantry.base.errors import Unavailable

_SSL_REQUEST = struct.pack("!II", 8, 80877103)  # PostgreSQL's manual, section 55.7
_SECONDS = 5.0


async def shown_certificate(
    host: str, port: int, *, postgres: bool = True, name: str | None = None
) -> bytes:
    """Return the certificate that a server presents, in DER. The caller decides about trust.

    ``name`` is the one that the server is asked for (SNI); by default its host.

    A server of ``postgres``'s protocol is asked for TLS first, any other speaks TLS at once.

    Raises Unavailable if nothing answers, or it does no TLS.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                if postgres:
                    writer.write(_SSL_REQUEST)
                    if await reader.readexactly(1) != b"S":
                        raise Unavailable(f"Port {port} does no TLS.")
                await writer.start_tls(context, server_hostname=name or host)
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            finally:
                writer.close()  # closes TLS properly: a server logs clients that do not
                await writer.wait_closed()
    except (OSError, EOFError, TimeoutError) as error:
        raise Unavailable(f"Port {port} does not answer a request for TLS.") from error
    if not isinstance(shown, bytes):
        raise Unavailable(f"Port {port} shows no certificate.")
    return shown
