"""The verbs on the REST API of a database, and the reconciliation of its login."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import psycopg
import structlog

from tenantry.base.errors import Deferred, InvalidInput, NotFound, TenantryError
from tenantry.base.events import SessionsEnded, StepDone, emit
from tenantry.base.home import Home
from tenantry.base.secrets import Seal, Secret, SecretSource, scram_verifier
from tenantry.control import audit, data_apis, databases, roles
from tenantry.control.audit import Actor
from tenantry.control.data_apis import DataApiRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import api_roles, catalog, logins, names
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.application_users.model import AuthSettings
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.data_api import plan, process, steps, tokens
from tenantry.services.data_api.model import (
    Configuration,
    DataApi,
    NewDataApi,
    NewToken,
    OpenedDataApi,
    Token,
    request_seconds,
)
from tenantry.services.data_api.serving import Vault
from tenantry.services.databases.service import Databases
from tenantry.services.network.service import Network
from tenantry.services.pooling.service import Pooler
from tenantry.services.reconciling import Pass
from tenantry.services.requests.service import Caller
from tenantry.services.roles import steps as role_steps

log = structlog.get_logger()

_UNENDED = 10.0  # seconds after a request's time, in which its cancellation can end it


class DataApis:
    """The verbs on data APIs."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        databases_: Databases,
        network: Network,
        *,
        home: Home,
        seal: Seal,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._databases = databases_
        self._network = network
        self._home = home
        self._vault = Vault(seal)

    # ── verbs ────────────────────────────────────────────────────────────────
    # As those on databases, they work in the caller's transaction.

    async def show(self, actor: Actor, database_id: uuid.UUID) -> DataApi:
        """Return a database's API. Raises NotFound, also if it has none."""
        database = await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            return DataApi.of(database, await self._find(tx, database.id))

    async def put(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        wanted: NewDataApi,
        source: SecretSource,
    ) -> OpenedDataApi:
        """Enable a database's API, or replace its configuration.

        A new API has a secret from ``source``, which the answer has, unless the caller has one;
        that replaces the secret of an existing API at once. Raises NotFound, Conflict,
        InvalidInput.
        """
        database = await self._databases.lock_there(tx, actor, database_id)
        there = wanted.configuration.schemas
        return await self._put(tx, actor, database, wanted, source=source, there=there)

    async def enable_new(
        self,
        tx: Tx,
        actor: Actor,
        database: DatabaseRow,
        *,
        schemas: tuple[str, ...],
        with_users: bool,
        source: SecretSource,
    ) -> OpenedDataApi:
        """Enable the API of a database that ``tx`` creates, with application users if wanted.

        Its blueprint creates the schemas, and grants USAGE on them. Raises Conflict.
        """
        auth = AuthSettings() if with_users else None
        wanted = NewDataApi(Configuration(schemas, auth=auth), None)
        return await self._put(tx, actor, database, wanted, source=source, there=())

    async def _put(
        self,
        tx: Tx,
        actor: Actor,
        database: DatabaseRow,
        wanted: NewDataApi,
        *,
        source: SecretSource,
        there: Sequence[str],
    ) -> OpenedDataApi:
        """Do what ``put`` does; ``there`` are the schemas that requests may use from now on."""
        configuration = wanted.configuration
        before = await data_apis.find(tx, database.id)
        is_new = before is None or before.status == "disabling"
        made = source.jwt_secret() if is_new and wanted.jwt_secret is None else None
        with_users = configuration.auth is not None
        await steps.prepare(self._clusters, database, there, with_users=with_users)
        row = _new_row(database, configuration, self._vault) if before is None or is_new else before
        if secret := wanted.jwt_secret or made:
            row = self._with_secret(row, secret)
        await data_apis.put(tx, replace(row, **_columns(configuration)))
        additional = await roles.of_database(tx, database.id)
        if is_new:
            # What an unfinished one left may have other rights.
            await self._drop_login(database)
            await self._network.apply(tx)  # which closes the ports to its login
            await self._build(database, row, additional)
            tx.in_background(self._databases.refresh_pooler)
            tx.after_commit(partial(process.begin, self._home))
        details: dict[str, object] = _columns(configuration) | (
            {} if secret is None else {"secret": "set by the caller" if made is None else "made"}
        )
        action = "data_api.enable" if is_new else "data_api.update"
        await audit.record_on(tx, actor, action, database, details=details)
        emit(StepDone("data_api", "recorded", database.database_name))
        return OpenedDataApi(DataApi.of(database, await self._find(tx, database.id)), made)

    async def rotate(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        secret: Secret,
        overlap: dt.timedelta,
    ) -> OpenedDataApi:
        """Replace the secret. Tokens signed with the present one are valid for ``overlap`` more.

        Those of an earlier one end now. Raises NotFound, Conflict.
        """
        database = await self._databases.lock_there(tx, actor, database_id)
        before = await self._find(tx, database.id)
        row = self._with_secret(before, secret)
        if overlap:
            row = replace(
                row,
                previous_jwt_secret=before.jwt_secret,
                previous_until=row.keys_issued_at + overlap,
            )
        await data_apis.put(tx, row)
        details: dict[str, object] = {"overlap_seconds": int(overlap.total_seconds())}
        await audit.record_on(tx, actor, "data_api.rotate", database, details=details)
        return OpenedDataApi(DataApi.of(database, await self._find(tx, database.id)), secret)

    async def issue_token(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: NewToken
    ) -> Token:
        """Sign a token with the present secret. Raises NotFound, Conflict, InvalidInput."""
        database = await self._databases.lock_there(tx, actor, database_id)
        row = await self._find(tx, database.id)
        additional = await roles.of_database(tx, database.id)
        known = [*api_roles.SHARED, *(each.name for each in additional if each.status == "active")]
        if wanted.role not in known:
            raise InvalidInput.of("role", f"is none of {', '.join(known)}")
        issued = dt.datetime.now(dt.UTC).replace(microsecond=0)
        expires = issued + wanted.lasts
        claims = tokens.Claims(database.database_name, wanted.role, wanted.subject, issued, expires)
        await audit.record_on(
            tx,
            actor,
            "data_api.token",
            database,
            details={
                "role": wanted.role,
                "subject": wanted.subject,
                "expires_at": expires.isoformat(),
            },
        )
        token = tokens.issue(self._vault.jwt_secret(row), claims)
        return Token(token, wanted.role, wanted.subject, expires)

    async def disable(self, caller: Caller, database_id: uuid.UUID) -> bool:
        """Disable a database's API: no token is valid any more. Return whether its login is gone.

        If not, nobody answers requests; a reconciliation pass removes it. What the tenant granted
        to the shared roles stays. Raises NotFound, Conflict.
        """
        async with caller.transaction() as tx:
            database = await self._databases.lock_there(tx, caller.actor, database_id)
            row = await self._find(tx, database.id)
            await data_apis.put(tx, replace(row, status="disabling"))
            await audit.record_on(tx, caller.actor, "data_api.disable", database, result="accepted")
            tx.in_background(self._databases.refresh_pooler)
        emit(StepDone("data_api_disable", "promised", database.database_name))
        async with caller.visiting():
            try:
                return await self._act(plan.DropLogin(database.id))
            except (TenantryError, psycopg.Error) as error:
                log.warning("data_api.removal_waits", login=row.authenticator, error=str(error))
                return False

    # ── reconciliation ───────────────────────────────────────────────────────

    async def reconcile(self, passed: Pass) -> None:
        """Complete or undo what a crash, a restore or a change by hand left behind."""
        with Deferred() as failures:
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    actual = await self._actual(cluster.id)
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        owned = await databases.on_cluster(tx, cluster.id)
                        wanted = plan.Wanted(
                            await data_apis.by_database(tx, cluster.id),
                            await roles.by_database(tx, cluster.id),
                        )
                    passed.over(owned)
                    for action in plan.differences(owned, wanted, actual):
                        await passed.act("data_api", action, partial(self._act, action))
                    await self._give_away(cluster.id, owned, passed)

    async def end_long_requests(self) -> None:
        """End the sessions of requests whose time is over, which the service could not cancel."""
        with Deferred() as failures:
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        apis = await data_apis.by_database(tx, cluster.id)
                    limits = {
                        api.authenticator: _UNENDED + request_seconds(api.statement_timeout_ms)
                        for api in apis.values()
                    }
                    async with self._clusters.connection(cluster.id) as server:
                        ended = await api_roles.end_long_transactions(
                            server, limits, otherwise=_UNENDED + request_seconds(None)
                        )
                    for name, count in Counter(ended).items():
                        emit(SessionsEnded("long request", name, count))

    async def _actual(self, cluster_id: uuid.UUID) -> plan.Actual:
        cluster = await self._clusters.cluster(cluster_id)
        async with connect(cluster.address, user=ADMIN) as admin:
            return plan.Actual(
                authenticators=await api_roles.authenticators(admin),
                connectable=await catalog.connectable(admin),
            )

    async def _act(self, action: plan.Action) -> bool:
        """Perform an action, if the database is not locked and the action is still needed."""
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            database = await databases.lock(tx, action.database_id, wait=False)
            if database is None:
                return False
            row = await data_apis.find(tx, database.id)
            additional = await roles.of_database(tx, database.id)
            wanted = plan.Wanted(
                {} if row is None else {database.id: row}, {database.id: additional}
            )
            actual = await self._actual(database.cluster_id)
            if action not in plan.differences([database], wanted, actual):
                return False
            if isinstance(action, plan.DropLogin):
                await self._drop_login(database)
                if row is not None:
                    await data_apis.remove(tx, database.id)
                    await audit.record_on(tx, audit.PLATFORM, "data_api.disabled", database)
            elif row is not None:
                await self._build(database, row, additional)
            if row is not None and isinstance(action, plan.RestoreLogin):
                reason: dict[str, object] = {"reason": "it or its rights had been changed"}
                await audit.record_on(
                    tx, audit.PLATFORM, "data_api.login_restored", database, details=reason
                )
        return True

    async def _give_away(
        self, cluster_id: uuid.UUID, owned: list[DatabaseRow], passed: Pass
    ) -> None:
        """Give what shared roles own to the tenant in whose database it is."""
        cluster = await self._clusters.cluster(cluster_id)
        async with self._clusters.connection(cluster.id) as server:
            found = await api_roles.databases_with_objects(server)
        by_name = {name: row for row in owned for name in row.database_names}
        for name in found:
            if (row := by_name.get(name)) is None:
                continue

            async def give(name: str = name) -> bool:
                await logins.give_away_shared(cluster.address, name)
                return True

            await passed.act("data_api", plan.GiveAway(row.id), give)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _build(
        self, database: DatabaseRow, row: DataApiRow, additional: list[roles.RoleRow]
    ) -> None:
        wanted = plan.wanted_login(database, row, additional)
        await steps.build(self._clusters, database, row.authenticator, wanted)

    async def _drop_login(self, database: DatabaseRow) -> None:
        username = names.authenticator(database.username)
        await role_steps.remove(self._clusters, self._pooler, database, username)

    def _with_secret(self, row: DataApiRow, secret: Secret) -> DataApiRow:
        """Return a row with a new secret, and without an earlier one."""
        return replace(
            row,
            jwt_secret=self._vault.close_jwt_secret(row.database_id, secret),
            previous_jwt_secret=None,
            previous_until=None,
            keys_issued_at=dt.datetime.now(dt.UTC).replace(microsecond=0),
        )

    @staticmethod
    async def _find(tx: Tx, database_id: uuid.UUID) -> DataApiRow:
        row = await data_apis.find(tx, database_id)
        if row is None or row.status != "active":
            raise NotFound(
                "This database has no data API.",
                hint="PUT /api/databases/{id}/data-api enables it.",
            )
        return row


def _new_row(database: DatabaseRow, wanted: Configuration, vault: Vault) -> DataApiRow:
    """Return a row with a new password, and without a secret so far."""
    password = SecretSource().password()
    now = dt.datetime.now(dt.UTC)
    return DataApiRow(
        database_id=database.id,
        authenticator=names.authenticator(database.username),
        status="active",
        password=vault.close_password(database.id, password),
        verifier=scram_verifier(password),
        jwt_secret=b"",
        previous_jwt_secret=None,
        previous_until=None,
        keys_issued_at=now,
        created_at=now,
        updated_at=now,
        **_columns(wanted),
    )


def _columns(configuration: Configuration) -> dict[str, Any]:
    found = asdict(configuration)
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in found.items()
    }
