"""Connection strings for each client: what it reads from them is what was meant."""

import ast
import json
from dataclasses import replace
from urllib.parse import parse_qs, parse_qsl, unquote, unquote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from tenantry.base.connection_strings import FORMATS, MASK, Format, Login, Style

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
logins = st.builds(
    Login,
    host=st.sampled_from(["localhost", "db.example.com", "2001:db8::1", "192.0.2.1"]),
    port=st.integers(1, 65535),
    username=text,
    password=text,
    database=text,
    pooled=st.booleans(),
)
URLS: list[Format] = ["psql", "node", "drizzle", "asyncpg", "go"]
NODE = {"node", "prisma", "drizzle"}


def wanted(login: Login, **more: str) -> dict[str, str]:
    return {
        "host": login.host,
        "port": str(login.port),
        "user": login.username,
        "password": login.password,
        "dbname": login.database,
        **more,
    }


@given(logins, st.sampled_from(URLS), text)
def test_libpq_reads_what_was_meant(login: Login, form: Format, ca_file: str) -> None:
    url = Style(form, verify_full=True, ca_file=ca_file).render(login)
    assert conninfo_to_dict(url) == wanted(login, sslmode="verify-full", sslrootcert=ca_file)
    assert Login.parse(url, pooled=login.pooled) == login


@given(logins, text)
def test_sqlalchemy_reads_what_was_meant(login: Login, ca_file: str) -> None:
    url = make_url(Style("sqlalchemy", verify_full=True, ca_file=ca_file).render(login))
    assert url.drivername == "postgresql+psycopg"
    assert (url.host, url.port, url.username) == (login.host, login.port, login.username)
    assert (url.password, url.database) == (login.password, login.database)
    assert url.query == {"sslmode": "verify-full", "sslrootcert": ca_file}


@given(logins, text)
def test_jdbc_has_the_login_among_the_parameters(login: Login, ca_file: str) -> None:
    url = Style("jdbc", verify_full=True, ca_file=ca_file).render(login)
    scheme, _, rest = url.partition(":")
    parts = urlsplit(rest)
    assert (scheme, parts.scheme, parts.hostname) == ("jdbc", "postgresql", login.host)
    assert (parts.port, unquote_plus(parts.path[1:])) == (login.port, login.database)
    assert dict(parse_qsl(parts.query)) == {
        "user": login.username,
        "password": login.password,
        "sslmode": "verify-full",
        "sslrootcert": ca_file,
    }


@given(logins, text)
def test_django_reads_what_was_meant(login: Login, ca_file: str) -> None:
    setting = Style("django", verify_full=True, ca_file=ca_file).render(login)
    name, _, value = setting.partition(" = ")
    fields = ast.literal_eval(value)["default"]
    assert name == "DATABASES"
    assert fields.pop("ENGINE") == "django.db.backends.postgresql"
    assert fields.pop("DISABLE_SERVER_SIDE_CURSORS", False) is login.pooled
    assert fields == {
        "HOST": login.host,
        "PORT": login.port,
        "NAME": login.database,
        "USER": login.username,
        "PASSWORD": login.password,
        "OPTIONS": {"sslmode": "verify-full", "sslrootcert": ca_file},
    }


@given(logins, text)
def test_pgadmin_reads_what_was_meant(login: Login, ca_file: str) -> None:
    """The fields that its manual requires ("Import/Export Servers"), and no password."""
    reported = Style("pgadmin", verify_full=True, ca_file=ca_file).render(login)
    server = json.loads(reported)["Servers"]["1"]
    required = {"Name", "Group", "Port", "Username", "SSLMode", "MaintenanceDB", "Host"}
    assert required <= server.keys()
    assert (server["Host"], server["Port"], server["Username"]) == (
        login.host,
        login.port,
        login.username,
    )
    assert server["MaintenanceDB"] == server["DBRestriction"] == login.database
    assert (server["SSLMode"], server["SSLRootCert"]) == ("verify-full", ca_file)
    assert server["ConnectionParameters"] == {"sslmode": "verify-full", "sslrootcert": ca_file}
    assert not {key for key in server if "pass" in key.lower()}


@given(logins, st.sampled_from(sorted(NODE)), text)
def test_node_is_always_reported_by_what_to_verify(
    login: Login, form: Format, ca_file: str
) -> None:
    """Of a parameter given twice it takes the last, and it decodes as URLs are decoded."""
    parts = urlsplit(Style(form, ca_file=ca_file).render(login))
    last = dict(parse_qsl(parts.query))
    assert (last["sslmode"], last["sslrootcert"]) == ("verify-full", ca_file)
    assert "+" not in parts.query, "a form's space is no URL's"
    assert unquote(parts.password or "") == login.password


@given(logins, text)
def test_prismas_engine_verifies_by_words_of_its_own(login: Login, ca_file: str) -> None:
    """It takes the last sslmode that it knows: disable, prefer or require."""
    asked = parse_qs(urlsplit(Style("prisma", ca_file=ca_file).render(login)).query)
    known = [mode for mode in asked["sslmode"] if mode in {"disable", "prefer", "require"}]
    assert known[-1] == "require"
    assert (asked["sslaccept"], asked["sslcert"]) == (["strict"], [ca_file])
    assert ("pgbouncer" in asked) is login.pooled


LOGIN = Login("db.example.com", 5432, "user_x", MASK, "tenant_x")


@pytest.mark.parametrize("form", sorted(set(FORMATS) - NODE))
def test_the_others_verify_when_asked(form: Format) -> None:
    assert not Style(form).verifies
    assert "require" in Style(form).render(LOGIN)
    assert "ca.crt" not in Style(form).render(LOGIN)
    assert "verify-full" in Style(form, verify_full=True).render(LOGIN)


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"pgadmin"}))
def test_a_password_that_is_not_known_is_seen(form: Format) -> None:
    assert MASK in Style(form).render(LOGIN)
    assert MASK not in Style(form).render(replace(LOGIN, password="known"))
