"""The program by which root sets the allowlists of sites; systemd starts one for each request.

It reads the lists from its standard input, a socket that only the platform's user reaches, and
answers there. Whoever has taken over the platform may be that user: so it takes addresses and
ports, nothing else, and renders the rules itself, all in the one table that its unit names.
"""

import asyncio
import sys

from tenantry.base.errors import TenantryError
from tenantry.host import nftables, site_filter


def main() -> None:
    """Set the rules of the lists on standard input, in the table that is the argument."""
    (table,) = sys.argv[1:]
    try:
        lists = site_filter.read(sys.stdin.buffer.read(site_filter.MOST_BYTES + 1))
        asyncio.run(nftables.apply(site_filter.render(table, lists)))
    except TenantryError as error:
        sys.stdout.write(f"{error.detail}\n")
    else:
        sys.stdout.write(f"{site_filter.DONE}\n")


if __name__ == "__main__":
    main()
