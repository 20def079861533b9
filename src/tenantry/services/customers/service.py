"""List customers, give them plans, and remove those that have nothing.

A customer is created with the first database, user or key that names it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenantry.base.errors import Conflict, Forbidden, NotFound
from tenantry.control import audit, customers, grants, pages
from tenantry.control.customers import CustomerRow
from tenantry.control.grants import ADMIN
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.services.access.service import Principal

# Each must be 0 for a removal: its field, and what to do about the rest.
_LEFT = {
    "databases": "delete its databases (tenantry db delete)",
    "users": "delete its users (tenantry user delete)",
    "api_keys": "revoke its API keys (tenantry key revoke)",
    "backups": "delete its logical backups (tenantry backup delete)",
    "sites": "delete its sites (tenantry cache delete)",
    "operations": "wait for its operations (tenantry operation list)",
}


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer, with how much of each kind it has.

    ``databases`` has branches and retained ones, ``api_keys`` those that are neither revoked nor
    expired, with their grantors', and ``operations`` the unfinished ones.
    """

    row: CustomerRow
    databases: int
    users: int
    api_keys: int
    backups: int
    sites: int
    operations: int


class Customers:
    """The verbs on customers. Each raises Forbidden unless an unbound administrator calls it."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def page(
        self,
        principal: Principal,
        *,
        email: str | None,
        search: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Customer]:
        """Return customers, newest first; with ``email`` only the one of this address.

        With ``search`` those whose address has this text.
        """
        _administrators_only(principal)
        after = pages.read_key(cursor)
        async with self._store.transaction(principal.actor) as tx:
            found = await customers.page(
                tx, email=email, search=search, after=after, limit=limit + 1
            )
            counted = await _counted(tx, found)
        return pages.cut(counted, limit, lambda each: (each.row.created_at, each.row.id))

    async def show(self, principal: Principal, customer_id: uuid.UUID) -> Customer:
        """Return one customer. Raises NotFound."""
        _administrators_only(principal)
        async with self._store.transaction(principal.actor) as tx:
            return await _found(tx, await customers.find(tx, customer_id))

    async def update(
        self, tx: Tx, principal: Principal, customer_id: uuid.UUID, *, plan: str
    ) -> Customer:
        """Give a customer another pricing plan; what it has stays as it is.

        Raises NotFound, InvalidInput if there is no such plan.
        """
        _administrators_only(principal)
        before = await _found(tx, await customers.lock(tx, customer_id))
        await customers.set_plan(tx, customer_id, plan)
        after = replace(before, row=replace(before.row, plan=plan))
        await audit.record(
            tx,
            principal.actor,
            "customer.update",
            resource_kind="customer",
            resource_id=customer_id,
            resource_name=before.row.email,
            details=audit.differences(before.row, after.row, ("plan",)),
        )
        return after

    async def remove(self, tx: Tx, principal: Principal, customer_id: uuid.UUID) -> Customer:
        """Remove a customer that has nothing, with its revoked and expired keys.

        Its finished operations remain for administrators, and its audit entries remain.
        Raises NotFound, and Conflict that names what it has.
        """
        _administrators_only(principal)
        # Locked, so that nothing can be added to it before ``tx`` ends.
        customer = await _found(tx, await customers.lock(tx, customer_id))
        left = {field: getattr(customer, field) for field in _LEFT if getattr(customer, field)}
        if left:
            has = ", ".join(_number(field, count) for field, count in left.items())
            hint = "; ".join(_LEFT[field] for field in left)
            raise Conflict(
                f"The customer {customer.row.email} still has {has}.",
                hint=f"{hint[0].upper()}{hint[1:]}; then remove the customer.",
            )
        await customers.remove(tx, customer_id)
        await audit.record(
            tx,
            principal.actor,
            "customer.remove",
            resource_kind="customer",
            resource_id=customer_id,
            resource_name=customer.row.email,
        )
        return customer


def _number(field: str, count: int) -> str:
    """Return "1 database", "2 API keys"."""
    noun = {"api_keys": "API keys", "backups": "logical backups", "operations": "open operations"}
    plural = noun.get(field, field)
    return f"{count} {plural if count != 1 else plural[:-1]}"


def _administrators_only(principal: Principal) -> None:
    if ADMIN not in principal.scopes or principal.actor.customer_id is not None:
        raise Forbidden("Only administrators of the platform manage customers.")


async def _found(tx: Tx, row: CustomerRow | None) -> Customer:
    if row is None:
        raise NotFound("There is no such customer.", hint="GET /api/customers lists them.")
    return (await _counted(tx, [row]))[0]


async def _counted(tx: Tx, rows: Sequence[CustomerRow]) -> list[Customer]:
    belongings = await customers.belongings(tx, [row.id for row in rows])
    every = [key for each in belongings.values() for key in each.key_ids]
    # A suspended key may come back into force.
    valid = {
        key_id
        for key_id, chain in (await grants.chains(tx, every)).items()
        if chain.rights.status in {"active", "suspended"}
    }
    return [
        Customer(
            row,
            databases=each.databases,
            users=each.users,
            api_keys=len(valid.intersection(each.key_ids)),
            backups=each.backups,
            sites=each.sites,
            operations=each.operations,
        )
        for row in rows
        for each in [belongings[row.id]]
    ]
