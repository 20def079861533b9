"""The platform as administrators see it: health, clusters and their backups; and the plans."""

import uuid
from contextlib import suppress
from typing import Annotated

from fastapi import Path, Request, Response

from tenantry.base.errors import NotFound
from tenantry.control import database_lists, plans
from tenantry.control.clusters import ClusterRow, LoadedCluster
from tenantry.control.databases import DatabaseRow
from tenantry.services import disk_areas, health
from tenantry.services.bodies.copies import AddCluster, BackUpCluster, RestoreCluster
from tenantry.services.bodies.fields import Storable
from tenantry.services.bodies.plans import UpdatePlan
from tenantry.services.platform import Platform
from tenantry.services.pooling.model import PoolerState, PoolUse
from tenantry.services.requests.service import Caller
from tenantry.web import pages, words
from tenantry.web.database_pages import attempt, require_word
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    Form,
    calling,
    is_changed,
    moment,
    new_router,
    once,
    parsed,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Watcher = Annotated[Caller, calling("platform:read")]
Administrator = Annotated[Caller, calling("admin")]

_OPERATIONS = "/operations?done=begun"
_MOST_POOLS = 50


@router.get("/platform")
async def state(request: Request, platform: CurrentPlatform, caller: Watcher) -> Response:
    """Show whether each part answers, what needs attention, what takes the disk, and the pooler."""
    caller.principal.require_unbound()
    found = await health.check(platform)
    pooler, pools = None, []
    with attempt() as tried:
        pooler = await platform.pooler.state()
        pools = await _named(platform, caller, pooler)
    disk = None
    with suppress(OSError):  # the part "disk" says why
        disk = await disk_areas.look(platform.settings, platform.store, platform.fleet.every)
    return pages.render(
        request,
        "platform.html",
        found=found,
        disk=disk,
        pooler=pooler,
        pools=pools,
        problem=tried.problem,
    )


async def _named(
    platform: Platform, caller: Caller, pooler: PoolerState
) -> list[tuple[PoolUse, DatabaseRow | None]]:
    """Return the pools with most clients that wait or are served, each with its database."""
    pools = sorted(
        pooler.pools, key=lambda pool: (pool.clients_waiting, pool.clients_active), reverse=True
    )[:_MOST_POOLS]
    async with platform.store.transaction(caller.actor) as tx:
        rows = await database_lists.by_database_names(tx, {pool.database for pool in pools})
    return [(pool, rows.get(pool.database)) for pool in pools]


@router.get("/plans")
async def show_plans(request: Request, platform: CurrentPlatform, caller: Reader) -> Response:
    """Show the pricing plans, the smallest first."""
    return pages.render(
        request,
        "plans.html",
        plans=await platform.pricing_plans.every(caller.actor),
        default_plan=plans.DEFAULT,
        default_sites=platform.settings.customer.sites,
        may_write=caller.principal.oversees("admin"),
    )


@router.post("/plans/{name}")
async def resize_plan(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    name: Annotated[Storable, Path(max_length=63)],
    form: CurrentForm,
) -> Response:
    """Change the sizes of a plan that were changed in the form; an empty field is no limit."""
    caller.principal.require_unbound()
    if changes := _sizes(form):
        body = read(UpdatePlan, {}, **changes)
        async with caller.transaction() as tx:
            await platform.pricing_plans.resize(tx, caller.principal, name, body.sizes())
    return pages.go(request, "/plans?done=plan-changed")


def _sizes(form: Form) -> dict[str, str | None]:
    return {
        field: form.get(field, "").strip() or None
        for field in plans.SIZES
        if is_changed(form, field)
    }


# ── clusters ─────────────────────────────────────────────────────────────────


@router.get("/clusters")
async def clusters(request: Request, platform: CurrentPlatform, caller: Watcher) -> Response:
    """Show the clusters, and whether each can be restored."""
    caller.principal.require_unbound()
    backups = {each.cluster: each for each in await platform.cluster_backups.upkeep()}
    return pages.render(
        request,
        "clusters.html",
        clusters=[(row, _state(platform, row)) for row in await platform.clusters.loaded()],
        backups=backups,
        may_write=caller.principal.may("admin"),
    )


def _state(platform: Platform, row: ClusterRow) -> words.State:
    return words.cluster_state(row, platform.liveness.why(row.name))


@router.post("/clusters")
async def add(
    request: Request, platform: CurrentPlatform, caller: Administrator, form: CurrentForm
) -> Response:
    """Begin to add a cluster."""
    caller.principal.require_unbound()
    body = read(AddCluster, form)
    await once(
        lambda: caller.begin(
            lambda tx: platform.cluster_additions.begin(tx, caller.actor, body.name)
        )
    )
    return pages.go(request, _OPERATIONS)


@router.get("/clusters/{cluster_id}")
async def cluster(
    request: Request, platform: CurrentPlatform, caller: Watcher, cluster_id: str
) -> Response:
    """Show the backups of a cluster, and from when on it can be restored."""
    caller.principal.require_unbound()
    row = await _found(platform, cluster_id)
    held = None
    with attempt() as tried:
        held = await platform.cluster_backups.held(row.id)
    return pages.render(
        request,
        "cluster.html",
        row=row,
        found=_state(platform, row),
        held=held,
        problem=tried.problem,
        may_write=caller.principal.may("admin"),
    )


async def _found(platform: Platform, text: str) -> LoadedCluster:
    wanted: uuid.UUID = parsed(text, "cluster")
    for row in await platform.clusters.loaded():
        if row.id == wanted:
            return row
    raise NotFound("There is no such cluster.")


@router.post("/clusters/{cluster_id}/backups")
async def back_up(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    cluster_id: str,
    form: CurrentForm,
) -> Response:
    """Begin a backup of a whole cluster."""
    caller.principal.require_unbound()
    found = parsed(cluster_id, "cluster")
    body = read(BackUpCluster, form)
    await once(
        lambda: caller.begin(
            lambda tx: platform.cluster_backups.begin(tx, caller.actor, found, body.type)
        )
    )
    return pages.go(request, _OPERATIONS)


@router.post("/clusters/{cluster_id}/verify")
async def verify(
    request: Request, platform: CurrentPlatform, caller: Administrator, cluster_id: str
) -> Response:
    """Begin to read all backups of a cluster."""
    caller.principal.require_unbound()
    found = parsed(cluster_id, "cluster")
    await once(
        lambda: caller.begin(
            lambda tx: platform.cluster_backups.begin_verification(tx, caller.actor, found)
        )
    )
    return pages.go(request, _OPERATIONS)


@router.post("/clusters/{cluster_id}/restore")
async def restore(
    request: Request,
    platform: CurrentPlatform,
    caller: Administrator,
    cluster_id: str,
    form: CurrentForm,
) -> Response:
    """Begin to restore a whole cluster whose name was typed."""
    caller.principal.require_unbound()
    row = await _found(platform, cluster_id)
    require_word(row.name, form)
    body = read(RestoreCluster, {}, to=moment(form, "to"))
    await once(
        lambda: caller.begin(
            lambda tx: platform.cluster_restoring.begin(tx, caller.actor, row.id, body.to)
        )
    )
    return pages.go(request, _OPERATIONS)
