"""/api/customers: for administrators"""

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tenantry.api import answers
from tenantry.api.answers import Answer, Listing
from tenantry.api.deps import CurrentPlatform, Cursor, CustomerId, Limit, allowed, calling
from tenantry.services.access.service import Principal
from tenantry.services.bodies.access import UpdateCustomer
from tenantry.services.bodies.fields import Storable
from tenantry.services.customers.service import Customer as Found
from tenantry.services.requests.service import Caller

router = APIRouter(prefix="/api/customers", tags=["people"])

Reader = Annotated[Principal, allowed("admin")]
Administrator = Annotated[Caller, calling("admin")]


class Customer(BaseModel):
    """A customer, and what it has. It can be removed once all numbers are 0."""

    id: uuid.UUID
    email: str = Field(examples=["shop@example.com"])
    plan: str = Field(
        description="Its pricing plan, for the sizes of what it creates.", examples=["standard"]
    )
    databases: int = Field(description="With branches and retained ones.")
    users: int
    api_keys: int = Field(description="Those that are neither revoked nor expired.")
    backups: int = Field(description="Logical backups.")
    sites: int = Field(description="Sites of the AI cache.")
    operations: int = Field(description="Unfinished operations.")
    created_at: dt.datetime


def _customer(found: Found) -> Customer:
    return Customer(
        id=found.row.id,
        email=found.row.email,
        plan=found.row.plan,
        databases=found.databases,
        users=found.users,
        api_keys=found.api_keys,
        backups=found.backups,
        sites=found.sites,
        operations=found.operations,
        created_at=found.row.created_at,
    )


@router.get("", response_model=Listing[Customer])
async def index(
    platform: CurrentPlatform,
    principal: Reader,
    email: Annotated[
        Storable | None, Query(max_length=320, description="Only the one of this address.")
    ] = None,
    search: Annotated[
        Storable | None, Query(max_length=320, description="Only those with this text.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List customers, newest first. ``search`` matches a part of their addresses, in any case."""
    page = await platform.customers.page(
        principal, email=email and email.lower(), search=search, cursor=cursor, limit=limit
    )
    return answers.listing([_customer(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/{identifier}", response_model=Answer[Customer])
async def show(platform: CurrentPlatform, principal: Reader, customer_id: CustomerId) -> Response:
    """Return one customer."""
    return answers.answer(_customer(await platform.customers.show(principal, customer_id)))


@router.patch("/{identifier}", response_model=Answer[Customer])
async def update(
    body: UpdateCustomer, platform: CurrentPlatform, caller: Administrator, customer_id: CustomerId
) -> Response:
    """Give a customer another pricing plan; what it has stays as it is."""
    async with caller.transaction() as tx:
        changed = await platform.customers.update(tx, caller.principal, customer_id, plan=body.plan)
    return answers.answer(_customer(changed), message="Customer changed.")


@router.delete("/{identifier}", response_model=Answer[Customer])
async def remove(
    platform: CurrentPlatform, caller: Administrator, customer_id: CustomerId
) -> Response:
    """Remove a customer without databases, users, valid API keys, backups, sites and open work."""
    async with caller.transaction() as tx:
        removed = await platform.customers.remove(tx, caller.principal, customer_id)
    return answers.answer(_customer(removed), message="Customer removed.")
