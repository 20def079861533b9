"""What somebody else, or a tenant's own code and rows, may do to the users of an application."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from applications import ANN, App, Mails, Row, claims, opened, prepared, receiving, smtp
from tenants import Connection, Tenant

from tenantry.services.application_users import limits, plan, sending

OTHER = "battery staple"
SLOW = """
    CREATE FUNCTION public.lift() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('statement_timeout', '0', true);
        RETURN new;
    END $$;
    CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_sleep(600);
        RETURN new;
    END $$;
    CREATE TRIGGER lift BEFORE INSERT ON auth.one_time_tokens
        FOR EACH ROW EXECUTE FUNCTION public.lift();
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON auth.one_time_tokens
        INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.slow()
"""


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


async def later(app: App) -> None:
    """Wait for the e-mails, and for the time after which another one is sent."""
    await app.sent()
    app.users._limits = limits.Limits()


async def follow(app: App, mails: Mails) -> Row:
    await later(app)
    return await app.ask("POST", "/verify", {"type": "signup", "token": mails.link()["token"]})


# ── addresses that are not confirmed ─────────────────────────────────────────


@pytest.mark.parametrize("first", [ANN["password"], OTHER])
async def test_nobodys_password_counts_where_two_have_signed_up(
    mailing: App, mails: Mails, first: str
) -> None:
    second = OTHER if first == ANN["password"] else ANN["password"]
    for password in (first, second, first):
        made = await mailing.sign_up(password=password, data={"of": password})
        assert made["user_metadata"] == {"of": password}  # as if it were new
        await later(mailing)
    # Not by a link that is sent once more, either.
    await mailing.ask("POST", "/resend", {"type": "signup", "email": ANN["email"]})
    found = await follow(mailing, mails)
    assert found["user"]["user_metadata"] == {"of": first}
    for password in (first, second):
        refused = await mailing.sign_in(password=password)
        assert refused["error_code"] == "invalid_credentials"
    await mailing.ask("PUT", "/user", {"password": "mine now, and known"}, found["access_token"])
    assert "access_token" in await mailing.sign_in(password="mine now, and known")


async def test_one_who_signs_up_twice_has_the_password(mailing: App, mails: Mails) -> None:
    await mailing.sign_up()
    await later(mailing)
    await mailing.sign_up(data={"name": "Ann"})
    assert (await follow(mailing, mails))["user"]["user_metadata"] == {"name": "Ann"}
    assert "access_token" in await mailing.sign_in()


async def test_who_has_not_confirmed_is_not_replaced_without_e_mails(
    database: Tenant, app: App
) -> None:
    await app.sign_up()
    async with await database.session() as owner:
        await owner.execute("UPDATE auth.users SET email_confirmed_at = NULL")
    assert (await app.sign_up(password=OTHER))["error_code"] == "user_already_exists"
    assert (await app.sign_in(password=OTHER))["error_code"] == "invalid_credentials"
    assert (await app.sign_in())["error_code"] == "email_not_confirmed"


# ── e-mails ──────────────────────────────────────────────────────────────────


async def test_code_that_hangs_ends_and_takes_places_of_its_database_only(
    database: Tenant, mailing: App, mails: Mails, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(mails.arrived)
    async with await database.session() as owner:
        await owner.execute(SLOW)
        with monkeypatch.context() as shorter:
            shorter.setattr(sending, "SECONDS", 1.0)
            await mailing.sign_up()
            await mailing.sent()
        assert len(mails.arrived) == count
        await owner.execute("DROP TRIGGER slow ON auth.one_time_tokens")
    await later(mailing)
    await mailing.ask("POST", "/resend", {"type": "signup", "email": ANN["email"]})
    await mailing.sent()
    assert len(mails.arrived) == count + 1


async def test_a_sign_up_without_a_place_for_its_e_mail_stores_nothing(
    database: Tenant, mailing: App
) -> None:
    site = replace(mailing.site(), client="192.0.2.9")
    async with AsyncExitStack() as held:
        for _ in range(sending.EACH_DATABASE):
            await held.enter_async_context(mailing.users._sending.place(site))
        refused = await mailing.sign_up()
        assert (mailing.status, refused["error_code"]) == (429, "over_email_send_rate_limit")
        async with mailing.users._sending.place(replace(site, database="another")):
            pass
    async with await database.session() as owner:
        assert (await owner.execute("SELECT FROM auth.users")).rowcount == 0
    await later(mailing)
    await mailing.sign_up()
    assert mailing.status == 200


async def test_one_client_leaves_e_mails_to_others(
    mailing: App, mails: Mails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILS_FROM", replace(limits.MAILS_FROM, most=3))
    monkeypatch.setattr(limits, "LINK_MAILS", replace(limits.LINK_MAILS, most=1))
    for number in range(4):
        await mailing.ask("POST", "/recover", {"email": f"nobody{number}@example.com"})
    assert mailing.status == 429
    await mailing.ask("POST", "/resend", {"type": "signup", "email": ANN["email"]})
    assert mailing.status == 429
    mailing.address = "192.0.2.2"
    await mailing.sign_up()
    await mailing.sent()
    count = len(mails.arrived)
    mailing.address = "192.0.2.3"
    assert await mailing.ask("POST", "/recover", {"email": ANN["email"]}) == {}
    await mailing.sent()
    assert len(mails.arrived) == count  # one was sent to this address just now
    database = mailing.api.served.database_name
    mailing.users._limits.clear(database, limits.MAILS_TO_ONE, "ann@example.com")
    mailing.address = "192.0.2.4"
    await mailing.ask("POST", "/recover", {"email": ANN["email"]})
    await mailing.sent()
    assert len(mails.arrived) == count + 1


# ── sign-ins ─────────────────────────────────────────────────────────────────


async def test_failures_of_another_address_lock_nobody(app: App) -> None:
    await app.sign_up()
    for _ in range(limits.SIGN_INS.most + 1):
        await app.sign_in(password=OTHER)
    assert app.status == 429
    app.address = "192.0.2.2"
    assert "access_token" in await app.sign_in()


async def test_a_password_may_have_any_letters(app: App) -> None:
    await app.sign_up(password="back\\u0000slash", data={"said": "\\u0000"})
    assert app.status == 200
    assert (await app.sign_in(password="back\\u0000slash"))["user"]["user_metadata"] == {
        "said": "\\u0000"
    }
    assert (await app.sign_in(password="zero\0byte"))["error_code"] == "bad_json"
    assert (await app.sign_up(data={"a": "\\\0"}))["error_code"] == "bad_json"


# ── rows ─────────────────────────────────────────────────────────────────────


async def test_moments_that_python_has_not_are_answered(database: Tenant, app: App) -> None:
    made = await app.sign_up()
    async with await database.session() as owner:
        for moment in ("infinity", "-infinity", "4713-01-01 BC", "294276-01-01"):
            values: Row = {"at": moment}
            await owner.execute(
                "UPDATE auth.users SET email_confirmed_at = %(at)s, last_sign_in_at = %(at)s,"
                " created_at = %(at)s, updated_at = %(at)s",
                values,
            )
            await owner.execute(
                "UPDATE auth.sessions SET created_at = %(at)s, refreshed_at = %(at)s", values
            )
            assert (await app.ask("GET", "/user", token=made["access_token"]))["created_at"]
            made = await app.refresh(made["refresh_token"])
            assert "access_token" in made
            assert "access_token" in await app.sign_in()
        await owner.execute("UPDATE auth.users SET banned_until = 'infinity'")
        assert (await app.sign_in())["error_code"] == "user_banned"
        assert (await app.sign_in(password=OTHER))["error_code"] == "invalid_credentials"
        await owner.execute("UPDATE auth.users SET banned_until = '-infinity'")
        assert "access_token" in await app.sign_in()


@pytest.mark.parametrize(
    "stored",
    [
        """jsonb_build_object('blocked', true, 'x', repeat('x', 16384))""",
        "'[1]'",
        "('{\"a\": 1' || repeat('0', 400) || '.5}')::jsonb",
        "('{\"a\": ' || repeat('[', 900) || repeat(']', 900) || '}')::jsonb",
    ],
)
async def test_no_token_lacks_what_its_owner_has_written(
    database: Tenant, app: App, stored: str
) -> None:
    made = await app.sign_up()
    async with await database.session() as owner:
        await owner.execute(f"UPDATE auth.users SET raw_app_meta_data = {stored}".encode())  # noqa: S608
    for found in (await app.sign_in(), await app.refresh(made["refresh_token"])):
        assert (found["code"], "raw_app_meta_data" in found["msg"]) == (500, True)
    assert (await app.sign_in(password=OTHER))["error_code"] == "invalid_credentials"
    await app.ask("POST", "/logout", token=made["access_token"])
    assert app.status == 204


async def test_metadata_are_measured_as_they_are_stored(app: App) -> None:
    numbers = {"data": {"a": [1e308] * 15}}
    refused = await app.sign_up(**numbers)
    assert (app.status, refused["error_code"]) == (422, "validation_failed")
    made = await app.sign_up(data={"a": [1e308] * 10})
    assert claims(made)["user_metadata"] == {"a": [int(f"1{'0' * 308}")] * 10}
    refused = await app.ask("PUT", "/user", {"data": {"b": [1e308] * 10}}, made["access_token"])
    assert (app.status, refused["error_code"]) == (422, "validation_failed")


@pytest.mark.parametrize("depth", [32, 33, 5000])
async def test_metadata_have_a_limit_of_depth(app: App, depth: int) -> None:
    text = '{"email": "a@example.com", "password": "correct horse", "data": {"a": %s}}'
    # One level is the body, one the metadata.
    found = await app.send("POST", "/signup", text % ("[" * (depth - 2) + "]" * (depth - 2)))
    if depth > plan.DEEPEST:
        assert (app.status, found["error_code"]) == (400, "bad_json")
    else:
        assert "access_token" in found
