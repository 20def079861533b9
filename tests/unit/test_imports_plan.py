"""What may be imported and from where: connection strings, addresses, contents of dumps."""

import ipaddress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.base.secrets import Secret
from tenantry.pg import sources
from tenantry.pg.reloading import Remark
from tenantry.pg.sources import ExtensionUse, Source, Table
from tenantry.services.imports import plan
from tenantry.services.imports.plan import Offered, Selection

NAMES = st.text(
    st.characters(exclude_categories=("C", "Z"), codec="utf-8"), min_size=1, max_size=15
)
ADDRESS = ipaddress.ip_address("203.0.113.7")


def parsed(url: str) -> Source:
    return sources.parse(Secret(url))


def refused(url: str) -> str:
    with pytest.raises(InvalidInput) as error:
        parsed(url)
    return str(error.value)


@given(NAMES, NAMES, NAMES, st.integers(1, 65_535))
def test_every_name_and_password_can_be_written(
    user: str, password: str, database: str, port: int
) -> None:
    words = [quote(word, safe="") for word in (user, password, database)]
    source = parsed("postgresql://{}:{}@db.example.com:{}/{}".format(*words[:2], port, words[2]))
    assert (source.user, source.database) == (user, database)
    assert source.password.reveal() == password
    assert (source.host, source.port, source.sslmode) == ("db.example.com", port, "require")


@given(st.text(max_size=60))
def test_whatever_is_no_url_is_refused_and_never_repeated(text: str) -> None:
    for url in (text, f"postgresql://{text}", f"postgresql://u:s3cr3t@h/d?{text}"):
        try:
            reported = parsed(url).host
        except InvalidInput as error:
            reported = str(error)
        assert reported
        assert "s3cr3t" not in reported


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///var/run/postgresql",
        "postgresql://u:p@%2Fvar%2Frun/d",
        "postgresql://u:p@/d",
        "postgresql://u:p@/d?host=/var/run",
        "postgresql://u:p@a,b/d",
        "postgresql://u:p@a:1,b:2/d",
        "postgresql://u:p@a@b/d",
        "postgresql://u:p@[fe80::1%25eth0]/d",
        "postgresql://u:p@h:0/d",
        "postgresql://u:p@h:65536/d",
        "postgresql://u:p@h",
        "postgresql://h/d",
        "postgresql://u:p@h/d#x",
        "postgresql://u:p@h/d%00",
        "postgresql://u:p@h/d%zz",
        "postgresql://u:p@h/a/b",
        "postgresql://u:p@h/" + "d" * 64,
        "http://u:p@h/d",
        "host=/tmp dbname=d",
        *(
            f"postgresql://u:p@h/d?{parameter}=x"
            for parameter in (
                *("host", "hostaddr", "port", "user", "password", "dbname", "service"),
                *("passfile", "sslkey", "sslcert", "sslrootcert", "sslcrl", "sslcrldir"),
                *("options", "krbsrvname", "gsslib", "target_session_attrs", "requirepeer"),
                *("servicefile", "SSLMODE", "sslmode", "connect_timeout", "channel_binding"),
            )
        ),
        "postgresql://u:p@h/d?sslmode=require&sslmode=disable",
        "postgresql://u:p@h/d?%68ost=x",
    ],
)
def test_what_could_reach_another_place_is_refused(url: str) -> None:
    assert "from" in refused(url)


def test_libpq_is_reported_everything_that_it_would_look_up() -> None:
    source = parsed("postgresql://u:p@DB.example.com/d?sslmode=verify-full&connect_timeout=99")
    assert source.connect_timeout == 15
    there = source.environment(ADDRESS)
    assert there["PGHOSTADDR"] == str(ADDRESS)
    assert there["PGHOST"] == "db.example.com"
    assert there["PGPASSWORD"] == "p"
    for name in ("PGPASSFILE", "PGSSLCERT", "PGSSLKEY"):
        assert there[name].startswith("/nonexistent/")
    assert there["PGCONNECT_TIMEOUT"] == "15"


def test_a_source_prints_no_password_and_repeats_none() -> None:
    source = parsed("postgresql://u:hunter2@h/d")
    assert "hunter2" not in repr(source)
    assert "hunter2" not in str(source.refusal("you said hunter2\x1b[31m\n"))
    assert "\x1b" not in str(source.refusal("you said hunter2\x1b[31m\n"))


@pytest.mark.parametrize(
    ("address", "customer", "private", "administrator"),
    [
        ("8.8.8.8", True, True, True),
        ("2606:4700::1111", True, True, True),
        ("10.0.0.1", False, True, True),
        ("172.16.9.9", False, True, True),
        ("192.168.1.1", False, True, True),
        ("100.64.0.1", False, True, True),
        ("fd00::1", False, True, True),
        ("127.0.0.1", False, False, True),
        ("127.9.9.9", False, False, True),
        ("::1", False, False, True),
        ("::ffff:127.0.0.1", False, False, True),
        ("::ffff:10.0.0.1", False, True, True),
        ("64:ff9b::7f00:1", False, False, True),
        ("2002:7f00:1::", False, False, True),
        ("169.254.169.254", False, False, False),
        ("::ffff:169.254.169.254", False, False, False),
        ("64:ff9b::a9fe:a9fe", False, False, False),
        ("fe80::1", False, False, False),
        ("fec0::1", False, False, False),
        ("0.0.0.0", False, False, False),  # noqa: S104 (an address to refuse)
        ("::", False, False, False),
        ("224.0.0.1", False, False, False),
        ("ff02::1", False, False, False),
        ("240.0.0.1", False, False, False),
        ("255.255.255.255", False, False, False),
        ("203.0.113.7", False, False, False),
        ("2001:db8::1", False, False, False),
    ],
)
def test_where_imports_may_connect(
    address: str, *, customer: bool, private: bool, administrator: bool
) -> None:
    there = ipaddress.ip_address(address)
    assert plan.is_allowed(there, administrator=False, private=False) is customer
    assert plan.is_allowed(there, administrator=False, private=True) is private
    assert plan.is_allowed(there, administrator=True, private=False) is administrator


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_customers_reach_no_more_than_administrators(address: sources.IPAddress) -> None:
    customer = plan.is_allowed(address, administrator=False, private=False)
    assert customer <= plan.is_allowed(address, administrator=False, private=True)
    assert customer <= plan.is_allowed(address, administrator=True, private=False)
    if customer:
        assert plan.embedded(address).is_global


def test_pg_dump_gets_names_and_no_patterns() -> None:
    selection = Selection(schemas=("a*", 'b"c'), exclude_tables=(("public", "x|y"),))
    assert selection.options() == [
        '--schema="a*"',
        '--schema="b""c"',
        "--extension=*",
        '--exclude-table="public"."x|y"',
    ]
    tables = [Table("a*", "t", 1), Table("other", "t", 1), Table("a*", "u", 1)]
    chosen = Selection(schemas=("a*",), exclude_tables=(("a*", "u"),))
    assert chosen.tables(tables) == tables[:1]


def test_extensions_that_are_missing_or_refused_are_named() -> None:
    offered = [Offered("pg_trgm", installable=True), Offered("dblink", installable=False)]
    missing = plan.unavailable(["pg_trgm", "dblink", "postgis"], offered)
    assert missing == {"dblink": plan.TENANTS_CANNOT, "postgis": plan.NOT_ON_SERVER}
    uses = [
        ExtensionUse("pg_trgm", "public", "a", "index a_x", holds_rows=True),
        *(
            ExtensionUse("postgis", "public", "a", f"column c{n} of a", holds_rows=True)
            for n in range(7)
        ),
        ExtensionUse("dblink", None, None, "function f()", holds_rows=False),
        ExtensionUse("dblink", "logs", "b", "column k of b", holds_rows=True),
        ExtensionUse("dblink", None, None, "type t", holds_rows=True),
    ]
    reported = plan.needs(Selection(schemas=("public",)).needed_in(uses), missing)
    assert reported == (
        "postgis (this server does not have it), which column c0 of a, column c1 of a, column c2"
        " of a, column c3 of a, column c4 of a and 2 more need;"
        " dblink (tenants cannot have it), which type t needs"
    )
    without = Selection(exclude_tables=(("public", "a"), ("logs", "b")))
    assert [each.what for each in without.needed_in(uses)] == ["type t"]


def test_what_needs_a_missing_extension_goes_with_it_but_for_rows_and_what_guards_them() -> None:
    no = 'relation "public.pg_stat_statements" does not exist'
    lost = [
        Remark("VIEW public.slow", no),
        Remark("VIEW public.broken", "division by zero"),
        Remark("TABLE public.t", 'type "public.geometry" does not exist'),
        Remark("INDEX public.slow_x", 'relation "public.slow" does not exist'),
        Remark("INDEX public.t_geom", 'operator class "public.g" does not exist for "gist"'),
        Remark("CHECK CONSTRAINT public.t c", "function public.f() does not exist"),
    ]
    left_out, others = plan.dispensable(lost)
    assert left_out == [lost[0], lost[3]]
    assert others == [lost[1], lost[2], lost[4], lost[5]]


OFFERED = [Offered("pg_trgm", installable=True), Offered("dblink", installable=False)]


def numbers(lines: list[str]) -> list[str]:
    return [line.split(";")[0] for line in lines]


def test_what_no_tenant_can_have_is_left_out_of_a_dump() -> None:
    chosen = plan.choose(
        [
            "4; 2615 2200 SCHEMA - public pg_database_owner",
            "3300; 0 0 COMMENT - SCHEMA public pg_database_owner",
            "3303; 0 0 ACL - SCHEMA public pg_database_owner",
            "2; 3079 16385 EXTENSION - pg_trgm ",
            "3301; 0 0 COMMENT - EXTENSION pg_trgm ",
            "3302; 0 0 EXTENSION - plpgsql ",
            "215; 1259 16385 TABLE public EVENT TRIGGER postgres",
            "216; 1259 16386 COMMENT public TABLE t postgres",
            "3200; 3466 16400 EVENT TRIGGER - watch postgres",
            "3202; 6100 16402 SUBSCRIPTION - s postgres",
            "3203; 1259 16403 FOREIGN TABLE public f postgres",
            "6; 2615 16384 SCHEMA - sales owner",
            "217; 0 0 STATISTICS DATA public t owner",
        ],
        OFFERED,
        15,
    )
    assert numbers(chosen.restored) == ["2", "215", "6"]
    assert numbers(chosen.one_by_one) == ["216"]
    assert chosen.left_out == [
        "EVENT TRIGGER - watch postgres",
        "SUBSCRIPTION - s postgres",
        "FOREIGN TABLE public f postgres",
    ]


def test_what_may_name_roles_is_decided_one_by_one() -> None:
    chosen = plan.choose(
        [
            "215; 1259 16385 TABLE public POLICY postgres",
            "3400; 2606 16390 CONSTRAINT public t t_pkey postgres",
            "3300; 0 16385 ROW SECURITY public notes postgres",
            "3200; 6104 16401 PUBLICATION - all_tables postgres",
            "3201; 6106 16402 PUBLICATION TABLE public all_tables t postgres",
            "3301; 3256 16400 POLICY public notes read_all postgres",
            "3302; 0 0 COMMENT public POLICY notes read_all postgres",
            "3303; 0 0 ACL public TABLE notes postgres",
            "3304; 826 16400 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES cloud_admin",
            "3305; 2620 16400 TRIGGER my schema notes touched postgres",
            "3306; 2606 16400 FK CONSTRAINT public a a_b_fkey postgres",
            "3307; 0 0 STATISTICS DATA public t owner",
        ],
        OFFERED,
        18,
    )
    assert numbers(chosen.restored) == ["215", "3400", "3300", "3307"]
    assert len(chosen.one_by_one) == 8
    assert chosen.left_out == []


def test_an_extension_that_cannot_be_here_takes_its_data_with_it() -> None:
    contents = [
        "2; 3079 16385 EXTENSION - supabase_vault ",
        "215; 1259 16385 TABLE vault mine admin",
        "216; 1259 16386 SEQUENCE vault mine_id_seq admin",
        "3300; 0 16385 TABLE DATA vault mine admin",
        "3301; 0 16387 TABLE DATA vault secrets admin",
        "3302; 0 0 SEQUENCE SET vault mine_id_seq admin",
        "3303; 0 0 SEQUENCE SET vault key_id_seq admin",
    ]
    chosen = plan.choose(contents, OFFERED, 15)
    assert numbers(chosen.restored) == ["215", "216", "3300", "3302"]
    assert chosen.left_out == [
        "EXTENSION supabase_vault: this server does not have it",
        "data of vault secrets admin",
        "data of vault key_id_seq admin",
    ]
    offered = [Offered("supabase_vault", installable=True)]
    assert plan.choose(contents, offered, 15).restored == contents


def test_roles_are_mapped_to_the_databases_own_logins() -> None:
    additional = {"app": "user_1_app"}
    known, missing = plan.roles(
        "user_1", additional, {"authenticated": "app", "anon": "user_1_app"}
    )
    assert missing == []
    assert known == {
        "user_1": "user_1",
        "user_1_app": "user_1_app",
        "authenticated": "user_1_app",
        "anon": "user_1_app",
        "service_role": "service_role",
    }
    assert plan.roles("user_1", additional, {"x": "postgres", "y": "user_2"})[1] == [
        "postgres",
        "user_2",
    ]
    assert plan.roles("user_1", {}, {"app": "user_1"})[0]["app"] == "user_1"
    shared = {name: name for name in ("anon", "authenticated", "service_role")}
    assert plan.roles("user_1", {}, {"web": "anon"}) == (
        {"user_1": "user_1", "web": "anon", **shared},
        [],
    )


def test_settings_that_change_what_statements_mean_are_brought() -> None:
    brought = {"search_path": '"$user", public', "TimeZone": "Europe/Paris"}
    left = {"work_mem": "1GB", "session_preload_libraries": "x", "app.settings.x": "1"}
    assert plan.settings(brought | left, {}) == (brought, sorted(left))
    assert plan.settings(left, left | {"work_mem": "2GB"}) == ({}, ["work_mem"])


def test_differences_are_reported_by_table() -> None:
    reported = plan.differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 1})
    assert reported == ["b: 2 rows there, 1 here", "c: 3 rows there, no such table here"]
