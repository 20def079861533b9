"""Password ages: alerts about old passwords and, where the owner enables it, their replacement.

A password that is replaced because of its age is not shown to anybody. A client that needs one uses
the verbs that create a new password and show it once.
"""

import psycopg
import structlog

from tenantry.base.errors import TenantryError
from tenantry.base.secrets import SecretSource
from tenantry.control import audit
from tenantry.control import passwords as rows
from tenantry.control.passwords import NOTICE_DAYS, Ages, Due
from tenantry.control.store import ControlStore
from tenantry.services.databases.service import Databases
from tenantry.services.observations.model import Measure, gauge
from tenantry.services.roles.service import Roles

log = structlog.get_logger()

_REASON = "its age"
_PASSWORDS = gauge(
    "tenantry_passwords",
    "Logins by the age of their password: older than TENANTRY_PASSWORD_DAYS, replaced soon",
    "age",
)


def alerts(ages: Ages, days: int) -> list[str]:
    """Return the alerts about old passwords and imminent replacements."""
    reported = []
    if ages.old:
        reported.append(
            f"Passwords older than {days} days: {ages.old}. GET /api/databases shows their age"
            " (password_changed_at); TENANTRY_PASSWORD_DAYS says what is old."
        )
    if ages.rotating:
        reported.append(
            f"Passwords that are replaced within {NOTICE_DAYS} days: {ages.rotating}. Change them"
            " before (POST /api/databases/{id}/rotate-password), and inform their clients."
        )
    return reported


class Passwords:
    """The ages of passwords, and the replacement of those that are due."""

    def __init__(
        self, store: ControlStore, databases: Databases, roles: Roles, *, days: int
    ) -> None:
        self._store = store
        self._databases = databases
        self._roles = roles
        self._days = days

    async def ages(self) -> Ages:
        """Return how many passwords are old, and how many are replaced soon."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.ages(tx, days=self._days)

    async def alerts(self) -> list[str]:
        """Return the alerts about old passwords and imminent replacements."""
        return alerts(await self.ages(), self._days)

    async def rotate_due(self) -> None:
        """Replace the passwords that are due; one that fails is retried at the next call."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            found = await rows.due(tx)
        for each in found:
            try:
                await self._rotate(each)
            except (TenantryError, psycopg.Error) as error:
                log.warning(
                    "password.rotation_waits", database=str(each.database_id), error=str(error)
                )

    async def _rotate(self, login: Due) -> None:
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            await self._databases.lock_there(tx, audit.PLATFORM, login.database_id)
            # Its owner may have changed it meanwhile, and that password must stay valid.
            if login not in await rows.due(tx, login.database_id):
                return
            password = SecretSource().password()
            if login.role_id is None:
                await self._databases.rotate_password(
                    tx, audit.PLATFORM, login.database_id, password, reason=_REASON
                )
            else:
                await self._roles.rotate_password(
                    tx, audit.PLATFORM, login.database_id, login.role_id, password, reason=_REASON
                )


async def measures(passwords: Passwords) -> list[Measure]:
    """Return how many passwords are old, and how many are replaced soon. Raises Unavailable."""
    ages = await passwords.ages()
    return [_PASSWORDS(ages.old, "old"), _PASSWORDS(ages.rotating, "rotating")]
