"""Changes the password of a database's owner role or of an additional role.

The new password is in force before the transaction that records it is committed, so the old
verifier is stored first: after a crash in between, reconciliation restores it.
"""

import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from tenantry.base.errors import Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.control import audit
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import logins, objects
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.pooling.service import Pooler


@dataclass(frozen=True, slots=True)
class LoginPasswords:
    """The passwords of databases' logins, in PostgreSQL and in the pooler."""

    store: ControlStore
    clusters: ClusterPools
    pooler: Pooler

    async def change(
        self,
        cluster_id: uuid.UUID,
        login: DatabaseRow | RoleRow,
        password: Secret,
        *,
        remember: Callable[[Tx, str], Awaitable[None]],
        event: str,
    ) -> None:
        """Give a role of a locked database another password.

        ``remember`` stores the verifier to revert to, in a transaction that is committed before
        PostgreSQL has the new one. ``event`` is the operation's name in events.
        """
        cluster = await self.clusters.cluster(cluster_id)
        before = await logins.verifier_of(cluster.address, login.username)
        if before is not None:
            async with self.store.transaction(audit.PLATFORM) as early:
                await remember(early, before)
        emit(StepDone(event, "remembered", login.username))
        async with self.clusters.own_connection(cluster_id) as server:
            await objects.open_role(
                server,
                login.username,
                verifier=scram_verifier(password),
                max_connections=login.max_connections,
            )
        emit(StepDone(event, "set", login.username))
        # If the pooler is down, no client has logged in with the old password.
        with suppress(Unavailable):
            await self.pooler.learn_password(login.username, password)
