"""The verbs on the proxy of a site: its providers, their keys, and limits."""

import uuid
from collections.abc import Mapping
from dataclasses import replace

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.secrets import Seal, Secret
from tenantry.control import audit, sites
from tenantry.control.audit import Actor
from tenantry.control.sites import SiteRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.caching.upstreams import PROVIDERS, SETTING, ProxySettings, sealed


class Proxies:
    """The verbs on the proxies of sites."""

    def __init__(self, store: ControlStore, seal: Seal) -> None:
        self._store = store
        self._seal = seal

    async def show(self, actor: Actor, site_id: uuid.UUID) -> ProxySettings:
        """Return the settings of a site's proxy. Raises NotFound."""
        async with self._store.transaction(actor) as tx:
            return self._of(_there(await sites.find(tx, site_id)))

    async def update(
        self,
        tx: Tx,
        actor: Actor,
        site_id: uuid.UUID,
        values: Mapping[str, object],
        keys: Mapping[str, Secret | None],
    ) -> ProxySettings:
        """Change settings by their names, and keys by their providers; None removes one.

        A key goes to the URL that it was given for only: another URL without its key removes it.
        Raises NotFound, Conflict.
        """
        row = _there(await sites.lock(tx, site_id))
        if row.status != "active":
            raise Conflict("The site is being deleted.")
        before = row.settings.get(SETTING, {})
        after = {**before, **values}
        for provider in PROVIDERS:
            url, key = f"{provider}_url", f"{provider}_key"
            if provider in keys:
                given = keys[provider]
                after[key] = given and sealed(given, site_id, provider, self._seal)
            elif after.get(url) != before.get(url):
                after[key] = None
        kept = {name: value for name, value in after.items() if value is not None}
        new = replace(row, settings={**row.settings, SETTING: kept})
        await sites.update(tx, new)
        await audit.record(
            tx,
            replace(actor, customer_id=actor.customer_id or row.customer_id),
            "site.proxy",
            resource_kind="site",
            resource_id=row.id,
            resource_name=row.name,
            details={**values, "keys": sorted(keys)},
        )
        return self._of(new)

    def _of(self, row: SiteRow) -> ProxySettings:
        return ProxySettings.of(row.id, row.customer_id, row.settings, self._seal)


def _there(row: SiteRow | None) -> SiteRow:
    if row is None:
        raise NotFound("There is no such site.")
    return row
