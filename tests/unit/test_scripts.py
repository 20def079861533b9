"""SQL scripts, taken apart: as psql would, but for what is psql's own."""

import io
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pglast import parser

from tenantry.pg import scripts
from tenantry.pg.script_choice import Choice
from tenantry.pg.script_triggers import disables_triggers, replicates
from tenantry.pg.scripts import Refused, Script, Statement

SETTINGS = {"standard_conforming_strings": b"on", "client_encoding": b"UTF8"}


def script(text: bytes, **settings: bytes) -> Script:
    return Script(io.BytesIO(text), lambda name: (SETTINGS | settings)[name])


def split(text: bytes, **settings: bytes) -> list[bytes]:
    return [each.text for each in script(text, **settings).statements()]


WHOLE = [
    b"SELECT 1;",
    b"SELECT 'a;b', ';''; --', \"odd;\"\"name\";",
    b"SELECT E'it\\'s; ''quoted''\\\\', e'\\';', U&'d\\0061;', B'1', node'x;';",
    b"SELECT 'no\\', 1 -- it's;\n, 2;",
    b"SELECT E'one' -- string\n\n 'of two\\';', 'another'\n'\\';",
    b"SELECT ':USER :''HOST'':', :USER, :'HOST', 1 - -1, 6/ /* ; /* nested ; */ ; */ 2;",
    b"SELECT a$b$;",
    b"SELECT $1 + $$; ' \" \\! $x$ $$ || $x$ $$ ; \\i $y$ $x$;",
    b"CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $_$\nBEGIN;\n  '\\'; $1;\nEND$_$;",
    b"CREATE OR REPLACE FUNCTION f(begin int) RETURNS int BEGIN ATOMIC\n"
    b" SELECT CASE WHEN 1 = 1 THEN 2 END;\n SELECT 2;\nEND;",
    b"CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);",
    b"CREATE TABLE begin (case_ int, x int DEFAULT (1 + (2)));",
    b"SELECT 1 -- not the end;\n;",
    b"+ 1;",
    "SELECT 'Ünal; ' AS é$é;".encode(),
]


def test_statements_end_where_the_server_would_have_them_end() -> None:
    assert split(b"\n".join(WHOLE)) == WHOLE
    assert split(b" ".join(WHOLE)) == WHOLE
    assert split(b"\r\n".join(WHOLE)) == WHOLE


@given(st.lists(st.sampled_from(WHOLE)), st.sampled_from([b"\n", b" ", b"\n\n -- a;'\n", b"/*;*/"]))
def test_what_is_between_statements_belongs_to_none(texts: list[bytes], between: bytes) -> None:
    assert split(between.join([b"", *texts, b""])) == texts


FRAGMENTS = [
    *("SELECT", "1", "a", "node'y'", "a$b$", "$1", "1.5e3", "::text", ":x", "[1]", "(1;2)"),
    *("'x'", "''", "'a;b'", "'a\\'", "N'z;'", "U&'\\0061;'", "x'1f'", "'x'\n'y;'"),
    *("E'a\\'b;'", "e'\\\\'", "E'it''s;'", "E''", "E'\\\\''x'", "E'x'\n'y\\';'"),
    *("$$;$$", "$a$;$$;$a$", "$a$ ' $a$", '"q;"', '"a""b;"', ";", ";\n", "\n", " "),
    *("--c;'\n", "-- $$\n", "+--x;\n", "/*;*/", "/* /* ; */ ' */", "/*--*/", "*/*c*/"),
    *("- -", "-1", "*", "/", "/-", "=", "<>", ","),
]
COMMENTS = {"SQL_COMMENT", "C_COMMENT"}


def scanned(text: str) -> list[str]:
    """The tokens of a text, by PostgreSQL's own scanner."""
    tokens = parser.scan(text)
    return [text[each.start : each.end + 1] for each in tokens if each.name not in COMMENTS]


def split_by_tokens(tokens: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == ";" and not depth:
            found.append([])
        else:
            found[-1].append(token)
    return [each for each in found if each]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14), st.sampled_from(["", " "]))
def test_it_is_split_as_by_postgresqls_own_scanner(fragments: list[str], between: str) -> None:
    text = between.join(fragments)
    try:
        wanted = split_by_tokens(scanned(text))
    except parser.ParseError:
        return
    if any("\\" in tokens for tokens in wanted):
        with pytest.raises(Refused):
            split(text.encode())
        return
    ours = [scanned(each.decode().removesuffix(";")) for each in split(text.encode())]
    assert ours == wanted


def test_lines_are_counted() -> None:
    text = b"\n-- a comment\n\nSELECT\n1;\n  SELECT 'a\nb'; SELECT 3;\n"
    assert [each.line for each in script(text).statements()] == [4, 6, 7]


def test_a_backslash_escapes_where_the_server_says_so() -> None:
    text = rb"SELECT 'a\'; b'; SELECT 2;"
    assert split(text, standard_conforming_strings=b"off") == [
        rb"SELECT 'a\'; b';",
        b"SELECT 2;",
    ]
    with pytest.raises(Refused, match="middle of a statement"):
        split(text)


def test_what_guards_psql_is_passed_over_and_a_last_semicolon_may_be_missing() -> None:
    assert split(b"\xef\xbb\xbf\\restrict aB1\n\nSELECT 1;\n\\unrestrict aB1\nSELECT 2\n") == [
        b"SELECT 1;",
        b"SELECT 2\n",
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"\\! touch x\n",
        b"SELECT 1; \\! touch x\n",
        b"SELECT 1 \\g |touch\n",
        b"SELECT 1 \\gexec\n",
        b"\\restrict a\n\\unrestrict a\n\\i /etc/passwd\n",
        b"\\unrestrict `touch x`\n",
        b"\\restrict a`touch x`\n",
        b"SELECT 1 \\unrestrict a\n;",
        b"\\copy t from program 'touch x'\n",
        b"\\o |touch x\n",
        b"\\set x `touch x`\n",
        b"SELECT (1\n\\! touch x\n);",
        b"\\\\",
        b"\\",
    ],
)
def test_what_is_psqls_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="psql's"):
        split(text)


def test_what_psql_prints_is_passed_over() -> None:
    text = b"\\set ON_ERROR_STOP on\n\\echo it's; loading\nSELECT 1;\n\\timing\n\\x off\nSELECT 2;"
    assert split(text) == [b"SELECT 1;", b"SELECT 2;"]
    for more in (b"\\echo a \\\\ SELECT 1;\n", b"\\set x 1\n", b"\\set ON_ERROR_STOP `touch x`\n"):
        with pytest.raises(Refused, match="psql's"):
            split(more)


MADE = (
    b"-- PostgreSQL database dump\nCREATE DATABASE shop;\n%s-- PostgreSQL database dump complete\n"
)


@pytest.mark.parametrize(
    ("before", "is_dump"),
    [(b"", True), (b"BEGIN;\nSET a = 1;\n", True), (b"CREATE TABLE t (x int);\n", False)],
)
def test_a_dump_may_be_within_a_transaction(before: bytes, *, is_dump: bool) -> None:
    header = b"-- PostgreSQL database dump\nSELECT 1;\n-- PostgreSQL database dump complete\n"
    read = script(before + header)
    assert list(read.statements())
    assert read.is_dump is is_dump


def test_a_dump_connects_to_the_database_that_it_makes() -> None:
    connects = b"\\connect shop\nSET a = 1;\n\\connect -reuse-previous=on \"dbname='shop'\"\n"
    found = split(MADE % (connects + b"CREATE TABLE t (x int);\n"))
    assert found == [b"CREATE DATABASE shop;", b"SET a = 1;", b"CREATE TABLE t (x int);"]
    more = [b"CREATE TABLE t (x int);\n\\connect b\n", b"CREATE DATABASE b;\n\\connect b\n"]
    for text in more:
        with pytest.raises(Refused, match="another database"):
            split(MADE % text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\\connect other\n", "another database"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "pg_dumpall"),
        (b"-- PostgreSQL database dump\nSELECT 1;\n", "missing"),
        (b"SELECT 'cut", "middle of a statement"),
        (b"SELECT $a$cut", "middle of a statement"),
        (b"/* cut", "middle"),
        (b"SELECT 1;\0", "not text"),
    ],
)
def test_what_cannot_be_taken_is_said(text: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        split(text)


@pytest.mark.parametrize(
    "text",
    [
        b"BEGIN;\n-- PostgreSQL database dump\nSELECT 1;\nCOMMIT;\n",
        b"SELECT 1;\n-- PostgreSQL database cluster dump\nSELECT 2;\n",
        b"SELECT '\n-- PostgreSQL database dump\n';\n",
        b"/*\n-- PostgreSQL database dump\n*/ SELECT 1;\n",
        b"SELECT 1\n-- PostgreSQL database dump\n;",
        b"-- PostgreSQL database dump\r\nSELECT 1;\r\n-- PostgreSQL database dump complete\r\n",
    ],
)
def test_a_script_with_a_part_of_a_dump_in_it_is_whole(text: bytes) -> None:
    assert any(b"SELECT" in statement for statement in split(text))


def test_an_encoding_that_hides_quotes_is_refused() -> None:
    with pytest.raises(Refused, match="encoding"):
        split(b"SELECT 1;", client_encoding=b"SJIS")


def test_a_statement_has_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry.pg.scripts.MOST_STATEMENT_BYTES", 50)
    for long in (b"SELECT 1;\nSELECT '%s';" % (b"x" * 60), b"SELECT 1;\nSELECT\n" + b"1\n" * 50):
        with pytest.raises(Refused, match="Line 2"):
            split(long)


@pytest.mark.parametrize(
    ("end", "rest"),
    [
        (b"\n\\.\nSELECT 1;\n", [(b"SELECT 1;", 7)]),
        (b"\r\n\\.\r\nSELECT 1;", [(b"SELECT 1;", 7)]),
        (b"\n\\.", []),
    ],
)
def test_the_data_of_a_copy_is_not_sql(end: bytes, rest: list[tuple[bytes, int]]) -> None:
    data = b"1\t\\N ; '\n:USER\t\\\\.\n\\.x\n\\! touch"
    read = script(b"COPY t FROM stdin; \n" + data + end)
    statements = read.statements()
    assert next(statements).text == b"COPY t FROM stdin;"
    given = b"".join(read.data())
    assert given.rstrip() == data
    assert [(each.text, each.line) for each in statements] == rest


@pytest.mark.parametrize("data", [b"\n1\n2\n", b" 1\n\\.\n", b"\n1\\.\n"])
def test_data_that_does_not_end_is_found(data: bytes) -> None:
    read = script(b"COPY t FROM stdin;" + data)
    next(read.statements())
    with pytest.raises(Refused):
        list(read.data())


PIECES = [
    *("INSERT INTO t VALUES", "insert  into t (a, b) values", "UPDATE t SET x =", "DELETE FROM t"),
    *("INSERT", "SELECT", "CREATE RULE r AS ON INSERT TO t DO ALSO", "BEGIN", " ", "\t", "\r\n"),
    *(";", "; ", ";\n", "(1, 'a')", "('it''s; --')", "(E'x;\\'')", "('\n;')", '"a;""b"', "$$ ; $$"),
    *("\n(1, 'a;'),\n", "(1, -2), ('x', 3),\n", "(E'\\'', 'a'),\n", "('a'\n", "(f(1)),\n", ",\n"),
    *("-1", "--", "\n", "-- ;\n", "/*", "*/", "/", "(", ")", "\\", "\\.\n", "$1", "'", '"', "é;"),
]  # fmt: skip


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
@example("INSERT INTO t VALUES(;\n")
@example("INSERT INTO t VALUES)(;\n")
@example("INSERT INTO t VALUES('(');\n")
def test_rows_in_a_line_are_read_as_they_are_token_by_token(text: str) -> None:
    def read() -> list[Statement] | str:
        try:
            return list(script(text.encode()).statements())
        except Refused as error:
            return error.detail

    with pytest.MonkeyPatch.context() as patch:
        for fast in ("_ROWS_IN_A_LINE", "_ROWS_BETWEEN"):
            patch.setattr(scripts, fast, re.compile(rb"(?!)"))
        slowly = read()
    assert read() == slowly


# ── what of it is carried out ────────────────────────────────────────────────


def chosen(
    *texts: str, roles: dict[str, str] | None = None, version: int = 15_00_04
) -> tuple[list[str], list[str]]:
    """What is carried out, and what is reported of the rest."""
    choice = Choice(roles or {}, version)
    found = [choice.chosen(Statement(text.encode(), 1)) for text in texts]
    return [each.statement.text.decode() for each in found if each], choice.left_out


KEPT = [
    "CREATE TABLE t (x int);",
    "ALTER TABLE t ADD COLUMN y int;",
    "COMMENT ON TABLE t IS 'ours';",
    "COMMENT ON SCHEMA sales IS 'ours';",
    "CREATE EXTENSION pg_trgm;",
    "SET search_path = public;",
    "SET ROLE other;",
    "DROP TABLE t;",
    "CREATE SOMETHING that is newer;",
]
LEFT_OUT = [
    "ALTER TABLE t OWNER TO ann;",
    "ALTER FUNCTION f() OWNER TO ann;",
    "ALTER SCHEMA public OWNER TO pg_database_owner;",
    "GRANT SELECT ON TABLE t TO ben;",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
    "ALTER DEFAULT PRIVILEGES FOR ROLE ann GRANT ALL ON TABLES TO cleo;",
    "SET SESSION AUTHORIZATION 'ann';",
    "SET default_tablespace = fast;",
    "SECURITY LABEL FOR x ON TABLE t IS 'y';",
    "CREATE SCHEMA public;",
    "COMMENT ON SCHEMA public IS 'standard public schema';",
    "CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;",
    "COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL';",
    "CREATE OR REPLACE PROCEDURAL LANGUAGE plpgsql;",
    "COMMENT ON LANGUAGE plpgsql IS 'PL/pgSQL';",
    "ALTER FOREIGN TABLE f OWNER TO ann;",
    "REASSIGN OWNED BY ann, CURRENT_USER TO ben;",
    "DROP OWNED BY cleo;",
    "COMMENT ON TABLESPACE fast IS 'x';",
]
REPORTED = [
    "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f();",
    "CREATE PUBLICATION p FOR ALL TABLES;",
    "ALTER PUBLICATION p ADD TABLES IN SCHEMA public;",
    "CREATE SERVER s FOREIGN DATA WRAPPER w;",
    "CREATE FOREIGN TABLE f (x int) SERVER s;",
    "ALTER FOREIGN TABLE f ALTER COLUMN x OPTIONS (column_name 'y');",
    "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b;",
    "ALTER SYSTEM SET work_mem = '1GB';",
    "LOAD 'auto_explain';",
]


def test_what_names_the_other_servers_roles_is_left_out() -> None:
    kept, reported = chosen(*KEPT, *LEFT_OUT, *REPORTED)
    assert kept == KEPT
    assert reported == [
        "owners and grants for ann, ben, cleo, pg_database_owner",
        "tablespaces: fast",
        *REPORTED,
    ]


@pytest.mark.parametrize(
    ("text", "made", "reported"),
    [
        ("CREATE TABLE t (x int) TABLESPACE {};", "CREATE TABLE t (x int) ;", ["a"]),
        (
            "CREATE TABLE t (tablespace a, x int UNIQUE USING INDEX TABLESPACE {}) TABLESPACE {};",
            "CREATE TABLE t (tablespace a, x int UNIQUE ) ;",
            ["a", "b"],
        ),
        ("CREATE TABLE t (tablespace a) TABLESPACE pg_default;", "CREATE TABLE t (tablespace a) ;",
         []),
        ("CREATE INDEX ON t (x) TABLESPACE {} WHERE x > 0;", "CREATE INDEX ON t (x)  WHERE x > 0;",
         ["a"]),
        ("CREATE TABLE t TABLESPACE {} AS SELECT 'ö TABLESPACE a' AS tablespace;",
         "CREATE TABLE t  AS SELECT 'ö TABLESPACE a' AS tablespace;", ['"Ä b"']),
        ("ALTER TABLE t SET TABLESPACE {}, SET TABLESPACE {};", None, ["a", "b"]),
        ("ALTER TABLE t OWNER TO me, SET TABLESPACE {};", None, ["a"]),
        ("ALTER TABLE t SET TABLESPACE {}, ADD z numeric(3, 1), SET TABLESPACE {};",
         "ALTER TABLE t ADD z numeric(3, 1);", ["a", "b"]),
        ("ALTER TABLE t ADD z text[] DEFAULT array['a', 'b'], /* , */ SET TABLESPACE {};",
         "ALTER TABLE t ADD z text[] DEFAULT array['a', 'b'];", ["a"]),
        ("ALTER MATERIALIZED VIEW m SET TABLESPACE {};", None, ["a"]),
        ("ALTER TABLE ALL IN TABLESPACE {} SET TABLESPACE {};", None, ["a", "b"]),
        ("SET temp_tablespaces = {}, {};", None, ["a", "b"]),
        ("SET default_tablespace = '';", None, []),
    ],
)  # fmt: skip
def test_all_is_in_the_databases_own_tablespace(
    text: str, made: str | None, reported: list[str]
) -> None:
    done, left_out = chosen(text.format(*reported))
    assert done == ([made] if made else [])
    names = ", ".join(name.strip('"') for name in reported)
    assert left_out == ([f"tablespaces: {names}"] if reported else [])


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ("SET search_path TO '$user', 'a\"b', '', 'x', 'User'",
         ("search_path", '"$user", "a""b", "", x, "User"')),
        ("SET search_path TO 'user', 'abs'", ("search_path", '"user", abs')),
        ("SET \"TimeZone\" TO 'Europe/Paris'", ("TimeZone", "Europe/Paris")),
        ("SET datestyle TO 'ISO', 'DMY'", ("datestyle", "ISO, DMY")),
        ("SET extra_float_digits TO -1", ("extra_float_digits", "-1")),
        ("SET jit = off", ("jit", "off")),
        ("SET TIME ZONE INTERVAL '1' HOUR TO MINUTE", None),
        ("RESET ALL", None),
        ("SET search_path FROM CURRENT", None),
    ],
)  # fmt: skip
def test_settings_of_the_database_are_known_and_not_made(
    change: str, setting: tuple[str, str] | None
) -> None:
    text = f"ALTER DATABASE shop {change};"
    choice = Choice({}, 15_00_04)
    for before in ("SELECT 1;", "CREATE TABLE t (x int);"):
        choice.chosen(Statement(before.encode(), 1))
        assert choice.chosen(Statement(text.encode(), 1)) is None
    assert choice.settings == (dict([setting]) if setting else {})
    assert choice.left_out == ([] if setting else [text, text])


POLICY = "CREATE POLICY p ON public.t AS RESTRICTIVE FOR ALL TO {} USING ((x = 'TO a; '));"


@pytest.mark.parametrize(
    ("named", "made_for", "reported"),
    [
        ("authenticated", None, "left out, unknown here: role authenticated"),
        ('anon, "ön; line"', None, "left out, unknown here: roles anon, ön; line"),
        ("PUBLIC", "PUBLIC", None),
        ("old", '"my reader"', None),
        ("old, PUBLIC, CURRENT_USER", '"my reader", PUBLIC, CURRENT_USER', None),
        ('OLD , anon,\n "old"', '"my reader"', "made without role anon"),
        ('"""odd"""', '"x""y"', None),
    ],
)
def test_policies_are_for_the_roles_that_are_here(
    named: str, made_for: str | None, reported: str | None
) -> None:
    roles = {"old": "my reader", '"odd"': 'x"y'}
    for form in (POLICY, "ALTER POLICY p ON public.t TO {};"):
        done, left_out = chosen(form.format(named), roles=roles)
        assert done == ([form.format(made_for)] if made_for else [])
        assert left_out == ([f"policy p on public.t: {reported}"] if reported else [])


def test_a_policy_for_everybody_is_taken_as_it_is() -> None:
    text = "CREATE POLICY p ON t USING (true);"
    assert chosen(text) == ([text], [])


def test_grants_are_for_the_roles_that_are_mapped() -> None:
    done, reported = chosen(
        "GRANT SELECT(a),UPDATE ON TABLE public.t TO anon, old WITH GRANT OPTION;",
        "GRANT ALL ON TABLE public.t TO PUBLIC;",
        "REVOKE ALL ON TABLE public.t FROM old;",
        "ALTER TABLE public.t OWNER TO old;",
        "ALTER DEFAULT PRIVILEGES FOR ROLE cloud_admin GRANT ALL ON TABLES TO authenticated;",
        "ALTER DEFAULT PRIVILEGES FOR ROLE cloud_admin GRANT ALL ON TABLES TO old;",
        roles={"old": "new"},
    )
    assert done == ['GRANT SELECT(a),UPDATE ON TABLE public.t TO "new" WITH GRANT OPTION;']
    assert reported == [
        "owners and grants for anon, authenticated, cloud_admin",
        "ALTER DEFAULT PRIVILEGES FOR ROLE cloud_admin GRANT ALL ON TABLES TO old;",
    ]


def test_other_encodings_than_utf_8_stay_as_they_are() -> None:
    text = "CREATE POLICY p ON \"\xfc\" TO a, b USING ((x = '\xfc'));".encode("latin-1")
    found = Choice({"b": "c"}, 15_00_04).chosen(Statement(text, 1))
    assert found is not None
    assert found.statement.text == text.replace(b"a, b", b'"c"')


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("CREATE SCHEMA auth AUTHORIZATION admin;", 'CREATE SCHEMA IF NOT EXISTS "auth";'),
        ("CREATE SCHEMA AUTHORIZATION admin;", 'CREATE SCHEMA IF NOT EXISTS "admin";'),
        (
            "CREATE SCHEMA AUTHORIZATION admin CREATE TABLE t (x int);",
            'CREATE SCHEMA "admin" CREATE TABLE t (x int);',
        ),
        (
            "CREATE EXTENSION IF NOT EXISTS adminpack WITH SCHEMA pg_catalog;",
            "CREATE EXTENSION IF NOT EXISTS adminpack WITH SCHEMA pg_catalog;",
        ),
        (
            "CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA extensions;",
            'CREATE SCHEMA IF NOT EXISTS "extensions"; '
            "CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA extensions;",
        ),
    ],
)
def test_schemas_need_no_role_and_extensions_no_schema(text: str, done: str) -> None:
    assert chosen(text) == ([done], [])


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("CREATE PUBLICATION p WITH (publish = 'insert');", True),
        ("CREATE PUBLICATION p FOR TABLE a;", True),
        ("ALTER PUBLICATION p ADD TABLE ONLY public.a WHERE ((x > 1));", True),
        ("CREATE PUBLICATION p FOR ALL TABLES;", False),
        ("ALTER PUBLICATION p ADD TABLES IN SCHEMA public;", False),
    ],
)
def test_publications_of_tables_are_taken(text: str, *, published: bool) -> None:
    made = "CREATE TABLE a (x int);"
    done = [made, text] if published else [made]
    assert chosen(made, text) == (done, [] if published else [text])


STATISTICS = "SELECT * FROM pg_catalog.pg_restore_relation_stats(\n'version', '180000'::integer);"


def test_statistics_are_read_back_where_the_server_can() -> None:
    assert chosen(STATISTICS) == ([], [])
    assert chosen(STATISTICS, version=18_00_00) == ([STATISTICS], [])


def test_what_turns_triggers_off_is_reported_apart() -> None:
    def statement(text: str) -> Statement:
        return Statement(text.encode(), 1)

    found = disables_triggers(statement('ALTER TABLE public."ALL" DISABLE TRIGGER ALL;'))
    assert found == statement('ALTER TABLE public."ALL" DISABLE TRIGGER USER;')
    found = disables_triggers(statement("ALTER TABLE t ENABLE TRIGGER ALL;"))
    assert found == statement("ALTER TABLE t ENABLE TRIGGER USER;")
    assert disables_triggers(statement("ALTER TABLE t DISABLE TRIGGER a;")) is None
    assert replicates(statement("SET session_replication_role = replica;")) is True
    assert replicates(statement("SET session_replication_role TO 'origin';")) is False
    assert replicates(statement("SET session_replication_role = DEFAULT;")) is False
    assert replicates(statement("RESET session_replication_role;")) is False
    assert replicates(statement("SET search_path = replica;")) is None


CLEAN = [
    "DROP EVENT TRIGGER e;",
    "DROP PUBLICATION p;",
    "ALTER PUBLICATION p DROP TABLE ONLY public.t;",
    "DROP SUBSCRIPTION s;",
    "DROP USER MAPPING IF EXISTS FOR a SERVER s;",
    "DROP SERVER s;",
    "DROP FOREIGN DATA WRAPPER w;",
    "DROP POLICY p ON public.t;",
    "DROP RULE r ON public.t;",
    "DROP TRIGGER IF EXISTS a ON public.t;",
    "ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT IF EXISTS t_pkey;",
    "ALTER TABLE public.t ALTER COLUMN id DROP DEFAULT;",
    "ALTER TABLE public.t DETACH PARTITION public.part;",
    "ALTER DOMAIN public.d DROP CONSTRAINT c;",
    "CREATE OR REPLACE VIEW public.v AS\nSELECT\n    NULL::integer AS id,\n"
    '    NULL::public.size COLLATE "C" AS name;',
    "CREATE OR REPLACE VIEW public.v WITH (security_barrier='true') AS SELECT NULL::text[] AS a;",
    "DROP VIEW public.v;",
    "DROP CAST (text AS public.d);",
    "DROP OPERATOR CLASS public.o USING btree;",
    "DROP TRANSFORM FOR integer LANGUAGE l;",
    "DROP COLLATION public.c;",
    "DROP TEXT SEARCH CONFIGURATION public.c;",
    "DROP EXTENSION IF EXISTS pgcrypto;",
    "DROP SCHEMA public;",
    "SELECT pg_catalog.lo_unlink('16393');",
]


def test_all_that_pg_dump_clean_begins_with_is_passed_over() -> None:
    view = "CREATE VIEW public.v AS SELECT NULL::integer AS id;"
    assert chosen(*CLEAN, "CREATE SCHEMA public;", KEPT[0], view) == ([KEPT[0], view], [])
    hand_made = "CREATE OR REPLACE VIEW v AS SELECT NULL::int AS a, 1 AS b;"
    assert chosen(hand_made) == ([hand_made], [])


def test_what_adds_is_no_beginning() -> None:
    """Of an archive that has foreign keys and no triggers, they are all that is read as SQL."""
    adds = [
        "ALTER TABLE ONLY public.a ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES public.b(id);",
        "ALTER TABLE public.a ENABLE ROW LEVEL SECURITY;",
        "ALTER DOMAIN public.d ADD CONSTRAINT c CHECK (VALUE > 0);",
        "ALTER PUBLICATION p ADD TABLE ONLY public.a;",
    ]
    for text in adds:
        assert chosen(text) == ([text], [])


def test_nothing_is_dropped_before_something_is_made() -> None:
    drops = ["ALTER TABLE ONLY t DROP CONSTRAINT t_pkey;", "DROP TABLE t;", "DROP SCHEMA public;"]
    kept, reported = chosen("SET lock_timeout = 0;", *drops, KEPT[0], *drops[:2])
    assert (kept, reported) == (["SET lock_timeout = 0;", KEPT[0], *drops[:2]], [])


OF_A_DATABASE = [
    "CREATE DATABASE shop;",
    "DROP DATABASE shop;",
    "ALTER ROLE ann IN DATABASE shop SET work_mem = '1GB';",
]


@pytest.mark.parametrize(
    "texts",
    [
        *([KEPT[0], text] for text in OF_A_DATABASE[:2]),
        ["CREATE ROLE evil;"],
        ["ALTER ROLE ann PASSWORD 'known';"],
        ["ALTER ROLE ann SET work_mem = '1GB';"],
        ["GRANT ann TO ben;"],
    ],
)
def test_what_is_of_a_whole_server_is_refused(texts: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        chosen(*texts)
    assert "Dump one database" in str(refused.value.hint)


def test_what_pg_dump_create_begins_with_is_passed_over() -> None:
    assert chosen(*OF_A_DATABASE, KEPT[0]) == ([KEPT[0]], OF_A_DATABASE[2:])


def test_settings_of_a_login_in_the_database_are_its_own_if_the_login_is_here() -> None:
    choice = Choice({"ann": "app"}, 15_00_04)
    for role in ("ann", "ben", "ALL"):
        text = f"ALTER ROLE {role} IN DATABASE shop SET search_path TO '{role}';"
        assert choice.chosen(Statement(text.encode(), 1)) is None
    assert choice.settings == {"search_path": '"ALL"'}
    assert choice.left_out == ["ALTER ROLE ben IN DATABASE shop SET search_path TO 'ben';"]
