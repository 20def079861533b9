"""Pages as HTML: templates that escape every value, and headers that let nothing else run."""

import datetime as dt
import gzip
import json
import re
import secrets
import shlex
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tenantry import __version__
from tenantry.base import sizes
from tenantry.base.errors import TenantryError, TooManyRequests
from tenantry.base.secrets import Secret
from tenantry.services.access.service import Principal
from tenantry.web import assets, messages, navigation, words

SIGN_IN = "/sign-in"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Vary": "HX-Request, Cookie, Accept-Encoding, Sec-Fetch-Site",
}
_COMPRESSED = range(1000, 300_000)  # bytes: below it gains nothing, above it takes long
_OWN_REQUESTS = frozenset({"same-origin", "none"})  # of our pages, or of the browser's user
# What a page may say after the request that led to it, by a word in its address.
_DONE = {
    "deleted": "The database was deleted.",
    "deleting": "Nobody can connect any more; the database is being removed.",
    "allowed": "The address is allowed; it is in force now.",
    "list-replaced": "The allowlist was replaced; it is in force now.",
    "removed": "The address was removed, and its sessions were ended.",
    "role-deleted": "The role was deleted.",
    "begun": "It has begun; its progress is below.",
    "extension-added": "The extension was added.",
    "extension-waits": "It waits until the instance is restarted.",
    "extension-removed": "The extension was removed.",
    "role-updated": "The role was changed.",
    "backup-deleted": "The backup was deleted.",
    "rows-changed": "The rows were changed.",
    "marked": "The moment is marked.",
    "past-ended": "The past was closed.",
    "signalled": "The session got the signal.",
    "abandoned": "The operation was ended; nothing of it was undone.",
    "cancelling": "The operation is being cancelled.",
    "password-changed": "The password was changed; your other sessions were ended.",
    "session-ended": "The session was ended.",
    "muted": "The finding is muted.",
    "unmuted": "The finding is reported again.",
    "updated": "The settings were saved.",
    "user-updated": "The user was changed.",
    "user-deleted": "The user was deleted.",
    "customer-changed": "The customer has the plan; what it has stays as it is.",
    "customer-removed": "The customer was removed.",
    "plan-changed": "The plan was changed; what its customers have stays as it is.",
    "site-deleted": "The site was deleted, with all its keys.",
    "judged": "The judgement was noted.",
    "priced": "The prices were saved.",
    "site-list": "The allowlist of the site was changed.",
    "site-updated": "The site was changed; it is in force now.",
    "site-emptied": "All keys of the site were deleted.",
    "key-revoked": "The API key was revoked, with those that it created.",
    "acknowledged": "It is recorded that you attend to it.",
    "alert-muted": "Nothing is sent about it until then.",
    "resolved": "The alert was resolved.",
    "channel-made": "The channel was made; send it a test message.",
    "channel-deleted": "The channel was deleted.",
    "tested": "The channel accepted the message.",
    "counted-again": "Statements are counted again from now on.",
    "reconnected": "The pooler's connections are replaced.",
    "unmarked": "The mark was deleted.",
    "scheduled": "The schedule was saved.",
    "default-schedule": "The database follows its environment's schedule again.",
    "totp-off": "Your logins need no code any more.",
    "masking": "The masking of new branches was saved.",
    "data-api": "The data API was saved; it is in force within a second.",
    "data-api-disabled": "The data API answers nobody any more, and its keys are forgotten.",
}

# Commands show it. Macros are imported without the values of a page, and so cannot be given it.
_origin: ContextVar[str] = ContextVar("origin", default="")
# The attributes of templates that have addresses. Values are escaped, and so have no such text.
_ADDRESS = re.compile(
    r"\b((?:action|data-core|data-language|data-names|data-onward|data-texts|formaction|href|hx-get"
    r'|hx-post|src)=")(?=/)'
)
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")


def policy_with(nonce: str) -> str:
    """Return the policy of a page whose editor makes style sheets, which carry this nonce."""
    return _POLICY.replace("style-src 'self'", f"style-src 'self' 'nonce-{nonce}'")


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_templates.filters |= {
    "size": sizes.readable,
    "moment": words.moment,
    "percent": words.percent,
    "duration": words.duration,
    "ms": words.milliseconds,
    "title_of": words.title,
    "label_of": words.label,
    "gib": words.gibibytes,
    "argument": words.argument,
    "quoted": shlex.quote,
    "shell": words.within_quotes,
    "json": json.dumps,
    "operation_title": words.operation_title,
    "account": words.account,
    "plain": messages.plain,
    "said": messages.detail,
    "wrong_fields": messages.fields,
}
_templates.globals |= {
    "asset": assets.url,
    "once": lambda: secrets.token_urlsafe(16),
    "version": __version__,
    "counted": words.counted,
    "operation_state": words.operation_state,
    "target_state": words.target_state,
    "tagged": words.tagged,
    "place_of": words.place_of,
    "navigation": navigation.groups,
    "origin": _origin.get,
}


def is_fragment(request: Request) -> bool:
    """Whether a script asks, for a part of a page."""
    return "hx-request" in request.headers


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """Return a page, or the part of it that a script asks for."""
    now = dt.datetime.now(dt.UTC)
    me: Principal | None = getattr(request.state, "principal", None)
    _origin.set(origin(request))
    text = _templates.get_template(template).render(
        fragment=is_fragment(request),
        me=me,
        now=now,
        ago=lambda moment: words.ago(moment, now),
        last_used=lambda row: words.last_used(row, now),
        state_of=lambda row: words.state_of(
            row, now, is_down=request.app.state.platform.liveness.is_down(row.cluster)
        ),
        done=_DONE.get(request.query_params.get("done", "")),
        request_id=request.state.call.request_id,
        idle_minutes=lambda: request.app.state.platform.settings.session.idle_minutes,
        **values,
    )
    page = prefixed(text, prefix(request)).encode()
    return compressed(request, HTMLResponse(page, status, headers=_HEADERS | (headers or {})))


def compressed(request: Request, page: HTMLResponse) -> HTMLResponse:
    """Return a page as it may be sent: compressed, or as it is.

    Whoever sees the lengths of answers, and has texts of its choice in them, finds out what else is
    there (BREACH). So only whole pages are compressed, for requests of which the browser says that
    no other site made them: not what a page asks for again and again, nor the answer to a form,
    which may have secrets that are shown once.
    """
    if (
        request.method == "GET"
        and not is_fragment(request)
        and len(page.body) in _COMPRESSED
        and request.headers.get("sec-fetch-site") in _OWN_REQUESTS
        and "gzip" in request.headers.get("accept-encoding", "")
    ):
        page.body = gzip.compress(page.body, compresslevel=6, mtime=0)
        page.headers["Content-Length"] = str(len(page.body))
        page.headers["Content-Encoding"] = "gzip"
    return page


def prefix(request: Request) -> str:
    """Return what a proxy has before our paths, as in ``/tenantry``; nothing if it has none."""
    found: str = getattr(request.state, "prefix", "")
    return found


def prefixed(page: str, path: str) -> str:
    """Return a page whose addresses begin with ``path``; routes and redirections have ours."""
    return _ADDRESS.sub(lambda found: found[1] + path, page) if path else page


def origin(request: Request) -> str:
    """Return the address that the browser asks, up to our paths; nothing for what is no host."""
    host = request.headers.get("host", "")
    known = _HOST.fullmatch(host)
    return f"{request.url.scheme}://{host}{prefix(request)}" if known else ""


def go(request: Request, path: str) -> Response:
    """Have the browser load another page; a form's answer then is not sent again on reload."""
    path = prefix(request) + path
    if is_fragment(request):
        return Response(status_code=204, headers=_HEADERS | {"HX-Redirect": path})
    return RedirectResponse(path, status_code=303, headers=_HEADERS)


def dialog(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Return a dialog in place of the form that asked for it; without scripts, as a page."""
    headers = {"HX-Retarget": "#dialog", "HX-Reswap": "innerHTML"}
    return render(request, template, headers=headers, **values)


def shown_once(
    request: Request,
    values: Mapping[str, Secret],
    *,
    heading: str,
    note: str,
    onward: str,
    section: str,
) -> HTMLResponse:
    """Return a dialog with secrets, by label, that are shown this once, and lead ``onward``."""
    return dialog(
        request,
        "secrets.html",
        heading=heading,
        shown={label: each.reveal() for label, each in values.items()},
        note=note,
        onward=onward,
        section=section,
    )


def failure(
    request: Request,
    *,
    status: int,
    title: str,
    detail: str,
    hint: str | None = None,
    fields: tuple[tuple[str, str], ...] = (),
    seconds: int | None = None,
) -> HTMLResponse:
    """Return what went wrong: in place if a script asked, else as a page."""
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return render(
        request,
        "failure.html",
        status=status,
        headers=headers,
        title=title,
        detail=detail,
        hint=hint,
        fields=fields,
    )


def failure_of(request: Request, error: TenantryError) -> HTMLResponse:
    """Return one of our own errors as ``failure``."""
    return failure(
        request,
        status=error.status,
        title=error.title,
        detail=messages.detail(error),
        hint=messages.plain(error.hint),
        fields=messages.fields(error),
        seconds=error.seconds if isinstance(error, TooManyRequests) else None,
    )


def to_sign_in(request: Request) -> Response:
    """Have the browser sign in, and come back to the page that it is on."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if is_fragment(request):
        here = _path_of(request.headers.get("hx-current-url", "")).removeprefix(prefix(request))
    elif request.method != "GET":
        here = "/"
    return go(request, SIGN_IN if here in {"", "/"} else f"{SIGN_IN}?next={quote(here, safe='')}")


def here(request: Request, *, without: Collection[str] = (), **changed: str) -> str:
    """Return the address of this page with its filters, and with what is ``changed`` of them."""
    left_out = {"done", *without, *changed}
    query = [each for each in request.query_params.multi_items() if each[0] not in left_out]
    query += changed.items()
    return request.url.path + (f"?{urlencode(query)}" if query else "")


def following(request: Request, cursor: str | None) -> str | None:
    """Return the address of the next page, with the filters of this one; None if it is the last."""
    return None if cursor is None else here(request, cursor=cursor)


def own_path(text: str) -> str:
    """Return ``text`` if it is the path of a page of ours, else the first page's."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if plain and text.startswith("/") and text[1:2] != "/" else "/"


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    return parts.path + (f"?{parts.query}" if parts.query else "")
