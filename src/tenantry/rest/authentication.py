"""The routes of application users, as Supabase's auth server (GoTrue) has them.

Its errors have GoTrue's form, whose clients read it.
"""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import psycopg
import structlog
from pydantic import ValidationError

from tenantry.base.secrets import Secret
from tenantry.rest.database import DatabaseApi
from tenantry.services.application_users import plan
from tenantry.services.application_users.model import AuthError, Kind, Scope, Site
from tenantry.services.application_users.one_time import Challenge, Handover
from tenantry.services.application_users.service import AddressChange, ApplicationUsers
from tenantry.services.bodies.application_users import (
    SHORTEST_PASSWORD,
    Address,
    AuthBody,
    Challenged,
    ChangeUser,
    CodeBody,
    Credentials,
    RefreshBody,
    Resend,
    Verify,
)
from tenantry_rest import Answer, ApiError, Caller, HttpRequest, exposing, preflight

log = structlog.get_logger()

_SECONDS = 60.0
# As json.dumps writes a character that PostgreSQL has not, and not a backslash before "u0000".
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_JSON = ("Content-Type", "application/json; charset=utf-8")
_SECRET = ("Cache-Control", "no-store")  # answers have tokens
_WITHOUT_KEY = frozenset({"/verify", "/health", "/.well-known/jwks.json"})
_SCOPES: Mapping[str, Scope] = {"local": "local", "global": "global", "others": "others"}
_KINDS: Mapping[str, Kind] = {
    "signup": "signup",
    "email": "signup",
    "recovery": "recovery",
    "email_change": "email_change",
}
_ACCEPTED = "Confirmation link accepted. Please proceed to confirm link sent to the other email"
_PROVIDERS = ("apple", "azure", "bitbucket", "discord", "facebook", "github", "gitlab", "google")

B = TypeVar("B", bound=AuthBody)


class Authentication:
    """The users of all databases, as requests ask for them."""

    def __init__(self, users: ApplicationUsers, url_of: Callable[[str], str]) -> None:
        self._users = users
        self._url_of = url_of

    def of(self, api: DatabaseApi, client: str) -> "DatabaseUsers":
        """Return the users of one database, for a client. Raises ApiError if it has none."""
        served = api.served
        if served.auth is None:
            message = "The data API of this database has no application users"
            hint = "Enable them: tenantry data-api enable DATABASE --auth."
            raise ApiError(404, "auth_not_enabled", message, hint=hint)
        name = served.database_name
        url = self._url_of(name)
        site = Site(name, served.auth, served.jwt_secrets, url, api.connection, client)
        return DatabaseUsers(self._users, api, site)


class DatabaseUsers:
    """Answers one request about the users of one database."""

    def __init__(self, users: ApplicationUsers, api: DatabaseApi, site: Site) -> None:
        self._users = users
        self._api = api
        self._site = site
        self._routes: Mapping[tuple[str, str], Callable[[HttpRequest], Awaitable[Answer]]] = {
            ("POST", "/signup"): self._sign_up,
            ("POST", "/token"): self._token,
            ("GET", "/user"): self._user,
            ("PUT", "/user"): self._change,
            ("POST", "/logout"): self._sign_out,
            ("POST", "/recover"): self._recover,
            ("POST", "/resend"): self._resend,
            ("GET", "/verify"): self._follow_link,
            ("POST", "/verify"): self._verify,
            ("GET", "/settings"): self._settings,
            ("GET", "/health"): self._health,
            ("GET", "/.well-known/jwks.json"): self._keys,
        }

    def check_head(self, http: HttpRequest) -> bool:
        """Return whether a body may be large: none is. What is refused is so by ``respond``."""
        del http
        return False

    async def respond(self, http: HttpRequest) -> Answer:
        """Answer a request that has a place. Raises ApiError without a connection."""
        origins = self._api.config.server_cors_allowed_origins
        if (asked := preflight(http, origins)) is not None:
            return Answer(200, asked)
        try:
            async with asyncio.timeout(_SECONDS):
                found = await self._respond(http)
        except AuthError as error:
            if isinstance(error.__cause__, psycopg.Error):
                state = error.__cause__.sqlstate
                log.warning("application_users.failed", database=self._site.database, state=state)
            found = _refused(error)
        except TimeoutError:
            found = _refused(AuthError(504, "request_timeout", "The request took too long"))
        found.headers += [*exposing(http, origins), _SECRET]
        return found

    async def _respond(self, http: HttpRequest) -> Answer:
        # Not HEAD as GET: what looks at links in e-mails would use them up.
        if (route := self._routes.get((http.method, http.path))) is None:
            known = {path for _, path in self._routes}
            if http.path in known:
                raise AuthError(405, "bad_request", "This route has no such method")
            raise AuthError(404, "not_found", "There is no such route, or it is not implemented")
        if http.path not in _WITHOUT_KEY:
            self._check_key(http)
        writes = http.method != "GET" or http.path == "/verify"
        if self._api.served.read_only and writes:
            message = "The database is read-only: its quota, or the server's disk, is used up"
            raise AuthError(503, "unexpected_failure", message)
        return await route(http)

    # ── routes ───────────────────────────────────────────────────────────────

    async def _sign_up(self, http: HttpRequest) -> Answer:
        content = _content(http)
        if not content.get("email"):
            if content.get("phone"):
                raise AuthError(400, "phone_provider_disabled", "Phone signups are disabled")
            message = "Anonymous sign-ins are disabled"
            raise AuthError(422, "anonymous_provider_disabled", message)
        body = _read(Credentials, content)
        password = _new_password(body.password.get_secret_value())
        return _json(
            await self._users.sign_up(
                self._site, body.email, password, body.data or {}, self._handover(http, body)
            )
        )

    async def _token(self, http: HttpRequest) -> Answer:
        kind = _query(http).get("grant_type")
        if kind == "password":
            body = _read(Credentials, _content(http))
            password = Secret(body.password.get_secret_value())
            return _json(await self._users.sign_in(self._site, body.email, password))
        if kind == "refresh_token":
            token = _read(RefreshBody, _content(http)).refresh_token
            return _json(await self._users.refresh(self._site, token))
        if kind == "pkce":
            proof = _read(CodeBody, _content(http))
            return _json(
                await self._users.exchange(self._site, proof.auth_code, proof.code_verifier)
            )
        message = "grant_type: password, refresh_token or pkce"
        raise AuthError(400, "unsupported_grant_type", message)

    async def _user(self, http: HttpRequest) -> Answer:
        return _json(await self._users.show(self._site, self._claims(http)))

    async def _change(self, http: HttpRequest) -> Answer:
        claims, body = self._claims(http), _read(ChangeUser, _content(http))
        change = None
        if body.email is not None and body.email != claims.get("email"):
            change = AddressChange(body.email, self._handover(http, body))
        password = None
        if body.password is not None:
            password = _new_password(body.password.get_secret_value())
        return _json(
            await self._users.change(self._site, claims, password, body.data or {}, change)
        )

    async def _sign_out(self, http: HttpRequest) -> Answer:
        if (scope := _SCOPES.get(_query(http).get("scope", "global"))) is None:
            raise AuthError(400, "validation_failed", "scope: local, global or others")
        await self._users.sign_out(self._site, self._claims(http), scope)
        return Answer(204)

    async def _recover(self, http: HttpRequest) -> Answer:
        return await self._send(http, _read(Address, _content(http)), "recovery")

    async def _resend(self, http: HttpRequest) -> Answer:
        return await self._send(http, _read(Resend, _content(http)), "signup")

    async def _send(self, http: HttpRequest, to: Address, kind: Kind) -> Answer:
        await self._users.send(self._site, to.email, kind, self._handover(http, to))
        return _json({})

    async def _verify(self, http: HttpRequest) -> Answer:
        body = _read(Verify, _content(http))
        token = body.token_hash or body.token or ""
        verified = await self._users.verify(
            self._site, _KINDS[body.type], token, self._redirect(http), by_link=False
        )
        return _json(verified.session or {"code": 200, "msg": _ACCEPTED})

    async def _follow_link(self, http: HttpRequest) -> Answer:
        """Lead a browser that follows a link of an e-mail to the application, with a session.

        It is in the fragment of the URL, which browsers send to no server. A code for a session is
        in the query.
        """
        query = _query(http)
        kind, page = _KINDS.get(query.get("type", "")), self._redirect(http)
        if page is None or kind is None:
            raise AuthError(400, "validation_failed", "This link is of no application")
        try:
            verified = await self._users.verify(
                self._site, kind, query.get("token", ""), page, by_link=True
            )
            if verified.code is not None:
                return Answer(303, [("Location", plan.with_code(page, verified.code))])
            found = verified.session or {"message": _ACCEPTED}
            fragment = {name: value for name, value in found.items() if name != "user"}
            fragment["type"] = kind
        except AuthError as error:
            fragment = {"error": "access_denied", "error_code": error.code}
            fragment["error_description"] = error.message
        return Answer(303, [("Location", plan.with_fragment(page, fragment))])

    async def _settings(self, _: HttpRequest) -> Answer:
        return _json(
            {
                "external": {
                    "email": True,
                    "phone": False,
                    "anonymous_users": False,
                    **dict.fromkeys(_PROVIDERS, False),
                },
                "disable_signup": not self._site.settings.signup,
                "mailer_autoconfirm": not self._users.sends_mail(self._site),
                "phone_autoconfirm": False,
                "sms_provider": "",
                "saml_enabled": False,
            }
        )

    async def _health(self, _: HttpRequest) -> Answer:
        about = "Users of applications, compatible with GoTrue"
        return _json({"name": "Tenantry", "description": about})

    async def _keys(self, _: HttpRequest) -> Answer:
        # Tokens are signed with the data API's secret, and that is nobody else's.
        return _json({"keys": []})

    # ── helpers ──────────────────────────────────────────────────────────────

    def _check_key(self, http: HttpRequest) -> None:
        """Raise AuthError unless the key of the request is valid, or none is needed."""
        key = http.header("apikey")
        self._caller(http.header("authorization") if key is None else f"Bearer {key}", 401)

    def _claims(self, http: HttpRequest) -> Mapping[str, Any]:
        """Return the claims of the user's token. Raises AuthError."""
        caller = self._caller(http.header("authorization"), 403)
        if not caller.has_token:
            message = "This endpoint requires a valid Bearer token"
            raise AuthError(401, "no_authorization", message)
        return caller.claims

    def _caller(self, authorization: str | None, status: int) -> Caller:
        try:
            return self._api.caller(authorization)
        except ApiError as error:
            code = "no_authorization" if authorization is None else "bad_jwt"
            raise AuthError(status, code, f"invalid JWT: {error.message}") from None

    def _handover(self, http: HttpRequest, body: Challenged) -> Handover:
        challenge = None
        if body.code_challenge is not None:
            is_hash = body.code_challenge_method in {"s256", "S256"}
            challenge = Challenge(body.code_challenge, is_hash)
        return Handover(self._redirect(http), challenge)

    def _redirect(self, http: HttpRequest) -> str | None:
        return plan.redirect_of(self._site.settings, _query(http).get("redirect_to"))


def _query(http: HttpRequest) -> dict[str, str]:
    return dict(parse_qsl(http.query, keep_blank_values=True))


def _content(http: HttpRequest) -> dict[str, Any]:
    """Return the JSON object of a body. Raises AuthError."""
    try:
        found = json.loads(http.body)
        # PostgreSQL has no halves of characters, and its numbers are finite.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or _NUL.search(json.dumps(found)):
        raise AuthError(400, "bad_json", "Could not parse request body as JSON")
    if plan.is_too_deep(found):
        message = f"The body has more than {plan.DEEPEST} objects and arrays within each other"
        raise AuthError(400, "bad_json", message)
    return found


def _read(kind: type[B], content: dict[str, Any]) -> B:
    """Return a validated body. Raises AuthError, without any of its values."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{where}: {first['msg'].removeprefix('Value error, ')}"
        raise AuthError(400, "validation_failed", message) from None


def _new_password(text: str) -> Secret:
    if len(text) < SHORTEST_PASSWORD:
        message = f"Password should be at least {SHORTEST_PASSWORD} characters."
        raise AuthError(
            422, "weak_password", message, more={"weak_password": {"reasons": ["length"]}}
        )
    return Secret(text)


def _json(content: Mapping[str, object], status: int = 200) -> Answer:
    return Answer(status, [_JSON], json.dumps(content, separators=(",", ":")).encode())


def _refused(error: AuthError) -> Answer:
    found = _json(error.body(), error.status)
    if error.retry_seconds is not None:
        found.headers.append(("Retry-After", str(math.ceil(error.retry_seconds))))
    return found
