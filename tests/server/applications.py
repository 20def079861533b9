"""An application's client, of the users in a tenant's database, and a mail server."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from tenants import PASSWORD, Connection, Tenant
from test_api_roles import disable, enable

from harness import free_ports
from tenantry.base.setting_groups import Smtp
from tenantry.pg import application_users, logins, names
from tenantry.rest.authentication import Authentication
from tenantry.rest.database import DatabaseApi
from tenantry.services.application_users import limits
from tenantry.services.application_users.model import AuthSettings, Site
from tenantry.services.application_users.service import ApplicationUsers
from tenantry.services.data_api.model import ServedDatabase
from tenantry_rest import Answer, HttpRequest

SECRET = b"s" * 64
ANN = {"email": "Ann@Example.com", "password": "correct horse"}
SITE = "https://app.example.com"
Row = dict[str, Any]


class Mails:
    """A mail server; ``arrived`` are the texts of what it took."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.arrived: list[str] = []
        self.recipients: list[str] = []

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content)
        content = mail.get_payload(decode=True)
        assert isinstance(content, bytes)
        self.arrived.append(content.decode())
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def link(self) -> Row:
        """What the newest message's link has."""
        (found,) = re.findall(r"http://localhost\S+", self.arrived[-1])
        return {name: values[0] for name, values in parse_qs(urlsplit(found).query).items()}


@dataclass
class App:
    """An application's client, of the database's own users."""

    api: DatabaseApi
    users: ApplicationUsers
    address: str = "192.0.2.1"
    said: list[Answer] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: object = None, token: str = "") -> Row:
        return await self.send(method, path, json.dumps(body), token)

    async def send(self, method: str, path: str, body: str, token: str = "") -> Row:
        route, _, query = path.partition("?")
        headers = [("authorization", f"Bearer {token}")] if token else []
        http = HttpRequest(method, route, query, headers, body.encode())
        there = Authentication(self.users, lambda _: "http://localhost/auth/v1")
        answer = await there.of(self.api, self.address).respond(http)
        self.said.append(answer)
        found: Row = json.loads(answer.body or b"{}")
        return found

    @property
    def status(self) -> int:
        return self.said[-1].status

    def site(self) -> Site:
        there = Authentication(self.users, lambda _: "http://localhost/auth/v1")
        return there.of(self.api, self.address)._site

    async def sign_up(self, **more: object) -> Row:
        return await self.ask("POST", "/signup", ANN | more)

    async def sign_in(self, **more: object) -> Row:
        return await self.ask("POST", "/token?grant_type=password", ANN | more)

    async def refresh(self, token: str) -> Row:
        return await self.ask("POST", "/token?grant_type=refresh_token", {"refresh_token": token})

    def located(self) -> Row:
        """What the application is given by the answer, a redirection."""
        assert self.status == 303
        place = urlsplit(dict(self.said[-1].headers)["Location"])
        page = place._replace(query="", fragment="").geturl()
        return {"page": page, **dict(parse_qsl(place.query)), **dict(parse_qsl(place.fragment))}

    async def follow(self, mails: Mails) -> Row:
        """Follow the link of the newest e-mail, as a browser does."""
        await self.sent()
        self.users._limits = limits.Limits()  # another e-mail to the same address has not to wait
        await self.ask("GET", f"/verify?{urlencode(mails.link())}")
        return self.located()

    async def sent(self) -> None:
        """Wait for the e-mails that are being sent."""
        await self.users.close()


def served(tenant: Tenant, settings: AuthSettings) -> ServedDatabase:
    return ServedDatabase(
        database_id=uuid.uuid4(),
        database_name=tenant.databases[0],
        marker="1",
        schemas=("public",),
        anonymous_role="anon",
        open=False,
        max_rows=None,
        statement_timeout_ms=None,
        jwt_secrets=(SECRET,),
        jwks_url=None,
        allowed_origins=(),
        authenticator=names.authenticator(tenant.role),
        password=PASSWORD,
        max_connections=5,
        roles={"anon": "anon", "authenticated": "authenticated"},
        networks=None,
        stopped=False,
        read_only=False,
        auth=settings,
    )


@contextmanager
def receiving() -> Iterator[Mails]:
    made = Mails()
    controller = Controller(made, hostname="127.0.0.1", port=made.port)
    controller.start()
    yield made
    controller.stop()


def smtp(mails: Mails) -> Smtp:
    return Smtp(host="127.0.0.1", port=mails.port, security="none", sender="auth@example.com")


@asynccontextmanager
async def opened(
    tenant: Tenant, smtp: Smtp | None = None, settings: AuthSettings | None = None
) -> AsyncIterator[App]:
    has = served(tenant, settings or AuthSettings(SITE, ("myapp://signed-in",)))
    api = DatabaseApi(has, tenant.address, "http://localhost/rest/v1")
    await api.open()
    users = ApplicationUsers(smtp, "localhost")
    try:
        yield App(api, users)
    finally:
        await users.close()
        await api.close()


@asynccontextmanager
async def prepared(platform: Connection, tenant: Tenant) -> AsyncIterator[None]:
    await enable(platform, tenant)
    async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]) as inside:
        for _ in range(2):
            await application_users.prepare(inside, tenant.role)
    await logins.grant(
        tenant.address,
        tenant.databases[0],
        tenant=tenant.role,
        role="service_role",
        access="read_write",
    )
    yield
    await disable(platform, tenant)


def claims(session: Row) -> Row:
    return jwt.decode(
        session["access_token"], SECRET, algorithms=["HS256"], audience="authenticated"
    )
