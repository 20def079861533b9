"""What callers are sent: connection strings that every program reads the same, and sizes."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from database_rows import database_row
from tenantry.api import answers, database_answers, statistics_answers
from tenantry.base.connection_strings import MASK, Style
from tenantry.base.home import Home
from tenantry.base.secrets import Secret
from tenantry.base.setting_groups import Instance, Pool
from tenantry.base.settings import Settings
from tenantry.host.certificates import OwnAuthority, server_names
from tenantry.host.files import write_atomically
from tenantry.services.clusters import sql_routes
from tenantry.services.clusters.sql_routes import SqlRoute
from tenantry.services.databases.hosts import Host, direct_host
from tenantry.services.databases.model import Opened, connection_strings

settings = st.builds(
    lambda domain, pool_port: Settings(domain=str(domain), pool=Pool(port=pool_port)),
    st.ip_addresses() | st.sampled_from(["localhost", "db.example.com"]),
    st.integers(1, 65535),
)
ports = st.integers(1, 65535)
passwords = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(settings, ports, passwords, st.booleans())
def test_libpq_reads_from_each_string_what_was_meant(
    settings: Settings, direct_port: int, password: str, has_shadow: bool
) -> None:
    of = database_row(has_shadow=has_shadow, direct_port=direct_port)
    strings = connection_strings(settings, of, password)
    meant = {
        strings.connection_string: (direct_port, of.database_name),
        strings.connection_string_pooled: (settings.pool.port, of.database_name),
    }
    if has_shadow:
        assert strings.shadow_database_url is not None
        assert strings.shadow_database_url_pooled is not None
        meant |= {
            strings.shadow_database_url: (direct_port, of.shadow_name),
            strings.shadow_database_url_pooled: (settings.pool.port, of.shadow_name),
        }
    else:
        assert strings.shadow_database_url is strings.shadow_database_url_pooled is None
    for url, (port, dbname) in meant.items():
        assert conninfo_to_dict(url) == {
            "host": settings.domain,
            "port": str(port),
            "user": of.username,
            "password": password,
            "dbname": dbname,
            "sslmode": "require",
        }
        split = urlsplit(url)
        assert (split.port, unquote(split.password or "")) == (port, password)


def certified(home: Path, *names: str) -> None:
    """Put a certificate with these names in service."""
    authority = OwnAuthority(home / "ca.crt", home / "ca.key")
    authority.ensure()
    Home(home).tls.mkdir(exist_ok=True)
    write_atomically(Home(home).certificate, authority.issue([*names]).render())


def test_an_instance_has_a_host_of_its_own_that_its_certificate_names(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("h")  # its path must be short
    here = Settings(home=home, domain="example.com")
    own = "app-production-postgres.db.example.com"
    row = database_row(kind="dedicated", container_name="app-production-postgres")
    shown = database_answers.strings(here, row, Style()).connection
    assert shown.host == "example.com", "there is no certificate yet"
    certified(home, "example.com", "*.example.com")
    shown = database_answers.strings(here, row, Style()).connection
    assert (shown.host, f"not for {own}" in str(shown.host_detail)) == ("example.com", True)

    certified(home, *server_names(here.domain, here.instance_domain))
    strings = database_answers.strings(here, row, Style())
    assert (strings.connection.host, strings.connection.host_detail) == (own, None)
    for url in (strings.connection_string, strings.shadow_database_url):
        assert urlsplit(str(url)).hostname == own
    for url in (strings.connection_string_pooled, strings.shadow_database_url_pooled):
        assert urlsplit(str(url)).hostname == "example.com"
    assert urlsplit(strings.prisma["direct_url"]).hostname == own
    shared = database_answers.strings(here, database_row(), Style()).connection
    assert (shared.host, shared.host_detail) == ("example.com", None)

    certified(home, "example.com", own)
    assert direct_host(here, row.container_name, 5500) == Host(own, 5500), "the name itself will do"
    other = here.model_copy(update={"domain": "example.net"})
    assert direct_host(other, row.container_name, 5500).name == "example.net"
    off = here.model_copy(update={"instance": Instance(hosts=False)})
    assert direct_host(off, row.container_name, 5500) == Host("example.com", 5500)
    Home(home).certificate.write_bytes(b"half a fi")
    assert direct_host(here, row.container_name, 5500).name == "example.com"


def test_strings_have_the_port_of_an_edge_that_leads_to_the_instance(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Its own port otherwise: that always leads there.
    home = tmp_path_factory.mktemp("h")  # its path must be short
    here = Settings(home=home, domain="example.com", edge=True, edge_sql=True, edge_sql_port=15432)
    row = database_row(kind="dedicated", container_name="shop-production-postgres")
    own = "shop-production-postgres.db.example.com"
    certified(home, own)
    assert database_answers.strings(here, row, Style()).connection.port == row.direct_port
    sql_routes.write(Home(home), [SqlRoute(cluster="x", host=own, port=row.direct_port)])
    strings = database_answers.strings(here, row, Style())
    assert (strings.connection.host, strings.connection.port) == (own, 15432)
    assert urlsplit(str(strings.connection_string)).port == 15432
    assert urlsplit(str(strings.connection_string_pooled)).port == here.pool.port
    off = here.model_copy(update={"edge_sql": False})
    assert database_answers.strings(off, row, Style()).connection.port == row.direct_port
    (Home(home).edge / "sql.json").write_text("half a fi")
    assert database_answers.strings(here, row, Style()).connection.port == row.direct_port


@given(st.booleans())
def test_prismas_strings_are_the_plain_ones_with_its_parameters(has_shadow: bool) -> None:
    strings = connection_strings(Settings(), database_row(has_shadow=has_shadow), "secret")
    plain = {
        "database_url": strings.connection_string_pooled,
        "direct_url": strings.connection_string,
        "shadow_database_url": strings.shadow_database_url,
        "shadow_database_url_pooled": strings.shadow_database_url_pooled,
    }
    assert strings.prisma.keys() == {name for name, url in plain.items() if url}
    for name, url in strings.prisma.items():
        assert url.startswith(f"{plain[name]}&")
        added = parse_qs(urlsplit(url).query)
        pooled = {"pgbouncer": ["true"]} if "pooled" in name or name == "database_url" else {}
        assert added == pooled | {
            "sslmode": ["require", "verify-full"],
            "sslaccept": ["strict"],
            "sslcert": ["ca.crt"],
            "sslrootcert": ["ca.crt"],
            "schema": ["public"],
        }


@given(passwords)
def test_a_password_is_in_the_one_answer_that_shows_it(password: str) -> None:
    of = database_row()
    opened = database_answers.opened_database(Settings(), Opened(of, Secret(password)))
    assert opened.password == opened.connection.password == password
    masked = database_answers.strings(Settings(), of, Style())
    assert masked.connection.password == MASK
    assert all(f":{MASK}@" in url for url in masked.prisma.values())
    assert "password" not in database_answers.database(of).model_dump()


@pytest.mark.parametrize(
    ("size", "reported"),
    [
        (0, "0 bytes"),
        (10239, "10239 bytes"),
        (10240, "10 kB"),
        (7_600_000, "7422 kB"),
        (50 * 1024**2, "50 MB"),
        (50 * 1024**3, "50 GB"),
        (50 * 1024**4, "50 TB"),
    ],
)
def test_sizes_are_reported_as_postgresql_shows_them(size: int, reported: str) -> None:
    assert statistics_answers.pretty_size(size) == reported


def _body(response: Any) -> Any:
    return json.loads(bytes(response.body))


def test_an_answer_has_what_there_is_to_show() -> None:
    one = database_answers.database(database_row())
    assert _body(answers.answer(one)).keys() == {"success", "data"}
    reported = _body(answers.answer(one, message="Made."))
    assert (reported["success"], reported["message"]) == (True, "Made.")
    assert reported["data"]["created_at"] == "2026-11-21T12:00:00Z"
    page = _body(answers.listing([one, one]))
    assert (page["count"], page.keys()) == (2, {"success", "count", "data"})
    assert _body(answers.listing([], next_cursor="x"))["next_cursor"] == "x"
