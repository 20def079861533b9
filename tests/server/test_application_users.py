"""The users of an application, in a tenant's database, with a mail server that takes messages."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from applications import ANN, SITE, App, Mails, claims, opened, prepared, receiving, smtp
from tenants import Connection, Tenant
from test_api_roles import DENIED, as_role

from tenantry.pg import application_users, logins
from tenantry.services.application_users import limits
from tenantry.services.application_users.model import AuthSettings


@pytest.fixture(scope="module")
def mails() -> Iterator[Mails]:
    with receiving() as made:
        yield made


@pytest.fixture
async def database(platform: Connection, tenant: Tenant) -> AsyncIterator[Tenant]:
    async with prepared(platform, tenant):
        yield tenant


@pytest.fixture
async def app(database: Tenant) -> AsyncIterator[App]:
    """Without a mail server."""
    async with opened(database) as found:
        yield found


@pytest.fixture
async def mailing(database: Tenant, mails: Mails) -> AsyncIterator[App]:
    async with opened(database, smtp(mails)) as found:
        yield found


async def test_a_user_signs_up_and_in_and_out(app: App) -> None:
    made = await app.sign_up(data={"name": "Ann"})
    assert (app.status, made["token_type"], made["expires_in"]) == (200, "bearer", 3600)
    assert made["user"]["email"] == "ann@example.com"
    assert made["user"]["user_metadata"] == {"name": "Ann"}
    found = claims(await app.sign_in())
    assert found["sub"] == made["user"]["id"]
    assert (found["role"], found["aal"], found["email"]) == (
        "authenticated",
        "aal1",
        "ann@example.com",
    )
    assert found["iss"] == "http://localhost/auth/v1"
    assert found["amr"][0]["method"] == "password"
    token = made["access_token"]
    assert (await app.ask("GET", "/user", token=token))["id"] == found["sub"]
    await app.ask("POST", "/logout?scope=local", token=token)
    assert app.status == 204
    assert (await app.ask("GET", "/user", token=token))["error_code"] == "session_not_found"
    refused = await app.refresh(made["refresh_token"])
    assert (app.status, refused["error_code"]) == (400, "refresh_token_not_found")


async def test_nothing_secret_is_stored_or_shown(
    database: Tenant, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    made = await app.sign_up()
    async with await database.session() as owner:
        rows = await (
            await owner.execute("SELECT u::text, s::text FROM auth.users u, auth.sessions s")
        ).fetchall()
    assert "$argon2id$" in str(rows)
    for secret in (ANN["password"], made["refresh_token"], made["access_token"]):
        assert secret not in str(rows)
        assert secret not in caplog.text
    assert "argon2" not in json.dumps(made)
    assert dict(app.said[-1].headers)["Cache-Control"] == "no-store"


async def test_only_the_owner_and_the_service_reach_the_tables(database: Tenant, app: App) -> None:
    await app.sign_up()
    for role in ("anon", "authenticated"):
        async with as_role(database, role) as session:
            with pytest.raises(DENIED):
                await session.execute("SELECT FROM auth.users")
    async with await database.session() as owner:
        await owner.execute(
            "GRANT SELECT ON ALL TABLES IN SCHEMA auth TO authenticated;"
            "GRANT USAGE ON SCHEMA auth TO authenticated"
        )
    async with as_role(database, "authenticated") as session:
        cursor = await session.execute("SELECT FROM auth.users")
        assert cursor.rowcount == 0  # by default privileges one may be let in, and sees no row


async def test_refused_sign_ins_are_all_alike(app: App) -> None:
    await app.sign_up()
    wrong = await app.sign_in(password="another one")
    unknown = await app.sign_in(email="bob@example.com")
    assert (
        wrong
        == unknown
        == {
            "code": 400,
            "error_code": "invalid_credentials",
            "msg": "Invalid login credentials",
        }
    )
    weak = await app.sign_up(password="short")
    assert (app.status, weak["error_code"]) == (422, "weak_password")
    assert (await app.sign_up())["error_code"] == "user_already_exists"


async def test_an_account_is_locked_after_failures_whether_it_exists_or_not(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ACCOUNTS", replace(limits.ACCOUNTS, most=2))
    await app.sign_up()
    for email in ("ann@example.com", "nobody@example.com"):
        for number in range(limits.ACCOUNTS.most):
            app.address = f"192.0.2.{number}"
            await app.sign_in(email=email, password="wrong password")
            assert app.status == 400
        refused = await app.sign_in(email=email)
        assert (app.status, refused["error_code"]) == (429, "over_request_rate_limit")
        assert int(dict(app.said[-1].headers)["Retry-After"]) > 0


async def test_a_refresh_token_is_used_once(app: App) -> None:
    first = await app.sign_up()
    second = await app.refresh(first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert claims(second)["session_id"] == claims(first)["session_id"]
    # Two tabs ask at once: both have the same one then.
    assert (await app.refresh(first["refresh_token"]))["refresh_token"] == second["refresh_token"]
    third = await app.refresh(second["refresh_token"])
    stolen = await app.refresh(first["refresh_token"])
    assert (app.status, stolen["error_code"]) == (400, "refresh_token_already_used")
    await app.refresh(third["refresh_token"])
    assert app.status == 400
    forged = await app.refresh("A" * 75)
    assert forged["error_code"] == "refresh_token_not_found"


async def test_refreshes_at_once_have_one_outcome(app: App) -> None:
    made = await app.sign_up()
    found = await asyncio.gather(*(app.refresh(made["refresh_token"]) for _ in range(4)))
    assert len({each["refresh_token"] for each in found}) == 1


async def test_a_new_password_ends_other_sessions(app: App) -> None:
    one, other = await app.sign_up(data={"a": 1, "b": 2}), await app.sign_in()
    changes = {"password": "battery staple", "data": {"a": None, "c": 3}}
    changed = await app.ask("PUT", "/user", changes, one["access_token"])
    assert changed["user_metadata"] == {"b": 2, "c": 3}
    await app.refresh(other["refresh_token"])
    assert app.status == 400
    await app.refresh(one["refresh_token"])
    assert app.status == 200
    assert (await app.sign_in())["error_code"] == "invalid_credentials"
    assert (await app.sign_in(password="battery staple"))["token_type"] == "bearer"


async def test_all_sessions_end_or_all_others(app: App) -> None:
    sessions = [await app.sign_up(), await app.sign_in(), await app.sign_in()]
    await app.ask("POST", "/logout?scope=others", token=sessions[0]["access_token"])
    await app.ask("GET", "/user", token=sessions[1]["access_token"])
    assert app.status == 403
    await app.ask("POST", "/logout", token=sessions[0]["access_token"])
    await app.refresh(sessions[0]["refresh_token"])
    assert app.status == 400


async def test_an_address_is_confirmed_by_e_mail(mailing: App, mails: Mails) -> None:
    made = await mailing.sign_up()
    await mailing.sent()
    link = mails.link()
    assert "access_token" not in made
    assert (await mailing.sign_in())["error_code"] == "email_not_confirmed"
    await mailing.ask("GET", f"/verify?{urlencode(link)}")
    found = mailing.located()
    assert (found["page"], found["type"]) == (SITE, "signup")
    assert (await mailing.ask("GET", "/user", token=found["access_token"]))["email_confirmed_at"]
    await mailing.ask("GET", f"/verify?{urlencode(link)}")
    assert mailing.located()["error_code"] == "otp_expired"
    assert (await mailing.sign_in())["token_type"] == "bearer"


async def test_nobody_learns_who_has_an_account(mailing: App, mails: Mails) -> None:
    await mailing.sign_up()
    await mailing.sent()
    await mailing.ask("POST", "/verify", {"type": "signup", "token_hash": mails.link()["token"]})
    limit = "over_email_send_rate_limit"
    assert (await mailing.sign_up())["error_code"] == limit
    mailing.users._limits = limits.Limits()
    count = len(mails.arrived)
    known = await mailing.sign_up(password="another password")
    unknown = await mailing.sign_up(email="bob@example.com")
    await mailing.sent()
    assert len(mails.arrived) == count + 1
    assert known.keys() == unknown.keys()
    assert known["identities"][0].keys() == unknown["identities"][0].keys()
    mailing.users._limits = limits.Limits()
    for email in ("ann@example.com", "nobody@example.com"):
        assert await mailing.ask("POST", "/recover", {"email": email}) == {}
        refused = await mailing.ask("POST", "/recover", {"email": email})
        assert (mailing.status, refused["error_code"]) == (429, limit)
    await mailing.sent()
    assert len(mails.arrived) == count + 2
    assert (await mailing.sign_in())["token_type"] == "bearer"  # its password is as it was


async def test_a_password_is_recovered_by_e_mail(mailing: App, mails: Mails) -> None:
    await mailing.sign_up()
    await mailing.sent()
    mailing.users._limits = limits.Limits()
    page = {"redirect_to": "myapp://signed-in"}
    await mailing.ask("POST", f"/recover?{urlencode(page)}", {"email": ANN["email"]})
    await mailing.sent()
    assert mails.link()["redirect_to"] == "myapp://signed-in"
    await mailing.ask("GET", f"/verify?{urlencode(mails.link())}")
    found = mailing.located()
    assert found["page"] == "myapp://signed-in"
    # Whoever signed up without confirming need not be who reads the e-mails.
    assert (await mailing.sign_in())["error_code"] == "invalid_credentials"
    await mailing.ask("PUT", "/user", {"password": "mine from now on"}, found["access_token"])
    assert (await mailing.sign_in(password="mine from now on"))["token_type"] == "bearer"


async def test_links_lead_to_pages_of_the_application_only(mailing: App, mails: Mails) -> None:
    page = {"redirect_to": "https://evil.example/"}
    await mailing.ask("POST", f"/signup?{urlencode(page)}", ANN)
    await mailing.sent()
    assert mails.link()["redirect_to"] == SITE
    await mailing.ask("GET", f"/verify?{urlencode(mails.link() | page)}")
    assert mailing.located()["page"] == SITE


async def test_without_a_mail_server_that_is_said(app: App) -> None:
    refused = await app.ask("POST", "/recover", {"email": "ann@example.com"})
    assert (app.status, refused["error_code"]) == (422, "email_provider_disabled")
    assert (await app.ask("GET", "/settings"))["mailer_autoconfirm"] is True
    assert await app.ask("GET", "/.well-known/jwks.json") == {"keys": []}


async def test_nobody_signs_up_where_that_is_off(database: Tenant) -> None:
    async with opened(database, settings=AuthSettings(signup=False)) as app:
        refused = await app.sign_up()
        assert (app.status, refused["error_code"]) == (422, "signup_disabled")


async def test_code_of_the_tenant_may_refuse_and_has_its_rights_only(
    database: Tenant, app: App
) -> None:
    async with await database.session() as owner:
        await owner.execute("""
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF new.email LIKE 'x%' THEN RAISE 'not %', new.email; END IF;
                INSERT INTO public.notes VALUES (new.id, current_user);
                RETURN new; END $$;
            CREATE TABLE public.notes (id uuid REFERENCES auth.users, by text);
            CREATE TRIGGER note AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION note();
        """)
        await app.sign_up()
        cursor = await owner.execute("SELECT by FROM public.notes")
        assert await cursor.fetchall() == [("service_role",)]
        refused = await app.sign_up(email="x@example.com")
        assert (app.status, refused["error_code"]) == (500, "unexpected_failure")
        assert "x@" not in str(refused)
        await owner.execute("DROP TABLE auth.sessions")
        assert "auth" in (await app.sign_in())["msg"]


async def test_values_that_nobody_expects_are_answered(database: Tenant, app: App) -> None:
    made = await app.sign_up()
    async with await database.session() as owner:
        await owner.execute("""
            UPDATE auth.users SET raw_user_meta_data = to_jsonb(repeat('x', 1000000));
            UPDATE auth.sessions SET refresh_token_counter = -7
        """)
        found = await app.ask("GET", "/user", token=made["access_token"])
        assert (app.status, "raw_user_meta_data" in found["msg"]) == (500, True)
        # A comparison with this one would take 4 GiB, and a day.
        costly = "$argon2id$v=19$m=4194304,t=9999,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
        for stored in (costly, "$2a$10$" + "x" * 53, "$argon2id$v=19$m=19456,t=2,p=1$", "", None):
            await owner.execute("UPDATE auth.users SET encrypted_password = %s", (stored,))
            assert (await app.sign_in())["error_code"] == "invalid_credentials"


async def test_tables_of_another_application_are_left_alone(tenant: Tenant) -> None:
    async with await tenant.session() as owner:
        await owner.execute("CREATE SCHEMA auth; CREATE TABLE auth.users (id int)")
    with pytest.raises(application_users.ForeignTable, match=r"auth\.users has no column"):
        async with logins.inside(tenant.address, tenant.databases[0], [tenant.role]) as inside:
            await application_users.prepare(inside, tenant.role)


async def test_an_address_is_changed_when_both_have_confirmed(mailing: App, mails: Mails) -> None:
    await mailing.sign_up()
    session = await mailing.follow(mails)
    token = session["access_token"]
    asked = await mailing.ask("PUT", "/user", {"email": "New@example.com"}, token)
    assert (asked["email"], asked["new_email"]) == ("ann@example.com", "new@example.com")
    accepted = await mailing.follow(mails)
    assert mails.recipients[-1] == "ann@example.com"
    assert "to new@example.com by this link" in mails.arrived[-1]
    assert accepted.keys() == {"page", "message", "type"}
    assert (await mailing.ask("GET", "/user", token=token))["email"] == "ann@example.com"
    await mailing.sent()
    second = mails.link()
    assert mails.recipients[-1] == "new@example.com"
    found = await mailing.follow(mails)
    assert claims(found)["email"] == "new@example.com"
    await mailing.ask("GET", f"/verify?{urlencode(second)}")
    assert mailing.located()["error_code"] == "otp_expired"
    assert (await mailing.sign_in())["error_code"] == "invalid_credentials"
    assert (await mailing.sign_in(email="new@example.com"))["token_type"] == "bearer"


async def test_an_address_of_another_user_is_found_to_be_taken_by_its_reader_only(
    mailing: App, mails: Mails
) -> None:
    await mailing.sign_up(email="bob@example.com")
    await mailing.follow(mails)
    await mailing.sign_up()
    token = (await mailing.follow(mails))["access_token"]
    asked = await mailing.ask("PUT", "/user", {"email": "bob@example.com"}, token)
    assert (mailing.status, asked["new_email"]) == (200, "bob@example.com")
    await mailing.follow(mails)
    assert (await mailing.follow(mails))["error_code"] == "email_exists"
    assert mails.recipients[-1] == "bob@example.com"
    assert (await mailing.ask("GET", "/user", token=token))["email"] == "ann@example.com"


async def test_without_e_mails_an_address_is_changed_at_once(app: App) -> None:
    await app.sign_up(email="bob@example.com")
    token = (await app.sign_up())["access_token"]
    taken = await app.ask("PUT", "/user", {"email": "bob@example.com"}, token)
    assert (app.status, taken["error_code"]) == (422, "email_exists")
    assert (await app.ask("PUT", "/user", {"email": "not one"}, token))["code"] == 400
    changed = await app.ask("PUT", "/user", {"email": "new@example.com"}, token)
    assert changed["email"] == "new@example.com"


VERIFIER = "v" * 56
CHALLENGE = {
    "code_challenge": "Bn-9Vgu56JVkKmK0l5q31MqfiN92j_I5nNxybx-s0lY",
    "code_challenge_method": "s256",
}


async def test_a_link_gives_a_code_to_who_asked_for_it(mailing: App, mails: Mails) -> None:
    """PKCE: who only reads the redirection has no session."""
    await mailing.sign_up(**CHALLENGE)
    found = await mailing.follow(mails)
    assert found.keys() == {"page", "code"}
    exchange = "/token?grant_type=pkce"
    proof = {"auth_code": found["code"], "code_verifier": VERIFIER}
    wrong = await mailing.ask("POST", exchange, proof | {"code_verifier": "w" * 56})
    assert (mailing.status, wrong["error_code"]) == (400, "bad_code_verifier")
    for forged in ("x", f"{'x' * 43}.{found['code'].partition('.')[2]}"):
        refused = await mailing.ask("POST", exchange, proof | {"auth_code": forged})
        assert (mailing.status, refused["error_code"]) == (404, "flow_state_not_found")
    session = await mailing.ask("POST", exchange, proof)
    assert session["user"]["email_confirmed_at"]
    again = await mailing.ask("POST", exchange, proof)
    assert again["error_code"] == "flow_state_not_found"
    await mailing.ask("POST", "/recover?redirect_to=myapp%3A%2F%2Fsigned-in", ANN | CHALLENGE)
    assert (await mailing.follow(mails))["page"] == "myapp://signed-in"
    await mailing.ask("POST", "/recover", ANN | CHALLENGE)
    await mailing.sent()
    posted = {"type": "recovery", "token_hash": mails.link()["token"]}
    assert (await mailing.ask("POST", "/verify", posted))["token_type"] == "bearer"
