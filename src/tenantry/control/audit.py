"""The audit log: actors, actions, targets, addresses and results.

Rows are never changed, and deleted only by age.
"""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.control.databases import DatabaseRow
from tenantry.control.store import Tx
from tenantry.pg import names

# "accepted" is a started operation; a later row of its own has its result.
Result = Literal["ok", "accepted", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor: an API key, a user, the platform itself or an anonymous client; its address."""

    kind: Literal["api_key", "user", "platform", "anonymous"]
    name: str
    id: uuid.UUID | None = None
    customer_id: uuid.UUID | None = None
    customer_email: str | None = None
    address: str | None = None
    request_id: str | None = None


PLATFORM = Actor("platform", "tenantry")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry: an action that was done, started, or refused.

    ``resource_title`` is the name of a database at that time; None for other resources.
    """

    id: int
    at: dt.datetime
    actor_kind: str
    actor_id: uuid.UUID | None
    actor_name: str
    action: str
    resource_kind: str
    resource_id: str | None
    resource_name: str | None
    resource_title: str | None
    address: str | None
    result: Result
    request_id: str | None
    details: dict[str, object]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of rows; None means any."""

    action: str | None = None
    resource_id: str | None = None
    actor: str | None = None
    result: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


async def record(
    tx: Tx,
    actor: Actor,
    action: str,
    *,
    resource_kind: str,
    resource_id: object = None,
    resource_name: str | None = None,
    result: Result = "ok",
    details: dict[str, object] | None = None,
) -> None:
    """Add a row, in the transaction of the change that it describes.

    The name of a database that still exists is taken from its row.
    """
    await tx.execute(
        """
        INSERT INTO audit_logs (actor_kind, actor_id, actor_name, customer_id, action,
            resource_kind, resource_id, resource_name, resource_title, address, result,
            request_id, details)
        SELECT %(actor_kind)s, %(actor_id)s, %(actor_name)s, %(customer_id)s, %(action)s,
            %(resource_kind)s, %(resource_id)s, coalesce(%(resource_name)s, d.database_name),
            coalesce(d.name, d.friendly_name), %(address)s, %(result)s, %(request_id)s, %(details)s
        FROM (VALUES (0)) AS one LEFT JOIN databases d ON d.id = %(database_id)s
        """,
        {
            "actor_kind": actor.kind,
            "actor_id": actor.id,
            "actor_name": actor.name,
            "customer_id": actor.customer_id,
            "action": action,
            "resource_kind": resource_kind,
            "resource_id": None if resource_id is None else str(resource_id),
            "resource_name": resource_name,
            "database_id": resource_id if resource_kind == "database" else None,
            "address": actor.address,
            "result": result,
            "request_id": actor.request_id,
            "details": Jsonb(details or {}),
        },
    )


async def record_on(
    tx: Tx,
    actor: Actor,
    action: str,
    database: DatabaseRow,
    *,
    result: Result = "ok",
    details: dict[str, object] | None = None,
) -> None:
    """Add a row about a database, visible to its owner also if another actor caused it."""
    await record(
        tx,
        replace(actor, customer_id=actor.customer_id or database.customer_id),
        action,
        resource_kind="database",
        resource_id=database.id,
        resource_name=database.database_name,
        result=result,
        details=details,
    )


def differences(before: object, after: object, fields: Iterable[str]) -> dict[str, object]:
    """Return the values before and after, by field, of the fields that differ."""
    return {
        field: [_written(was), _written(now)]
        for field in fields
        if (was := getattr(before, field)) != (now := getattr(after, field))
    }


def _written(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.datetime) else value


async def rotated_since(tx: Tx, moment: dt.datetime) -> set[str]:
    """Return the tenants' roles to which the platform has given another password since."""
    cursor = await tx.execute(
        """
        SELECT details ->> 'role', resource_name FROM audit_logs WHERE at >= %s AND result = 'ok'
          AND action IN ('database.rotate_password', 'role.rotate_password')
        """,
        (moment,),
    )
    return {role or names.owner_of(database) for role, database in await cursor.fetchall()}


async def page(
    tx: Tx, wanted: Filter, *, customer_id: uuid.UUID | None, before: int, limit: int
) -> list[AuditRow]:
    """Return up to ``limit`` rows, newest first, with ids below ``before``."""
    conditions = ["id < %(before)s"]
    if customer_id is not None:
        conditions.append("customer_id = %(customer_id)s")
    if wanted.action is not None:
        conditions.append("action = %(action)s")
    if wanted.resource_id is not None:
        conditions.append("resource_id = %(resource_id)s")
    if wanted.actor is not None:
        conditions.append("actor_name = %(actor)s")
    if wanted.result is not None:
        conditions.append("result = %(result)s")
    if wanted.since is not None:
        conditions.append("at >= %(since)s")
    if wanted.until is not None:
        conditions.append("at < %(until)s")
    async with tx.cursor(row_factory=class_row(AuditRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT id, at, actor_kind, actor_id, actor_name, action, resource_kind, resource_id,
                   resource_name, resource_title, host(address) AS address, result, request_id,
                   details
            FROM audit_logs WHERE {" AND ".join(conditions)} ORDER BY id DESC LIMIT %(limit)s
            """,
            {
                "before": before,
                "customer_id": customer_id,
                "action": wanted.action,
                "resource_id": wanted.resource_id,
                "actor": wanted.actor,
                "result": wanted.result,
                "since": wanted.since,
                "until": wanted.until,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


async def forget_old(tx: Tx, *, days: int) -> None:
    """Delete rows older than ``days``; the database itself refuses fewer than 30."""
    await tx.execute("SELECT forget_old_audit_logs(%s)", (days,))
