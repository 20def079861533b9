"""What may be imported, from where, and what of it can be here. Pure."""

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tenantry.pg.sources import IPAddress, Table

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PRIVATE = [
    ipaddress.ip_network(each)
    for each in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        "100.64.0.0/10",  # RFC 6598
        "fc00::/7",  # RFC 4193
    )
]


def embedded(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address leads to, or itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    for inner in (address.ipv4_mapped, address.sixtofour):
        if inner is not None:
            return inner
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address


def is_allowed(address: IPAddress, *, administrator: bool, private: bool) -> bool:
    """Whether the platform may be made to connect there.

    Customers reach the Internet, and private networks if ``private`` says so; this machine is
    for its administrators. Link-local addresses (169.254.169.254 tells a cloud's secrets) and
    those that no server has are for nobody.
    """
    inner = embedded(address)
    if inner.is_loopback:
        return administrator
    if any(inner in network for network in _PRIVATE):
        return administrator or private
    # Python takes these for global: fec0::/10, which routers knew once, and groups.
    old = isinstance(inner, ipaddress.IPv6Address) and inner.is_site_local
    return inner.is_global and not (old or inner.is_multicast or inner.is_reserved)


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a source to copy: all schemas but for those said, without some tables.

    A table is named with its schema, or for one in ``public`` alone. ``statement_seconds`` is how
    long each statement may run, there and here; None for the usual time.
    """

    schemas: Sequence[str] = ()
    exclude_tables: Sequence[tuple[str, str]] = ()
    jobs: int = 2
    statement_seconds: float | None = None

    def told(self) -> dict[str, object]:
        """The same for ``pg.source_reading``."""
        return {
            "schemas": list(self.schemas),
            "exclude": [list(each) for each in self.exclude_tables],
        }

    def tables(self, there: Iterable[Table]) -> list[Table]:
        """Those of the source's tables that are copied."""
        return [
            table
            for table in there
            if (not self.schemas or table.schema in self.schemas)
            and (table.schema, table.name) not in self.exclude_tables
        ]

    def options(self) -> list[str]:
        """The same for pg_dump, which takes patterns: quoted, they are names."""
        chosen = [f"--schema={_quoted(schema)}" for schema in self.schemas]
        if chosen:
            chosen.append("--extension=*")
        return chosen + [
            f"--exclude-table={_quoted(schema)}.{_quoted(name)}"
            for schema, name in self.exclude_tables
        ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Offered:
    """An extension that the server here has, and whether tenants may have it."""

    name: str
    installable: bool


def extension_problems(wanted: Iterable[str], offered: Collection[Offered]) -> list[str]:
    """Why the extensions of a source cannot all be here, in words; empty if they can."""
    known = {each.name: each.installable for each in offered}
    missing = [name for name in wanted if name not in known]
    refused = [name for name in wanted if not known.get(name, True)]
    return [
        *([f"this server does not have {', '.join(missing)}"] if missing else []),
        *([f"tenants cannot have {', '.join(refused)}"] if refused else []),
    ]


# ── the contents of a dump ───────────────────────────────────────────────────

# What needs a superuser, or is the source server's own; a dump's own list names them
# ("3; 2615 2200 SCHEMA - public postgres").
_LEFT_OUT = re.compile(
    r"\d+; \d+ \d+ (?P<what>(?:EVENT TRIGGER|PUBLICATION|PUBLICATION TABLE"
    r"|PUBLICATION TABLES IN SCHEMA|SUBSCRIPTION|SECURITY LABEL|DATABASE|DATABASE PROPERTIES"
    r"|ROW SECURITY LABEL|SCHEMA - public|COMMENT - EXTENSION|COMMENT - SCHEMA public"
    r"|COMMENT - EVENT TRIGGER|COMMENT - DATABASE|COMMENT - PUBLICATION|COMMENT - SUBSCRIPTION"
    r"|EXTENSION - plpgsql|USER MAPPING|SERVER|FOREIGN DATA WRAPPER) .*|SCHEMA - public)"
)
_WORTH_TELLING = re.compile(r"EVENT TRIGGER|PUBLICATION|SUBSCRIPTION|SERVER|FOREIGN|USER MAPPING")


def choose(contents: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of the lines of a dump's list, those to read back, and what is left out and worth telling."""
    kept, left_out = [], []
    for line in contents:
        if (found := _LEFT_OUT.match(line)) is None:
            kept.append(line)
        elif _WORTH_TELLING.match(found["what"]):
            left_out.append(found["what"])
    return kept, left_out


# ── what came of it ──────────────────────────────────────────────────────────


def differences(there: dict[str, int], here: dict[str, int]) -> list[str]:
    """Where the rows of a table are not as many here as there, in words."""
    return [
        f"{name}: {there[name]:,} rows there, "
        + (f"{here[name]:,} here" if name in here else "no such table here")
        for name in sorted(there)
        if here.get(name) != there[name]
    ]
