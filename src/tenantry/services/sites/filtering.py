"""The kernel's rules for the allowlists of sites: root sets them, and the platform verifies them.

Redis knows no allowlists. The invariant: a Redis with an allowlist listens on other addresses than
loopback only while the kernel has rules for its port, those of its present list once a change has
returned. Its files say loopback, so that it starts closed, whatever ends it; it is opened while it
runs, after its rules were found in force, and closed again once they are not.
"""

import time

import structlog

from tenantry.base.errors import TenantryError
from tenantry.base.events import SiteRulesSet, emit
from tenantry.base.home import Home
from tenantry.control import audit, sites
from tenantry.control.store import ControlStore
from tenantry.host import site_filter, systemd
from tenantry.services.sites import plan
from tenantry.services.sites.model import Listed, Reach

log = structlog.get_logger()

_PAUSE_SECONDS = 60.0


class SiteFilter:
    """The rules of the packet filter for sites with an allowlist."""

    def __init__(self, store: ControlStore, home: Home) -> None:
        self._store = store
        self._socket = systemd.socket_of_filter(home.root)
        self._error: str | None = None  # of the last attempt
        self._failed: site_filter.Lists | None = None
        self._again = 0.0  # at this moment of the monotonic clock

    @property
    def is_there(self) -> bool:
        """Whether rules can be set: root has installed the program that does."""
        return self._socket.is_socket()

    async def apply(self) -> bool:
        """Put all allowlists in force, as the control database has them, unless they are.

        Return whether they are. A failure is logged: sites whose rules are missing stay closed.
        """
        if not self.is_there:
            self._error = None
            return False
        try:
            # An earlier state of the lists must not be set after a later one.
            async with self._store.long_transaction(audit.PLATFORM) as tx:
                await sites.lock_lists(tx)
                lists = plan.lists(await sites.listed(tx))
                if not await site_filter.in_force(site_filter.mark_of_all(lists)):
                    await site_filter.ask(self._socket, lists)
                    emit(SiteRulesSet(str(len(lists))))
        except TenantryError as error:
            self._error = error.detail
            log.warning("site_rules.not_set", error=error.detail)
            return False
        self._error = None
        return True

    async def keep(self, lists: site_filter.Lists) -> None:
        """Put these lists in force as ``apply`` does; after a failure again in a minute only."""
        if not self.is_there or await site_filter.in_force(site_filter.mark_of_all(lists)):
            return
        is_again = self._failed == lists and time.monotonic() < self._again
        if not is_again and not await self.apply():
            self._failed, self._again = lists, time.monotonic() + _PAUSE_SECONDS

    async def admits(self, site: Listed) -> bool:
        """Whether a site can be open: it has no allowlist, or the kernel has its rules."""
        if site.networks is None:
            return True
        return await site_filter.in_force(site_filter.mark(site.port, site.networks))

    async def reach(self, site: Listed) -> Reach:
        """Return from where a site is reached, and why, if that is this machine only."""
        if site.networks is None:
            return Reach("everywhere")
        if await self.admits(site):
            return Reach("allowlist")
        if self.is_there:
            failed = "are not in force yet" if self._error is None else "could not be set"
            return Reach("this_machine", f"the rules of the packet filter {failed}")
        return Reach(
            "this_machine",
            "Redis knows no allowlists, and the packet filter's are set only where root has"
            " installed the platform as a service (tenantry service install)",
        )
