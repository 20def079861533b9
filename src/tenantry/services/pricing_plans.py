"""The verbs on pricing plans."""

from collections.abc import Mapping

from tenantry.base.errors import NotFound
from tenantry.control import audit, plans
from tenantry.control.audit import Actor
from tenantry.control.plans import PlanRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.access.service import Principal


class PricingPlans:
    """The verbs on pricing plans."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def every(self, actor: Actor) -> list[PlanRow]:
        """Return all pricing plans, the smallest first."""
        async with self._store.transaction(actor) as tx:
            return await plans.every(tx)

    async def resize(
        self, tx: Tx, principal: Principal, name: str, sizes: Mapping[str, float | None]
    ) -> PlanRow:
        """Change sizes of a plan, by their names in ``plans.SIZES``; None is no limit.

        They hold for what its customers create or enlarge from now on; what they have stays.
        Raises Forbidden for a customer, NotFound.
        """
        principal.require_unbound()
        if (before := await plans.lock(tx, name)) is None:
            raise NotFound(f"There is no plan {name}.", hint="GET /api/plans lists them.")
        await plans.set_sizes(tx, name, sizes)
        after = await plans.lock(tx, name) or before
        await audit.record(
            tx,
            principal.actor,
            "plan.update",
            resource_kind="plan",
            resource_name=name,
            details=audit.differences(before, after, plans.SIZES),
        )
        return after
