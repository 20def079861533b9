"""What the service that answers requests reads of the control database."""

import datetime as dt
import uuid

from tenantry.base.errors import Conflict
from tenantry.base.secrets import Seal, Secret
from tenantry.control import audit, data_apis, databases, roles
from tenantry.control.data_apis import DataApiRow
from tenantry.control.store import ControlStore
from tenantry.pg.api_roles import ANONYMOUS, SHARED
from tenantry.services.application_users.model import AuthSettings
from tenantry.services.data_api.model import ServedDatabase

_PASSWORD = b"password"
_JWT_SECRET = b"jwt secret"


class Vault:
    """Seals and opens the secrets of data APIs, each for its database and purpose only."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def close_password(self, database_id: uuid.UUID, password: Secret) -> bytes:
        return self._seal.close(password, owner=database_id.bytes + _PASSWORD)

    def close_jwt_secret(self, database_id: uuid.UUID, secret: Secret) -> bytes:
        return self._seal.close(secret, owner=database_id.bytes + _JWT_SECRET)

    def password(self, row: DataApiRow) -> Secret:
        """Return the password of the login. Raises Conflict as ``jwt_secret``."""
        return self._open(row, row.password, _PASSWORD)

    def jwt_secret(self, row: DataApiRow) -> Secret:
        """Return the current secret. Raises Conflict if it was sealed with another key."""
        return self._open(row, row.jwt_secret, _JWT_SECRET)

    def valid_secrets(self, row: DataApiRow) -> list[Secret]:
        """Return the secrets whose tokens are valid now, the current one first."""
        found = [self.jwt_secret(row)]
        until = row.previous_until or dt.datetime.min.replace(tzinfo=dt.UTC)
        if row.previous_jwt_secret is not None and until > dt.datetime.now(dt.UTC):
            found.append(self._open(row, row.previous_jwt_secret, _JWT_SECRET))
        return found

    def _open(self, row: DataApiRow, sealed: bytes, purpose: bytes) -> Secret:
        found = self._seal.open(sealed, owner=row.database_id.bytes + purpose)
        if found is None:
            raise Conflict(
                "The secrets of the data API cannot be read with this installation's seal.key.",
                hint="Disable the data API, and enable it again.",
            )
        return found


class Serving:
    """The databases that the service answers for."""

    def __init__(self, store: ControlStore, seal: Seal) -> None:
        self._store = store
        self._vault = Vault(seal)

    async def markers(self) -> dict[str, str]:
        """Return a marker of each database that is served, by name: one query, for each second."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await data_apis.markers(tx)

    async def find(self, database_name: str) -> ServedDatabase | None:
        """Return a database to serve; None if it has no API, or is missing or being deleted.

        Raises Unavailable, and Conflict if its secrets cannot be opened.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            # First: what changes after this is seen by the next look at the markers.
            marker = (await data_apis.markers(tx, database_name)).get(database_name)
            database = await databases.named(tx, database_name)
            row = None if database is None else await data_apis.find(tx, database.id)
            if marker is None or database is None or row is None:
                return None
            networks = await data_apis.networks(tx, database.id)
            additional = await roles.of_database(tx, database.id)
        selectable = {each.name: each.username for each in additional if each.status == "active"}
        selectable |= {name: name for name in SHARED}
        return ServedDatabase(
            database_id=database.id,
            database_name=database_name,
            marker=marker,
            schemas=tuple(row.schemas),
            anonymous_role=ANONYMOUS if row.anonymous else None,
            open=row.open,
            max_rows=row.max_rows,
            statement_timeout_ms=row.statement_timeout_ms,
            jwt_secrets=tuple(each.reveal().encode() for each in self._vault.valid_secrets(row)),
            jwks_url=row.jwks_url,
            allowed_origins=tuple(row.allowed_origins),
            authenticator=row.authenticator,
            password=self._vault.password(row),
            max_connections=database.max_connections,
            roles=selectable,
            networks=None if networks is None else tuple(networks),
            stopped=database.quota_state == "stopped" or database.paused_until is not None,
            read_only=database.quota_state == "read_only",
            auth=AuthSettings.of(row.auth),
        )
