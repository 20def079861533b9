"""What anybody is shown of the audit log: entries, one by one or all of them as a text."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator

from pydantic import BaseModel, Field

from tenantry.control import audit
from tenantry.control.audit import AuditRow, Filter
from tenantry.control.pages import Page
from tenantry.services.access.service import Access, Principal

_A_PAGE = 1_000  # rows


class AuditEntry(BaseModel):
    id: int
    at: dt.datetime
    actor: str
    actor_kind: str
    actor_id: uuid.UUID | None
    action: str
    resource_kind: str
    resource_id: str | None
    resource_name: str | None
    resource_title: str | None = Field(
        description="What its owner called a database then.", examples=["shop"]
    )
    address: str | None
    result: audit.Result = Field(
        description="What was only started is accepted; a row of its own shows how it ended."
    )
    request_id: str | None
    details: dict[str, object]


def shown(row: AuditRow) -> AuditEntry:
    """Return what is shown of a row."""
    return AuditEntry(
        id=row.id,
        at=row.at,
        actor=row.actor_name,
        actor_kind=row.actor_kind,
        actor_id=row.actor_id,
        action=row.action,
        resource_kind=row.resource_kind,
        resource_id=row.resource_id,
        resource_name=row.resource_name,
        resource_title=row.resource_title,
        address=row.address,
        result=row.result,
        request_id=row.request_id,
        details=row.details,
    )


async def lines(access: Access, principal: Principal, wanted: Filter) -> AsyncIterator[str]:
    """Return the entries as JSON objects, one a line, newest first.

    Raises InvalidInput for the filters at once, not in the midst of a text.
    """

    async def page_after(cursor: str | None) -> Page[AuditRow]:
        return await access.page_of_audit(principal, wanted, cursor=cursor, limit=_A_PAGE)

    first = await page_after(None)

    async def written() -> AsyncIterator[str]:
        page = first
        while True:
            for row in page.rows:
                yield shown(row).model_dump_json() + "\n"
            if page.next_cursor is None:
                return
            page = await page_after(page.next_cursor)

    return written()
