"""Signing in and out, with an API key or with e-mail, password and code."""

import datetime as dt

from fastapi import Request, Response
from pydantic import SecretStr
from starlette.exceptions import HTTPException

from tenantry.base.errors import InvalidInput, TenantryError, TooManyRequests
from tenantry.base.secrets import Secret
from tenantry.services import logging_in
from tenantry.services.bodies.access import Login, LoginCode
from tenantry.services.bodies.fields import secret
from tenantry.services.people.service import Challenge, SignedIn
from tenantry.services.platform import Platform
from tenantry.services.requests.model import Call
from tenantry.services.requests.service import Caller
from tenantry.web import cookies, pages
from tenantry.web.routing import CurrentCall, CurrentForm, CurrentPlatform, Form, new_router, read

router = new_router()

_LONGEST_KEY = 200
_KEY = "tnt_"
_PREFIX = {"api-key": "key", "password": "password"}


@router.get("/")
async def index(request: Request, platform: CurrentPlatform) -> Response:
    """Lead to the databases, or to the way in. Programs get what they got without a console."""
    accepted = request.headers.get("accept", "")
    if "json" in accepted and "text/html" not in accepted:
        raise HTTPException(404, "Not Found")
    if cookies.credential_of(request, platform) is None:
        return pages.go(request, pages.SIGN_IN)
    return pages.go(request, "/databases")


@router.get(pages.SIGN_IN)
async def form(request: Request) -> Response:
    """Show both ways to sign in."""
    return _form(request, request.query_params.get("next", "/"))


def _form(
    request: Request, target: str, error: TenantryError | None = None, email: str = ""
) -> Response:
    status = 200 if error is None else error.status
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.seconds)
    return pages.render(
        request,
        "sign_in.html",
        status=status,
        headers=headers,
        next=pages.own_path(target),
        error=error,
        email=email,
    )


@router.post(pages.SIGN_IN)
async def sign_in(
    request: Request, platform: CurrentPlatform, call: CurrentCall, form: CurrentForm
) -> Response:
    """Sign in with an API key, or begin to with e-mail and password."""
    target = pages.own_path(form.get("next", "/"))
    if form.get("email", "").strip().startswith(_KEY):  # in the first field; it is not shown again
        form = {"api_key": form["email"]}
    try:
        if "api_key" in form:
            return await _with_key(request, platform, call, form, target)
        if "email" not in form or "password" not in form:
            raise InvalidInput(
                "Neither an API key nor an e-mail address with its password was entered."
            )
        return await _with_password(request, platform, call, form, target)
    except TenantryError as error:
        return _form(request, target, error, form.get("email", ""))


async def _with_key(
    request: Request, platform: Platform, call: Call, form: Form, target: str
) -> Response:
    key = Secret(form["api_key"].strip()[:_LONGEST_KEY])
    call.credential = key
    await logging_in.with_key(platform, call)
    hours = dt.timedelta(hours=platform.settings.session.hours)
    response = pages.go(request, target)
    cookies.keep(response, platform, key, dt.datetime.now(dt.UTC) + hours)
    return response


async def _with_password(
    request: Request, platform: Platform, call: Call, form: Form, target: str
) -> Response:
    body = read(Login, {"email": form["email"]}, password=SecretStr(form["password"]))
    result = await logging_in.with_password(
        platform,
        call,
        body.email,
        secret(body.password),
        device_token=cookies.device_of(request),
        user_agent=_agent(request),
    )
    if isinstance(result, Challenge):
        return _code_form(request, target, result.token)
    return _signed_in(request, platform, result, target)


def _code_form(
    request: Request, target: str, challenge: Secret, error: TenantryError | None = None
) -> Response:
    status = 200 if error is None else error.status
    return pages.render(
        request,
        "sign_in_code.html",
        status=status,
        next=target,
        challenge=challenge.reveal(),
        error=error,
    )


@router.post(f"{pages.SIGN_IN}/code")
async def answer(
    request: Request, platform: CurrentPlatform, call: CurrentCall, form: CurrentForm
) -> Response:
    """Complete signing in with a code of the authenticator, or a recovery code."""
    target = pages.own_path(form.get("next", "/"))
    challenge = Secret(form.get("challenge", ""))
    try:
        body = read(LoginCode, {"code": form.get("code", "")}, challenge=challenge.reveal())
        result = await logging_in.with_code(
            platform,
            call,
            challenge,
            body.code,
            device_token=cookies.device_of(request),
            user_agent=_agent(request),
        )
    except TenantryError as error:
        return _code_form(request, target, challenge, error)
    return _signed_in(request, platform, result, target)


def _signed_in(request: Request, platform: Platform, result: SignedIn, target: str) -> Response:
    response = pages.go(request, target)
    cookies.keep(response, platform, result.token, result.session.expires_at)
    cookies.keep_device(response, result.device)
    return response


@router.post("/sign-out")
async def sign_out(request: Request, platform: CurrentPlatform, call: CurrentCall) -> Response:
    """End the session, and have the browser forget it."""
    if call.credential is not None:
        caller: Caller = await platform.requests.authenticate(call)
        if caller.principal.session_id is not None:
            await platform.people.logout(caller.principal)
    response = pages.go(request, pages.SIGN_IN)
    cookies.forget(response)
    return response


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")
