"""What needs the control database, and no cluster with tenants' databases."""

import datetime as dt
from functools import cached_property

from tenantry.base.passwords import Hashing
from tenantry.base.settings import Settings
from tenantry.control.store import ControlStore
from tenantry.services.access.service import Access
from tenantry.services.alerts.channels import Channels
from tenantry.services.alerts.evaluation import Evaluation
from tenantry.services.alerts.outbox import Outbox
from tenantry.services.alerts.sending import Sender
from tenantry.services.cache_usage.service import CacheUsage
from tenantry.services.caching.configuring import Proxies
from tenantry.services.caching.judging import Judging
from tenantry.services.customers.service import Customers
from tenantry.services.liveness import Liveness
from tenantry.services.local_parts import LocalParts
from tenantry.services.people.service import People, SessionRules
from tenantry.services.pricing_plans import PricingPlans
from tenantry.services.requests.limits import Limits
from tenantry.services.requests.service import Requests
from tenantry.services.sites.allowlists import SiteAllowlists
from tenantry.services.sites.filtering import SiteFilter
from tenantry.services.sites.service import Sites
from tenantry.services.sites.serving import SiteServing
from tenantry.services.users.service import Users


class CentralParts(LocalParts):
    """Who may do what, alerts, and the sites of the AI cache. Each is assembled once."""

    def __init__(self, settings: Settings, store: ControlStore) -> None:
        super().__init__(settings)
        self.store = store

    # ── who may do what ──────────────────────────────────────────────────────

    @cached_property
    def _session_rules(self) -> SessionRules:
        return SessionRules(
            lasts=dt.timedelta(hours=self.settings.session.hours),
            idle=dt.timedelta(minutes=self.settings.session.idle_minutes),
        )

    @cached_property
    def access(self) -> Access:
        return Access(self.store, session_idle=self._session_rules.idle)

    @cached_property
    def requests(self) -> Requests:
        return Requests(self.store, self.access, Limits(self.settings))

    @cached_property
    def _hashing(self) -> Hashing:
        return Hashing()

    @cached_property
    def people(self) -> People:
        return People(self.store, self._seal, self._hashing, self._session_rules)

    @cached_property
    def users(self) -> Users:
        return Users(self.store, self._hashing)

    @cached_property
    def customers(self) -> Customers:
        return Customers(self.store)

    @cached_property
    def pricing_plans(self) -> PricingPlans:
        return PricingPlans(self.store)

    # ── alerts ───────────────────────────────────────────────────────────────

    @cached_property
    def _sender(self) -> Sender:
        return Sender(self.settings)

    @cached_property
    def alert_channels(self) -> Channels:
        return Channels(self.store, self._seal, self._sender)

    @cached_property
    def alert_evaluation(self) -> Evaluation:
        return Evaluation(self.store, self.home)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self.store, self._seal, self._sender)

    @cached_property
    def liveness(self) -> Liveness:
        return Liveness(self.home, self.fleet)

    # ── the AI cache ─────────────────────────────────────────────────────────

    @cached_property
    def sites(self) -> Sites:
        return Sites(self.settings, self.store, self.site_filter)

    @cached_property
    def site_filter(self) -> SiteFilter:
        return SiteFilter(self.store, self.home)

    @cached_property
    def site_allowlists(self) -> SiteAllowlists:
        return SiteAllowlists(self.store, self.home, self.sites, self.site_filter)

    @cached_property
    def proxies(self) -> Proxies:
        return Proxies(self.store, self._seal)

    @cached_property
    def cache_usage(self) -> CacheUsage:
        return CacheUsage(self.store, self.sites)

    @cached_property
    def judging(self) -> Judging:
        return Judging(self.store, self.sites, self.home)

    @cached_property
    def served_sites(self) -> SiteServing:
        return SiteServing(self.store, self.home)
