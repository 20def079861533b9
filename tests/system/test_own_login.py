"""What people do about their own login on a terminal: another password, an authenticator."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from qrcode.constants import ERROR_CORRECT_L
from qrcode.main import QRCode

from answers import data
from harness import Installation
from persons import OTHER, PASSWORD, WRONG, Person
from terminals import Terminal


@dataclass(frozen=True)
class Ann:
    """A user who has logged in with the CLI."""

    platform: Installation
    person: Person

    def terminal(self, *words: str, **options: Any) -> Terminal:
        return Terminal(*words, env=self.platform.env, **options)

    def pipe(self, *words: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
        return self.platform.tenantry(*words, stdin=typed, check=False)


@pytest.fixture
def ann(
    platform: Installation,
    people: Callable[..., Person],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Ann]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    person = people()
    platform.tenantry("login", person.email, stdin=f"{PASSWORD}\n")
    yield Ann(platform, person)
    platform.tenantry("logout")


def picture_of(uri: str, border: int) -> list[list[bool]]:
    code = QRCode(error_correction=ERROR_CORRECT_L, border=border)
    code.add_data(uri)
    rows: list[list[bool]] = code.get_matrix()
    return rows


def seen_modules(text: str) -> list[list[bool]]:
    """The dark modules of the picture in half blocks that is on a terminal."""
    lines = [line for line in text.splitlines() if re.fullmatch("[ █▀▄]{21,}", line)]
    upper = [[c not in "█▀" for c in line] for line in lines]
    lower = [[c not in "█▄" for c in line] for line in lines]
    return [row for pair in zip(upper, lower, strict=True) for row in pair]


def test_an_authenticator_on_a_terminal(ann: Ann) -> None:
    with ann.terminal("totp", "on") as here:
        here.expect("Your password: ")
        here.type(PASSWORD)
        seen = here.expect("The code that it shows now: ")
        uri = re.findall(r"otpauth://\S+", seen)[0]
        totp = pyotp.parse_uri(uri)
        assert isinstance(totp, pyotp.TOTP)
        assert f"secret  {totp.secret}" in seen
        dark = picture_of(uri, border=2)
        assert seen_modules(seen)[: len(dark)] == dark
        here.type("000000")
        here.expect("not the code of this moment")
        here.expect("The code that it shows now: ")
        here.type(totp.now())
        code, seen = here.end()
    assert code == 0
    codes = re.findall(r"recovery code +\d+ +(\S+)", seen)
    assert len(set(codes)) == 10
    assert "shown this once" in seen
    assert PASSWORD not in seen
    assert data(ann.person.login())["status"] == "mfa_required"

    # Again: refused, and reported what to do, in the CLI's words.
    reported = ann.pipe("totp", "on", typed=f"{PASSWORD}\n")
    assert (reported.returncode, "tenantry totp off" in reported.stderr) == (1, True)

    with ann.terminal("totp", "codes") as here:
        here.expect("Your password: ")
        here.type(PASSWORD)
        code, seen = here.end()
    assert code == 0
    fresh = re.findall(r"recovery code +\d+ +(\S+)", seen)
    assert len(set(fresh) - set(codes)) == 10

    with ann.terminal("totp", "off") as here:
        here.expect("Your password: ")
        here.type(PASSWORD)
        here.expect("or a recovery code: ")
        here.type(codes[0])  # which the new ones have replaced
        code, seen = here.end()
    assert (code, "not right" in seen) == (1, True)
    with ann.terminal("totp", "off") as here:
        here.expect("Your password: ")
        here.type(PASSWORD)
        here.expect("or a recovery code: ")
        here.type(fresh[0])
        code, seen = here.end()
    assert (code, "need no code any more" in seen) == (0, True)
    assert data(ann.person.login())["status"] == "signed_in"


def test_a_terminal_that_is_too_narrow_shows_the_secret_only(ann: Ann) -> None:
    with ann.terminal("totp", "on", size=(24, 40)) as here:
        here.expect("Your password: ")
        here.type(PASSWORD)
        seen = here.expect("The code that it shows now: ")
        assert seen_modules(seen) == []
        assert re.search(r"^secret +[A-Z2-7]{32}$", seen, re.MULTILINE)
    assert data(ann.person.login())["status"] == "signed_in"  # nothing was confirmed


def test_an_authenticator_by_a_script(ann: Ann) -> None:
    words = [sys.executable, "-m", "tenantry.cli", "totp", "on", "--json"]
    with subprocess.Popen(
        words, env=ann.platform.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        script.stdin.write(f"{PASSWORD}\n")
        script.stdin.flush()
        totp = pyotp.TOTP(json.loads(script.stdout.readline())["secret"])
        script.stdin.write(f"{totp.now()}\n")
        script.stdin.close()
        codes = json.loads(script.stdout.readline())["recovery_codes"]
    assert script.returncode == 0
    refused = ann.pipe("totp", "off", typed=f"{PASSWORD}\n000000\n")
    assert (refused.returncode, "not right" in refused.stderr) == (1, True)
    refused = ann.pipe("totp", "off", typed=f"{WRONG}\n{codes[0]}\n")
    assert refused.returncode == 1
    assert data(ann.person.login())["status"] == "mfa_required"
    done = ann.pipe("totp", "off", "--json", typed=f"{PASSWORD}\n{codes[0]}\n")
    assert json.loads(done.stdout) == {"done": True}
    wrong = ann.pipe("totp", "codes", typed=f"{PASSWORD}\n")
    assert (wrong.returncode, "tenantry totp on" in wrong.stderr) == (1, True)


def test_another_password_on_a_terminal(ann: Ann) -> None:
    elsewhere = Person(ann.platform, ann.person.email).come_in()
    with ann.terminal("password") as here:
        here.expect("Your present password: ")
        here.type(PASSWORD)
        here.expect("The new one: ")
        here.type(OTHER)
        here.expect("The same once more: ")
        here.type(WRONG)  # a slip: asked for again
        here.expect("The new one: ")
        here.type(OTHER)
        here.expect("The same once more: ")
        here.type(OTHER)
        code, seen = here.end()
    assert (code, "is changed" in seen) == (0, True)
    assert PASSWORD not in seen
    assert OTHER not in seen
    assert elsewhere.get("/api/auth/me").status_code == 401
    assert ann.pipe("db", "list").returncode == 0  # this session goes on
    assert ann.person.login(PASSWORD).status_code == 401
    assert data(ann.person.login(OTHER))["status"] == "signed_in"
    # Without a terminal: a line each. A weak one is refused, and why is reported.
    weak = ann.pipe("password", typed=f"{OTHER}\n{ann.person.email}\n")
    assert (weak.returncode, "the new password" in weak.stderr) == (1, True)
    wrong = ann.pipe("password", typed=f"{WRONG}\n{PASSWORD}\n")
    assert wrong.returncode == 1
    assert data(ann.person.login(OTHER))["status"] == "signed_in"
    done = ann.pipe("password", "--json", typed=f"{OTHER}\n{PASSWORD}\n")
    assert json.loads(done.stdout) == {"done": True}
    assert data(ann.person.login(PASSWORD))["status"] == "signed_in"


def test_a_key_has_neither_password_nor_authenticator(
    platform: Installation, api: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody is logged in: neither the machine's key nor one in the environment is taken."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for key in ("", platform.key):
        monkeypatch.setenv("TENANTRY_API_KEY", key)
        for words in (("password",), ("totp", "on"), ("totp", "off"), ("totp", "codes")):
            reported = platform.tenantry(*words, stdin=f"{PASSWORD}\n", check=False)
            assert reported.returncode == 1
            assert "tenantry login" in reported.stderr
    assert api.get("/ready").is_success
