"""The verbs on samples."""

import uuid

from tenantry.control import samples as rows
from tenantry.control.audit import Actor
from tenantry.control.samples import Sample
from tenantry.control.store import ControlStore


class Samples:
    """What databases do: their newest samples."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def latest(
        self, actor: Actor, database_id: uuid.UUID | None = None
    ) -> dict[uuid.UUID, Sample]:
        """Return the newest sample of a database, or of each that the actor may see, by its id.

        A sample is up to five minutes old where nothing has changed since; a database that was not
        sampled yet has none. Raises Unavailable.
        """
        async with self._store.transaction(actor) as tx:
            found = await rows.newest(tx, database_id, customer_id=actor.customer_id)
        return {each.database_id: each for each in found}
