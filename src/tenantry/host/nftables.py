"""A limit on connections from one address, in the kernel's packet filter (nft(8)).

It counts before a server has to start a process for a connection, and only root can set it. Each
installation has a table of its own, named after its PostgreSQL port, and touches no other.
"""

from collections.abc import Sequence
from pathlib import Path

from tenantry.host import commands

PROGRAM = Path("/usr/sbin/nft")

_TABLE = """\
# Written by Tenantry; changes by hand are undone.
table inet {name}
delete table inet {name}
table inet {name} {{
    set open4 {{ type ipv4_addr; size 65535; flags dynamic; }}
    set open6 {{ type ipv6_addr; size 65535; flags dynamic; }}
    set new4 {{ type ipv4_addr; size 65535; flags dynamic,timeout; timeout 1m; }}
    set new6 {{ type ipv6_addr; size 65535; flags dynamic,timeout; timeout 1m; }}

    chain input {{
        type filter hook input priority filter - 1; policy accept;
        tcp dport {{ {ports} }} ct state new jump limits
    }}

    chain limits {{
        # Of IPv6, whoever has one address has a /64 network.
        add @open4 {{ ip saddr ct count over {most} }} counter reject with tcp reset
        add @open6 {{ ip6 saddr & {network} ct count over {most} }} counter reject with tcp reset
        update @new4 {{ ip saddr limit rate over {most}/second burst {most} packets }} \\
            counter reject with tcp reset
        update @new6 {{ \\
            ip6 saddr & {network} limit rate over {most}/second burst {most} packets }} \\
            counter reject with tcp reset
    }}
}}
"""


def table(port: int) -> str:
    """Return the name of the table of the installation with this PostgreSQL port."""
    return f"tenantry_{port}"


def render(name: str, ports: Sequence[int], most: int) -> str:
    """Return rules for these ports: the most open and new connections (a second) of an address."""
    return _TABLE.format(
        name=name, ports=", ".join(map(str, ports)), most=most, network="ffff:ffff:ffff:ffff::"
    )


async def apply(text: str) -> None:
    """Apply a rule file. As root. Raises CommandFailed."""
    await commands.run([PROGRAM, "--file", "-"], stdin=text, deadline=20)


async def remove(name: str) -> None:
    """Delete the table of this name, if any. As root. Raises CommandFailed."""
    await apply(f"table inet {name}\ndelete table inet {name}\n")


async def exists(name: str) -> bool:
    """Whether there is a table of this name; False also where this cannot be found out."""
    try:
        await commands.run([PROGRAM, "list", "table", "inet", name])
    except commands.CommandFailed:
        return False
    return True
