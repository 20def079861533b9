"""Blueprints: the catalogue, and that of one database."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import Path, Request, Response

from tenantry.base.errors import InvalidInput
from tenantry.services.blueprints.model import (
    MANIFEST,
    BlueprintNotFound,
    Compared,
    Standing,
    Started,
)
from tenantry.services.bodies.blueprints import ApplyBlueprint
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.database_pages import Attempt, attempt, page_of
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    files,
    new_router,
    once,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]
Name = Annotated[str, Path(min_length=1, max_length=100)]

_PATH = "/databases/{database_id}/blueprint"


async def offered(platform: Platform) -> dict[str, Any]:
    """Return what a form has for a choice: blueprints, and those that have seeds, by name."""
    blueprints = await platform.blueprints.every()
    seeds: dict[str, list[str]] = {}
    for blueprint in blueprints:
        for name in blueprint.seeds:
            seeds.setdefault(name, []).append(blueprint.name)
    return {"blueprints": blueprints, "seeds": seeds}


@router.get("/blueprints")
async def index(request: Request, platform: CurrentPlatform, _caller: Reader) -> Response:
    """Show the catalogue."""
    return pages.render(request, "blueprints.html", blueprints=await platform.blueprints.every())


@router.get("/blueprints/{name}")
async def show(
    request: Request, platform: CurrentPlatform, _caller: Reader, name: Name
) -> Response:
    """Show a blueprint: what it is for, its versions, and what it brings."""
    return pages.render(request, "blueprint.html", found=await platform.blueprints.show(name))


@router.get(_PATH)
async def of_database(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show the blueprint of a database, and whether there is a newer version."""
    standing = None
    with attempt() as tried:
        async with caller.visiting():
            with suppress(BlueprintNotFound):  # it can get one
                standing = await platform.blueprints.standing(caller.actor, database_id)
    return await _page(request, platform, caller, database_id, standing, None, tried)


@router.get(f"{_PATH}/diff")
async def compare(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show also how the database differs from its blueprint, which takes a second or two."""
    compared = None
    with attempt() as tried:
        async with caller.visiting():
            compared = await platform.blueprints.compare(caller.actor, database_id)
    return await _page(request, platform, caller, database_id, None, compared, tried)


async def _page(
    request: Request,
    platform: CurrentPlatform,
    caller: Caller,
    database_id: DatabaseId,
    standing: Standing | None,
    compared: Compared | None,
    tried: Attempt,
) -> Response:
    return await page_of(
        request,
        platform,
        caller,
        database_id,
        "database_blueprint.html",
        tab="/blueprint",
        standing=standing if compared is None else compared.standing,
        compared=compared,
        problem=tried.problem,
        **await offered(platform),
    )


@router.post(_PATH)
async def apply(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Begin to apply a blueprint, and show the passwords of the roles that it brings, this once."""
    body = read(ApplyBlueprint, form, **_own(form))
    started = await once(
        lambda: caller.idempotent(
            Started,
            lambda tx, secrets: platform.blueprints.begin(
                tx, caller.actor, database_id, body.wanted(), secrets.role_password
            ),
        )
    )
    onward = f"/databases/{database_id}/operations?done=begun"
    if not started.roles:
        return pages.go(request, onward)
    return pages.shown_once(
        request,
        {f"Password of {each.role.row.name}": each.password for each in started.roles},
        heading="The blueprint is being applied, with these roles",
        note="Their strings are under “Allowlist & roles”.",
        onward=onward,
        section="Databases",
    )


def _own(form: Form) -> dict[str, object]:
    """Return the files of a folder, and its manifest. Raises InvalidInput if it has none."""
    found = {each["name"]: each["sql"] for each in files(form)}
    if not found:
        return {}
    if MANIFEST not in found:
        raise InvalidInput(
            f"The folder has no file {MANIFEST}.",
            hint="Choose the blueprint's own folder, with its migrations below it.",
        )
    manifest = found.pop(MANIFEST)
    return {
        "manifest": manifest,
        "files": [{"name": name, "sql": sql} for name, sql in found.items()],
    }
