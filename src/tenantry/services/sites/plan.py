"""The files of a site's Redis process, and the place for a new site: computed from values only."""

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tenantry.base.errors import Conflict, FieldError, InvalidInput
from tenantry.base.networks import Network, contain, parse_address
from tenantry.control import plans
from tenantry.control.plans import PlanRow
from tenantry.control.sites import SiteRow, Taken
from tenantry.host.redis_engines import RedisVersion
from tenantry.host.site_filter import collapsed
from tenantry.services.sites.model import (
    MAX_CLIENTS,
    MEMORY_MB,
    MOST_CLIENTS,
    PLATFORM_USER,
    SHARED_MAX_CLIENTS,
    SHARED_MEMORY_MB,
    Wanted,
    cache_prefix,
    cache_user,
    key_prefix,
    tenant_user,
)

_LAST_PORT = 65_535
_HELD = 1  # connection, with which the platform disconnects who does not log in
_LEAST_MB = 8  # of a process
_SHORTEST_MB, _LONGEST_MB = 4, 512  # of a value: what the AI cache stores, and Redis's own limit
_BESIDES_MB = 256  # of a process: buffers, fragments, stacks of threads
_SHARE, _MOST_MB = 0.4, 4096  # of the machine's memory
MIB = 1024 * 1024

EVERYWHERE, LOOPBACK = "* -::*", "127.0.0.1 -::1"
NO_LIST = (
    "the shared Redis listens on one port for all its sites, and cannot have an allowlist for one:"
    " choose isolation dedicated"
)

_CONFIG = """\
# Written by Tenantry; changes by hand are undone.
port 0
tls-port {port}
tls-cert-file {certificate}
tls-key-file {certificate}
tls-auth-clients no
tls-protocols "TLSv1.2 TLSv1.3"
unixsocket {socket}
unixsocketperm 700
daemonize yes
set-proc-title no
pidfile {pid_file}
logfile {log_file}
dir {folder}
aclfile {acl_file}
databases 1
save ""
appendfsync everysec
appenddirname {data_folder}
enable-debug-command no
enable-module-command no
enable-protected-configs no
# The buffers of clients count, too: half of the memory is for them at most.
maxmemory-clients 50%
"""

# What a tenant may do, besides reading and writing its keys. Commands that show or change what is
# not its own are denied by name: they are in no category that is. SCAN is not limited to a user's
# keys; they are listed through the API.
_RULES = (
    *("-@all", "+@read", "+@write", "+@pubsub", "+@transaction"),
    *("-@dangerous", "-@admin", "-@scripting"),
    *("-scan", "-randomkey", "-dbsize", "-keys", "-move", "-pubsub", "-wait"),
    *("+ping", "+hello", "+auth", "+quit", "+reset", "+echo"),
    *("+client|setname", "+client|getname", "+client|id", "+select|0"),
)
_RULES_FROM_7_2 = ("-waitaof", "+client|setinfo")
# What the AI cache may do for a site of the shared process: nothing to other sites.
_CACHE_RULES = ("+@all", "-@admin", "-@dangerous", "+info")
_VECTOR_COMMANDS = "vadd vsim vrem vcard vdim vemb vgetattr vsetattr vinfo vlinks vrandmember"


@dataclass(frozen=True, slots=True)
class Place:
    """The files of a site's process."""

    folder: Path
    socket: Path
    certificate: Path
    log_file: Path

    @property
    def config(self) -> Path:
        return self.folder / "redis.conf"

    @property
    def acl_file(self) -> Path:
        return self.folder / "users.acl"

    @property
    def pid_file(self) -> Path:
        return self.folder / "redis.pid"


def bind(*, is_open: bool) -> str:
    """Return the addresses that a site listens on: those of this machine only, or all."""
    return EVERYWHERE if is_open else LOOPBACK


def lists(rows: Sequence[SiteRow]) -> dict[int, tuple[Network, ...]]:
    """Return the allowlists of sites, by their ports, with the fewest networks."""
    return {row.port: collapsed(row.networks) for row in rows if row.networks is not None}


def foreign(
    clients: Iterable[Mapping[str, Any]], networks: Collection[Network], *, is_open: bool
) -> list[str]:
    """Return the ids of clients, as CLIENT LIST has them, that an allowlist does not admit.

    This machine is always admitted: by the socket, from loopback and, while the site listens on all
    addresses, from an address to itself.
    """
    return [
        str(each["id"])
        for each in clients
        if (address := address_of(each)) is not None
        and not ip_address(address).is_loopback
        and not (is_open and (is_local(each) or contain(networks, address)))
    ]


def is_local(client: Mapping[str, Any]) -> bool:
    """Whether a client in CLIENT LIST is a program of this machine."""
    address = address_of(client)
    return (
        address is None or ip_address(address).is_loopback or address == address_of(client, "laddr")
    )


def address_of(client: Mapping[str, Any], field: str = "addr") -> str | None:
    """Return the address of a client in CLIENT LIST; None if it came by the socket, or is gone."""
    text = str(client[field]).rpartition(":")[0].strip("[]")
    try:
        return str(parse_address(text))
    except ValueError:
        return None


def parameters(rows: Sequence[SiteRow]) -> dict[str, str]:
    """Return the parameters of a process that change with its sites, as CONFIG GET shows them.

    Several sites, which share it, differ in their memory and connections only: it has the sums.
    One with an allowlist begins closed: ``filtering`` says why.
    """
    row = rows[0]
    longest = max(_SHORTEST_MB, *(each.memory_mb for each in rows))
    return {
        "bind": bind(is_open=row.networks is None),
        "maxmemory": str(sum(each.memory_mb for each in rows) * MIB),
        "maxmemory-policy": row.eviction,
        # Otherwise SETRANGE of an empty key takes half a GiB, whatever maxmemory is.
        "proto-max-bulk-len": str(min(longest, _LONGEST_MB) * MIB),
        "maxclients": str(sum(each.max_clients for each in rows) + _HELD),
        "appendonly": "yes" if row.persistence == "aof" else "no",
    }


def render_config(rows: Sequence[SiteRow], place: Place) -> str:
    """Return the configuration file of the process of these sites."""
    fixed = _CONFIG.format(
        port=rows[0].port,
        certificate=place.certificate,
        socket=place.socket,
        pid_file=place.pid_file,
        log_file=place.log_file,
        folder=place.folder,
        acl_file=place.acl_file,
        data_folder=rows[0].data_folder,
    )
    return fixed + "".join(f"{name} {value}\n" for name, value in parameters(rows).items())


def most_process_bytes(maxmemory: int, *, stored: int, present: int) -> int:
    """Return how much memory a site's process may have, all in bytes.

    Redis looks at ``maxmemory`` before a transaction, not within: some kB of COPY in one would take
    all memory of the machine. ``stored`` is what it has to read when it starts, which may be
    compressed, and ``present`` what it has: it may be more than now allowed to a smaller site.
    """
    return max(2 * maxmemory + 4 * stored + _BESIDES_MB * MIB, present + _BESIDES_MB * MIB // 4)


def tenant_rules(row: SiteRow, server: RedisVersion) -> list[str]:
    """Return the rules of the tenant's user; older servers refuse all if they know one not."""
    keys = key_prefix(row.id)
    rules = [
        *("reset", "on", f"#{row.password_hash.hex()}"),
        *(f"~{keys}*", "resetchannels", f"&{keys}*"),
        *_RULES,
    ]
    if server.version >= (7, 2):
        rules += _RULES_FROM_7_2
    if server.has_vector_sets:  # in no category that is allowed above
        rules += [f"+{command}" for command in _VECTOR_COMMANDS.split()]
    return rules


def _cache_rules(site_id: uuid.UUID, password_hash: bytes) -> list[str]:
    """Return the rules of the AI cache's user for a site of the shared process."""
    prefixes = (key_prefix(site_id), cache_prefix(site_id))
    keys = [f"~{each}*" for each in prefixes]
    return ["reset", "on", f"#{password_hash.hex()}", *keys, "resetchannels", *_CACHE_RULES]


def users(
    rows: Sequence[SiteRow], server: RedisVersion, cache_hashes: Mapping[uuid.UUID, bytes]
) -> dict[str, list[str]]:
    """Return the rules of each user of a process, but its platform user.

    ``cache_hashes`` are of the passwords of the AI cache's users in the shared process.
    """
    found = {tenant_user(row.id, row.isolation): tenant_rules(row, server) for row in rows}
    return found | {
        cache_user(row.id, row.isolation): _cache_rules(row.id, cache_hashes[row.id])
        for row in rows
        if row.isolation == "shared"
    }


def render_acl(users: Mapping[str, Sequence[str]], platform_hash: bytes) -> str:
    """Return the file of users: the default one is off, as clients fall back to it."""
    return (
        "user default reset off\n"
        f"user {PLATFORM_USER} reset on #{platform_hash.hex()} ~* &* +@all\n"
    ) + "".join(f"user {name} {' '.join(rules)}\n" for name, rules in users.items())


def require_possible(row: SiteRow) -> None:
    """Raise InvalidInput if the process of a site cannot do for it what it shall."""
    if row.isolation == "dedicated":
        if row.memory_mb < _LEAST_MB:
            raise InvalidInput.of("memory_mb", f"is at least {_LEAST_MB} with a Redis of its own")
        return
    whole = "all sites of the shared Redis have the same: choose isolation dedicated"
    refused = {
        "networks": NO_LIST if row.networks is not None else None,
        "eviction": whole if row.eviction != "volatile-lru" else None,
        "persistence": whole if row.persistence != "none" else None,
    }
    fields = tuple(FieldError(name, why) for name, why in refused.items() if why)
    if fields:
        raise InvalidInput(
            " ".join(f"{each.field}: {each.message}." for each in fields), fields=fields
        )


def sizes(wanted: Wanted, granted: PlanRow | None) -> tuple[int, int]:
    """Return the memory and the connections of a new site: its own, or those of the plan."""
    memory_mb, clients = MEMORY_MB, MAX_CLIENTS
    if granted is not None:
        memory_mb = granted.site_memory_mb or memory_mb
        clients = granted.site_max_clients or clients
    if wanted.isolation == "shared":
        memory_mb, clients = min(memory_mb, SHARED_MEMORY_MB), min(clients, SHARED_MAX_CLIENTS)
    return wanted.memory_mb or memory_mb, wanted.max_clients or clients


def require_granted(granted: PlanRow, row: SiteRow, *, had: SiteRow | None = None) -> None:
    """Raise Forbidden if a customer's site is larger than its plan grants, and than it was."""
    for field, most in (
        ("memory_mb", granted.site_memory_mb),
        ("max_clients", granted.site_max_clients),
    ):
        before = 0 if had is None else getattr(had, field)
        plans.require_granted(granted, field, getattr(row, field), most, had=before)


def require_another(granted: PlanRow, count: int, *, otherwise: int) -> None:
    """Raise Conflict if a customer has as many sites as its plan, or else the settings, grant."""
    most = otherwise if granted.max_sites is None else granted.max_sites
    if count >= most:
        whose = "" if granted.max_sites is None else f" with the plan {granted.name}"
        how = " (TENANTRY_CUSTOMER_SITES)" if granted.max_sites is None else " for another plan"
        raise Conflict(
            f"A customer{whose} may have {most:,} site{'' if most == 1 else 's'}.",
            hint=f"Delete one, or ask whoever runs the platform{how}.",
        )


def budget_mb(memory_bytes: int, wanted: int | None) -> int:
    """Return how much memory all sites may have together: 40 % of the machine's, 4 GiB at most."""
    return wanted or min(_MOST_MB, int(memory_bytes * _SHARE) // MIB)


def require_room(taken: Taken, memory_mb: int, max_clients: int, *, budget: int) -> None:
    """Raise Conflict if the sites have no room for so much more memory or so many more clients."""
    if memory_mb > 0 and taken.memory_mb + memory_mb > budget:
        raise Conflict(
            f"The sites have {taken.memory_mb:,} of {budget:,} MiB already, "
            f"and {memory_mb:,} more do not fit.",
            hint="Choose less memory_mb, delete a site, or ask whoever runs the platform "
            "(TENANTRY_REDIS_MEMORY_MB).",
        )
    if max_clients > 0 and taken.clients + max_clients > MOST_CLIENTS:
        raise Conflict(
            f"The sites may have {taken.clients:,} of {MOST_CLIENTS:,} connections already, "
            f"and {max_clients:,} more do not fit.",
            hint="Choose a lower max_clients, or delete a site.",
        )


def next_port(first: int, taken: Collection[int], is_free: Callable[[int], bool]) -> int:
    """Return the next port from the first one that is not taken, and is free. Raises Conflict."""
    for port in range(first, _LAST_PORT + 1):
        if port not in taken and is_free(port):
            return port
    raise Conflict(f"No port from {first} on is free.", hint="Choose a lower TENANTRY_REDIS_PORT.")
