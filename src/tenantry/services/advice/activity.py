"""Advice on sessions, settings, the pool and the cache. Pure."""

from collections.abc import Iterator

from tenantry.base.sizes import readable
from tenantry.pg.role_settings import OwnSetting
from tenantry.services.advice.model import Evidence, Finding, Schema, quoted
from tenantry.services.pooling.plan import POOL_SIZE

_LONG_SECONDS, _VERY_LONG_SECONDS = 60.0, 600.0
_IDLE_SECONDS = 30.0
_WAIT_SECONDS = 1.0
_HITS = 0.9
_MANY_READS = 100_000  # blocks: fewer are those of a database that has only been started
_IDLE = ("idle in transaction", "idle in transaction (aborted)")


def transactions(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    """Transactions that are open for long, and sessions that are idle in one."""
    for session in evidence.sessions:
        seconds = session.transaction_seconds or 0.0
        idle = session.state_seconds or 0.0
        who = f"session {session.pid}"
        statement = f"SELECT pg_catalog.pg_terminate_backend({session.pid});"
        risk = "Its transaction is rolled back, and its client has to connect again."
        about = f"{session.role} in {session.database_name}" + (
            f", {session.application}" if session.application else ""
        )
        if seconds >= _LONG_SECONDS:
            yield Finding(
                "long_transaction",
                "warning" if seconds >= _VERY_LONG_SECONDS else "info",
                who,
                f"Its transaction ({about}) is open for {seconds:,.0f} s. What was deleted since"
                " cannot be removed, and its locks are held.",
                statement,
                risk,
            )
        if session.state in _IDLE and idle >= _IDLE_SECONDS:
            yield Finding(
                "idle_in_transaction",
                "warning",
                who,
                f"It ({about}) is idle in a transaction for {idle:,.0f} s: its client waits for"
                " something else meanwhile, or has forgotten it.",
                statement,
                risk,
            )


def settings(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    for setting in evidence.settings:
        off = setting.value.lower() in {"off", "false", "no", "0"}
        if setting.name.startswith("enable_") and off:
            yield _reset(
                setting, "warning", "the planner avoids such plans even where they are the best."
            )
        elif setting.name == "synchronous_commit" and off:
            yield _reset(
                setting,
                "info",
                "the last transactions before a crash are lost, though committed.",
            )
        elif setting.name == "idle_in_transaction_session_timeout" and setting.value == "0":
            yield _reset(
                setting, "info", "a session that is idle in a transaction holds its locks for ever."
            )


def _reset(setting: OwnSetting, severity: str, consequence: str) -> Finding:
    where = f" IN DATABASE {quoted(setting.database)}" if setting.database else ""
    return Finding(
        "settings",
        "warning" if severity == "warning" else "info",
        f"{setting.role}.{setting.name}",
        f"Sessions of {setting.role} begin with {setting.name} = {setting.value}: {consequence}",
        f"ALTER ROLE {quoted(setting.role)}{where} RESET {quoted(setting.name)};",
        "New sessions have the server's default.",
    )


def pool_too_small(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    pool = evidence.pool
    if pool is None or not pool.waiting or pool.seconds < _WAIT_SECONDS:
        return
    larger = min(POOL_SIZE, 2 * evidence.pool_size)
    yield Finding(
        "pool_too_small",
        "warning",
        evidence.name,
        f"{pool.waiting:,} clients wait for one of the {pool.connections:,} server connections of"
        f" its pools, the first of them for {pool.seconds:.1f} s. pool_size is"
        f" {evidence.pool_size}.",
        f"tenantry db update {evidence.name} --pool-size {larger}"
        if larger > evidence.pool_size
        else None,
        "More connections count towards max_connections. If transactions are long, shorten those.",
    )


def cache_too_small(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    use = evidence.use
    if (
        use is None
        or use.cache_hit_ratio is None
        or use.cache_hit_ratio >= _HITS
        or use.blocks_read < _MANY_READS
    ):
        return
    yield Finding(
        "cache_too_small",
        "info",
        evidence.name,
        f"{use.cache_hit_ratio:.0%} of the blocks that it wanted were in shared buffers, which are"
        f" {readable(evidence.shared_buffers)} for all databases of the server; it has"
        f" {readable(use.size_bytes)}. {use.blocks_read:,} blocks came from the operating system.",
        None,
        "Indexes that keep statements from reading whole tables help first; then more memory, on a"
        " server of its own.",
    )
