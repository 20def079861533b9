"""What the cache service reads of sites in the control database."""

import time
import uuid
from dataclasses import dataclass, field

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.control import audit, sites
from tenantry.control.store import ControlStore
from tenantry.services.sites.model import (
    ServedSite,
    cache_user,
    digest,
    platform_password,
    socket_of,
)

_SECONDS = 0.5  # how old a copy may be


@dataclass(frozen=True, slots=True)
class _Copy:
    """All sites at a moment of the monotonic clock."""

    taken: float = float("-inf")
    by_id: dict[uuid.UUID, ServedSite] = field(default_factory=dict)
    by_key: dict[bytes, uuid.UUID] = field(default_factory=dict)


class SiteServing:
    """The sites that the cache service answers for: one query for each half second of requests."""

    def __init__(self, store: ControlStore, home: Home) -> None:
        self._store = store
        self._home = home
        self._copy = _Copy()

    async def find(self, site_id: uuid.UUID) -> ServedSite | None:
        """Return a site; None if there is none, or it is being deleted. Raises Unavailable."""
        return (await self._present()).by_id.get(site_id)

    async def identify(self, api_key: Secret) -> uuid.UUID | None:
        """Return the site of an API key, or None. Raises Unavailable.

        Digests are looked up, and so the time that it takes says nothing about any key.
        """
        return (await self._present()).by_key.get(digest(api_key))

    async def modes(self) -> set[str]:
        """Return the modes that sites have. Raises Unavailable."""
        return {site.mode for site in (await self._present()).by_id.values()}

    async def _present(self) -> _Copy:
        if time.monotonic() - self._copy.taken < _SECONDS:
            return self._copy
        began = time.monotonic()
        try:
            async with self._store.transaction(audit.PLATFORM) as tx:
                rows = [row for row in await sites.every(tx) if row.status == "active"]
        except Unavailable:
            # Without the control database nothing changes: what is known goes on to be served.
            if self._copy.taken < 0:
                raise
            return self._copy
        seal_key = self._home.seal_key.read_bytes()
        self._copy = _Copy(
            began,
            {
                row.id: ServedSite(
                    id=row.id,
                    name=row.name,
                    customer_id=row.customer_id,
                    socket=socket_of(self._home, row.port),
                    username=cache_user(row.id, row.isolation),
                    password=platform_password(seal_key, row.id),
                    mode=row.semantic,
                    settings=row.settings,
                    networks=None if row.networks is None else tuple(row.networks),
                    isolation=row.isolation,
                    data_folder=row.data_folder,
                )
                for row in rows
            },
            {row.key_hash: row.id for row in rows},
        )
        return self._copy
