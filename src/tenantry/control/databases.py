"""Databases: wanted state, one row each.

Work on a row holds its lock (NO KEY UPDATE, so that other rows can still refer to it): no work is
in progress on a row that can be locked, whatever its status.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from tenantry.base.errors import NameTaken
from tenantry.base.ids import new_id
from tenantry.control import attributes, plans
from tenantry.control.attributes import Attributes
from tenantry.control.clusters import Wanted
from tenantry.control.log_settings import LoggedStatements, LogSettings
from tenantry.control.passwords import rotates_at
from tenantry.control.pauses import PauseReason
from tenantry.control.plans import Limits
from tenantry.control.store import Tx
from tenantry.pg import names
from tenantry.pg.clusters import Kind

Status = Literal["creating", "warm", "scratch", "branching", "active", "deleting"]
QuotaState = Literal["ok", "warning", "read_only", "stopped"]


@dataclass(frozen=True, kw_only=True)
class DatabaseRow(Attributes, Limits):
    """A database's wanted state, with the limits of its pricing plan and its own combined.

    ``used_bytes`` is None until it is first measured; ``held`` is whether ``quota_state`` is for
    want of space on the disk only. A branch has the moment of its parent's state, and the parent
    while that exists. ``cluster`` is the name of its cluster, and ``direct_port`` that cluster's
    own port. On an instance, it has the instance's size and
    ``container_name``, and ``wanted`` is whether the instance is to run. ``missing_since`` is None
    unless the database is missing on its cluster; ``status_detail`` says why reconciliation failed.
    No client can connect before ``paused_until``, which is None unless it wrote too much of what
    ``paused_for`` names.
    ``password_rotates_at`` is None unless its passwords are replaced after
    ``rotate_password_days``. ``last_active_at`` is when a session of its tenant was last seen, None
    if none was since ``watched_since``.
    """

    id: uuid.UUID
    cluster_id: uuid.UUID
    database_name: str
    username: str
    status: Status
    cluster: str
    direct_port: int
    customer_id: uuid.UUID | None
    owner_email: str | None
    kind: Kind
    driver: str
    version: int
    wanted: Wanted
    cpus: float | None
    memory_mb: int | None
    container_name: str | None
    longest_statement_seconds: int
    used_bytes: int | None
    quota_state: QuotaState
    held: bool
    parent_id: uuid.UUID | None
    branched_at: dt.datetime | None
    missing_since: dt.datetime | None
    status_detail: str | None
    password_changed_at: dt.datetime
    password_rotates_at: dt.datetime | None
    last_active_at: dt.datetime | None
    watched_since: dt.datetime | None
    paused_until: dt.datetime | None
    paused_for: PauseReason | None
    log_statements: LoggedStatements
    log_min_duration_ms: int | None
    log_errors: bool
    log_keep_days: int | None
    log_paused_until: dt.datetime | None
    blueprint: str | None
    blueprint_version: int | None
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def limits(self) -> Limits:
        return Limits(**{name: getattr(self, name) for name in plans.NAMES})

    @property
    def log_settings(self) -> LogSettings:
        return LogSettings(
            self.log_statements, self.log_min_duration_ms, self.log_errors, self.log_keep_days
        )

    @property
    def is_instance(self) -> bool:
        """Whether it is the database that its cluster was created for, and deleted with."""
        return self.kind == "dedicated" and self.cluster in names.instances_of(self.database_name)

    @property
    def shadow_name(self) -> str:
        return names.shadow(self.database_name)

    @property
    def database_names(self) -> list[str]:
        """The names of its PostgreSQL databases: main, and shadow if wanted."""
        return [self.database_name, *([self.shadow_name] if self.has_shadow else [])]


_ATTRIBUTES = ", ".join(f"d.{name}" for name in attributes.NAMES)
_LIMITS = ", ".join(f"coalesce(d.{name}, p.{name}) AS {name}" for name in plans.NAMES)
COLUMNS = f"""
    d.id, d.cluster_id, d.database_name, d.username, d.status, l.name AS cluster,
    l.port AS direct_port, d.customer_id,
    c.email AS owner_email, l.kind, l.driver, l.version, l.wanted, l.cpus, l.memory_mb,
    l.container_name, {_ATTRIBUTES}, p.longest_statement_seconds, {_LIMITS},
    u.used_bytes, coalesce(u.state, 'ok') AS quota_state, coalesce(u.held, false) AS held,
    d.parent_id, d.branched_at,
    d.missing_since, f.detail AS status_detail, d.password_changed_at,
    {rotates_at("d")} AS password_rotates_at,
    a.last_active_at, a.watched_since, d.paused_until, d.paused_for, d.log_statements,
    d.log_min_duration_ms, d.log_errors, d.log_keep_days, d.log_paused_until,
    b.name AS blueprint, b.version AS blueprint_version,
    d.created_at, d.updated_at
"""
_BESIDE = """
    JOIN plans p ON p.name = d.plan
    JOIN clusters l ON l.id = d.cluster_id
    LEFT JOIN disk_usage u ON u.database_id = d.id
    LEFT JOIN database_activity a ON a.database_id = d.id
    LEFT JOIN failing_reconciliations f ON f.database_id = d.id
    LEFT JOIN customers c ON c.id = d.customer_id
    LEFT JOIN database_blueprints b ON b.database_id = d.id
"""
FROM = f"FROM databases d {_BESIDE}"


async def insert_creating(
    tx: Tx, *, cluster_id: uuid.UUID, suffix: str, database_id: uuid.UUID | None = None
) -> uuid.UUID:
    """Insert a new warm database to be created."""
    database_id = database_id or new_id()
    await tx.execute(
        """
        INSERT INTO databases (id, cluster_id, database_name, username, status)
        VALUES (%s, %s, %s, %s, 'creating')
        """,
        (database_id, cluster_id, names.main(suffix), names.owner(suffix)),
    )
    return database_id


async def lock(tx: Tx, database_id: uuid.UUID, *, wait: bool) -> DatabaseRow | None:
    """Lock a row to work on it. Returns None if it is missing, or (without ``wait``) locked."""
    return await _lock(
        tx, f"id = %s FOR NO KEY UPDATE {'' if wait else 'SKIP LOCKED'}", database_id
    )


async def lock_all_on(tx: Tx, cluster_id: uuid.UUID) -> bool:
    """Lock all rows of a cluster that no other transaction has locked. Return whether none was."""
    cursor = await tx.execute(
        """
        WITH locked AS (
            SELECT id FROM databases WHERE cluster_id = %(id)s FOR NO KEY UPDATE SKIP LOCKED
        )
        SELECT (SELECT count(*) FROM locked)
            = (SELECT count(*) FROM databases WHERE cluster_id = %(id)s)
        """,
        {"id": cluster_id},
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def lock_warm(
    tx: Tx, cluster: str | None = None, *, rather_not: Sequence[uuid.UUID] = ()
) -> DatabaseRow | None:
    """Lock the oldest warm row, of this cluster if any, that no other transaction has locked.

    Those on the clusters ``rather_not`` come last, in that order.
    """
    return await _lock(
        tx,
        """
        status = 'warm'
            AND (%s::text IS NULL OR cluster_id = (SELECT id FROM clusters WHERE name = %s))
        ORDER BY array_position(%s::uuid[], cluster_id) NULLS FIRST, created_at
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        """,
        cluster,
        cluster,
        [*rather_not],
    )


async def _lock(tx: Tx, condition: LiteralString, *parameters: object) -> DatabaseRow | None:
    # Lock first and join afterwards: otherwise a row that changed during the wait would no
    # longer match the join with its previous pricing plan, and be left out.
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            WITH d AS MATERIALIZED (SELECT * FROM databases WHERE {condition})
            SELECT {COLUMNS} FROM d {_BESIDE}
            """,
            parameters,
        )
        return await cursor.fetchone()


async def activate(
    tx: Tx,
    database_id: uuid.UUID,
    wanted: Attributes,
    *,
    customer_id: uuid.UUID | None,
    limits: Mapping[str, int | None],
) -> None:
    """Give a warm database to its owner. ``limits`` are those that differ from its pricing plan.

    Raises NameTaken if the owner has an active one of that name and environment, and
    InvalidInput if the pricing plan does not exist.
    """
    await _set(
        tx,
        database_id,
        wanted,
        limits,
        """
        status = 'active', customer_id = %(customer_id)s, created_at = clock_timestamp(),
        password_changed_at = clock_timestamp()
        """,
        customer_id=customer_id,
    )


async def promise(
    tx: Tx,
    database_id: uuid.UUID,
    wanted: Attributes,
    *,
    customer_id: uuid.UUID | None,
    limits: Mapping[str, int | None],
    verifier: str,
) -> None:
    """Give a database that an operation is going to create to its owner. Raises as ``activate``.

    ``verifier`` is that of its password, for the operation.
    """
    await _set(
        tx,
        database_id,
        wanted,
        limits,
        "status = 'branching', customer_id = %(customer_id)s, created_at = clock_timestamp()",
        customer_id=customer_id,
    )
    await tx.execute(
        "INSERT INTO branch_passwords (database_id, verifier) VALUES (%s, %s)",
        (database_id, verifier),
    )


async def update(
    tx: Tx, database_id: uuid.UUID, wanted: Attributes, *, limits: Mapping[str, int | None]
) -> None:
    """Change attributes and limits; a limit of None is the plan's. Raises as ``activate``."""
    await _set(
        tx,
        database_id,
        wanted,
        limits,
        """
        rotation_set_at = CASE
            WHEN %(rotate_password_days)s::integer IS NULL THEN NULL
            WHEN %(rotate_password_days)s IS NOT DISTINCT FROM rotate_password_days
                THEN rotation_set_at
            ELSE clock_timestamp() END
        """,
    )


async def _set(
    tx: Tx,
    database_id: uuid.UUID,
    wanted: Attributes,
    limits: Mapping[str, int | None],
    further: LiteralString,
    **parameters: Any,
) -> None:
    await plans.require(tx, wanted.plan)
    try:
        await tx.execute(
            sql.SQL(
                "UPDATE databases SET {}, {}, updated_at = clock_timestamp() WHERE id = %(id)s"
            ).format(
                sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
                    for name in (*attributes.NAMES, *limits)
                ),
                sql.SQL(further),
            ),
            {"id": database_id, **wanted.values(), **limits, **parameters},
        )
    except psycopg.errors.UniqueViolation:
        raise name_taken(wanted.name, wanted.environment) from None


def name_taken(name: str | None, environment: str) -> NameTaken:
    """Return the error for a name that another database of the same owner has."""
    return NameTaken(
        f"There is already a database named {name} in {environment}.",
        hint="Choose another name or environment, or delete the other one first.",
    )


async def has_name(tx: Tx, customer_id: uuid.UUID | None, environment: str, name: str) -> bool:
    """Whether an owner (or None) has a database of this name."""
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


async def give(tx: Tx, row: DatabaseRow, customer_id: uuid.UUID) -> None:
    """Assign a database and its backups to a customer. Raises NameTaken."""
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
    """Mark a database that was never opened (branching) for deletion; others stay unchanged."""
    await tx.execute(
        "UPDATE databases SET status = 'deleting', updated_at = clock_timestamp()"
        " WHERE id = %s AND status = 'branching'",
        (database_id,),
    )


async def note_missing(tx: Tx, database_id: uuid.UUID, *, missing: bool) -> None:
    """Record since when an owned database is missing, or that it exists again."""
    await tx.execute(
        """
        UPDATE databases SET missing_since = CASE WHEN %s THEN coalesce(missing_since, now()) END
        WHERE id = %s
        """,
        (missing, database_id),
    )


async def named(tx: Tx, name: str) -> DatabaseRow | None:
    """Return the active database whose main or shadow database has this name."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {COLUMNS} {FROM}
            WHERE d.database_name = %s AND d.status = 'active'
            """,
            (names.main_of(name),),
        )
        return await cursor.fetchone()


async def remove(tx: Tx, database_id: uuid.UUID) -> None:
    """Delete the row of a database that no longer exists anywhere."""
    await tx.execute("DELETE FROM databases WHERE id = %s", (database_id,))


async def find(
    tx: Tx, database_id: uuid.UUID, *, customer_id: uuid.UUID | None
) -> DatabaseRow | None:
    """Return an owned database; with ``customer_id``, only if it is that customer's."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {COLUMNS} {FROM}
            WHERE d.id = %s AND d.status IN ('active', 'branching', 'deleting')
              AND (%s::uuid IS NULL OR d.customer_id = %s)
            """,
            (database_id, customer_id, customer_id),
        )
        return await cursor.fetchone()


async def on_cluster(tx: Tx, cluster_id: uuid.UUID) -> list[DatabaseRow]:
    """Return all databases wanted on one cluster, including warm and unfinished ones."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"SELECT {COLUMNS} {FROM} WHERE d.cluster_id = %s ORDER BY d.created_at",
            (cluster_id,),
        )
        return await cursor.fetchall()


async def instances_to_delete(tx: Tx) -> list[uuid.UUID]:
    """Return the databases that are being deleted with their instances."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"SELECT {COLUMNS} {FROM} WHERE d.status = 'deleting' AND l.kind = 'dedicated'"
        )
        return [row.id for row in await cursor.fetchall() if row.is_instance]


async def own_limits(tx: Tx, database_id: uuid.UUID) -> dict[str, int | None]:
    """Return the limits of a database that differ from its pricing plan."""
    names = ", ".join(plans.NAMES)
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"SELECT {names} FROM databases WHERE id = %s", (database_id,))
        found = await cursor.fetchone() or {}
    return {name: value for name, value in found.items() if value is not None}


async def cpu_weights(tx: Tx, database_names: Collection[str]) -> dict[str, int]:
    """Return the ``cpu_weight`` of each of these main databases that has a row."""
    cursor = await tx.execute(
        """
        SELECT d.database_name, coalesce(d.cpu_weight, p.cpu_weight)
        FROM databases d JOIN plans p ON p.name = d.plan WHERE d.database_name = ANY (%s)
        """,
        ([*database_names],),
    )
    return dict(await cursor.fetchall())
