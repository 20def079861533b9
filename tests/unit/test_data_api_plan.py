"""Data APIs without a server: which logins differ, what is sealed, and what tokens say."""

import datetime as dt
import uuid
from dataclasses import replace

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import database_row
from tenantry.base.errors import Conflict
from tenantry.base.secrets import Seal, Secret
from tenantry.control.data_apis import DataApiRow
from tenantry.pg import names
from tenantry.pg.api_roles import SHARED, Authenticator
from tenantry.services.data_api import plan, tokens
from tenantry.services.data_api.plan import Actual, DropLogin, LimitLogin, RestoreLogin, Wanted
from tenantry.services.data_api.serving import Vault

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
DATABASE = database_row()
LOGIN = names.authenticator(DATABASE.username)
SOUND = Authenticator("a verifier", DATABASE.max_connections, frozenset(SHARED))


def api(**changes: object) -> DataApiRow:
    found = DataApiRow(
        database_id=DATABASE.id,
        authenticator=LOGIN,
        status="active",
        schemas=["public"],
        anonymous=True,
        open=False,
        max_rows=None,
        statement_timeout_ms=None,
        jwks_url=None,
        allowed_origins=[],
        auth=None,
        password=b"",
        verifier="a verifier",
        jwt_secret=b"",
        previous_jwt_secret=None,
        previous_until=None,
        keys_issued_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def differences(wanted: DataApiRow | None, there: Authenticator | None) -> list[plan.Action]:
    return plan.differences(
        [DATABASE],
        Wanted({} if wanted is None else {DATABASE.id: wanted}, {}),
        Actual({} if there is None else {LOGIN: there}, {DATABASE.database_name: {LOGIN}}),
    )


@pytest.mark.parametrize(
    ("wanted", "there", "actions"),
    [
        (None, None, []),
        (None, SOUND, [DropLogin(DATABASE.id)]),
        (api(), SOUND, []),
        (api(), None, [RestoreLogin(DATABASE.id)]),
        (api(), replace(SOUND, verifier="another"), [RestoreLogin(DATABASE.id)]),
        (api(), replace(SOUND, sound=False), [RestoreLogin(DATABASE.id)]),
        (api(), replace(SOUND, roles=frozenset({"anon"})), [RestoreLogin(DATABASE.id)]),
        (api(), replace(SOUND, max_connections=1), [LimitLogin(DATABASE.id)]),
        (api(status="disabling"), SOUND, [DropLogin(DATABASE.id)]),
        (api(status="disabling"), None, [DropLogin(DATABASE.id)]),
    ],
)
def test_a_login_is_as_it_is_wanted(
    wanted: DataApiRow | None, there: Authenticator | None, actions: list[plan.Action]
) -> None:
    assert differences(wanted, there) == actions


def test_a_missing_database_is_left_alone() -> None:
    missing = replace(DATABASE, missing_since=NOW)
    assert plan.differences([missing], Wanted({}, {}), Actual({LOGIN: SOUND}, {})) == []


def test_a_sealed_secret_is_of_no_use_elsewhere() -> None:
    vault, secret = Vault(Seal(Seal.new_key())), Secret("x" * 64)
    sealed = vault.close_jwt_secret(DATABASE.id, secret)
    assert vault.jwt_secret(api(jwt_secret=sealed)) == secret
    for wrong in (
        api(jwt_secret=sealed, database_id=uuid.uuid4()),
        api(jwt_secret=vault.close_password(DATABASE.id, secret)),
    ):
        with pytest.raises(Conflict):
            vault.jwt_secret(wrong)


def test_the_previous_secret_is_valid_until_its_time() -> None:
    vault = Vault(Seal(Seal.new_key()))
    present, previous = (vault.close_jwt_secret(DATABASE.id, Secret(text)) for text in "ab")
    now = dt.datetime.now(dt.UTC)
    for until, valid in ((now + dt.timedelta(hours=1), "ab"), (now, "a")):
        found = api(jwt_secret=present, previous_jwt_secret=previous, previous_until=until)
        assert "".join(each.reveal() for each in vault.valid_secrets(found)) == valid


@given(role=st.text(min_size=1), sub=st.none() | st.text(min_size=1))
def test_a_token_says_what_it_was_made_for(role: str, sub: str | None) -> None:
    secret = Secret("s" * 64)
    claims = tokens.Claims("tenant_x", role, sub, NOW, NOW + tokens.KEYS_LAST)
    token = tokens.issue(secret, claims)
    assert token == tokens.issue(secret, claims)
    assert "s" * 64 not in repr(token)
    said = jwt.decode(
        token.reveal(), secret.reveal(), algorithms=["HS256"], options={"verify_iat": False}
    )
    assert (said["role"], said.get("sub"), said["ref"]) == (role, sub, "tenant_x")


@given(st.from_regex(r"[a-z0-9]{12}", fullmatch=True))
def test_a_login_is_named_as_no_additional_role_can_be(suffix: str) -> None:
    owner = names.owner(suffix)
    login = names.authenticator(owner)
    assert names.is_authenticator(login)
    assert names.owner_role(login) == owner
    assert len(login.encode()) <= 63
    assert not names.is_authenticator(names.additional(owner, "authenticator"))
    assert not names.is_authenticator(owner)
