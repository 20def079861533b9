"""The size of a database's instance, and the parameters of PostgreSQL that are set for it."""

import uuid
from typing import Annotated

from fastapi import Request, Response

from tenantry.control.operations import OperationRow
from tenantry.services.bodies.databases import SetParameters, UpdateDatabase
from tenantry.services.instances.model import Configured
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_instance import instance_row
from tenantry.web.database_pages import attempt, page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    new_router,
    once,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}/configuration"


@router.get(_PATH)
async def configuration(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the size of an instance and its parameters, with forms that change them."""
    row = await instance_row(platform, caller, database_id)
    configured: Configured | None = None
    with attempt() as tried:
        async with caller.visiting():
            configured = await platform.configuring.show(caller.actor, database_id)
    return await page_of(
        request,
        platform,
        caller,
        row,
        "database_configuration.html",
        tab="/instance",
        configured=configured,
        enforced=platform.instances.limits_are_enforced(row.driver),
        problem=tried.problem,
    )


@router.post(_PATH)
async def configure(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Set one parameter of an instance; without a value it is the default again."""
    given = {form.get("parameter", ""): form.get("value")}
    body = read(SetParameters, {}, parameters=given, restart=_may_restart(form))
    done = await once(
        lambda: platform.configuring.set(caller, database_id, body.parameters, restart=body.restart)
    )
    return _go(request, database_id, done.operation)


@router.post("/databases/{database_id}/size")
async def resize(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Change the processors and the memory of an instance; no number of processors means all."""
    size: Form = {name: form[name] for name in ("cpus", "memory_mb") if name in form}
    body = read(UpdateDatabase, {}, **({"cpus": None} | size), restart=_may_restart(form))
    done = await once(lambda: platform.provisioning.update(caller, database_id, body.changes()))
    return _go(request, database_id, done.operation)


def _may_restart(form: Form) -> bool:
    return form.get("restart") == "yes"


def _go(request: Request, database_id: uuid.UUID, restart: OperationRow | None) -> Response:
    if restart is not None:
        return pages.go(request, f"/databases/{database_id}/instance?done=begun")
    return pages.go(request, f"/databases/{database_id}/configuration?done=updated")
