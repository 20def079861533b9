"""Authenticators and recovery codes; and that nobody can read any secret of a person."""

import hashlib
import json
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pyotp

from answers import data, problem
from harness import Installation
from persons import (
    OTHER,
    PASSWORD,
    WRONG,
    Person,
    authenticator,
    change,
    confirmed,
    some_email,
    unlocked,
)


def audit(api: httpx.Client, **wanted: str) -> list[dict[str, Any]]:
    return list(data(api.get("/api/audit-logs", params=wanted)))


# The second factor


def test_with_an_authenticator_a_password_is_half_a_login(
    platform: Installation, people: Callable[..., Person]
) -> None:
    person = people()
    totp, _ = authenticator(person.come_in())
    endpoint = Person(platform, person.email)
    half = data(endpoint.login())
    assert (half["status"], half["token"]) == ("mfa_required", None)
    problem(endpoint.hold(half["challenge"]).get("/api/auth/me"), 401)
    problem(endpoint.answer(half["challenge"], "000000"), 401)
    code = totp.now()
    session = endpoint.hold(data(endpoint.answer(half["challenge"], code))["token"])
    assert data(session.get("/api/auth/me"))["user"]["mfa"] is True
    problem(endpoint.answer(half["challenge"], totp.now()), 401)  # a challenge is answered once
    again = data(endpoint.login())
    problem(endpoint.answer(again["challenge"], code), 401)  # a code is taken once


def test_a_challenge_ends(platform: Installation, people: Callable[..., Person]) -> None:
    person = people()
    totp, _ = authenticator(person.come_in())
    half = data(person.login())
    change(platform, "UPDATE login_challenges SET expires_at = now()")
    problem(person.answer(half["challenge"], totp.now()), 401)


def test_codes_are_not_to_be_guessed(platform: Installation, people: Callable[..., Person]) -> None:
    """Logging in half-way again and again gives no more tries."""
    person = people()
    reported = data(person.login())
    device = reported["device_token"]
    totp, recovery = authenticator(person.hold(reported["token"]))
    endpoint = Person(platform, person.email)
    half = data(endpoint.login())
    for _ in range(5):
        endpoint = Person(platform, person.email)
        half = data(endpoint.login())
        problem(endpoint.answer(half["challenge"], "nonsense"), 401)
    problem(endpoint.answer(half["challenge"], totp.now()), 429)
    assert data(Person(platform, person.email).login())["status"] == "mfa_required"
    unlocked(platform, person.email)
    problem(endpoint.answer(half["challenge"], "nonsense"), 401)
    problem(endpoint.answer(half["challenge"], recovery[0]), 429)
    # Whoever knows the password and guesses does not keep the owner out of a known device.
    known = Person(platform, person.email, device=device)
    half = data(known.login())
    problem(known.answer(half["challenge"], "nonsense"), 401)
    data(known.answer(half["challenge"], recovery[1]))


def test_a_recovery_code_opens_once(people: Callable[..., Person]) -> None:
    person = people()
    _, codes = authenticator(person.come_in())
    assert len(codes) == 10

    def come_in(code: str) -> httpx.Response:
        answer: httpx.Response = person.answer(data(person.login())["challenge"], code)
        return answer

    session = person.hold(data(come_in(codes[3].upper().replace("-", " ")))["token"])
    assert data(session.get("/api/auth/me"))["recovery_codes_left"] == 9
    problem(come_in(codes[3]), 401)
    headers = {"Idempotency-Key": str(uuid.uuid4())}

    def renew() -> Any:
        body = {"password": PASSWORD}
        return data(session.post("/api/auth/recovery-codes", json=body, headers=headers))

    new = renew()["recovery_codes"]
    assert renew()["recovery_codes"] == new
    problem(come_in(codes[4]), 401)
    data(come_in(new[4]))


def test_an_authenticator_comes_and_goes_with_proof(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    person = people()
    session = person.come_in()
    problem(session.post("/api/auth/totp", json={"password": WRONG}), 401)
    problem(session.post("/api/auth/totp/confirm", json={"code": "123456"}), 409)
    data(session.post("/api/auth/totp", json={"password": PASSWORD}))
    reported = problem(session.post("/api/auth/totp/confirm", json={"code": "x"}), 422)
    assert reported["errors"][0]["field"] == "code"
    assert data(person.login())["status"] == "signed_in"  # not confirmed, not in force
    totp, codes = authenticator(session)
    problem(session.post("/api/auth/totp", json={"password": PASSWORD}), 409)
    off = {"password": PASSWORD, "code": totp.now()}
    problem(session.post("/api/auth/totp/remove", json=off | {"password": WRONG}), 401)
    problem(session.post("/api/auth/totp/remove", json=off | {"code": "000000"}), 401)
    assert data(person.login())["status"] == "mfa_required"
    data(session.post("/api/auth/totp/remove", json=off))
    session = person.come_in()
    authenticator_again(platform, session)
    path = f"/api/users/{data(session.get('/api/auth/me'))['id']}"
    data(api.post(f"{path}/remove-totp"))
    problem(session.get("/api/auth/me"), 401)
    person.come_in()
    assert codes


def authenticator_again(platform: Installation, session: httpx.Client) -> None:
    """A second one, within the step that the first one used up."""
    me = data(session.get("/api/auth/me"))["id"]
    change(platform, "UPDATE users SET totp_last_step = 0 WHERE id = %s", me)
    authenticator(session)


# What nobody can read


def test_no_secret_of_a_person_is_kept_or_logged(
    platform: Installation, api: httpx.Client, people: Callable[..., Person]
) -> None:
    secrets = [PASSWORD, WRONG, OTHER]
    person = people()
    problem(person.login(WRONG), 401)
    half = data(person.login())
    secrets.append(half["token"])
    session = person.hold(half["token"])
    headers = {"Idempotency-Key": "the same for all of it"}
    made = data(session.post("/api/auth/totp", json={"password": PASSWORD}, headers=headers))
    totp = pyotp.TOTP(made["secret"])
    session.headers["Idempotency-Key"] = "confirmation"
    codes = confirmed(session, totp)
    del session.headers["Idempotency-Key"]
    challenge = data(person.login())["challenge"]
    token = data(person.answer(challenge, totp.now()))["token"]
    asked = {"current_password": PASSWORD, "new_password": OTHER}
    data(person.hold(token).post("/api/auth/password", json=asked, headers=headers))
    email = some_email()
    reset = api.post(
        "/api/users", json={"email": email}, headers={"Idempotency-Key": str(uuid.uuid4())}
    )
    secrets += [made["secret"], *codes, challenge, token]
    secrets += [totp.byte_secret().hex(), data(reset, 201)["password"]]

    plain = b"POST /api/auth/totp\n" + json.dumps({"password": PASSWORD}).encode()
    secrets.append(hashlib.sha256(plain).hexdigest())  # a password is guessed from that

    dump = subprocess.run(
        [
            *("pg_dump", "--host", str(platform.home / "run" / "control"), "--port", "5432"),
            *("--username", "tenantry_admin", "tenantry_control"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert person.email in dump
    texts = {
        path.name: path.read_text(errors="replace") for path in platform.home.glob("logs/**/*")
    }
    assert texts
    for secret in secrets:
        bare = secret.split("_")[-1]
        for form in (bare, bare.encode().hex(), bare.replace("-", "")):
            assert form not in dump, secret
            assert [name for name, text in texts.items() if form in text] == []
    rows = audit(api, actor=person.email)
    assert {"login", "user.totp_on", "user.change_password"} <= {row["action"] for row in rows}
