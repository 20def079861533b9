"""The REST APIs on databases: wanted state, one row for each database that has one.

Work on a row holds the lock of its database's row.
"""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.base.networks import Network
from tenantry.control.store import Tx

Status = Literal["active", "disabling"]


@dataclass(frozen=True, slots=True)
class DataApiRow:
    """A database's REST API.

    ``authenticator`` is the role that it logs in as. ``anonymous``: requests without a token are
    answered, and with ``open`` they may write. None for ``max_rows`` and ``statement_timeout_ms``
    means no limit besides the database's own. ``auth`` are the settings of application users, None
    if there are none. ``password``, whose ``verifier`` PostgreSQL has, and
    the secrets are sealed; the previous secret is valid until ``previous_until``.
    """

    database_id: uuid.UUID
    authenticator: str
    status: Status
    schemas: list[str]
    anonymous: bool
    open: bool
    max_rows: int | None
    statement_timeout_ms: int | None
    jwks_url: str | None
    allowed_origins: list[str]
    auth: dict[str, Any] | None
    password: bytes = field(repr=False)
    verifier: str = field(repr=False)
    jwt_secret: bytes = field(repr=False)
    previous_jwt_secret: bytes | None = field(repr=False)
    previous_until: dt.datetime | None
    keys_issued_at: dt.datetime
    created_at: dt.datetime
    updated_at: dt.datetime


_COLUMNS = ", ".join(DataApiRow.__annotations__)
_KEPT = [name for name in DataApiRow.__annotations__ if name not in {"database_id", "created_at"}]

# A digest of all that a copy depends on, which changes whenever an API has to be read again.
_MARKERS = """
    SELECT d.database_name, md5(concat_ws('|', d.id, a.updated_at, a.previous_until > now(),
        d.cluster_id, d.paused_until, d.plan, d.max_connections, u.state, w.networks, r.roles))
    FROM data_apis a JOIN databases d ON d.id = a.database_id
        LEFT JOIN disk_usage u ON u.database_id = d.id
        LEFT JOIN (SELECT database_id, string_agg(
                concat(network, expires_at <= now()), ',' ORDER BY network) AS networks
            FROM ip_whitelist GROUP BY database_id) w ON w.database_id = d.id
        LEFT JOIN (SELECT database_id, string_agg(name, ',' ORDER BY name) AS roles
            FROM database_roles WHERE status = 'active' GROUP BY database_id) r
            ON r.database_id = d.id
    WHERE a.status = 'active' AND d.status = 'active' AND d.missing_since IS NULL
"""


async def put(tx: Tx, row: DataApiRow) -> None:
    """Insert a database's row, or replace it; ``updated_at`` becomes the present moment."""
    values = {name: getattr(row, name) for name in DataApiRow.__annotations__}
    values["auth"] = None if row.auth is None else Jsonb(row.auth)
    changes = ", ".join(f"{name} = excluded.{name}" for name in _KEPT if name != "updated_at")
    await tx.execute(
        f"INSERT INTO data_apis ({_COLUMNS})"
        f" VALUES ({', '.join(f'%({name})s' for name in values)})"
        f" ON CONFLICT (database_id) DO UPDATE SET {changes}, updated_at = clock_timestamp()",
        values,
    )


async def find(tx: Tx, database_id: uuid.UUID) -> DataApiRow | None:
    """Return a database's row; None if it has no API."""
    async with tx.cursor(row_factory=class_row(DataApiRow)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM data_apis WHERE database_id = %s", (database_id,)
        )
        return await cursor.fetchone()


async def by_database(tx: Tx, cluster_id: uuid.UUID) -> dict[uuid.UUID, DataApiRow]:
    """Return the rows of all databases of one cluster."""
    columns = ", ".join(f"a.{name}" for name in DataApiRow.__annotations__)
    async with tx.cursor(row_factory=class_row(DataApiRow)) as cursor:
        await cursor.execute(
            f"SELECT {columns} FROM data_apis a JOIN databases d ON d.id = a.database_id"
            " WHERE d.cluster_id = %s",
            (cluster_id,),
        )
        return {row.database_id: row for row in await cursor.fetchall()}


async def remove(tx: Tx, database_id: uuid.UUID) -> None:
    """Delete the row of an API whose login no longer exists."""
    await tx.execute("DELETE FROM data_apis WHERE database_id = %s", (database_id,))


async def markers(tx: Tx, database_name: str | None = None) -> dict[str, str]:
    """Return a marker of the present state of each API that may be served, by database name.

    With ``database_name`` only that one's.
    """
    cursor = await tx.execute(
        _MARKERS + " AND (%(name)s::text IS NULL OR d.database_name = %(name)s)",
        {"name": database_name},
    )
    return dict(await cursor.fetchall())


async def networks(tx: Tx, database_id: uuid.UUID) -> list[Network] | None:
    """Return the networks that a database's allowlist admits now; None without a list."""
    cursor = await tx.execute(
        "SELECT network, coalesce(expires_at > now(), true) FROM ip_whitelist"
        " WHERE database_id = %s",
        (database_id,),
    )
    found = await cursor.fetchall()
    return [network for network, admits in found if admits] if found else None
