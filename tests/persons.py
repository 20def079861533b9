"""Users of a platform's API, each at an address of their own."""

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
_addresses = (f"127.51.{a}.{b}" for a, b in itertools.product(range(100), range(1, 255)))


def some_email() -> str:
    return f"u{uuid.uuid4().hex[:12]}@example.com"


def make_user(api: httpx.Client, **asked: object) -> dict[str, Any]:
    body = {"email": some_email(), "password": PASSWORD, **asked}
    return dict(data(api.post("/api/users", json=body), 201))


class Person:
    """Somebody at an address of their own, one of this machine's 127.0.0.0/8.

    ``device`` is the token of an earlier login from the same device.
    """

    everybody: ClassVar[list["Person"]] = []

    def __init__(
        self,
        platform: Installation,
        email: str,
        address: str | None = None,
        *,
        device: str | None = None,
    ) -> None:
        self.email = email
        self.device = {"device_token": device} if device else {}
        self.http = platform.anonymous(address=address or next(_addresses))
        self.everybody.append(self)

    def login(self, password: str = PASSWORD) -> httpx.Response:
        body = {"email": self.email, "password": password, **self.device}
        return self.http.post("/api/auth/login", json=body)

    def come_in(self, password: str = PASSWORD) -> httpx.Client:
        """Log in, and be that session from now on."""
        reported = data(self.login(password))
        assert reported["status"] == "signed_in"
        return self.hold(reported["token"])

    def hold(self, token: str) -> httpx.Client:
        self.http.headers["Authorization"] = f"Bearer {token}"
        return self.http

    def answer(self, challenge: str, code: str) -> httpx.Response:
        body = {"challenge": challenge, "code": code, **self.device}
        return self.http.post("/api/auth/mfa", json=body)


def change(platform: Installation, statement: str, *values: object) -> None:
    with platform.control() as control:
        control.execute(statement.encode(), values)


def unlocked(platform: Installation, email: str) -> None:
    """As if the wait were over."""
    change(
        platform,
        "UPDATE failed_logins SET locked_until = now() WHERE account = %s",
        email,
    )


def locked_for_long(platform: Installation, subject: str) -> None:
    """Have the wait of these subjects (LIKE) outlast a test, however slow the machine is."""
    change(
        platform,
        "UPDATE failed_logins SET locked_until = now() + interval '1 hour'"
        " WHERE locked_until IS NOT NULL AND subject LIKE %s",
        subject,
    )


def authenticator(session: httpx.Client) -> tuple[pyotp.TOTP, list[str]]:
    """Use one from now on."""
    made = data(session.post("/api/auth/totp", json={"password": PASSWORD}))
    totp = pyotp.parse_uri(made["uri"])
    assert isinstance(totp, pyotp.TOTP)
    assert totp.secret == made["secret"]
    return totp, confirmed(session, totp)


def confirmed(session: httpx.Client, totp: pyotp.TOTP) -> list[str]:
    """Confirm it by the code of the step before, since that of this one is for a login.

    Once more if a step has ended meanwhile. Returns the recovery codes.
    """
    while True:
        step = int(time.time()) // totp.interval
        body = {"code": totp.at((step - 1) * totp.interval)}
        answer = session.post("/api/auth/totp/confirm", json=body)
        if answer.is_success or int(time.time()) // totp.interval == step:
            codes: list[str] = data(answer)["recovery_codes"]
            return codes
