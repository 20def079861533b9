"""Databases: wanted state, one row each.

Whoever works on a row holds its lock (NO KEY UPDATE, so that other rows may still refer to
it): a row that can be locked is nobody's work in progress, whatever its status says.
"""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from tenantry.base.errors import NameTaken
from tenantry.base.ids import new_id
from tenantry.control import plans
from tenantry.control.pages import Key
from tenantry.control.passwords import rotates_at
from tenantry.control.plans import Limits
from tenantry.control.store import Tx
from tenantry.pg.catalog import DatabaseUse

Status = Literal["creating", "warm", "scratch", "branching", "active", "deleting"]
QuotaState = Literal["ok", "warning", "read_only", "stopped"]
PauseReason = Literal["wal", "notify", "log", "temp", "settings"]
PoolMode = Literal["transaction", "session"]
LoggedStatements = Literal["none", "ddl", "mod", "all"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged of a database for its owner; the statements are classes of log_statement.

    ``min_duration_ms`` is how long a statement runs before it is logged with its duration; None
    is never.
    """

    statements: LoggedStatements = "none"
    min_duration_ms: int | None = None
    errors: bool = False

    @property
    def is_on(self) -> bool:
        return self != LogSettings()


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """A database as it should be, with its plan's limits and its own put together.

    ``used_bytes`` is None until it has been measured for the first time. A branch has the moment
    at which it was its parent, and the parent for as long as that is there. ``missing_since`` is
    None unless its cluster does not have it. Nobody connects to it before ``paused_until``, which
    is None unless it wrote too much of what ``paused_for`` names. ``password_rotates_at`` is None
    unless its passwords are replaced after ``rotate_password_days``. ``last_active_at`` is when a
    session of its tenant's was last seen, None if none was since ``watched_since``.
    """

    id: uuid.UUID
    cluster_id: uuid.UUID
    database_name: str
    username: str
    status: Status
    has_shadow: bool
    customer_id: uuid.UUID | None
    owner_email: str | None
    name: str | None
    friendly_name: str | None
    environment: str
    kind: str
    plan: str
    longest_statement_seconds: int
    max_connections: int
    pool_size: int
    reserve_pool_size: int
    disk_quota_bytes: int
    temp_file_limit_bytes: int
    statement_timeout_ms: int
    lock_timeout_ms: int
    idle_in_transaction_session_timeout_ms: int
    pool_mode: PoolMode
    used_bytes: int | None
    quota_state: QuotaState
    parent_id: uuid.UUID | None
    branched_at: dt.datetime | None
    expires_at: dt.datetime | None
    missing_since: dt.datetime | None
    password_changed_at: dt.datetime
    rotate_password_days: int | None
    password_rotates_at: dt.datetime | None
    last_active_at: dt.datetime | None
    watched_since: dt.datetime | None
    paused_until: dt.datetime | None
    paused_for: PauseReason | None
    log_statements: LoggedStatements
    log_min_duration_ms: int | None
    log_errors: bool
    blueprint: str | None
    blueprint_version: int | None
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def limits(self) -> Limits:
        return Limits(**{name: getattr(self, name) for name in plans.NAMES})

    @property
    def log_settings(self) -> LogSettings:
        return LogSettings(self.log_statements, self.log_min_duration_ms, self.log_errors)

    @property
    def shadow_name(self) -> str:
        return f"{self.database_name}_shadow"

    @property
    def database_names(self) -> list[str]:
        """The PostgreSQL databases that it should consist of."""
        return [self.database_name, *([self.shadow_name] if self.has_shadow else [])]


@dataclass(frozen=True, slots=True, order=True)
class PoolLimits:
    """What a role's pool may be: the role's connections in all, those in the pool, its mode, and

    how many of those in the pool may be beyond its share.
    """

    username: str
    max_connections: int
    pool_size: int
    reserve_pool_size: int
    pool_mode: PoolMode


@dataclass(frozen=True, slots=True)
class Labels:
    """What the owner says of a database. ``limits`` are those that are not its plan's."""

    customer_id: uuid.UUID | None
    name: str | None
    friendly_name: str
    environment: str
    plan: str
    limits: Mapping[str, int | None]
    has_shadow: bool
    pool_mode: PoolMode = "transaction"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which databases a list shows; None means any."""

    environment: str | None = None
    status: str | None = None
    owner: str | None = None
    search: str | None = None
    parent_id: uuid.UUID | None = None
    blueprint: str | None = None
    unused_since: dt.datetime | None = None


_LIMITS = ", ".join(f"coalesce(d.{name}, p.{name}) AS {name}" for name in plans.NAMES)
_COLUMNS = f"""
    d.id, d.cluster_id, d.database_name, d.username, d.status, d.has_shadow, d.customer_id,
    c.email AS owner_email, d.name, d.friendly_name, d.environment, d.kind, d.plan,
    p.longest_statement_seconds, {_LIMITS}, d.pool_mode,
    u.used_bytes, coalesce(u.state, 'ok') AS quota_state, d.parent_id, d.branched_at, d.expires_at,
    d.missing_since, d.password_changed_at, d.rotate_password_days,
    {rotates_at("d")} AS password_rotates_at,
    a.last_active_at, a.watched_since, d.paused_until, d.paused_for, d.log_statements,
    d.log_min_duration_ms, d.log_errors, b.name AS blueprint, b.version AS blueprint_version,
    d.created_at, d.updated_at
"""
_BESIDE = """
    JOIN plans p ON p.name = d.plan
    LEFT JOIN disk_usage u ON u.database_id = d.id
    LEFT JOIN database_activity a ON a.database_id = d.id
    LEFT JOIN customers c ON c.id = d.customer_id
    LEFT JOIN database_blueprints b ON b.database_id = d.id
"""
_FROM = f"FROM databases d {_BESIDE}"
_SEARCHED = [
    "coalesce(d.friendly_name, '') || ' ' || coalesce(d.name, '') || ' ' || d.database_name"
    " ILIKE %(search)s",  # as the index databases_search has it
    "c.email ILIKE %(search)s",
]


async def insert_creating(
    tx: Tx, *, cluster_id: uuid.UUID, suffix: str, database_id: uuid.UUID | None = None
) -> uuid.UUID:
    """Want a new warm database, not made yet."""
    database_id = database_id or new_id()
    await tx.execute(
        """
        INSERT INTO databases (id, cluster_id, database_name, username, status)
        VALUES (%s, %s, %s, %s, 'creating')
        """,
        (database_id, cluster_id, f"tenant_{suffix}", f"user_{suffix}"),
    )
    return database_id


async def lock(tx: Tx, database_id: uuid.UUID, *, wait: bool) -> DatabaseRow | None:
    """Take a row to work on. None if it is not there, or (without ``wait``) somebody has it."""
    return await _lock(
        tx, f"id = %s FOR NO KEY UPDATE {'' if wait else 'SKIP LOCKED'}", database_id
    )


async def lock_warm(tx: Tx) -> DatabaseRow | None:
    """Take the oldest warm row that nobody else is taking."""
    return await _lock(
        tx, "status = 'warm' ORDER BY created_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
    )


async def _lock(tx: Tx, condition: LiteralString, *parameters: object) -> DatabaseRow | None:
    # Locked first and joined afterwards: a row that was changed while we waited would not
    # fit the plan that it had before, and be left out.
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            WITH d AS MATERIALIZED (SELECT * FROM databases WHERE {condition})
            SELECT {_COLUMNS} FROM d {_BESIDE}
            """,
            parameters,
        )
        return await cursor.fetchone()


async def activate(tx: Tx, database_id: uuid.UUID, labels: Labels) -> dt.datetime:
    """Give a warm database to its owner. Returns when.

    Raises NameTaken if the owner has an active one of that name and environment, and
    InvalidInput if there is no such plan.
    """
    await plans.require(tx, labels.plan)
    try:
        row = await (
            await tx.execute(
                sql.SQL(
                    """
                    UPDATE databases
                    SET status = 'active', customer_id = %(customer_id)s, name = %(name)s,
                        friendly_name = %(friendly_name)s, environment = %(environment)s,
                        plan = %(plan)s, pool_mode = %(pool_mode)s, has_shadow = %(has_shadow)s,
                        created_at = clock_timestamp(), updated_at = clock_timestamp(),
                        password_changed_at = clock_timestamp() {}
                    WHERE id = %(id)s RETURNING created_at
                    """
                ).format(_set_limits(labels.limits)),
                {
                    "id": database_id,
                    "customer_id": labels.customer_id,
                    "name": labels.name,
                    "friendly_name": labels.friendly_name,
                    "environment": labels.environment,
                    "plan": labels.plan,
                    "pool_mode": labels.pool_mode,
                    "has_shadow": labels.has_shadow,
                    **labels.limits,
                },
            )
        ).fetchone()
    except psycopg.errors.UniqueViolation:
        raise name_taken(labels.name, labels.environment) from None
    if row is None:
        raise RuntimeError("a locked row is gone")
    created_at: dt.datetime = row[0]
    return created_at


def _set_limits(limits: Mapping[str, int | None]) -> sql.Composed:
    return sql.SQL("").join(
        sql.SQL(", {} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in limits
    )


def name_taken(name: str | None, environment: str) -> NameTaken:
    """That another database of the same owner is called so."""
    return NameTaken(
        f"There is already a database named {name} in {environment}.",
        hint="Choose another name or environment, or delete the other one first.",
    )


async def has_name(tx: Tx, customer_id: uuid.UUID | None, environment: str, name: str) -> bool:
    """Whether an owner, or nobody, has a database of this name."""
    row = await (
        await tx.execute(
            """
            SELECT EXISTS (SELECT FROM databases WHERE name = %s AND environment = %s
                AND customer_id IS NOT DISTINCT FROM %s AND status IN ('active', 'branching'))
            """,
            (name, environment, customer_id),
        )
    ).fetchone()
    return row is not None and bool(row[0])


async def update_labels(
    tx: Tx,
    row: DatabaseRow,
    *,
    name: str | None,
    friendly_name: str | None,
    environment: str,
    plan: str,
    pool_mode: PoolMode,
    expires_at: dt.datetime | None,
    rotate_password_days: int | None,
    limits: Mapping[str, int | None],
) -> None:
    """Change what the owner may change; a limit of None is the plan's. Raises as ``activate``."""
    await plans.require(tx, plan)
    try:
        await tx.execute(
            sql.SQL(
                """
                UPDATE databases SET name = %(name)s, friendly_name = %(friendly_name)s,
                    environment = %(environment)s, plan = %(plan)s, pool_mode = %(pool_mode)s,
                    expires_at = %(expires_at)s, updated_at = clock_timestamp(),
                    rotate_password_days = %(rotate)s,
                    rotation_set_at = CASE
                        WHEN %(rotate)s::integer IS NULL THEN NULL
                        WHEN %(rotate)s IS NOT DISTINCT FROM rotate_password_days
                            THEN rotation_set_at
                        ELSE clock_timestamp() END {}
                WHERE id = %(id)s
                """
            ).format(_set_limits(limits)),
            {
                "id": row.id,
                "name": name,
                "friendly_name": friendly_name,
                "environment": environment,
                "plan": plan,
                "pool_mode": pool_mode,
                "expires_at": expires_at,
                "rotate": rotate_password_days,
                **limits,
            },
        )
    except psycopg.errors.UniqueViolation:
        raise name_taken(name, environment) from None


async def give(tx: Tx, row: DatabaseRow, customer_id: uuid.UUID) -> None:
    """Have a database, and its backups, be a customer's. Raises NameTaken."""
    try:
        await tx.execute(
            "UPDATE databases SET customer_id = %s, updated_at = clock_timestamp() WHERE id = %s",
            (customer_id, row.id),
        )
    except psycopg.errors.UniqueViolation:
        raise name_taken(row.name, row.environment) from None
    await tx.execute(
        "UPDATE backups SET customer_id = %s WHERE database_id = %s", (customer_id, row.id)
    )


async def set_status(tx: Tx, database_id: uuid.UUID, status: Status) -> None:
    await tx.execute(
        "UPDATE databases SET status = %s, updated_at = clock_timestamp() WHERE id = %s",
        (status, database_id),
    )


async def delete_unfinished(tx: Tx, database_id: uuid.UUID) -> None:
    """Have a database deleted that was never opened; any other stays."""
    await tx.execute(
        "UPDATE databases SET status = 'deleting', updated_at = clock_timestamp()"
        " WHERE id = %s AND status = 'branching'",
        (database_id,),
    )


async def note_missing(tx: Tx, database_id: uuid.UUID, *, missing: bool) -> None:
    """Note since when an owned database is not there, or that it is there again."""
    await tx.execute(
        """
        UPDATE databases SET missing_since = CASE WHEN %s THEN coalesce(missing_since, now()) END
        WHERE id = %s
        """,
        (missing, database_id),
    )


async def set_pause(
    tx: Tx, database_id: uuid.UUID, reason: PauseReason | None, *, seconds: int = 0
) -> None:
    """Note that nobody connects to a database for so long, or (None) that it is paused no more."""
    await tx.execute(
        """
        UPDATE databases SET paused_for = %(reason)s, paused_until = CASE
            WHEN %(reason)s::text IS NOT NULL THEN clock_timestamp() + make_interval(secs => %(s)s)
        END WHERE id = %(id)s
        """,
        {"reason": reason, "s": seconds, "id": database_id},
    )


async def set_log_settings(tx: Tx, database_id: uuid.UUID, wanted: LogSettings) -> None:
    await tx.execute(
        """
        UPDATE databases SET log_statements = %s, log_min_duration_ms = %s, log_errors = %s,
            updated_at = clock_timestamp()
        WHERE id = %s
        """,
        (wanted.statements, wanted.min_duration_ms, wanted.errors, database_id),
    )


async def logged(tx: Tx, cluster_id: uuid.UUID) -> dict[str, uuid.UUID]:
    """The databases of a cluster of which something is logged, by their name in PostgreSQL."""
    cursor = await tx.execute(
        """
        SELECT database_name, id FROM databases
        WHERE cluster_id = %s AND status = 'active'
          AND (log_statements <> 'none' OR log_min_duration_ms IS NOT NULL OR log_errors)
        """,
        (cluster_id,),
    )
    return dict(await cursor.fetchall())


async def existing(tx: Tx) -> set[uuid.UUID]:
    """All databases that there are, in whatever state."""
    return {row[0] for row in await (await tx.execute("SELECT id FROM databases")).fetchall()}


async def pauses_over(tx: Tx) -> list[uuid.UUID]:
    """The databases whose pause has come to its end."""
    cursor = await tx.execute("SELECT id FROM databases WHERE paused_until <= clock_timestamp()")
    return [row[0] for row in await cursor.fetchall()]


async def count_paused(tx: Tx) -> dict[str, int]:
    """How many databases are paused, by the reason."""
    cursor = await tx.execute(
        "SELECT paused_for, count(*) FROM databases WHERE paused_for IS NOT NULL GROUP BY 1"
    )
    return dict(await cursor.fetchall())


async def named(tx: Tx, cluster_id: uuid.UUID, name: str) -> DatabaseRow | None:
    """The active database of a cluster that a PostgreSQL database belongs to, as main or shadow."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} {_FROM}
            WHERE d.cluster_id = %s AND d.database_name = %s AND d.status = 'active'
            """,
            (cluster_id, name.removesuffix("_shadow")),
        )
        return await cursor.fetchone()


async def count_of_customer(tx: Tx, customer_id: uuid.UUID) -> int:
    """How many databases a customer has: branches, and retained ones, included.

    Until ``tx`` ends, nobody else counts those of this customer.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 20))", (str(customer_id),))
    cursor = await tx.execute(
        """
        SELECT count(*) + coalesce(sum((
            SELECT count(*) FROM replaced_databases r WHERE r.database_id = d.id)), 0)
        FROM databases d WHERE customer_id = %s
        """,
        (customer_id,),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def remove(tx: Tx, database_id: uuid.UUID) -> None:
    """Forget a database of which nothing is left in the world."""
    await tx.execute("DELETE FROM databases WHERE id = %s", (database_id,))


async def find(
    tx: Tx, database_id: uuid.UUID, *, customer_id: uuid.UUID | None
) -> DatabaseRow | None:
    """A database that somebody owns; with ``customer_id``, only if it is theirs."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS} {_FROM}
            WHERE d.id = %s AND d.status IN ('active', 'branching', 'deleting')
              AND (%s::uuid IS NULL OR d.customer_id = %s)
            """,
            (database_id, customer_id, customer_id),
        )
        return await cursor.fetchone()


async def page(
    tx: Tx, wanted: Filter, *, customer_id: uuid.UUID | None, after: Key, limit: int
) -> list[DatabaseRow]:
    """Up to ``limit`` owned databases, newest first, from after ``after``."""
    conditions = [
        "d.status IN ('active', 'branching', 'deleting')",
        "(d.created_at, d.id) < (%(at)s, %(id)s)",
    ]
    if customer_id is not None:
        conditions.append("d.customer_id = %(customer_id)s")
    if wanted.environment is not None:
        conditions.append("d.environment = %(environment)s")
    if wanted.status is not None:
        conditions.append("d.status = %(status)s")
    if wanted.parent_id is not None:
        conditions.append("d.parent_id = %(parent_id)s")
    if wanted.blueprint is not None:
        conditions.append("b.name = %(blueprint)s")
    if wanted.unused_since is not None:  # what is not known since then may have been used
        conditions.append(
            "a.watched_since <= %(unused)s AND coalesce(a.last_active_at <= %(unused)s, true)"
        )
    if wanted.owner is not None:
        conditions.append("d.customer_id = (SELECT id FROM customers WHERE email = %(owner)s)")
    text = wanted.search or ""
    for letter in ("\\", "%", "_"):
        text = text.replace(letter, "\\" + letter)
    # Each place to search has a page of its own, put together afterwards: PostgreSQL finds
    # what few rows match by an index then, and with OR would look at every row.
    places = ["true"] if wanted.search is None else _SEARCHED
    pages = [
        f"""
        (SELECT {_COLUMNS} {_FROM} WHERE {" AND ".join([*conditions, place])}
         ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s)
        """
        for place in places
    ]
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT * FROM ({" UNION ".join(pages)}) found
            ORDER BY created_at DESC, id DESC LIMIT %(limit)s
            """,
            {
                "at": after[0],
                "id": after[1],
                "customer_id": customer_id,
                "environment": wanted.environment,
                "status": wanted.status,
                "owner": wanted.owner,
                "unused": wanted.unused_since,
                "parent_id": wanted.parent_id,
                "blueprint": wanted.blueprint,
                "search": f"%{text}%",
                "limit": limit,
            },
            # How to find a rare text is not how to find a frequent one: no plan fits both.
            prepare=None if wanted.search is None else False,
        )
        return await cursor.fetchall()


async def on_cluster(tx: Tx, cluster_id: uuid.UUID) -> list[DatabaseRow]:
    """Everything wanted of one cluster, warm ones and unfinished ones included."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE d.cluster_id = %s ORDER BY d.created_at",
            (cluster_id,),
        )
        return await cursor.fetchall()


async def count_warm(tx: Tx) -> int:
    """How many databases wait for an owner, those being made included."""
    row = await (
        await tx.execute("SELECT count(*) FROM databases WHERE status IN ('creating', 'warm')")
    ).fetchone()
    return int(row[0]) if row else 0


async def count_by_status(tx: Tx) -> dict[str, int]:
    """How many databases there are, by status; owned ones that are gone count as ``missing``."""
    cursor = await tx.execute(
        """
        SELECT CASE WHEN status = 'active' AND missing_since IS NOT NULL
            THEN 'missing' ELSE status END, count(*)
        FROM databases GROUP BY 1
        """
    )
    return dict(await cursor.fetchall())


async def pool_limits(tx: Tx) -> list[PoolLimits]:
    """Return what the pools of all roles of active databases may be."""
    async with tx.cursor(row_factory=class_row(PoolLimits)) as cursor:
        await cursor.execute(
            """
            SELECT d.username, coalesce(d.max_connections, p.max_connections) AS max_connections,
                   coalesce(d.pool_size, p.pool_size) AS pool_size,
                   coalesce(d.reserve_pool_size, p.reserve_pool_size) AS reserve_pool_size,
                   d.pool_mode
            FROM databases d JOIN plans p ON p.name = d.plan WHERE d.status = 'active'
            UNION ALL
            SELECT r.username, r.max_connections, coalesce(d.pool_size, p.pool_size),
                   coalesce(d.reserve_pool_size, p.reserve_pool_size), d.pool_mode
            FROM database_roles r JOIN databases d ON d.id = r.database_id
                JOIN plans p ON p.name = d.plan
            WHERE d.status = 'active' AND r.status = 'active'
            """
        )
        return await cursor.fetchall()


async def own_limits(tx: Tx, database_id: uuid.UUID) -> dict[str, int | None]:
    """The limits of a database that are not its plan's."""
    names = ", ".join(plans.NAMES)
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"SELECT {names} FROM databases WHERE id = %s", (database_id,))
        found = await cursor.fetchone() or {}
    return {name: value for name, value in found.items() if value is not None}


async def insert_rotation(tx: Tx, database_id: uuid.UUID, verifier_before: str) -> None:
    """Remember what to go back to if a change of password is not finished."""
    await tx.execute(
        """
        INSERT INTO password_rotations (database_id, verifier_before) VALUES (%s, %s)
        ON CONFLICT (database_id) DO NOTHING
        """,
        (database_id, verifier_before),
    )


async def find_rotation(tx: Tx, database_id: uuid.UUID) -> str | None:
    """The verifier to go back to, if a change of password was not finished."""
    row = await (
        await tx.execute(
            "SELECT verifier_before FROM password_rotations WHERE database_id = %s", (database_id,)
        )
    ).fetchone()
    return str(row[0]) if row else None


async def unfinished_rotations(tx: Tx) -> list[uuid.UUID]:
    """Databases whose change of password has begun and not ended."""
    cursor = await tx.execute("SELECT database_id FROM password_rotations")
    return [row[0] for row in await cursor.fetchall()]


async def note_password_change(tx: Tx, database_id: uuid.UUID) -> None:
    """Note that the owner role has a new password from now on."""
    await tx.execute(
        "UPDATE databases SET password_changed_at = clock_timestamp() WHERE id = %s",
        (database_id,),
    )


async def remove_rotation(tx: Tx, database_id: uuid.UUID) -> None:
    await tx.execute("DELETE FROM password_rotations WHERE database_id = %s", (database_id,))


async def record_stats(tx: Tx, database_id: uuid.UUID, use: DatabaseUse) -> None:
    """Keep a sample of a database's size and counters, if it still is."""
    await tx.execute(
        """
        INSERT INTO database_stats (database_id, size_bytes, connections, transactions_committed,
            transactions_rolled_back, cache_hit_ratio)
        SELECT id, %s, %s, %s, %s, %s FROM databases WHERE id = %s
        """,
        (
            use.size_bytes,
            use.connections,
            use.committed,
            use.rolled_back,
            use.cache_hit_ratio,
            database_id,
        ),
    )


async def largest_since(tx: Tx, database_id: uuid.UUID, since: dt.datetime) -> int:
    """The largest size that was sampled of a database since then, or 0."""
    row = await (
        await tx.execute(
            "SELECT max(size_bytes) FROM database_stats WHERE database_id = %s AND at >= %s",
            (database_id, since),
        )
    ).fetchone()
    return int(row[0] or 0) if row else 0


async def forget_old_stats(tx: Tx) -> None:
    """Samples are kept for 30 days."""
    await tx.execute("DELETE FROM database_stats WHERE at < now() - interval '30 days'")
