"""Explain why no audit entry matches: a misspelt filter is not "nothing was done"."""

import uuid

from tenantry.base.errors import InvalidInput
from tenantry.base.suggestions import did_you_mean
from tenantry.control.audit import PLATFORM, Filter
from tenantry.control.store import Tx, as_platform

# Every action that is recorded now; earlier versions may have recorded others.
ACTIONS = frozenset(
    {
        "access",
        "alert.acknowledge",
        "alert.mute",
        "alert.resolve",
        "alert_channel.create",
        "alert_channel.delete",
        "alert_channel.test",
        "api_key.create",
        "api_key.revoke",
        "backup.create",
        "backup.damaged",
        "backup.default",
        "backup.delete",
        "backup.download",
        "backup.refused",
        "backup.schedule",
        "backup.verify",
        "backup.whole_again",
        "branch.create",
        "branch.expire",
        "branch.promote",
        "branch.reset",
        "cache_prices.replace",
        "cluster.add",
        "cluster.backup",
        "cluster.discarded",
        "cluster.restore",
        "cluster.restored",
        "cluster.verify",
        "customer.remove",
        "customer.update",
        "data_api.disable",
        "data_api.disabled",
        "data_api.enable",
        "data_api.login_restored",
        "data_api.rotate",
        "data_api.token",
        "data_api.update",
        "database.alert_settings",
        "database.analyze",
        "database.blueprint",
        "database.bring_back",
        "database.compare",
        "database.create",
        "database.create_index",
        "database.delete",
        "database.deleted",
        "database.drill",
        "database.found",
        "database.import",
        "database.log_paused",
        "database.log_settings",
        "database.made_again",
        "database.migrate",
        "database.missing",
        "database.mute_advice",
        "database.paused",
        "database.pool_reconnect",
        "database.mark",
        "database.move",
        "database.moved",
        "database.past",
        "database.past_ended",
        "database.put_back",
        "database.quota_ok",
        "database.quota_read_only",
        "database.quota_stopped",
        "database.quota_warning",
        "database.reindex",
        "database.replaced_dropped",
        "database.reset_queries",
        "database.restore",
        "database.restored",
        "database.restore_tables",
        "database.unmark",
        "database.resumed",
        "database.rotate_password",
        "database.rotate_password_undone",
        "database.sql",
        "database.unmute_advice",
        "database.update",
        "database.vacuum",
        "database.vacuum_full",
        "extension.add",
        "extension.remove",
        "fleet.migrate",
        "instance.configure",
        "instance.create",
        "instance.resize",
        "instance.restart",
        "instance.start",
        "instance.stop",
        "login",
        "logout",
        "masking.remove",
        "masking.set",
        "operation.abandon",
        "operation.cancel",
        "plan.update",
        "platform.recovered",
        "role.create",
        "role.delete",
        "role.deleted",
        "role.made_again",
        "role.rotate_password",
        "role.rotate_password_undone",
        "role.update",
        "rows.export",
        "rows.import",
        "session.revoke",
        "site.backup",
        "site.backup_delete",
        "site.certify",
        "site.create",
        "site.delete",
        "site.flush",
        "site.proxy",
        "site.restore",
        "site.rotate",
        "site.update",
        "user.change_password",
        "user.create",
        "user.delete",
        "user.disable",
        "user.enable",
        "user.recovery_codes",
        "user.reset_password",
        "user.totp_off",
        "user.totp_on",
        "user.unlock",
        "user.update",
        "whitelist.add",
        "whitelist.remove",
        "whitelist.replace",
    }
)
_COMPARED = 2000  # names of keys and users


async def explain_nothing(tx: Tx, wanted: Filter, *, customer_id: uuid.UUID | None) -> None:
    """Raise InvalidInput if no entry can match: there is no such action, resource or actor.

    ``customer_id`` is the caller's customer, whose keys, users and entries are the known ones.
    """
    if wanted.action is not None and wanted.action not in ACTIONS:
        raise InvalidInput.of(
            "action",
            _unknown(
                f"there is no action “{wanted.action}”",
                did_you_mean(wanted.action, sorted(ACTIONS)) or f"They are {_written(ACTIONS)}.",
            ),
        )
    if wanted.resource_id is not None:
        await _explain_resource(tx, wanted.resource_id, customer_id)
    if wanted.actor is None:
        return
    names = [*await _names(tx, customer_id), PLATFORM.name, "anonymous"]
    if wanted.actor not in names and not await _has_acted(tx, wanted.actor, customer_id):
        raise InvalidInput.of(
            "actor",
            _unknown(
                f"there is no user and no API key “{wanted.actor}”",
                did_you_mean(wanted.actor, names) or "",
            ),
        )


async def _explain_resource(tx: Tx, resource: str, customer_id: uuid.UUID | None) -> None:
    """Raise InvalidInput if nothing is recorded about a resource, and it is no database's id."""
    asked = {"resource": resource, "customer_id": customer_id}
    rows = await tx.execute(
        """
        SELECT EXISTS (SELECT FROM audit_logs WHERE resource_id = %(resource)s
            AND (%(customer_id)s::uuid IS NULL OR customer_id = %(customer_id)s))
        """,
        asked,
    )
    if await rows.fetchone() == (True,):
        return
    rows = await tx.execute(
        """
        SELECT id::text FROM databases WHERE %(resource)s IN (id::text, database_name, name)
            AND (%(customer_id)s::uuid IS NULL OR customer_id = %(customer_id)s)
        """,
        asked,
    )
    ids = [each for (each,) in await rows.fetchall()]
    if resource in ids:
        return
    named = f"The database of this name has the id {ids[0]}." if len(ids) == 1 else ""
    said = f"nothing is recorded about “{resource}”, and no database has this id"
    raise InvalidInput.of("resource_id", _unknown(said, named))


def _unknown(said: str, suggestion: str) -> str:
    return f"{said}. {suggestion}".rstrip()


def _written(actions: frozenset[str]) -> str:
    return ", ".join(sorted(actions))


async def _names(tx: Tx, customer_id: uuid.UUID | None) -> list[str]:
    """Return the names of keys and the addresses of users, the newest first."""
    async with as_platform(tx):  # customers cannot read users' addresses by themselves
        rows = await tx.execute(
            """
            SELECT name FROM (
                SELECT name, id, customer_id FROM api_keys
                UNION ALL SELECT email, id, customer_id FROM users
            ) AS actors
            WHERE %(customer_id)s::uuid IS NULL OR customer_id = %(customer_id)s
            ORDER BY id DESC LIMIT %(most)s
            """,
            {"customer_id": customer_id, "most": _COMPARED},
        )
        return [str(row[0]) for row in await rows.fetchall()]


async def _has_acted(tx: Tx, actor: str, customer_id: uuid.UUID | None) -> bool:
    rows = await tx.execute(
        """
        SELECT EXISTS (SELECT 1 FROM audit_logs WHERE actor_name = %(actor)s
            AND (%(customer_id)s::uuid IS NULL OR customer_id = %(customer_id)s))
        """,
        {"actor": actor, "customer_id": customer_id},
    )
    row = await rows.fetchone()
    return row is not None and bool(row[0])
