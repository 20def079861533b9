"""The verbs on texts of SQL: what somebody has saved, and what they have run. Nobody else's."""

import datetime as dt
import uuid
from dataclasses import dataclass, field

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.secrets import Seal, Secret
from tenantry.control import sql_texts
from tenantry.control.audit import Actor
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import redaction
from tenantry.services.databases.service import Databases

MOST_SAVED, MOST_RUN = 100, 50  # of an owner, in a database
_LONGEST_RUN = 10_000  # characters of a text that was run


@dataclass(frozen=True, slots=True)
class SqlText:
    """A text; one without a name was run, the last time at ``used_at``."""

    id: uuid.UUID
    name: str | None
    sql: str = field(repr=False)
    used_at: dt.datetime


class SqlTexts:
    """Texts of SQL, each for the user or key that it is of alone."""

    def __init__(self, store: ControlStore, databases: Databases, seal: Seal) -> None:
        self._store = store
        self._databases = databases
        self._seal = seal

    async def every(self, actor: Actor, database_id: uuid.UUID) -> list[SqlText]:
        """Return the caller's own texts, those with a name first. Raises NotFound."""
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            return await self._every(tx, actor, database_id)

    async def find(self, actor: Actor, database_id: uuid.UUID, text_id: uuid.UUID) -> SqlText:
        """Return one of the caller's own texts. Raises NotFound."""
        for each in await self.every(actor, database_id):
            if each.id == text_id:
                return each
        raise NotFound("You have no such text.")

    async def save(self, actor: Actor, database_id: uuid.UUID, name: str, sql: str) -> uuid.UUID:
        """Save a text by its name, in place of the one that had it, and return its ID.

        Raises NotFound, Conflict.
        """
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            names = {each.name for each in await self._every(tx, actor, database_id)} - {None}
            if name not in names and len(names) >= MOST_SAVED:
                raise Conflict(
                    f"You have saved {MOST_SAVED} texts for this database already.",
                    hint="Delete one of them.",
                )
            return await self._put(tx, actor, database_id, name, sql)

    async def remember(self, actor: Actor, database_id: uuid.UUID, sql: str) -> None:
        """Add a text that was run to the caller's history, unless it may have a secret in it."""
        if len(sql) > _LONGEST_RUN or redaction.is_suspicious(sql):
            return
        async with self._store.transaction(actor) as tx:
            past = [each for each in await self._every(tx, actor, database_id) if not each.name]
            same = [each.id for each in past if each.sql == sql]
            rest = [each.id for each in past if each.sql != sql]
            await sql_texts.remove(tx, actor, database_id, same + rest[MOST_RUN - 1 :])
            await self._put(tx, actor, database_id, None, sql)

    async def remove(self, actor: Actor, database_id: uuid.UUID, text_id: uuid.UUID) -> None:
        """Delete one of the caller's texts. Raises NotFound."""
        async with self._store.transaction(actor) as tx:
            if not await sql_texts.remove(tx, actor, database_id, [text_id]):
                raise NotFound("You have no such text.")

    async def _every(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> list[SqlText]:
        found = []
        for row in await sql_texts.of_owner(tx, actor, database_id):
            opened = self._seal.open(row.text, owner=_owner(actor, database_id))
            if opened is not None:  # else it was sealed with a key that is lost
                found.append(SqlText(row.id, row.name, opened.reveal(), row.used_at))
        return found

    async def _put(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, name: str | None, sql: str
    ) -> uuid.UUID:
        sealed = self._seal.close(Secret(sql), owner=_owner(actor, database_id))
        return await sql_texts.put(tx, actor, database_id, name, sealed)


def _owner(actor: Actor, database_id: uuid.UUID) -> bytes:
    return f"sql text {actor.id} {database_id}".encode()
