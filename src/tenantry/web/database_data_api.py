"""The REST API of one database: its configuration, its keys, tokens for users."""

from contextlib import suppress
from typing import Annotated

from fastapi import Request, Response

from tenantry.base.errors import NotFound
from tenantry.base.secrets import Secret
from tenantry.services.bodies.data_api import CreateToken, PutDataApi, RotateDataApi
from tenantry.services.data_api.model import DataApi, OpenedDataApi
from tenantry.services.platform import Platform
from tenantry.services.requests.service import Caller
from tenantry.web import data_api_help, pages
from tenantry.web.data_api_help import Example
from tenantry.web.database_pages import page_of, tables_now
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    calling,
    new_router,
    number,
    once,
    read,
    words,
)

router = new_router()

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

_PATH = "/databases/{database_id}/data-api"
_HOUR = 3600
_MOST_EXAMPLES = 20  # tables
_TITLES = {"anon": "Key for clients (anon)", "service_role": "Key for your servers (service_role)"}


@router.get(_PATH)
async def show(
    request: Request, platform: CurrentPlatform, caller: Reader, database_id: DatabaseId
) -> Response:
    """Show how a database's API is configured, or how to enable it."""
    row = await platform.databases.show(caller.actor, database_id)
    found: DataApi | None = None
    with suppress(NotFound):
        found = await platform.data_apis.show(caller.actor, database_id)
    url = platform.settings.rest_url(row.database_name)
    return await page_of(
        request,
        platform,
        caller,
        row,
        "database_data_api.html",
        tab="/data-api",
        api=found,
        default=PutDataApi(),
        url=url,
        examples=[] if found is None else await _examples(platform, caller, found, url),
        auth_url=platform.settings.auth_url(row.database_name),
        sends_mail=platform.settings.smtp is not None,
        roles=await platform.roles.of_database(caller.actor, database_id),
    )


async def _examples(platform: Platform, caller: Caller, api: DataApi, url: str) -> list[Example]:
    """Return the next steps for tables of the exposed schemas; none if it cannot be asked now."""
    schemas = api.configuration.schemas
    names = await tables_now(platform, caller, api.database.id)
    exposed = [each for each in names if each[0] in schemas]
    return [data_api_help.example(url, schemas, *each) for each in exposed[:_MOST_EXAMPLES]]


@router.post(_PATH)
async def put(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Enable a database's API, whose keys are shown this once, or replace its configuration."""
    body = read(
        PutDataApi,
        {name: value for name, value in form.items() if name == "jwks_url"},
        schemas=words(form, "schemas"),
        allowed_origins=words(form, "allowed_origins"),
        anonymous=form.get("anonymous") == "yes",
        open=form.get("open") == "yes",
        max_rows=number(form, "max_rows"),
        statement_timeout_ms=number(form, "statement_timeout_ms"),
        auth=_users(form),
    )
    opened = await once(
        lambda: caller.idempotent(
            OpenedDataApi,
            lambda tx, secrets: platform.data_apis.put(
                tx, caller.actor, database_id, body.wanted(), secrets
            ),
        )
    )
    if opened.jwt_secret is None:
        return pages.go(request, f"/databases/{database_id}/data-api?done=data-api")
    return _keys(request, opened, "The data API is enabled")


def _users(form: CurrentForm) -> dict[str, object] | None:
    """Return the settings of application users; None if there are to be none."""
    if form.get("auth") != "yes":
        return None
    return {
        "site_url": form.get("site_url") or None,
        "redirect_urls": words(form, "redirect_urls"),
        "signup": form.get("signup") == "yes",
    }


@router.post(f"{_PATH}/rotate")
async def rotate(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Replace the secret and the keys, and show the new ones, this once."""
    hours = number(form, "overlap_hours") or 0
    body = read(RotateDataApi, {}, overlap_seconds=hours * _HOUR)
    opened = await once(
        lambda: caller.idempotent(
            OpenedDataApi,
            lambda tx, secrets: platform.data_apis.rotate(
                tx, caller.actor, database_id, secrets.jwt_secret(), body.overlap()
            ),
        )
    )
    return _keys(request, opened, "The keys were replaced")


def keys_of(opened: OpenedDataApi) -> dict[str, Secret]:
    """Return the keys of a data API, and the secret that signs them, by what they are called."""
    shown = {_TITLES[role]: key for role, key in opened.keys().items()}
    if opened.jwt_secret is not None:
        shown["Secret that signs tokens"] = opened.jwt_secret
    return shown


def _keys(request: Request, opened: OpenedDataApi, heading: str) -> Response:
    return pages.shown_once(
        request,
        keys_of(opened),
        heading=heading,
        note="The key for your servers passes row-level security: keep it and the secret private.",
        onward=f"/databases/{opened.api.database.id}/data-api",
        section="Databases",
    )


@router.post(f"{_PATH}/tokens")
async def issue_token(
    request: Request,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Sign a token, and show it, this once."""
    hours = number(form, "hours") or 1
    body = read(CreateToken, form, expires_in_seconds=hours * _HOUR)
    async with caller.transaction() as tx:
        made = await platform.data_apis.issue_token(tx, caller.actor, database_id, body.wanted())
    return pages.shown_once(
        request,
        {"Token": made.token},
        heading=f"A token of {made.role}",
        note=f"Send it as Authorization: Bearer. It is valid until {made.expires_at:%F %T} UTC.",
        onward=f"/databases/{database_id}/data-api",
        section="Databases",
    )


@router.post(f"{_PATH}/disable")
async def disable(
    request: Request, platform: CurrentPlatform, caller: Writer, database_id: DatabaseId
) -> Response:
    """Disable a database's API, and forget its keys."""
    await platform.data_apis.disable(caller, database_id)
    return pages.go(request, f"/databases/{database_id}/data-api?done=data-api-disabled")
