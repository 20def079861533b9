"""Customers, for administrators."""

from typing import Annotated

from fastapi import Query, Request, Response

from tenantry.services.bodies.access import UpdateCustomer
from tenantry.services.bodies.fields import Storable
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Cursor,
    calling,
    new_router,
    parsed,
    read,
)

router = new_router()

Administrator = Annotated[Caller, calling("admin")]

_A_PAGE = 50


@router.get("/customers")
async def index(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    search: Annotated[Storable, Query(max_length=320)] = "",
    cursor: Cursor = None,
) -> Response:
    """Show the customers, newest first, with how much of each kind they have."""
    page = await platform.customers.page(
        caller.principal,
        email=None,
        search=search.strip() or None,
        cursor=cursor,
        limit=_A_PAGE,
    )
    return pages.render(
        request,
        "customers.html",
        customers=page.rows,
        plans=[each.name for each in await platform.pricing_plans.every(caller.actor)],
        search=search,
        following=pages.following(request, page.next_cursor),
    )


@router.post("/customers/{customer_id}/update")
async def update(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    customer_id: str,
    form: CurrentForm,
) -> Response:
    """Give a customer another pricing plan."""
    found, body = parsed(customer_id, "customer"), read(UpdateCustomer, form)
    async with caller.transaction() as tx:
        await platform.customers.update(tx, caller.principal, found, plan=body.plan)
    return pages.go(request, "/customers?done=customer-changed")


@router.post("/customers/{customer_id}/remove")
async def remove(
    request: Request, platform: CurrentPlatform, caller: Administrator, customer_id: str
) -> Response:
    """Remove a customer that has nothing."""
    found = parsed(customer_id, "customer")
    async with caller.transaction() as tx:
        await platform.customers.remove(tx, caller.principal, found)
    return pages.go(request, "/customers?done=customer-removed")
