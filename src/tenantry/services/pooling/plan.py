"""PgBouncer's files as text, and how its server connections are shared out. Pure.

One ``*`` entry serves every database of the first shared cluster: a new one needs no line and no
reload, and no name is "non-existent" (CVE-2026-107350). Databases of further clusters have a line
each, written before they are given away. Verifiers are looked up in the cluster at each login, so a
new password is in force at once.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tenantry.control.pools import PoolLimits
from tenantry.pg.connections import POOLER, Address
from tenantry.pg.hardening import AUTH_DATABASE, CREDENTIALS_QUERY

POOL_SIZE = 25
RESERVE_SECONDS = 5  # how long a client waits before its pool's reserve is opened
_RESERVED_PART = 5  # all reserves together take a fifth of the budget at most
LOGIN_SECONDS = 15  # while PostgreSQL is started again, a login waits
MANY_LOGINS = 500  # unfinished at once
LARGE_LOGINS = 16 * 1024 * 1024  # bytes sent by all unfinished ones; a login takes less than 4 KiB
_A_FLOOD = 3000
Pool = tuple[str, str]  # a database, and a role that logged in to it
# A database may be given fewer connections in all than a full pool would take.
SMALLEST_FULL_LIMIT = 32
# Of the settings that PostgreSQL reports, these follow the client that made them, besides
# PgBouncer's own list. Never search_path (CVE-2025-12819: the lookup of passwords would run with
# it).
TRACKED = ("IntervalStyle", "default_transaction_read_only")
# PgBouncer cannot set these for a client, and no result depends on them: how a query is planned,
# which notices are sent, how many digits floats have beyond those that distinguish them, and what
# happens to a connection whose peer is silent. All others are refused, at login: a client that asks
# for a timeout or a schema and does not get it does harm.
IGNORED = (
    "client_connection_check_interval",
    "client_min_messages",
    "extra_float_digits",
    "geqo",
    "jit",
    "plan_cache_mode",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
)
# PostgreSQL accepts --client-min-messages=error in options, and names in any case; PgBouncer
# compares these names letter by letter.
_SPELLINGS = (*IGNORED, *(name.replace("_", "-") for name in IGNORED if "_" in name))
_IGNORED_SPELLINGS = (*_SPELLINGS, *(name.upper() for name in _SPELLINGS))


@dataclass(frozen=True, slots=True)
class PoolerConfig:
    """The values that the rendered files depend on."""

    folder: Path
    socket_dir: Path
    log_file: Path
    pid_file: Path
    port: int
    backend: Address
    certificate: Path  # with its key
    max_clients: int
    packet_bytes: int  # the most that one message may have


def pool_size(max_connections: int, wanted: int = POOL_SIZE) -> int:
    """Return how many of a database's connections its pools may hold; some are for direct ones."""
    if max_connections >= SMALLEST_FULL_LIMIT:
        return min(wanted, POOL_SIZE)
    return min(wanted, max(1, max_connections * 4 // 5))


def allowances(
    *, budget: int, held: Mapping[Pool, int], reserves: Mapping[str, int]
) -> dict[Pool, int]:
    """Return how many connections beyond its share each pool in use may have, if any.

    ``reserves`` are those of roles. If all of them together are more than a fifth of ``budget``, or
    leave less than one connection to each pool, they are cut down.
    """
    wanted = {pool: each for pool in held if (each := reserves.get(pool[1], 0))}
    total = sum(wanted.values())
    most = max(0, min(budget // _RESERVED_PART, budget - len(held)))
    if total <= most:
        return wanted
    return {pool: cut for pool, each in wanted.items() if (cut := each * most // total)}


def fair_pool_size(
    *, budget: int, held: Mapping[Pool, int], beyond: Mapping[Pool, int] | None = None
) -> int:
    """Return the most server connections that each pool may grow to within ``budget``.

    ``held`` is how many each pool in use has now: what a larger one still holds is not available to
    the others. ``beyond`` is what ``allowances`` returned.
    """
    beyond = beyond or {}
    for size in range(POOL_SIZE, 1, -1):
        grown = (
            max(min(POOL_SIZE, size + beyond.get(pool, 0)), each) for pool, each in held.items()
        )
        if sum(grown) <= budget:
            return size
    return 1


def overfull(
    *, budget: int, held: Mapping[Pool, int], beyond: Mapping[Pool, int] | None = None
) -> set[Pool]:
    """Return the pools that hold more than an equal share of ``budget`` and their ``beyond``."""
    beyond = beyond or {}
    share = max(1, (budget - sum(beyond.values())) // max(1, len(held)))
    return {pool for pool, each in held.items() if each > share + beyond.get(pool, 0)}


def is_short(memory: int, *, limit: int) -> bool:
    """Whether so much of the pooler's memory is used that it has to be attributed to databases."""
    return memory > limit // 2


def login_seconds(unfinished: int, *, held: int) -> int:
    """Return how long a client may take to log in while so many have not finished.

    ``held`` is what they have sent, in bytes, where memory is short.
    """
    if unfinished > _A_FLOOD or held > LARGE_LOGINS:
        return 1
    return 2 if unfinished > MANY_LOGINS else LOGIN_SECONDS


def share_out_growth(
    caused: Mapping[str, int], *, before: int, now: int, received: Mapping[str, int]
) -> dict[str, int]:
    """Return how much of a process's memory each database has caused, after it grew or shrank.

    Growth is attributed by the bytes that each was sent meanwhile; a decrease reduces all alike.
    """
    if now <= before:
        return {name: most * now // before for name, most in caused.items() if most * now >= before}
    total = sum(received.values())
    grown = {name: (now - before) * each // total for name, each in received.items() if each > 0}
    return {name: caused.get(name, 0) + grown.get(name, 0) for name in {*caused, *grown}}


def render_config(config: PoolerConfig) -> str:
    """Return the whole pgbouncer.ini (pgbouncer.ini(5))."""
    settings = {
        "listen_addr": "*",
        "listen_port": config.port,
        "unix_socket_dir": config.socket_dir,
        "unix_socket_mode": "0700",
        "logfile": config.log_file,
        "pidfile": config.pid_file,
        "auth_type": "hba",
        "auth_hba_file": config.folder / "hba.conf",
        "auth_query": CREDENTIALS_QUERY,
        "pool_mode": "transaction",
        "max_client_conn": config.max_clients,
        "default_pool_size": POOL_SIZE,
        # A role's own reserve (users.ini), beyond what the default is lowered to.
        "reserve_pool_timeout": RESERVE_SECONDS,
        # A tenant's main and shadow database share one allowance.
        "max_user_connections": POOL_SIZE,
        # So do all roles of a database.
        "max_db_connections": POOL_SIZE,
        "max_prepared_statements": 200,
        "max_packet_size": config.packet_bytes,
        # No client sees what another one left in the session. PgBouncer knows that DISCARD ALL
        # drops its prepared statements, and prepares them again where they are used.
        "server_reset_query": "DISCARD ALL",
        "server_reset_query_always": 1,
        "track_extra_parameters": ", ".join(TRACKED),
        "server_idle_timeout": 60,
        "server_login_retry": 1,
        "client_login_timeout": LOGIN_SECONDS,
        "listen_backlog": 4096,
        "ignore_startup_parameters": ", ".join(_IGNORED_SPELLINGS),
        "client_tls_sslmode": "require",
        "client_tls_protocols": "secure",
        "client_tls_cert_file": config.certificate,
        "client_tls_key_file": config.certificate,
        # Unset, it is Debian's file of all authorities, without which PgBouncer does not start.
        "client_tls_ca_file": config.certificate,
        # The backend is a Unix socket.
        "server_tls_sslmode": "disable",
        "log_connections": 0,
        "log_disconnections": 0,
    }
    return "\n".join(
        [
            "; Written by Tenantry; changes by hand are undone.",
            "[databases]",
            f"* = {_at(config.backend, AUTH_DATABASE)}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
            f"%include {config.folder / 'databases.ini'}",
            f"%include {config.folder / 'users.ini'}",
            "",
        ]
    )


def _at(cluster: Address, auth_database: str) -> str:
    return (
        f"host={cluster.socket_dir} port={cluster.port}"
        f" auth_user={POOLER} auth_dbname={auth_database}"
    )


def render_databases(clusters: Mapping[str, Address], placed: Mapping[str, str]) -> str:
    """Return a line for each of these databases.

    ``placed`` has its cluster's name; one whose cluster is not in ``clusters`` is left out.
    Verifiers are looked up in the database's own cluster, whose database for that has a name of its
    own here.
    """
    lines = ["; Written by Tenantry.", "[databases]"]
    of_cluster: defaultdict[str, list[str]] = defaultdict(list)
    for database, cluster in sorted(placed.items()):  # once: there may be many clusters
        of_cluster[cluster].append(database)
    for name, address in sorted(clusters.items()):
        auth = _auth_database(name)
        lines.append(
            f"{auth} = host={address.socket_dir} port={address.port} dbname={AUTH_DATABASE}"
        )
        at = _at(address, auth)
        lines += [f"{database} = {at}" for database in of_cluster[name]]
    return "\n".join([*lines, ""])


def placed(text: str) -> dict[str, str]:
    """Return the cluster of each database in what ``render_databases`` returned."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, rest = line.partition(" = ")
        _, _, auth = rest.partition(f" auth_dbname={AUTH_DATABASE}_")
        if equals and auth:
            found[name] = auth.replace("_", "-")
    return found


def _auth_database(cluster: str) -> str:
    return f"{AUTH_DATABASE}_{cluster.replace('-', '_')}"


def is_platforms(database: str) -> bool:
    """Whether a pooled database is no tenant's: the console, or one to look verifiers up in."""
    return database == "pgbouncer" or database.startswith(AUTH_DATABASE)


def render_users(
    limits: Iterable[PoolLimits], *, listed: Collection[str] = (), reserves: bool = True
) -> str:
    """Return a line for each role whose pool is unusual: in size or mode, or with a reserve.

    ``listed`` are roles that had a line before. They retain one: PgBouncer leaves the settings of a
    role unchanged when its line is gone. Without ``reserves`` none is named, which PgBouncer
    refuses before 1.24.
    """
    lines = [
        f"{each.username} = max_user_connections={size} pool_mode={each.pool_mode}"
        + (f" reserve_pool_size={each.reserve_pool_size}" if reserves else "")
        for each in sorted(limits)
        if (size := pool_size(each.max_connections, each.pool_size)) < POOL_SIZE
        or each.pool_mode != "transaction"
        or (reserves and each.reserve_pool_size)
        or each.username in listed
    ]
    return "\n".join(["; Written by Tenantry.", "[users]", *lines, ""])


def listed_users(text: str) -> set[str]:
    """Return the roles that have a line in what ``render_users`` returned."""
    return {line.partition(" = ")[0] for line in text.splitlines() if " = " in line}


def listed_reserves(text: str) -> dict[str, int]:
    """Return the reserves in what ``render_users`` returned, of the roles that have any."""
    found = {}
    for line in text.splitlines():
        name, _, settings = line.partition(" = ")
        size = settings.partition(" reserve_pool_size=")[2]
        if size and size != "0":
            found[name] = int(size)
    return found
