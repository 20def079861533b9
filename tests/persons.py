"""People before the door of a platform, each at an address of their own."""

import itertools
import time
import uuid
from typing import Any, ClassVar

import httpx
import pyotp

from answers import data
from harness import Installation

PASSWORD = "the lighthouse keeper sold umbrellas"
OTHER = "seven otters juggle copper kettles"
WRONG = "seven otters juggle copper lanterns"
_addresses = (f"198.51.{a}.{b}" for a, b in itertools.product(range(100), range(1, 255)))


def some_email() -> str:
    return f"u{uuid.uuid4().hex[:12]}@example.com"


def make_user(api: httpx.Client, **asked: object) -> dict[str, Any]:
    body = {"email": some_email(), "password": PASSWORD, **asked}
    return dict(data(api.post("/api/users", json=body), 201))


class Person:
    """Somebody at an address of their own (told as a proxy on this machine tells it)."""

    everybody: ClassVar[list["Person"]] = []

    def __init__(self, platform: Installation, email: str, address: str | None = None) -> None:
        self.email = email
        self.http = platform.stranger({"X-Forwarded-For": address or next(_addresses)})
        self.everybody.append(self)

    def login(self, password: str = PASSWORD) -> httpx.Response:
        return self.http.post("/api/auth/login", json={"email": self.email, "password": password})

    def come_in(self, password: str = PASSWORD) -> httpx.Client:
        """Log in, and be that session from now on."""
        told = data(self.login(password))
        assert told["status"] == "signed_in"
        return self.hold(told["token"])

    def hold(self, token: str) -> httpx.Client:
        self.http.headers["Authorization"] = f"Bearer {token}"
        return self.http

    def answer(self, challenge: str, code: str) -> httpx.Response:
        return self.http.post("/api/auth/mfa", json={"challenge": challenge, "code": code})


def change(platform: Installation, statement: str, *values: object) -> None:
    with platform.control() as control:
        control.execute(statement.encode(), values)


def unlocked(platform: Installation, email: str) -> None:
    """As if the wait were over."""
    change(
        platform,
        "UPDATE failed_logins SET locked_until = now() WHERE subject = %s",
        f"account:{email}",
    )


def authenticator(session: httpx.Client) -> tuple[pyotp.TOTP, list[str]]:
    """Use one from now on."""
    made = data(session.post("/api/auth/totp", json={"password": PASSWORD}))
    totp = pyotp.parse_uri(made["uri"])
    assert isinstance(totp, pyotp.TOTP)
    assert totp.secret == made["secret"]
    code = totp.at(int(time.time()) - 30)  # the step before: this one is for the login
    codes = data(session.post("/api/auth/totp/confirm", json={"code": code}))
    return totp, codes["recovery_codes"]
